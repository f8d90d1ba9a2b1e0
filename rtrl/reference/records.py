"""The record of one stage at one time step of one lane, and its Jacobian products.

Each stage of a cell is pointwise, so everything an estimator may know about it is (W, D, E, h_hat):

    z  = W h_hat                       [r*n]      row a*n + j is map a of unit j
    s' = phi(z, s)                     [k, n]     flattened [k*n], entry c*n + i is component c of unit i
    D[c,a,j] = d s'[c,j] / d z[a,j]    [k, r, n]
    E[c,d,j] = d s'[c,j] / d s[d,j]    [k, k, n]  direct, not through z

    H = E + D W_h                      [kn, kn]      state Jacobian; W_h [r*n, n] reads component 0 (h) only    (1)
    F = D (x) h_hat                    [kn, rn, m]   F[(c,i),(a,j),q] = D[c,a,i] [i=j] h_hat[q]                 (2)
    push: v -> H v                                                                                              (3)
    pull: delta -> delta H                                                                                      (4)

Cost: push and pull 2 r n^2 flops; `jacobian` and `immediate` are dense and meant for tests and small nets.
Source: Menick et al. 2020, arXiv:2006.07232 (notation H, F, G); the pointwise form is section 1 of the design notes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """What one stage leaves behind for the estimators.

    Attributes
    ----------
    W : ndarray [r*n, m]
        The weights of the stage themselves, not a copy: a sweep that runs after an update sees the present
        weights, as it does in the engine.
    D : ndarray [k, r, n]
        Derivatives of the new state with respect to the pre-activations.
    E : ndarray [k, k, n]
        Direct derivatives of the new state with respect to the old one.
    h_hat : ndarray [m]
        Extended input [h; x; 1], or [h; 1] from the second stage on.
    """

    W: np.ndarray
    D: np.ndarray
    E: np.ndarray
    h_hat: np.ndarray

    @property
    def n(self):
        """Units."""
        return self.D.shape[2]

    @property
    def k(self):
        """State components per unit."""
        return self.D.shape[0]

    @property
    def r(self):
        """Maps (pre-activations) per unit."""
        return self.D.shape[1]

    @property
    def W_h(self):
        """Recurrent columns of W [r*n, n]."""
        return self.W[:, : self.n]


def push(record, v):
    """Equation (3): carry a change of the old state forward, H v [kn]."""
    v = v.reshape(record.k, record.n)
    z = (record.W_h @ v[0]).reshape(record.r, record.n)
    pushed = np.einsum("cdj,dj->cj", record.E, v) + np.einsum("caj,aj->cj", record.D, z)
    return pushed.ravel()


def pull(record, delta):
    """Equation (4): carry a derivative by the new state back to the old one, delta H [kn]."""
    delta = delta.reshape(record.k, record.n)
    pulled = np.einsum("cj,cdj->dj", delta, record.E)
    pulled[0] += pull_to_maps(record, delta).ravel() @ record.W_h
    return pulled.ravel()


def pull_to_maps(record, delta):
    """delta D [r, n]: the derivative by the pre-activations."""
    return np.einsum("cj,caj->aj", delta.reshape(record.k, record.n), record.D)


def dense_D(record):
    """D as a matrix [kn, rn]: entry (c,i), (a,j) is D[c,a,i] where i = j, otherwise 0."""
    k, r, n = record.D.shape
    return np.einsum("cai,ij->ciaj", record.D, np.eye(n)).reshape(k * n, r * n)


def jacobian(record):
    """Equation (1): dense H [kn, kn]."""
    k, n = record.k, record.n
    H = np.einsum("cdi,ij->cidj", record.E, np.eye(n)).reshape(k * n, k * n)
    H[:, :n] += dense_D(record) @ record.W_h
    return H


def immediate(record):
    """Equation (2): dense F [kn, rn, m]."""
    return dense_D(record)[:, :, None] * record.h_hat


def immediate_gradient(record, delta):
    """delta F [rn, m], without forming F."""
    return np.outer(pull_to_maps(record, delta), record.h_hat)


def backward(records, delta):
    """Sweep a derivative back through the stages of one time step.

    Parameters
    ----------
    records : list of Record
        The stages of the step, in the order in which they ran.
    delta : ndarray [kn]
        Derivative of the loss by the state at the end of the step.

    Returns
    -------
    gradients : list of ndarray [rn, m]
        Immediate gradient of every stage.
    delta : ndarray [kn]
        Derivative by the state at the start of the step.
    """
    gradients = []
    for record in reversed(records):
        gradients.append(immediate_gradient(record, delta))
        delta = pull(record, delta)
    return gradients[::-1], delta
