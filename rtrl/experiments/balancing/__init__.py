"""Influence balancing: who is misled by what a parameter does soon.

problem   the chain of units, for scripts               study   the study as `python -m rtrl experiment influence-balancing`
"""
