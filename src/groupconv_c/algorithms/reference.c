/* The plain loops: every operation, type, stride and padding mode, in double precision. Slow; what
 * the other algorithms are compared with, and what takes the problems they refuse. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/half.h"
#include "algorithms.h"
#include "geometry.h"

typedef struct reference {
    gc_axis axes[3]; /* for the padding map alone */
} reference;

static const char *refuse(const gc_plan *plan) {
    (void)plan;
    return NULL;
}

static void destroy(gc_plan *plan) {
    reference *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s);
    plan->state = NULL;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    reference *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    if (p->op == GC_GRAD_WEIGHT)
        plan->units = p->groups * p->out_per_group * p->in_per_group;
    else
        plan->units = p->batch * p->groups * p->out_per_group;
    plan->seconds = gc_problem_macs(p) * 4e-9;
    return GC_OK;
}

static double get(const void *from, gc_dtype dtype) {
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

/* The source that output o reads at kernel position r: 1 found, 0 zero padding, -1 no such term. */
static int source(const gc_plan *plan, const ptrdiff_t o[3], const ptrdiff_t r[3], ptrdiff_t i[3]) {
    const gc_problem *p = &plan->problem;
    const reference *s = plan->state;
    int found = 1;
    for (int d = 0; d < 3; d++) {
        if (p->op == GC_CONV_TRANSPOSE) {
            const ptrdiff_t at = o[d] + p->pad_before[d] - r[d] * p->dilation[d];
            i[d] = gc_floor_div(at, p->stride[d]);
            if (i[d] * p->stride[d] != at || i[d] < 0 || i[d] >= p->in_size[d]) return -1;
        } else {
            i[d] = gc_axis_source(&s->axes[d],
                                  o[d] * p->stride[d] + r[d] * p->dilation[d] - p->pad_before[d]);
            if (i[d] < 0) found = 0;
        }
    }
    return found;
}

static double sum_of_taps(const gc_run *run, ptrdiff_t n, ptrdiff_t g, ptrdiff_t k,
                          const ptrdiff_t o[3]) {
    const gc_problem *p = &run->plan->problem;
    const int transposed = p->op == GC_CONV_TRANSPOSE;
    double sum = 0;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        const char *x = (const char *)run->arrays->input + n * p->input_strides[0] +
                        (g * p->in_per_group + c) * p->input_strides[1];
        const char *w =
            (const char *)run->arrays->weight +
            (transposed
                 ? (g * p->in_per_group + c) * p->weight_strides[0] + k * p->weight_strides[1]
                 : (g * p->out_per_group + k) * p->weight_strides[0] + c * p->weight_strides[1]);
        ptrdiff_t r[3] = {0, 0, 0}, i[3];
        do {
            const int found = source(run->plan, o, r, i);
            if (found < 0) continue;
            const double value = found ? get(x + dot(i, p->input_strides), p->dtype) : 0;
            sum += value * get(w + dot(r, p->weight_strides), p->dtype);
            if (isnan(sum)) return sum;
        } while (next(r, p->kernel));
    }
    return sum;
}

static char *output_of(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]) {
    const ptrdiff_t *strides = run->plan->problem.output_strides;
    return (char *)run->arrays->output + n * strides[0] + k * strides[1] + dot(o, strides);
}

static void compute(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *r = p->residual_strides;
    double value = gc_read_real(run->bias, k, (ptrdiff_t)run->plan->kernels->real_size) +
                   sum_of_taps(run, n, k / p->out_per_group, k % p->out_per_group, o);
    if (p->has_residual)
        value +=
            get((const char *)run->arrays->residual + n * r[0] + k * r[1] + dot(o, r), p->dtype);
    put(output_of(run, n, k, o), activate(value, p->activation, p->activation_parameter), p->dtype);
}

static void convolve(const gc_run *run, ptrdiff_t unit) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    ptrdiff_t o[3] = {0, 0, 0};
    do {
        compute(run, unit / channels, unit % channels, o);
    } while (next(o, p->out_size));
}

void gc_reference_mend(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]) {
    if (isnan(get(output_of(run, n, k, o), run->plan->problem.dtype))) compute(run, n, k, o);
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
            ptrdiff_t o[3] = {0, 0, 0}, i[3];
            if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) continue;
            do {
                const int found = source(run->plan, o, r, i);
                const double value = found ? get(x + dot(i, p->input_strides), p->dtype) : 0;
                sum += value * get(g + dot(o, p->weight_strides), p->dtype);
            } while (next(o, p->out_size));
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
    .destroy = destroy,
    .work = work,
};
