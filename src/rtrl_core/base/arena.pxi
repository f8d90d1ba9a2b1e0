# Floor 0: one aligned block of memory for everything that a session owns.
#
# Each part asks for its buffers in a `layout(arena)` method that is called twice: the first pass only
# adds up sizes (so that too large a request is refused before anything is allocated), the second
# hands out pointers.  The list of blocks serves three readers: `nbytes`, checkpoints, and tests that
# prove that no step allocates.

KINDS = ("state", "influence", "tape", "optimizer", "gradient", "workspace")
ENDLESS = 2**53                      # what counts steps never gets there


cdef void *zeroed(size_t count, size_t size) except NULL:
    """Small zeroed memory beside the arena (lists of pointers and the like); whoever asks frees it."""
    cdef void *room = calloc(max(<size_t>1, count), size)
    if room is NULL:
        raise MemoryError(f"could not allocate {count * size} bytes")
    return room


cdef class Arena:
    """Aligned zeroed memory, summed first and allocated once.

    Blocks are named; every kind but "workspace" is part of a checkpoint, and has limits: `least` and `most`, numbers or a
    tuple with one for each entry.  The engine finds places in memory by its integers, so these must have limits, which keep
    every such place within its block.  Floating-point numbers may be anything, NaN included, unless it says otherwise.
    With `together`, entries are negative in whole rows of so many or not at all.

    `admit`, unless it is None, is called with all blocks before memory is taken, and may raise.
    """
    cdef void *raw
    cdef char *base
    cdef double used                 # bytes; a double counts exactly far beyond any memory
    cdef readonly list blocks        # (name, kind, type code, byte offset, count, (least, most, together))
    cdef object admit
    cdef str prefix
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __cinit__(self, admit=None):
        self.blocks = []
        self.prefix = ""
        self.admit = admit

    def __dealloc__(self):
        free(self.raw)

    cdef char *take(self, str name, str kind, str code, double count, int itemsize, tuple limits) except? NULL:
        cdef double offset = self.used
        if kind not in KINDS:
            raise ValueError(f"unknown kind of memory {kind!r}; expected one of {KINDS}")
        if kind != "workspace" and limits[1] is None:
            raise ValueError(f"{name} are integers that a checkpoint holds: say the most that they can be")
        self.blocks.append((self.prefix + name, kind, code, offset, count, limits))
        self.used += RTRL_ALIGN * ceil(count * itemsize / RTRL_ALIGN)
        return NULL if self.base is NULL else self.base + <size_t>offset

    cdef real *reals(self, str name, str kind, double count, least=-INFINITY) except? NULL:
        return <real *>self.take(name, kind, "f4" if RTRL_WIDTH == 32 else "f8", count, sizeof(real), (least, INFINITY, 0))

    cdef double *doubles(self, str name, str kind, double count, least=-INFINITY) except? NULL:
        return <double *>self.take(name, kind, "f8", count, 8, (least, INFINITY, 0))

    cdef int64_t *integers(self, str name, str kind, double count, most=None, least=0) except? NULL:
        return <int64_t *>self.take(name, kind, "i8", count, 8, (least, most, 0))

    cdef int32_t *ids(self, str name, str kind, double count, most=None, least=0, long together=0) except? NULL:
        return <int32_t *>self.take(name, kind, "i4", count, 4, (least, most, together))

    cdef allocate(self):
        """End of the counting pass: get the memory (zeroed) and start over with real pointers."""
        cdef size_t address
        if self.admit is not None:
            self.admit(self.blocks)
        check_memory(self.used, self.nbytes())
        self.raw = calloc(<size_t>self.used + RTRL_ALIGN, 1)
        if self.raw is NULL:
            raise MemoryError(f"could not allocate {self.used:.0f} bytes for the session")
        address = <size_t>self.raw
        self.base = <char *>((address + RTRL_ALIGN - 1) // RTRL_ALIGN * RTRL_ALIGN)
        self.blocks = []
        self.used = 0

    def nbytes(self):
        """Exact bytes of each kind, padding included."""
        cdef dict total = dict.fromkeys(KINDS, 0)
        ends = [block[3] for block in self.blocks[1:]] + [self.used]
        for (_, kind, _, offset, _, _), end in zip(self.blocks, ends):
            total[kind] += int(end - offset)
        return total

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        """The whole arena as bytes: NumPy views made on it keep it alive."""
        self.shape[0], self.strides[0] = <Py_ssize_t>self.used, 1
        buffer.buf, buffer.obj, buffer.len = self.base, self, <Py_ssize_t>self.used
        buffer.itemsize, buffer.readonly, buffer.format, buffer.ndim = 1, 0, b"B", 1
        buffer.shape, buffer.strides, buffer.suboffsets, buffer.internal = self.shape, self.strides, NULL, NULL
