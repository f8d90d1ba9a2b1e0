# Floor 5: arguments of the usual form, checked and copied here, because NumPy's functions and Python's frames would cost
# twenty times the step of a small network.
#
# Usual are an id as a whole number (one lane), and plain ndarrays: ids as int32 or int64 [lanes], numbers as float32 or
# float64 [lanes, width] with contiguous rows; with one lane that axis may be missing.  The answer to everything else, and
# to whatever must be refused, is False: then the caller (rtrl.session) checks in full and finds the words.  Arguments are
# copied, because the caller may write into them while the engine reads.

from cpython.buffer cimport Py_buffer, PyObject_GetBuffer, PyBuffer_Release, PyBUF_FORMAT, PyBUF_STRIDES
from cpython.ref cimport PyObject
from numpy import dtype, ndarray

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object value, PyObject *overflow)  # NULL: a larger number becomes the largest

WHOLE_NUMBERS = frozenset([int, *(dtype(code).type for code in "bBhHiIlLqQ")])


cdef bint look(object given, Py_buffer *view) except -1:
    """The buffer of a plain array, which the caller releases; False for anything else."""
    if type(given) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(given, view, PyBUF_FORMAT | PyBUF_STRIDES)
    except (BufferError, ValueError):    # dates, for instance
        return False
    return True


cdef bint is_native(const Py_buffer *view, char code) noexcept nogil:
    return view.format[0] == code and view.format[1] == 0


cdef bint has_shape(const Py_buffer *view, long lanes, long width) noexcept nogil:
    """[lanes, width] with contiguous rows, or [width] for one lane."""
    cdef int last = view.ndim - 1
    if last < 0 or last > 1 or view.shape[last] != width or (view.strides[last] != view.itemsize and width > 1):
        return False
    return view.shape[0] == lanes if last else lanes == 1


cdef bint copy_ids(const Py_buffer *view, long lanes, long least, long count, int32_t *out) noexcept nogil:
    """Ids [lanes] from least to count - 1; False if it is anything else."""
    cdef const char *place = <const char *>view.buf
    cdef int64_t label
    cdef long b
    if view.ndim != 1 or view.shape[0] != lanes:
        return False
    if not (is_native(view, b"i") or view.itemsize == 8 and (is_native(view, b"l") or is_native(view, b"q"))):
        return False
    for b in range(lanes):
        label = (<const int32_t *>place)[0] if view.itemsize == 4 else (<const int64_t *>place)[0]
        if label < least or label >= count:
            return False
        out[b] = <int32_t>label
        place += view.strides[0]
    return True


cdef bint copy_numbers(const Py_buffer *view, long rows, long width, real *out, long stride) noexcept nogil:
    """Numbers [rows, width] in the session's type, finite or not; False if it is anything else."""
    cdef bint single = is_native(view, b"f")
    cdef const char *place = <const char *>view.buf
    cdef long b, i
    if not (single or is_native(view, b"d")) or not has_shape(view, rows, width):
        return False
    for b in range(rows):
        if single:
            for i in range(width):
                out[b * stride + i] = <real>(<const float *>place)[i]
        else:
            for i in range(width):
                out[b * stride + i] = <real>(<const double *>place)[i]
        place += view.strides[0]
    return True


