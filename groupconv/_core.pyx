"""The bridge to the C core: a Problem becomes a C plan, arrays become pointers; no decisions."""

from libc.stdlib cimport free, malloc
from libc.stddef cimport size_t, ptrdiff_t
cimport numpy as cnp
import numpy as np

cnp.import_array()


cdef extern from "groupconv.h" nogil:
    ctypedef enum gc_status:
        GC_OK
        GC_ERROR_PROBLEM
        GC_ERROR_ALGORITHM
        GC_ERROR_ISA
        GC_ERROR_MEMORY
    ctypedef int gc_op
    ctypedef int gc_dtype
    ctypedef int gc_padding_mode
    ctypedef int gc_activation
    ctypedef struct gc_problem:
        gc_op op
        gc_dtype dtype
        gc_padding_mode padding_mode
        gc_activation activation
        double activation_parameter
        int has_residual
        int weights_ahead
        int ndim
        ptrdiff_t batch, groups, in_per_group, out_per_group
        ptrdiff_t in_size[3]
        ptrdiff_t kernel[3]
        ptrdiff_t out_size[3]
        ptrdiff_t stride[3]
        ptrdiff_t dilation[3]
        ptrdiff_t pad_before[3]
        ptrdiff_t input_strides[5]
        ptrdiff_t weight_strides[5]
        ptrdiff_t output_strides[5]
        ptrdiff_t residual_strides[5]
    ctypedef struct gc_arrays:
        const void *input
        const void *weight
        const void *prepared
        const void *bias
        const void *residual
        void *output
    ctypedef struct gc_plan:
        pass
    gc_status gc_plan_create(const gc_problem *, const char *, gc_plan **) noexcept
    void gc_plan_destroy(gc_plan *) noexcept
    const char *gc_plan_algorithm(const gc_plan *) noexcept
    const char *gc_plan_isa(const gc_plan *) noexcept
    double gc_plan_macs(const gc_plan *) noexcept
    int gc_plan_threads(const gc_plan *, int) noexcept
    size_t gc_plan_workspace_size(const gc_plan *, int) noexcept
    double gc_plan_predicted_seconds(const gc_plan *) noexcept
    double gc_plan_balance(const gc_plan *, int) noexcept
    size_t gc_plan_describe(const gc_plan *, char *, size_t) noexcept
    size_t gc_plan_prepared_size(const gc_plan *) noexcept
    size_t gc_plan_prepared_key(const gc_plan *) noexcept
    gc_status gc_plan_prepare(const gc_plan *, const void *, void *, int) noexcept
    gc_status gc_plan_run(const gc_plan *, const gc_arrays *, void *, int) noexcept
    const char *gc_last_error() noexcept
    int gc_isa_count() noexcept
    const char *gc_isa_name(int) noexcept
    int gc_isa_built(int) noexcept
    int gc_isa_detected(int) noexcept
    gc_status gc_isa_in_use(int *) noexcept
    int gc_openmp() noexcept
    const char *gc_version() noexcept

cdef extern from "runtime.h" nogil:
    int gc_max_threads() noexcept
    int gc_cpu_count() noexcept
    int gc_in_forked_child() noexcept
    void gc_watch_forks() noexcept
    double gc_peak_gflops(int) noexcept
    double gc_copy_gbs(size_t) noexcept
    void *gc_aligned_alloc(size_t) noexcept

OPS = ("conv", "conv_transpose", "grad_weight")
DTYPES = ("float32", "float64", "float16", "bfloat16")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ACTIVATIONS = (None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "hardsigmoid",
               "hardswish", "gelu")
cdef dict STORAGE = {"float32": np.dtype("f4"), "float64": np.dtype("f8"),
                     "float16": np.dtype("f2"), "bfloat16": np.dtype("u2")}

gc_watch_forks()


cdef _raise(gc_status status):
    text = gc_last_error().decode()
    if status == GC_ERROR_MEMORY:
        raise MemoryError(text)
    raise ValueError(text)


cdef void _copy(ptrdiff_t *to, object sizes):
    cdef Py_ssize_t i
    for i in range(len(sizes)):
        to[i] = sizes[i]


cdef class PreparedWeight:
    """Weights in the form one algorithm reads, in their own memory; `source`: made from these."""
    cdef void *data
    cdef readonly size_t nbytes
    cdef readonly cnp.ndarray source

    def __cinit__(self, size_t nbytes, cnp.ndarray source not None):
        self.nbytes = nbytes
        self.source = source
        self.data = NULL
        if nbytes:
            self.data = gc_aligned_alloc(nbytes)
            if self.data == NULL:
                raise MemoryError(f"no memory for {nbytes} bytes of prepared weights")

    def __dealloc__(self):
        free(self.data)


