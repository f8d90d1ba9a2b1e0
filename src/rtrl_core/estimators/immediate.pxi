# The immediate gradient alone, G = F ("SnAp-0"): the baseline that costs nothing.
#
#     gradient = delta_t F_t
#
# The session's pull through the current record already is this gradient; nothing is carried.

cdef class Immediate(Estimator):
    options = {}
    kind = "biased"

    def __init__(self):
        self.carries = False
