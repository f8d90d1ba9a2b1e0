"""RTRL, UORO, KF-RTRL and RFLO for a plain RNN in NumPy: one stream, one step after the other, SGD.

In the way in which these algorithms are taught and published: an object with a `step`, the formulas line by line, each a
call of NumPy (the products are BLAS's), credit after the step was taken in (fresh=False).

    h' = (1 - leak) h + leak tanh(W h_hat)      D = leak (1 - tanh^2)      H = (1 - leak) I + D W_h      G <- H G + D h_hat
"""

import numpy as np

__all__ = ["FORMS"]


def _balance(a, b):
    if a > 0 and b > 0:
        rho = np.sqrt(a / b)
        return rho, 1 / rho
    return 0.0, 0.0


class _Steps:
    def __init__(self, problem):
        self.W, self.V = problem.weight.copy(), problem.readout.copy()
        self.n, self.leak, self.rate = problem.hidden, problem.leak, problem.optimizer.lr
        self.eye = np.eye(problem.ids, dtype=problem.dtype)
        self.xs, self.ys, self.signs = problem.xs[:, 0], problem.ys[:, 0], problem.signs()[:, 0]
        self.h = np.zeros(self.n)
        self.start(*self.W.shape)

    def __call__(self):
        return np.array([self.step(x, y, c) for x, y, c in zip(self.xs, self.ys, self.signs)])

    def step(self, x, y, c):
        """Predict, score, learn; returns the loss."""
        n = self.n
        h_hat = np.concatenate([self.h, self.eye[x], [1.0]])
        f = np.tanh(self.W @ h_hat)
        self.h = (1 - self.leak) * self.h + self.leak * f
        D = self.leak * (1 - f**2)
        self.observe(D, h_hat, c)

        extended = np.append(self.h, 1.0)
        logits = self.V @ extended
        p = np.exp(logits - logits.max())
        p /= p.sum()
        error = p - self.eye[y]
        gradient = self.credit(error @ self.V[:, :n])
        self.V -= self.rate * np.outer(error, extended)
        self.W -= self.rate * gradient
        return -np.log(p[y])

    def jacobian(self, D):
        return (1 - self.leak) * np.eye(self.n) + D[:, None] * self.W[:, : self.n]


class _RTRL(_Steps):
    def start(self, n, m):
        self.G = np.zeros((n, n, m))

    def observe(self, D, h_hat, c):
        units = np.arange(self.n)
        self.G = np.tensordot(self.jacobian(D), self.G, axes=1)
        self.G[units, units] += np.outer(D, h_hat)

    def credit(self, delta):
        return np.tensordot(delta, self.G, axes=1)


class _UORO(_Steps):
    def start(self, n, m):
        self.v, self.w = np.zeros(n), np.zeros((n, m))

    def observe(self, D, h_hat, nu):
        pushed = self.jacobian(D) @ self.v
        nu_F = np.outer(nu * D, h_hat)
        rho0, inverse0 = _balance(np.linalg.norm(self.w), np.linalg.norm(pushed))
        rho1, inverse1 = _balance(np.linalg.norm(nu_F), np.linalg.norm(nu))
        self.v = rho0 * pushed + rho1 * nu
        self.w = inverse0 * self.w + inverse1 * nu_F

    def credit(self, delta):
        return (delta @ self.v) * self.w


class _KFRTRL(_Steps):
    def start(self, n, m):
        self.u, self.A = np.zeros(m), np.zeros((n, n))

    def observe(self, D, h_hat, c):
        pushed = self.jacobian(D) @ self.A
        p1, inverse1 = _balance(np.linalg.norm(pushed), np.linalg.norm(self.u))
        p2, inverse2 = _balance(np.linalg.norm(D), np.linalg.norm(h_hat))
        self.u = c[0] * p1 * self.u + c[1] * p2 * h_hat
        self.A = c[0] * inverse1 * pushed + c[1] * inverse2 * np.diag(D)

    def credit(self, delta):
        return np.outer(delta @ self.A, self.u)


class _RFLO(_Steps):
    def start(self, n, m):
        self.trace = np.zeros((n, m))

    def observe(self, D, h_hat, c):
        self.trace = (1 - self.leak) * self.trace + np.outer(D, h_hat)

    def credit(self, delta):
        return delta[:, None] * self.trace


FORMS = {("RNN", form.__name__[1:]): {"": form} for form in (_RTRL, _UORO, _KFRTRL, _RFLO)}
