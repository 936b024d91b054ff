/* The plain loops: every operation, type, stride and padding mode, in double precision. Slow; what
 * the other algorithms are compared with, and what takes the problems they refuse. */
#include <math.h>
#include <string.h>

#include "../kernels/half.h"
#include "algorithms.h"
#include "geometry.h"

static const char *refuse(const gc_plan *plan) {
    (void)plan;
    return NULL;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT)
        plan->units = p->groups * p->out_per_group * p->in_per_group;
    else
        plan->units = p->batch * p->groups * p->out_per_group;
    plan->seconds = gc_problem_macs(p) * 4e-9;
    return GC_OK;
}

static inline double get(const void *from, gc_dtype dtype) {
    double d;
    float f;
    uint16_t h;
    switch (dtype) {
        case GC_F64:
            memcpy(&d, from, sizeof d);
            return d;
        case GC_F32:
            memcpy(&f, from, sizeof f);
            return f;
        case GC_F16:
            memcpy(&h, from, sizeof h);
            return gc_from_f16(h);
        case GC_BF16:
            memcpy(&h, from, sizeof h);
            return gc_from_bf16(h);
    }
    return 0;
}

static void put(void *to, double value, gc_dtype dtype) {
    const float f = (float)value;
    uint16_t h;
    switch (dtype) {
        case GC_F64:
            memcpy(to, &value, sizeof value);
            return;
        case GC_F32:
            memcpy(to, &f, sizeof f);
            return;
        case GC_F16:
            h = gc_to_f16(f);
            memcpy(to, &h, sizeof h);
            return;
        case GC_BF16:
            h = gc_to_bf16(f);
            memcpy(to, &h, sizeof h);
            return;
    }
}

static double clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

static double activate(double x, gc_activation kind, double parameter) {
    switch (kind) {
        case GC_IDENTITY:
            return x;
        case GC_RELU:
            return clamp(x, 0, INFINITY);
        case GC_RELU6:
            return clamp(x, 0, 6);
        case GC_LEAKY_RELU:
            return x > 0 ? x : x * parameter;
        case GC_SIGMOID:
            return 1 / (1 + exp(-x));
        case GC_TANH:
            return tanh(x);
        case GC_SILU:
            return x < 0 ? x * exp(x) / (1 + exp(x)) : x / (1 + exp(-x));
        case GC_HARDSIGMOID:
            return clamp(x + 3, 0, 6) / 6;
        case GC_HARDSWISH:
            return x * (clamp(x + 3, 0, 6) / 6);
        case GC_GELU:
            return 0.5 * x * erfc(-x * 0.70710678118654752440);
    }
    return x;
}

/* Steps through a box of three dimensions; 0 after the last. */
static int next(ptrdiff_t i[3], const ptrdiff_t size[3]) {
    for (int d = 2; d >= 0; d--) {
        if (++i[d] < size[d]) return 1;
        i[d] = 0;
    }
    return 0;
}

static ptrdiff_t dot(const ptrdiff_t i[3], const ptrdiff_t strides[5]) {
    return i[0] * strides[2] + i[1] * strides[3] + i[2] * strides[4];
}

enum { ZERO = -1, NO_TERM = -2 };

/* The source position of output position o and kernel position r along one axis. */
static inline ptrdiff_t source(const gc_problem *p, int axis, ptrdiff_t o, ptrdiff_t r) {
    const ptrdiff_t size = p->in_size[axis], stride = p->stride[axis], pad = p->pad_before[axis];
    if (p->op == GC_CONV_TRANSPOSE) {
        const ptrdiff_t at = o + pad - r * p->dilation[axis];
        return at < 0 || at % stride != 0 || at / stride >= size ? NO_TERM : at / stride;
    }
    const ptrdiff_t at = o * stride + r * p->dilation[axis] - pad;
    if (at >= 0 && at < size) return at;
    const gc_axis outside = {.in_size = size, .mode = p->padding_mode};
    const ptrdiff_t found = gc_axis_source(&outside, at);
    return found < 0 ? ZERO : found;
}

/* Row i of a plane of the input; NULL where it is of zeros. */
static const char *row_of(const gc_problem *p, const char *x, ptrdiff_t i0, ptrdiff_t i1) {
    if (i0 == ZERO || i1 == ZERO) return NULL;
    return x + i0 * p->input_strides[2] + i1 * p->input_strides[3];
}