cdef class Arguments(Assembly):
    cdef double low                  # range of targets that are numbers
    cdef double high
    cdef list places                 # (name, first entry, row stride, rows, columns) of every parameter
    cdef int32_t *given_ids          # [lanes]
    cdef int32_t *given_labels       # [lanes]
    cdef real *given_targets         # [lanes, outputs]
    cdef real *given_credit          # [lanes, n]

    cdef layout(self, Arena arena):
        cdef double lanes = self.net.lanes
        Assembly.layout(self, arena)
        arena.prefix = "session."
        self.given_ids = arena.ids("given_ids", "workspace", lanes)
        self.given_labels = arena.ids("given_labels", "workspace", lanes)
        self.given_targets = arena.reals("given_targets", "workspace", lanes * self.outputs)
        self.given_credit = arena.reals("given_credit", "workspace", lanes * self.net.n)

    cdef bint take_inputs(self, object x, Job *job) except -1:
        """Ids or numbers of one step."""
        cdef long inputs = self.net.stages[0].inputs, lanes = self.net.lanes
        cdef Py_buffer view
        if type(x) in WHOLE_NUMBERS:
            job.ids = self.given_ids
            return lanes == 1 and inputs > 1 and self.take_id(x, 0, inputs, self.given_ids)
        if not look(x, &view):
            return False
        if inputs > 1 and copy_ids(&view, lanes, 0, inputs, self.given_ids):
            job.ids = self.given_ids
        elif (self.dense is not None and copy_numbers(&view, lanes, inputs, self.given_x, inputs)
              and all_finite(lanes * inputs, self.given_x)):
            job.x = self.given_x
        PyBuffer_Release(&view)
        return job.ids is not NULL or job.x is not NULL

    cdef bint take_targets(self, object y, Job *job) except -1:
        cdef Py_buffer view
        cdef long lanes = self.net.lanes
        cdef bint taken
        if self.readout.targets_are_ids:
            job.labels = self.given_labels
            if type(y) in WHOLE_NUMBERS:
                return lanes == 1 and self.take_id(y, -1, self.outputs, self.given_labels)
            if not look(y, &view):
                return False
            taken = copy_ids(&view, lanes, -1, self.outputs, self.given_labels)
        else:
            job.targets = self.given_targets
            if not look(y, &view):
                return False
            taken = copy_numbers(&view, lanes, self.outputs, self.given_targets, self.outputs) and self.in_range()
        PyBuffer_Release(&view)
        return taken

    cdef bint take_credit(self, object credit, Job *job) except -1:
        cdef Py_buffer view
        cdef long lanes = self.net.lanes, n = self.net.n
        if not look(credit, &view):
            return False
        if copy_numbers(&view, lanes, n, self.given_credit, n) and all_finite(lanes * n, self.given_credit):
            job.delta = self.given_credit
        PyBuffer_Release(&view)
        return job.delta is not NULL

    cdef bint take_id(self, object value, long least, long count, int32_t *out) except -1:
        cdef Py_ssize_t label = PyNumber_AsSsize_t(value, NULL)
        out[0] = <int32_t>label
        return least <= label < count

    cdef bint in_range(self) noexcept nogil:
        """Are targets NaN, or finite and in the readout's range?"""
        cdef real value
        cdef long i
        for i in range(self.net.lanes * self.outputs):
            value = self.given_targets[i]
            if value == value and not (isfinite(value) and self.low <= value <= self.high):
                return False
        return True

    cdef bint fits(self, object gradients) except -1:
        """Is this a dict of an array for every parameter, each of a usual form?"""
        cdef Py_buffer view
        cdef bint fine
        if type(gradients) is not dict or len(gradients) != len(self.places):
            return False
        for name, _, _, rows, columns in self.places:
            if not look((<dict>gradients).get(name), &view):
                return False
            fine = view.ndim == 2 and has_shape(&view, rows, columns) and (is_native(&view, b"f") or is_native(&view, b"d"))
            PyBuffer_Release(&view)
            if not fine:
                return False
        return True

    cdef bint write(self, object gradients, real *flat) except -1:
        """Gradients that fit into the flat array; False if they do not fit any more."""
        cdef Py_buffer view
        cdef bint fine
        cdef long first
        for name, start, stride, rows, columns in self.places:
            first = start
            if not look((<dict>gradients).get(name), &view):
                return False
            fine = view.ndim == 2 and copy_numbers(&view, rows, columns, flat + first, stride)
            PyBuffer_Release(&view)
            if not fine:
                return False
        return True