# Large outputs live in blocks that are used again when their arrays are gone: fresh pages from the
# system cost more than many a convolution. At most POOL_BLOCKS unused blocks are kept; the GIL is
# their lock.
cdef enum:
    POOL_BLOCKS = 3
    POOL_SMALLEST = 1 << 20
    POOL_LARGEST = 1 << 26
cdef void *_pool_data[POOL_BLOCKS]
cdef size_t _pool_size[POOL_BLOCKS]
cdef int _pool_oldest = 0


cdef class _Block:
    """Memory of one output; goes back to the pool when no array uses it any more."""
    cdef void *data
    cdef size_t size

    def __dealloc__(self):
        global _pool_oldest
        cdef int i
        for i in range(POOL_BLOCKS):
            if _pool_data[i] == NULL:
                _pool_data[i], _pool_size[i] = self.data, self.size
                return
        i = _pool_oldest
        _pool_oldest = (i + 1) % POOL_BLOCKS
        free(_pool_data[i])
        _pool_data[i], _pool_size[i] = self.data, self.size


cdef _Block _take_block(size_t size):
    cdef _Block block = _Block.__new__(_Block)
    cdef int i
    for i in range(POOL_BLOCKS):
        if _pool_data[i] != NULL and size <= _pool_size[i] <= size + size // 4:
            block.data, block.size = _pool_data[i], _pool_size[i]
            _pool_data[i] = NULL
            return block
    block.data, block.size = gc_aligned_alloc(size), size
    if block.data == NULL:
        raise MemoryError(f"no memory for an output of {size} bytes")
    return block


cdef object _empty(tuple shape, cnp.dtype dtype):
    """A fresh C-contiguous array."""
    cdef _Shape sizes = _Shape(shape)
    cdef size_t nbytes = dtype.itemsize
    cdef _Block block
    cdef cnp.ndarray out
    for size in shape:
        nbytes *= <size_t>size
    if nbytes < POOL_SMALLEST or nbytes > POOL_LARGEST:
        return cnp.PyArray_EMPTY(len(shape), sizes.sizes, dtype.type_num, 0)
    block = _take_block(nbytes)
    out = cnp.PyArray_SimpleNewFromData(len(shape), sizes.sizes, dtype.type_num, block.data)
    cnp.set_array_base(out, block)
    return out


