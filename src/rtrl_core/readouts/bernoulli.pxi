# Independent Bernoulli outputs with cross-entropy, summed over outputs; NaN targets are missing.
#
#     loss = sum_v softplus(z_v) - y_v z_v   d loss / d z_v = sig(z_v) - y_v,   y_v in [0, 1]

cdef class Bernoulli(Readout):
    options = {"outputs": REQUIRED}
    has_factors = True
    target_range = (0, 1)

    def __init__(self, outputs):
        self.outputs = outputs

    cdef double score(self, real *z, int32_t label, const real *target) noexcept nogil:
        cdef double loss = 0, x
        cdef long v, scored = 0
        for v in range(self.outputs):
            if target[v] != target[v]:
                z[v] = 0
            else:
                x = z[v]
                loss += (x if x > 0 else 0) + log1p(exp(-abs(x))) - x * target[v]
                z[v] = sigmoid1(z[v]) - target[v]
                scored += 1
        return loss if scored else NAN

    cdef void factor(self, long v, const real *error, int32_t label, const real *target, real *out) noexcept nogil:
        """sqrt(p_v (1 - p_v)) e_v, nothing where the target is missing"""
        cdef real p = error[v] + target[v]
        memset(out, 0, self.outputs * sizeof(real))
        if target[v] == target[v]:
            out[v] = real_sqrt(max(<real>0, p * (1 - p)))

    cdef void respond(self, real *z) noexcept nogil:
        sigmoids(self.outputs, z, z)
