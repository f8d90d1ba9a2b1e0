"""How far the gradient of an estimator lies from the exact one, against units, time and training.

command   the study as `python -m rtrl experiment noise`
study     what is measured                              cases     nets, their text, and exact gradients
tables    the result as tables                          picture   the result as a picture
"""
