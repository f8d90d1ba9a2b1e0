"""TBPTT in JAX: one jitted scan over windows, in each a scan over the steps; the readout of a window is one product.

Two forms: the plain one asks `jax.grad` for the gradients of the weights, whose sum grows step by step; the other asks for
those of the pre-activations, from which the gradients of all weights are one product.
"""

from functools import partial

from bench.rivals.jax_parts import CELLS, Scan, adam

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
except ImportError:
    jax = None

__all__ = ["FORMS"]


def _losses(cell, xs, ys, h, W_h, V, outside):
    """Sum of the losses of a window; they, the last state and those before each step."""
    n = h.shape[1]
    recurrent = W_h.T

    def advance(h, part):
        return cell(h @ recurrent + part, h)[0], h

    last, before = lax.scan(advance, h, outside, unroll=5)
    hidden = jnp.concatenate([before[1:], last[None]])
    log_p = jax.nn.log_softmax(hidden @ V[:, :n].T + V[:, n])
    each = -jnp.take_along_axis(log_p, ys[:, :, None], 2)[:, :, 0].mean(1)
    return each.sum(), (each, last, before)


def _by_weights(cell, W, V, h, xs, ys):
    n = h.shape[1]

    def loss(W, V):
        return _losses(cell, xs, ys, h, W[:, :n], V, W.T[n + xs] + W[:, -1])

    return jax.grad(loss, (0, 1), has_aux=True)(W, V)


def _by_maps(cell, W, V, h, xs, ys):
    n, m = h.shape[1], W.shape[1]

    def loss(outside, V):
        return _losses(cell, xs, ys, h, W[:, :n], V, outside)

    (maps, readout), (each, last, before) = jax.grad(loss, (0, 1), has_aux=True)(W.T[n + xs] + W[:, -1], V)
    ones = jnp.ones((*xs.shape, 1), W.dtype)
    h_hat = jnp.concatenate([before, jax.nn.one_hot(xs, m - n - 1, dtype=W.dtype), ones], 2)
    return (maps.reshape(-1, len(W)).T @ h_hat.reshape(-1, m), readout), (each, last, before)


def _window(gradients_of, cell, lr, everything, given):
    weights, slots, h, carried = everything
    gradients, (each, last, _) = gradients_of(cell, *weights, h, *given)
    weights, slots = adam(lr, weights, slots, gradients)
    return (weights, slots, last, carried), each


class _Plain(Scan):
    gradients_of = staticmethod(_by_weights)

    def program(self, problem):
        windows = (-1, problem.estimator.horizon, problem.lanes)
        step = partial(_window, self.gradients_of, CELLS[problem.cell], problem.optimizer.lr)
        return step, (), (problem.xs.reshape(windows), problem.ys.reshape(windows))


class _Maps(_Plain):
    gradients_of = staticmethod(_by_maps)


FORMS = {(cell, "TBPTT"): {"plain": _Plain, "by maps": _Maps} for cell in CELLS}
