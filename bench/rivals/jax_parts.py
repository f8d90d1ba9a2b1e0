"""What the programs in JAX share: cells, Adam, and one jitted scan over the stream whose carry is donated."""

import abc

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
except ImportError:
    jax = None

__all__ = ["CELLS", "Scan", "adam"]


def _rnn(z, h):
    new = jnp.tanh(z)
    return new, (1 - new * new)[:, None], None


def _rhn(z, h):
    a, t = jnp.tanh(z[:, : h.shape[1]]), jax.nn.sigmoid(z[:, h.shape[1] :])
    return h + t * (a - h), jnp.stack([t * (1 - a * a), (a - h) * t * (1 - t)], 1), 1 - t


CELLS = {"RNN": _rnn, "RHN": _rhn}  # from z [B, r n] and h [B, n] to h', D [B, r, n] and E [B, n] or None


def adam(lr, weights, slots, gradients):
    """The weights moved, and the slots: number of updates, means, squares."""
    count, means, squares = slots
    count = count + 1
    means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
    squares = [0.999 * q + 0.001 * g * g for q, g in zip(squares, gradients)]
    rate, scale = lr / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)
    moved = [w - rate * m / (jnp.sqrt(q) * scale + 1e-8) for w, m, q in zip(weights, means, squares)]
    return moved, (count, means, squares)


class Scan(abc.ABC):
    """Compiled at the first call; a call goes on from where the last one ended."""

    def __init__(self, problem):
        weights = [jnp.array(problem.weight), jnp.array(problem.readout)]
        slots = (jnp.zeros(()), *([jnp.zeros_like(w) for w in weights] for _ in range(2)))
        step, carried, given = self.program(problem)
        self.given = [jnp.array(each) for each in given]
        self.everything = weights, slots, jnp.zeros((problem.lanes, problem.hidden)), carried
        self.compiled = jax.jit(lambda everything, given: lax.scan(step, everything, given), donate_argnums=0)

    @abc.abstractmethod
    def program(self, problem):
        """The step of the scan, what an estimator carries at the start, and the streams that are scanned over."""

    def __call__(self):
        self.everything, losses = self.compiled(self.everything, self.given)
        return np.asarray(losses).ravel()
