"""Studies of the estimators, as commands: `python -m rtrl experiment NAME`.

noise    how far the gradient of an estimator lies from the exact one; the text of its options is in rtrl.experiment
cases    nets, their text, and exact gradients
report   its result as tables, JSON lines and CSV        plots    its result as a picture
"""
