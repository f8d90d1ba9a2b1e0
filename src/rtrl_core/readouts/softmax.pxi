# Softmax over classes with cross-entropy, targets are ids.
#
#     loss = log sum_v exp(z_v) - z_y        d loss / d z_v = p_v - [v = y]

cdef class Softmax(Readout):
    options = {"classes": REQUIRED}
    targets_are_ids = has_factors = True

    def __init__(self, classes):
        self.outputs = classes

    cdef double score(self, real *z, int32_t label, const real *target) noexcept nogil:
        cdef double loss
        if label < 0:
            return NAN
        loss = -<double>z[label]
        loss += softmax(self.outputs, z)
        z[label] -= 1
        return loss

    cdef void factor(self, long v, const real *error, int32_t label, const real *target, real *out) noexcept nogil:
        """sqrt(p_v) (e_v - p)"""
        cdef real root = real_sqrt(max(<real>0, error[v] + (v == label)))
        cdef long u
        for u in range(self.outputs):
            out[u] = root * ((u == v) - error[u] - (u == label))

    cdef void respond(self, real *z) noexcept nogil:
        softmax(self.outputs, z)
