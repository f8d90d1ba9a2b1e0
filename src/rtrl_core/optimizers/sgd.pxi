# Stochastic gradient descent, optionally with momentum (the conventions of torch.optim.SGD, dampening 0).
#
#     g <- clip g + decay w       b <- momentum b + g       w <- w - lr (g + momentum b | b | g)
#
# The first line alone is the step without momentum; b starts at 0.

cdef class SGD(Optimizer):
    options = {"lr": REQUIRED, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "clip_norm": None,
               "clip_outliers": None}
    cdef real momentum, decay
    cdef bint nesterov
    cdef real *b

    def __init__(self, momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(clip_norm=clip_norm, clip_outliers=clip_outliers)
        self.momentum, self.nesterov, self.decay = <double>momentum, nesterov, <double>weight_decay

    cdef layout(self, Arena arena, double count):
        Optimizer.layout(self, arena, count)
        self.b = arena.reals("b", "optimizer", count if self.momentum else 0)

    cdef void update(self, real *w, const real *g, long first, long last, real clip) noexcept nogil:
        cdef real lr = <real>self.lr, decay = self.decay, momentum = self.momentum, step
        cdef real *b = self.b
        cdef long i
        if momentum == 0:
            if decay != 0:
                scale(last - first, 1 - lr * decay, w + first)
            axpy(last - first, -lr * clip, g + first, w + first)
        elif self.nesterov:
            for i in range(first, last):
                step = clip * g[i] + decay * w[i]
                b[i] = momentum * b[i] + step
                w[i] -= lr * (step + momentum * b[i])
        else:
            for i in range(first, last):
                b[i] = momentum * b[i] + (clip * g[i] + decay * w[i])
                w[i] -= lr * b[i]

    cdef double reach(self, const real *w, const real *g, long first, long last, real clip) noexcept nogil:
        return sgd_reach(last - first, clip, self.decay, self.momentum, self.nesterov, <real>self.lr, g + first,
                         self.b + first if self.momentum else NULL, w + first)
