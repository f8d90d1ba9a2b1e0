"""Subcommands of the command line, which `rtrl.cli` puts together.

compare      every estimator against TBPTT, on a text or a series
experiment   studies of the estimators; a study is one file, see rtrl.experiments
options      what they share: types of arguments, and options with one meaning; it knows neither commands nor studies
"""
