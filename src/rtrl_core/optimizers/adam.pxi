# Adam (Kingma and Ba 2015, arXiv:1412.6980; the conventions of torch.optim.Adam).
#
#     g <- clip g + decay w       p <- b1 p + (1 - b1) g       q <- b2 q + (1 - b2) g^2
#     w <- w - lr / (1 - b1^t) p / (sqrt(q / (1 - b2^t)) + eps)

cdef class Adam(Optimizer):
    options = {"lr": REQUIRED, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "clip_norm": None,
               "clip_outliers": None}
    cdef double beta1, beta2
    cdef real eps, decay
    cdef real rate, correction       # lr / (1 - b1^t) and 1 / sqrt(1 - b2^t) of this update
    cdef real *p
    cdef real *q

    def __init__(self, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(clip_norm=clip_norm, clip_outliers=clip_outliers)
        self.beta1, self.beta2 = betas
        self.eps, self.decay = <double>eps, <double>weight_decay

    cdef layout(self, Arena arena, double count):
        Optimizer.layout(self, arena, count)
        self.p = arena.reals("p", "optimizer", count)
        self.q = arena.reals("q", "optimizer", count, 0)

    cdef void begin(self) noexcept nogil:
        self.rate = <real>(self.lr / (1 - self.beta1 ** <double>self.updates[0]))
        self.correction = <real>(1 / sqrt(1 - self.beta2 ** <double>self.updates[0]))

    cdef void update(self, real *w, const real *g, long first, long last, real clip) noexcept nogil:
        adam_pass(last - first, clip, self.decay, <real>self.beta1, <real>(1 - self.beta1), <real>self.beta2, <real>(1 - self.beta2),
                  self.rate, self.correction, self.eps, g + first, self.p + first, self.q + first, w + first)

    cdef double reach(self, const real *w, const real *g, long first, long last, real clip) noexcept nogil:
        return adam_reach(last - first, clip, self.decay, <real>self.beta1, <real>(1 - self.beta1), <real>self.beta2,
                          <real>(1 - self.beta2), self.rate, self.correction, self.eps, g + first, self.p + first, self.q + first, w + first)
