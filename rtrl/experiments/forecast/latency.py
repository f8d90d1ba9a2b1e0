"""Distributions of times that can be added up: counts in bins that are 2 % wide."""

import math

__all__ = ["Times", "percentile"]

_WIDTH = math.log(1.02)


class Times:
    """Times of many calls.

    Attributes
    ----------
    counts : dict of str to int
        Calls by bin, as JSON keeps them; see `percentile`.
    longest : float
        In microseconds.
    """

    def __init__(self):
        self.counts, self.longest = {}, 0.0

    def add(self, nanoseconds):
        """One call."""
        place = str(int(math.log(max(1, nanoseconds)) / _WIDTH))
        self.counts[place] = self.counts.get(place, 0) + 1
        self.longest = max(self.longest, nanoseconds / 1000)


def percentile(counts, share):
    """Time in microseconds, to 1 %, that a share (0 to 1] of all calls does not exceed; None without calls.

    Parameters
    ----------
    counts : list of dict of str to int
        Those of any number of instances of `Times`.
    share : float
        0.5 for the median.
    """
    bins = {}
    for each in counts:
        for place, count in each.items():
            bins[int(place)] = bins.get(int(place), 0) + count
    left = share * sum(bins.values())
    for place in sorted(bins):
        left -= bins[place]
        if left <= 0:
            return math.exp((place + 0.5) * _WIDTH) / 1000
    return None