/* `sum` and the product of element i of a row of the input with what lies at `w`. */
static inline double add_term(double sum, const gc_problem *p, const char *row, ptrdiff_t i,
                              const char *w) {
    const double x = row && i != ZERO ? get(row + i * p->input_strides[4], p->dtype) : 0;
    return sum + x * get(w, p->dtype);
}

/* Neighbouring outputs of a row, whose sums, each a chain of additions, fill each other's gaps; what they read along
 * the row is found once for the first taps of all rows of the kernel. */
enum { OUTPUTS = 16, TAPS = 16 };

typedef struct outputs {
    ptrdiff_t o[3]; /* of the first */
    int count;
    ptrdiff_t columns[TAPS][OUTPUTS];
    double sums[OUTPUTS];
} outputs;

static void find_columns(const gc_problem *p, const outputs *b, ptrdiff_t r2, ptrdiff_t *columns) {
    for (int j = 0; j < b->count; j++) columns[j] = source(p, 2, b->o[2] + j, r2);
}

static void begin(outputs *b, const gc_problem *p, const ptrdiff_t o[3], ptrdiff_t count) {
    memcpy(b->o, o, sizeof b->o);
    b->count = (int)gc_min(count, OUTPUTS);
    for (int j = 0; j < b->count; j++) b->sums[j] = 0;
    for (ptrdiff_t r2 = 0; r2 < p->kernel[2] && r2 < TAPS; r2++)
        find_columns(p, b, r2, b->columns[r2]);
}

/* One tap of all outputs. */
static inline void add_tap(outputs *b, const char *row, ptrdiff_t step, const ptrdiff_t *columns,
                           double w, const gc_dtype dtype) {
    for (int j = 0; j < b->count; j++) {
        const ptrdiff_t i = columns[j];
        if (i == NO_TERM) continue;
        b->sums[j] += (row && i != ZERO ? get(row + i * step, dtype) : 0) * w;
    }
}

/* The taps of one row of the kernel. */
static void add_row(outputs *b, const gc_problem *p, const char *row, const char *taps) {
    const ptrdiff_t step = p->input_strides[4];
    ptrdiff_t later[OUTPUTS];
    for (ptrdiff_t r2 = 0; r2 < p->kernel[2]; r2++, taps += p->weight_strides[4]) {
        const double w = get(taps, p->dtype);
        const ptrdiff_t *columns = r2 < TAPS ? b->columns[r2] : later;
        if (r2 >= TAPS) find_columns(p, b, r2, later);
        switch (p->dtype) { /* known to each loop */
            case GC_F32:
                add_tap(b, row, step, columns, w, GC_F32);
                break;
            case GC_F64:
                add_tap(b, row, step, columns, w, GC_F64);
                break;
            case GC_F16:
                add_tap(b, row, step, columns, w, GC_F16);
                break;
            case GC_BF16:
                add_tap(b, row, step, columns, w, GC_BF16);
                break;
        }
    }
}

/* The taps of one plane of the input and of the weights. */
static void add_plane(outputs *b, const gc_problem *p, const char *x, const char *w) {
    for (ptrdiff_t r0 = 0; r0 < p->kernel[0]; r0++) {
        const ptrdiff_t i0 = source(p, 0, b->o[0], r0);
        for (ptrdiff_t r1 = 0; r1 < p->kernel[1]; r1++) {
            const ptrdiff_t i1 = source(p, 1, b->o[1], r1);
            if (i0 == NO_TERM || i1 == NO_TERM) continue;
            const char *taps = w + r0 * p->weight_strides[2] + r1 * p->weight_strides[3];
            add_row(b, p, row_of(p, x, i0, i1), taps);
        }
    }
}

static int all_nan(const outputs *b) {
    int j = 0;
    while (j < b->count && isnan(b->sums[j])) j++;
    return j == b->count;
}

