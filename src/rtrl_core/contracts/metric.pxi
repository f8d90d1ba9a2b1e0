# Floor 3: the metric of the parameters, where an optimizer that keeps one meets estimators that reduce in it.
#
#     |x|^2 = sum_q inverse_q (x_q - slope_q x_b)^2          x a row of weights, b its last column (the bias)
#
# is the norm of a gradient in the inverse of a matrix that is diagonal (slope NULL) or quasi-diagonal (each
# weight knows its bias: slope_q = J_bq / J_bb, inverse_q = 1 / (J_qq - J_bq^2 / J_bb), slope_b = 0, Ollivier
# 2015, arXiv:1303.0818).  Rows are orthogonal.  The optimizer writes both arrays, at its updates only; an
# estimator whose `metric` is None works in Euclidean norms.

cdef struct Block:
    long offset          # where a matrix of weights begins in the flat array
    long rows
    long columns         # without padding
    long stride          # with padding


cdef class Metric:
    cdef real *inverse               # flat like the parameters, 0 where there is no weight
    cdef real *slope                 # flat, 0 in the last column of a row; or NULL

    cdef double norm2(self, long first, long columns, const real *x) noexcept nogil:
        """|x|^2 of a row that begins at `first` of the flat array."""
        if self.slope is NULL:
            return norm2_in(columns, x, self.inverse + first)
        return norm2_in_sloped(columns, x, self.inverse + first, self.slope + first)
