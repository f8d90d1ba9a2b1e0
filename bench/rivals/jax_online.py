"""KF-RTRL and UORO in JAX: one jitted scan over the stream.

Written as one would who knows JAX and the algorithms: H is formed once per lane, norms and gradients are batched over the
lanes, diagonals are scattered in place, and nothing leaves the compiled program between two steps.
"""

from functools import partial

from bench.rivals.jax_parts import CELLS, Scan, adam

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None

__all__ = ["FORMS"]


def _balance(a, b):
    both = (a > 0) & (b > 0)
    rho = jnp.sqrt(jnp.where(both, a / jnp.where(both, b, 1), 0))
    return rho, jnp.where(both, 1 / jnp.where(both, rho, 1), 0)


def _norm(x):
    return jnp.sqrt(jnp.sum(x * x, axis=tuple(range(1, x.ndim))))


class _KFRTRL:
    """G ~ u (x) A: u [B, m], A [B, n, r n]."""

    @staticmethod
    def start(lanes, n, rn, m):
        return jnp.zeros((lanes, m)), jnp.zeros((lanes, n, rn))

    @staticmethod
    def credit(carried, delta):
        u, A = carried
        return jnp.einsum("bi,bij->bj", delta, A).T @ u

    @staticmethod
    def observe(carried, W_h, D, E, h_hat, c):
        u, A = carried
        lanes, r, n = D.shape
        unit = jnp.arange(n)
        H = sum(D[:, a, :, None] * W_h[a] for a in range(r))
        if E is not None:
            H = H.at[:, unit, unit].add(E)
        A = H @ A
        p1, inverse1 = _balance(_norm(A), _norm(u))
        p2, inverse2 = _balance(_norm(D), _norm(h_hat))
        u = (c[:, 0] * p1)[:, None] * u + (c[:, 1] * p2)[:, None] * h_hat
        A = ((c[:, 0] * inverse1)[:, None, None] * A).reshape(lanes, n, r, n)
        newest = (c[:, 1] * inverse2)[:, None, None] * D
        return u, A.at[:, unit, :, unit].add(newest.transpose(2, 0, 1)).reshape(lanes, n, r * n)


class _UORO:
    """G ~ v (x) w: v [B, n], w [B, r n, m]."""

    @staticmethod
    def start(lanes, n, rn, m):
        return jnp.zeros((lanes, n)), jnp.zeros((lanes, rn, m))

    @staticmethod
    def credit(carried, delta):
        v, w = carried
        return (jnp.sum(delta * v, 1) @ w.reshape(len(w), -1)).reshape(w.shape[1:])

    @staticmethod
    def observe(carried, W_h, D, E, h_hat, nu):
        v, w = carried
        lanes, r, n = D.shape
        pushed = jnp.einsum("baj,baj->bj", D, (v @ W_h.reshape(r * n, n).T).reshape(lanes, r, n))
        if E is not None:
            pushed = pushed + E * v
        nu_D = (nu[:, None] * D).reshape(lanes, r * n)
        rho0, inverse0 = _balance(_norm(w), _norm(pushed))
        rho1, inverse1 = _balance(_norm(nu_D) * _norm(h_hat), _norm(nu))
        v = rho0[:, None] * pushed + rho1[:, None] * nu
        return v, inverse0[:, None, None] * w + (inverse1[:, None] * nu_D)[:, :, None] * h_hat[:, None]


_ESTIMATORS = {"KFRTRL": _KFRTRL, "UORO": _UORO}


def _scores(logits, y):
    """Mean loss, and its derivative by the logits."""
    log_p = jax.nn.log_softmax(logits)
    target = jax.nn.one_hot(y, logits.shape[1], dtype=logits.dtype)
    return -jnp.sum(log_p * target) / len(y), (jnp.exp(log_p) - target) / len(y)


def _online_step(cell, estimator, fresh, lr, everything, given):
    (W, V), slots, h, carried = everything
    x, y, c = given
    n, rn, m = h.shape[1], *W.shape
    ones = jnp.ones((len(h), 1), W.dtype)
    h_hat = jnp.concatenate([h, jax.nn.one_hot(x, m - n - 1, dtype=W.dtype), ones], 1)
    new, D, E = cell(h_hat @ W.T, h)
    W_h = W[:, :n].reshape(-1, n, n)
    extended = jnp.concatenate([new, ones], 1)
    loss, error = _scores(extended @ V.T, y)
    delta = error @ V[:, :n]
    observed = estimator.observe(carried, W_h, D, E, h_hat, c)
    if fresh:
        maps = (delta[:, None] * D).reshape(-1, rn)
        earlier = maps @ W[:, :n] if E is None else maps @ W[:, :n] + delta * E
        gradient = maps.T @ h_hat + estimator.credit(carried, earlier)
    else:
        gradient = estimator.credit(observed, delta)
    weights, slots = adam(lr, [W, V], slots, [gradient, error.T @ extended])
    return (weights, slots, new, observed), loss


class _Online(Scan):
    def program(self, problem):
        estimator = _ESTIMATORS[problem.name]
        step = partial(_online_step, CELLS[problem.cell], estimator, problem.estimator.fresh, problem.optimizer.lr)
        carried = estimator.start(problem.lanes, problem.hidden, *problem.weight.shape)
        return step, carried, (problem.xs, problem.ys, problem.signs())


FORMS = {(cell, name): {"": _Online} for cell in CELLS for name in _ESTIMATORS}
