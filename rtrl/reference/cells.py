"""Cells: formulas for phi and its pointwise derivatives D and E. No cell knows any estimator.

    z = W h_hat [r, n] ,  s' = phi(z, s) [k, n] ,  h = s[0]           once per stage

    RNN   k=1 r=1   s' = (1 - leak) s + leak f(z)                      f = tanh, relu or identity
    GRU   k=1 r=4   maps R Z N_in N_hid:  g = tanh(N_in + sig(R) N_hid) ,  s' = (1 - sig Z) g + sig(Z) s
                    N_in has no h columns and N_hid no x columns (reset after the matmul, as in PyTorch and cuDNN)
    LSTM  k=2 r=4   maps i f g o, state (h, c):  c' = sig(f) c + sig(i) tanh(g) ,  h' = sig(o) tanh(c')
    RHN   k=1 r=2   `depth` stages:  s' = s + t (a - s) ,  a = tanh z0 ,  t = sig z1

W of a stage is [r*n, m] with rows a*n + j and columns h | x | 1: m = n + inputs + 1 in stage 0, n + 1 afterwards.

Cost per stage and lane: 2 r n m flops for z, O(k r n) for the rest.
Sources: GRU Cho et al. 2014, arXiv:1406.1078; LSTM Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735;
RHN Zilly et al. 2017, arXiv:1607.03474.
"""

import numpy as np

from .records import Record


def sigmoid(z):
    """Logistic function, free of overflow, for real and complex arguments."""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


class Cell:
    """What every cell offers: sizes, `phi`, `derivatives`, `mask`; running a step follows from them.

    Attributes
    ----------
    n, k, r : int
        Units, state components per unit, maps per unit.
    stages : int
        Stages per time step.
    """

    k = 1
    r = 1
    stages = 1

    def __init__(self, hidden):
        self.n = hidden

    def phi(self, stage, z, s):
        """New state [k, n] from pre-activations z [r, n] and old state s [k, n]; real or complex."""
        raise NotImplementedError

    def derivatives(self, stage, z, s):
        """Pointwise derivatives D [k, r, n] and E [k, k, n] of `phi`."""
        raise NotImplementedError

    def shape(self, stage, inputs):
        """Shape (r*n, m) of the weights of a stage."""
        return self.r * self.n, self.n + (inputs if stage == 0 else 0) + 1

    def mask(self, stage, inputs):
        """Which weights of a stage exist [r*n, m]; the others are 0 and stay 0."""
        return np.ones(self.shape(stage, inputs), dtype=bool)

    def initial_state(self):
        """State of a lane at the start and after a reset [k, n]."""
        return np.zeros((self.k, self.n))

    def forward(self, weights, s, x):
        """Run one time step of one lane.

        Parameters
        ----------
        weights : list of ndarray [r*n, m]
            Weights of every stage.
        s : ndarray [k, n]
            State.
        x : ndarray [inputs]
            Input, read by the first stage only.

        Returns
        -------
        s : ndarray [k, n]
            New state.
        records : list of Record
            One per stage.
        """
        records = []
        for stage, W in enumerate(weights):
            h_hat = np.concatenate([s[0], x, [1.0]] if stage == 0 else [s[0], [1.0]])
            z = (W @ h_hat).reshape(self.r, self.n)
            D, E = self.derivatives(stage, z, s)
            records.append(Record(W, D, E, h_hat))
            s = self.phi(stage, z, s)
        return s, records


class RNN(Cell):
    """Simple recurrent net, with tanh, relu or identity and an optional leak; the derivative of relu at 0 is 0."""

    def __init__(self, hidden, nonlinearity="tanh", leak=1.0):
        super().__init__(hidden)
        if nonlinearity not in ("tanh", "relu", "identity"):
            raise ValueError(f"nonlinearity must be 'tanh', 'relu' or 'identity', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        self.leak = leak

    def phi(self, stage, z, s):
        if self.nonlinearity == "tanh":
            f = np.tanh(z)
        elif self.nonlinearity == "identity":
            f = z
        else:
            # The branch is chosen by the real part, so that a complex step goes through it.
            f = np.where(z.real > 0, z, 0)
        return (1 - self.leak) * s + self.leak * f

    def derivatives(self, stage, z, s):
        if self.nonlinearity == "tanh":
            slope = 1 - np.tanh(z) ** 2
        elif self.nonlinearity == "identity":
            slope = np.ones_like(z)
        else:
            slope = (z.real > 0) * 1.0
        D = self.leak * slope[None]
        E = np.full((1, 1, self.n), 1 - self.leak)
        return D, E


class GRU(Cell):
    """Gated recurrent unit in the form of PyTorch and cuDNN: the reset gate acts after the matmul."""

    r = 4

    def mask(self, stage, inputs):
        n = self.n
        mask = super().mask(stage, inputs)
        mask[2 * n : 3 * n, :n] = False
        mask[3 * n :, n : n + inputs] = False
        return mask

    @staticmethod
    def gates(z):
        reset, update = sigmoid(z[0]), sigmoid(z[1])
        return reset, update, np.tanh(z[2] + reset * z[3])

    def phi(self, stage, z, s):
        _, update, g = self.gates(z)
        return ((1 - update) * g + update * s[0])[None]

    def derivatives(self, stage, z, s):
        reset, update, g = self.gates(z)
        by_new = (1 - update) * (1 - g**2)
        D = np.stack(
            [
                by_new * z[3] * reset * (1 - reset),
                (s[0] - g) * update * (1 - update),
                by_new,
                by_new * reset,
            ]
        )
        return D[None], update[None, None]


class LSTM(Cell):
    """Long short-term memory in the form of PyTorch: maps i f g o, no peepholes, state (h, c)."""

    k = 2
    r = 4

    @staticmethod
    def gates(z):
        return sigmoid(z[0]), sigmoid(z[1]), np.tanh(z[2]), sigmoid(z[3])

    def phi(self, stage, z, s):
        i, f, g, o = self.gates(z)
        c = f * s[1] + i * g
        return np.stack([o * np.tanh(c), c])

    def derivatives(self, stage, z, s):
        i, f, g, o = self.gates(z)
        tanh_c = np.tanh(f * s[1] + i * g)
        h_by_c = o * (1 - tanh_c**2)
        zero = np.zeros_like(i)

        c_by_z = np.stack([g * i * (1 - i), s[1] * f * (1 - f), i * (1 - g**2), zero])
        h_by_z = h_by_c * c_by_z
        h_by_z[3] = tanh_c * o * (1 - o)
        D = np.stack([h_by_z, c_by_z])
        E = np.array([[zero, h_by_c * f], [zero, f]])
        return D, E


class RHN(Cell):
    """Recurrent highway network with coupled gates; x enters the first of `depth` stages."""

    r = 2

    def __init__(self, hidden, depth=1):
        super().__init__(hidden)
        self.stages = depth

    def phi(self, stage, z, s):
        a, t = np.tanh(z[0]), sigmoid(z[1])
        return s + t * (a - s)

    def derivatives(self, stage, z, s):
        a, t = np.tanh(z[0]), sigmoid(z[1])
        D = np.stack([t * (1 - a**2), (a - s[0]) * t * (1 - t)])
        return D[None], (1 - t)[None, None]