/* Channel k of group g of image n. */
static void add_channels(outputs *b, const gc_run *run, ptrdiff_t n, ptrdiff_t g, ptrdiff_t k) {
    const gc_problem *p = &run->plan->problem;
    const int transposed = p->op == GC_CONV_TRANSPOSE;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        const char *x = (const char *)run->arrays->input + n * p->input_strides[0] +
                        (g * p->in_per_group + c) * p->input_strides[1];
        const char *w =
            (const char *)run->arrays->weight +
            (transposed
                 ? (g * p->in_per_group + c) * p->weight_strides[0] + k * p->weight_strides[1]
                 : (g * p->out_per_group + k) * p->weight_strides[0] + c * p->weight_strides[1]);
        add_plane(b, p, x, w);
        if (all_nan(b)) return; /* they stay so */
    }
}

static char *output_of(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]) {
    const ptrdiff_t *strides = run->plan->problem.output_strides;
    return (char *)run->arrays->output + n * strides[0] + k * strides[1] + dot(o, strides);
}

/* At most `count` outputs of a row, from o on, of channel k of image n; how many. */
static int compute(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3],
                   ptrdiff_t count) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *r = p->residual_strides;
    const double bias = gc_read_real(run->bias, k, (ptrdiff_t)run->plan->kernels->real_size);
    outputs b;
    begin(&b, p, o, count);
    add_channels(&b, run, n, k / p->out_per_group, k % p->out_per_group);
    const char *residual = (const char *)run->arrays->residual;
    if (p->has_residual) residual += n * r[0] + k * r[1] + dot(o, r);
    for (int j = 0; j < b.count; j++) {
        double value = bias + b.sums[j];
        if (p->has_residual) value += get(residual + j * r[4], p->dtype);
        put(output_of(run, n, k, o) + j * p->output_strides[4],
            activate(value, p->activation, p->activation_parameter), p->dtype);
    }
    return b.count;
}

static void convolve(const gc_run *run, ptrdiff_t unit) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    ptrdiff_t o[3] = {0, 0, 0};
    do {
        o[2] += compute(run, unit / channels, unit % channels, o, p->out_size[2] - o[2]) - 1;
    } while (next(o, p->out_size));
}

void gc_reference_mend(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]) {
    if (isnan(get(output_of(run, n, k, o), run->plan->problem.dtype))) compute(run, n, k, o, 1);
}

/* `sum` and what all positions of one plane of the input and of the gradient add to tap r. */
static double add_positions(double sum, const gc_problem *p, const char *x, const char *g,
                            const ptrdiff_t r[3]) {
    const ptrdiff_t step = p->weight_strides[4];
    for (ptrdiff_t o0 = 0; o0 < p->out_size[0]; o0++) {
        const ptrdiff_t i0 = source(p, 0, o0, r[0]);
        for (ptrdiff_t o1 = 0; o1 < p->out_size[1]; o1++) {
            const char *row = row_of(p, x, i0, source(p, 1, o1, r[1]));
            const char *gradients = g + o0 * p->weight_strides[2] + o1 * p->weight_strides[3];
            for (ptrdiff_t o2 = 0; o2 < p->out_size[2]; o2++)
                sum = add_term(sum, p, row, source(p, 2, o2, r[2]), gradients + o2 * step);
        }
    }
    return sum;
}

static void weight_gradient(const gc_run *run, ptrdiff_t unit) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t k = unit / p->in_per_group, c = unit % p->in_per_group;
    const ptrdiff_t channel = k / p->out_per_group * p->in_per_group + c;
    ptrdiff_t r[3] = {0, 0, 0};
    do {
        double sum = 0;
        for (ptrdiff_t n = 0; n < p->batch; n++) {
            const char *x = (const char *)run->arrays->input + n * p->input_strides[0] +
                            channel * p->input_strides[1];
            const char *g = (const char *)run->arrays->weight + n * p->weight_strides[0] +
                            k * p->weight_strides[1];
            sum = add_positions(sum, p, x, g, r);
        }
        put((char *)run->arrays->output + k * p->output_strides[0] + c * p->output_strides[1] +
                dot(r, p->output_strides),
            sum, p->dtype);
    } while (next(r, p->kernel));
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &run->plan->problem;
    (void)scratch;
    if (p->op != GC_GRAD_WEIGHT && p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) return;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        if (p->op == GC_GRAD_WEIGHT)
            weight_gradient(run, unit);
        else
            convolve(run, unit);
    }
}

const gc_algorithm gc_reference = {
    .name = "reference",
    .refuse = refuse,
    .create = create,
    .work = work,
};
