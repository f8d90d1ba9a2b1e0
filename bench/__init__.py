"""Benchmarks of rtrl; see README.md."""
