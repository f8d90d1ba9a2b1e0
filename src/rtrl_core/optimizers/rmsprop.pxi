# RMSprop (the conventions of torch.optim.RMSprop, not centred, no momentum).
#
#     g <- clip g + decay w       q <- alpha q + (1 - alpha) g^2       w <- w - lr g / (sqrt q + eps)

cdef class RMSprop(Optimizer):
    options = {"lr": REQUIRED, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "clip_norm": None,
               "clip_outliers": None}
    cdef real alpha, eps, decay
    cdef real *q

    def __init__(self, alpha=0.99, eps=1e-8, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(clip_norm=clip_norm, clip_outliers=clip_outliers)
        self.alpha, self.eps, self.decay = <double>alpha, <double>eps, <double>weight_decay

    cdef layout(self, Arena arena, double count):
        Optimizer.layout(self, arena, count)
        self.q = arena.reals("q", "optimizer", count, 0)

    cdef void update(self, real *w, const real *g, long first, long last, real clip) noexcept nogil:
        rmsprop_pass(last - first, clip, self.decay, self.alpha, 1 - self.alpha, <real>self.lr, self.eps, g + first, self.q + first,
                     w + first)

    cdef double reach(self, const real *w, const real *g, long first, long last, real clip) noexcept nogil:
        return rmsprop_reach(last - first, clip, self.decay, self.alpha, 1 - self.alpha, <real>self.lr, self.eps, g + first,
                             self.q + first, w + first)
