"""Standardising a series online: every number with what was known when it came, and never with what came later.

With gamma_t = max(1/t, 1/lookback), t = 1, 2, ... numbers so far,

    d_t = x_t - mean_(t-1)      mean_t = mean_(t-1) + gamma_t d_t      variance_t = (1 - gamma_t) (variance_(t-1) + gamma_t d_t^2)

which is Welford's recursion (1962, doi:10.1080/00401706.1962.10490022) until `lookback` numbers have come, and forgets older ones
exponentially from then on.
"""

import numpy as np

__all__ = ["changes", "standardised"]


def standardised(values, lookback):
    """Samples in units of the running standard deviation, around the running mean.

    Parameters
    ----------
    values : ndarray [N, columns] of float64
        In order of time.
    lookback : int
        Samples that the running mean and variance look back on; 0: all.

    Returns
    -------
    ndarray [N, columns] of float64
        Row t depends on values[: t + 1] alone; 0 where all values so far are the same.
    """
    result = np.zeros_like(values)
    mean, variance = np.zeros((2, values.shape[1]))
    for t, value in enumerate(values):
        gamma = _gamma(t + 1, lookback)
        difference = value - mean
        mean = mean + gamma * difference
        variance = (1 - gamma) * (variance + gamma * difference**2)
        np.divide(value - mean, np.sqrt(variance), out=result[t], where=variance > 0)
    return result


def changes(values, ahead, lookback):
    """Changes over `ahead` samples in units of their running root mean square.

    Parameters
    ----------
    values, lookback
        As for `standardised`.
    ahead : int
        Samples, h.

    Returns
    -------
    scaled : ndarray [N, columns] of float64
        Row t: (values[t] - values[t - h]) / scale[t]; 0 for t < h, and where nothing has changed so far.
    scale : ndarray [N, columns] of float64
        Row t: the root mean square of the changes up to t, which depends on values[: t + 1] alone.
    """
    scaled, scale = np.zeros_like(values), np.zeros_like(values)
    square = np.zeros(values.shape[1])
    for t in range(ahead, len(values)):
        gamma = _gamma(t + 1 - ahead, lookback)
        change = values[t] - values[t - ahead]
        square = square + gamma * (change**2 - square)
        scale[t] = np.sqrt(square)
        np.divide(change, scale[t], out=scaled[t], where=scale[t] > 0)
    return scaled, scale


def _gamma(count, lookback):
    return 1 / min(count, lookback or count)
