"""Gradient estimators side by side on one stream: time, memory, quality of the gradient, learning.

task       what is learned: a text or a series, and its reference values
settings   what is compared: cell, estimators, sizes, and the recipe of learning that all share
timing     time of a step                     memory     exact bytes, and the peak of a separate process
resident   that process                       specs      specs from text
gradients  against exact RTRL                 learning   the loss after the same number of steps
measuring  these of some estimators at once   progress   how far it is
run        all of these, as one result        report     the result as table, JSON and CSV
grid       aligned columns of text
"""

from rtrl.comparison.run import compare
from rtrl.comparison.settings import Settings
from rtrl.comparison.task import Task

__all__ = ["Settings", "Task", "compare"]
