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
        loss += self.normalise(z)
        z[label] -= 1
        return loss

    cdef void factor(self, long v, const real *error, int32_t label, const real *target, real *out) noexcept nogil:
        """sqrt(p_v) (e_v - p)"""
        cdef real root = real_sqrt(max(<real>0, error[v] + (v == label)))
        cdef long u
        for u in range(self.outputs):
            out[u] = root * ((u == v) - error[u] - (u == label))

    cdef void respond(self, real *z) noexcept nogil:
        self.normalise(z)

    cdef double normalise(self, real *z) noexcept nogil:
        """z becomes probabilities; returns log sum exp(z)."""
        cdef long v
        cdef real top = maximum(self.outputs, z)
        cdef double total = 0
        for v in range(self.outputs):
            z[v] = z[v] - top
        exps(self.outputs, z, z)
        for v in range(self.outputs):
            total += z[v]
        scale(self.outputs, <real>(1 / total), z)
        return top + log(total)
