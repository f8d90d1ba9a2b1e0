# Linear outputs with half the squared error, summed over outputs; NaN targets are missing.
#
#     loss = sum_v (z_v - y_v)^2 / 2         d loss / d z_v = z_v - y_v

cdef class Linear(Readout):
    options = {"outputs": REQUIRED}
    has_factors = True

    def __init__(self, outputs):
        self.outputs = outputs

    cdef double score(self, real *z, int32_t label, const real *target) noexcept nogil:
        cdef double loss = 0
        cdef long v, scored = 0
        for v in range(self.outputs):
            if target[v] != target[v]:
                z[v] = 0
            else:
                z[v] -= target[v]
                loss += <double>z[v] * z[v] / 2
                scored += 1
        return loss if scored else NAN

    cdef void factor(self, long v, const real *error, int32_t label, const real *target, real *out) noexcept nogil:
        """e_v, nothing where the target is missing"""
        memset(out, 0, self.outputs * sizeof(real))
        out[v] = target[v] == target[v]