cdef class Plan:
    """A problem with everything decided: algorithm, instruction set, tiling. Immutable."""
    cdef gc_plan *plan
    cdef readonly object problem
    cdef readonly str algorithm
    cdef readonly str isa
    cdef readonly object prepare_key
    cdef tuple output_shape
    cdef cnp.dtype storage
    cdef bint channels_last

    def __cinit__(self, problem):
        cdef gc_problem p
        self.plan = NULL
        p.op = OPS.index(problem.op)
        p.dtype = DTYPES.index(problem.dtype)
        p.padding_mode = PADDING_MODES.index(problem.padding_mode)
        p.activation = ACTIVATIONS.index(problem.activation)
        p.activation_parameter = problem.activation_parameter or 0.0
        p.has_residual = problem.has_residual
        p.weights_ahead = problem.weights_ahead
        p.ndim = problem.ndim
        p.batch, p.groups = problem.batch, problem.groups
        p.in_per_group, p.out_per_group = problem.in_per_group, problem.out_per_group
        _copy(p.in_size, problem.in_size)
        _copy(p.kernel, problem.kernel)
        _copy(p.out_size, problem.out_size)
        _copy(p.stride, problem.stride)
        _copy(p.dilation, problem.dilation)
        _copy(p.pad_before, problem.pad_before)
        _copy(p.input_strides, problem.input_strides)
        _copy(p.weight_strides, problem.weight_strides)
        _copy(p.output_strides, problem.output_strides)
        _copy(p.residual_strides, problem.residual_strides or ())
        cdef bytes name = problem.algorithm.encode()
        cdef gc_status status = gc_plan_create(&p, name, &self.plan)
        if status != GC_OK:
            _raise(status)
        self.problem = problem
        self.algorithm = gc_plan_algorithm(self.plan).decode()
        self.isa = gc_plan_isa(self.plan).decode()
        self.prepare_key = self._prepare_key()
        self.storage = STORAGE[problem.dtype]
        if problem.op == "grad_weight":
            self.output_shape = (problem.groups * problem.out_per_group, problem.in_per_group,
                                 *problem.kernel)
        else:
            self.output_shape = (problem.batch, problem.groups * problem.out_per_group,
                                 *problem.out_size)
        self.channels_last = tuple(problem.output_strides) != _row_major(
            self.output_shape, self.storage.itemsize)

    def __dealloc__(self):
        gc_plan_destroy(self.plan)

    def _prepare_key(self):
        p = self.problem
        if gc_plan_prepared_size(self.plan) == 0:
            return None
        return (self.algorithm, gc_plan_prepared_key(self.plan),
                gc_plan_prepared_size(self.plan), p.op, p.dtype, p.groups, p.weight_strides)

    @property
    def macs(self):
        return int(gc_plan_macs(self.plan))

    @property
    def predicted_seconds(self):
        return gc_plan_predicted_seconds(self.plan)

    @property
    def threads(self):
        """Threads this plan would use of those OpenMP offers now."""
        return gc_plan_threads(self.plan, gc_max_threads())

    @property
    def workspace_bytes(self):
        """Temporary memory of one call with that many threads."""
        return gc_plan_workspace_size(self.plan, gc_max_threads())

    def balance(self, int threads):
        """Predicted largest over mean work per thread."""
        return gc_plan_balance(self.plan, threads)

    def explain(self):
        """Algorithm, tiling, workspace, and why not the others, as text."""
        cdef size_t size = gc_plan_describe(self.plan, NULL, 0) + 1
        cdef char *text = <char *>malloc(size)
        if text == NULL:
            raise MemoryError
        gc_plan_describe(self.plan, text, size)
        try:
            return text.decode()
        finally:
            free(text)

    def empty_output(self):
        """An array of the output's shape and memory order."""
        if not self.channels_last:
            return _empty(self.output_shape, self.storage)
        shape = self.output_shape
        return np.moveaxis(_empty((shape[0], *shape[2:], shape[1]), self.storage), -1, 1)

    def prepare(self, cnp.ndarray weight, int threads=1):
        """The weight in this plan's form, or None when it is read in place."""
        cdef size_t size = gc_plan_prepared_size(self.plan)
        cdef PreparedWeight prepared
        cdef gc_status status
        if size == 0:
            return None
        prepared = PreparedWeight(size, weight)
        with nogil:
            status = gc_plan_prepare(self.plan, cnp.PyArray_DATA(weight), prepared.data, threads)
        if status != GC_OK:
            _raise(status)
        return prepared

    def run(self, cnp.ndarray input not None, object weight not None, cnp.ndarray bias,
            cnp.ndarray residual, cnp.ndarray out not None, int threads):
        """Compute into out, with the GIL released. weight: an array or what prepare gave."""
        cdef gc_arrays arrays
        cdef gc_status status
        if type(weight) is PreparedWeight:
            arrays.weight = cnp.PyArray_DATA((<PreparedWeight>weight).source)
            arrays.prepared = (<PreparedWeight>weight).data
        else:
            arrays.weight = cnp.PyArray_DATA(<cnp.ndarray?>weight)
            arrays.prepared = NULL
        arrays.input = cnp.PyArray_DATA(input)
        arrays.bias = NULL if bias is None else cnp.PyArray_DATA(bias)
        arrays.residual = NULL if residual is None else cnp.PyArray_DATA(residual)
        arrays.output = cnp.PyArray_DATA(out)
        if gc_in_forked_child():
            threads = 1
        with nogil:
            status = gc_plan_run(self.plan, &arrays, NULL, threads)
        if status != GC_OK:
            _raise(status)
        return out


cdef class _Shape:
    """Sizes as the NumPy C API wants them."""
    cdef cnp.npy_intp sizes[5]

    def __cinit__(self, tuple shape):
        for i in range(len(shape)):
            self.sizes[i] = shape[i]


def _row_major(shape, itemsize):
    strides = []
    for size in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(size, 1)
    return tuple(reversed(strides))


def isa_built():
    return [gc_isa_name(i).decode() for i in range(gc_isa_count()) if gc_isa_built(i)]


def isa_available():
    return [gc_isa_name(i).decode() for i in range(gc_isa_count()) if gc_isa_detected(i)]


def isa_in_use():
    cdef int index
    cdef gc_status status = gc_isa_in_use(&index)
    if status != GC_OK:
        _raise(status)
    return gc_isa_name(index).decode()


def openmp_enabled():
    return bool(gc_openmp())


def omp_max_threads():
    """OpenMP's own limit for this thread: OMP_NUM_THREADS, or what threadpoolctl set."""
    return gc_max_threads()


def cpu_count():
    """CPUs this process may run on."""
    return gc_cpu_count()


def in_forked_child():
    return bool(gc_in_forked_child())


def peak_gflops(str dtype):
    """GFLOP/s of a loop of multiply-adds in registers, on one core, in the ISA in use."""
    cdef int is_double = dtype == "float64"
    isa_in_use()
    return gc_peak_gflops(is_double)


def copy_gbs(size_t nbytes=1 << 26):
    """GB/s read plus written by a memcpy of nbytes, on one core."""
    return gc_copy_gbs(nbytes)


def version():
    return gc_version().decode()
