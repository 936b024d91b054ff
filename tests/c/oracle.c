#include "oracle.h"

#include <math.h>
#include <stdlib.h>

#include "arrays.h"

void shapes(const gc_problem *p, ptrdiff_t input[5], ptrdiff_t weight[5], ptrdiff_t output[5]) {
    const ptrdiff_t in = p->groups * p->in_per_group, out = p->groups * p->out_per_group;
    const int gradient = p->op == GC_GRAD_WEIGHT;
    const ptrdiff_t kernel[2] = {p->op == GC_CONV_TRANSPOSE ? in : out,
                                 p->op == GC_CONV_TRANSPOSE ? p->out_per_group : p->in_per_group};
    const ptrdiff_t result[2] = {p->batch, out};
    input[0] = p->batch;
    input[1] = in;
    for (int i = 0; i < 2; i++) {
        weight[i] = gradient ? result[i] : kernel[i];
        output[i] = gradient ? kernel[i] : result[i];
    }
    for (int i = 0; i < p->ndim; i++) {
        input[2 + i] = p->in_size[i];
        weight[2 + i] = gradient ? p->out_size[i] : p->kernel[i];
        output[2 + i] = gradient ? p->kernel[i] : p->out_size[i];
    }
}

/* Where padding mode `mode` finds position i of 0 .. n-1, or -1 where it finds zero. */
static ptrdiff_t padded(gc_padding_mode mode, ptrdiff_t i, ptrdiff_t n) {
    if (i >= 0 && i < n) return i;
    switch (mode) {
        case GC_ZEROS:
            return -1;
        case GC_REFLECT:
            return i < 0 ? -i : 2 * (n - 1) - i;
        case GC_REPLICATE:
            return i < 0 ? 0 : n - 1;
        case GC_CIRCULAR:
            return i < 0 ? i + n : i - n;
    }
    return -1;
}

static double between(double low, double x, double high) { return fmin(fmax(x, low), high); }

static double activated(double x, gc_activation kind, double parameter) {
    switch (kind) {
        case GC_IDENTITY:
            return x;
        case GC_RELU:
            return fmax(x, 0);
        case GC_RELU6:
            return between(0, x, 6);
        case GC_LEAKY_RELU:
            return x > 0 ? x : parameter * x;
        case GC_SIGMOID:
            return 1 / (1 + exp(-x));
        case GC_TANH:
            return tanh(x);
        case GC_SILU:
            return x / (1 + exp(-x));
        case GC_HARDSIGMOID:
            return between(0, x + 3, 6) / 6;
        case GC_HARDSWISH:
            return x * between(0, x + 3, 6) / 6;
        case GC_GELU:
            return x / 2 * erfc(-x / sqrt(2));
    }
    return NAN;
}

/* A convolution links positions i of its larger side (channels of `wide` per group) with positions
 * o of its smaller side by o*stride + r*dilation = i + pad. All three operations go over the same
 * links and differ in which array they read, and which they add to. */
typedef struct links {
    const gc_problem *p;
    ptrdiff_t in[3], out[3], kernel[3]; /* of the larger side, the smaller side, the kernel */
    ptrdiff_t wide, narrow;             /* channels per group of either side */
    const double *input, *weight;
    truth *result;
} links;

static void add(truth *t, ptrdiff_t to, double term) {
    t->values[to] += term;
    t->bounds[to] += fabs(term);
}

/* One link, of element i of the larger side and j of the smaller. */
static void add_link(const links *l, ptrdiff_t i, ptrdiff_t j, ptrdiff_t tap) {
    switch (l->p->op) {
        case GC_CONV:
            add(l->result, j, l->weight[tap] * l->input[i]);
            return;
        case GC_CONV_TRANSPOSE:
            add(l->result, i, l->weight[tap] * l->input[j]);
            return;
        case GC_GRAD_WEIGHT:
            add(l->result, tap, l->weight[j] * l->input[i]);
            return;
    }
}

/* The position of the larger side that is linked to `at`, or -1: dimension d of three. */
static ptrdiff_t linked(const links *l, int d, ptrdiff_t at, ptrdiff_t r) {
    const gc_problem *p = l->p;
    const int axis = d - (3 - p->ndim);
    if (axis < 0) return 0;
    const ptrdiff_t from = at * p->stride[axis] + r * p->dilation[axis] - p->pad_before[axis];
    return padded(p->padding_mode, from, l->in[d]);
}

/* All links of one image, group, pair of channels and kernel position r. */
static void add_links(const links *l, ptrdiff_t n, ptrdiff_t g, ptrdiff_t a, ptrdiff_t b,
                      const ptrdiff_t r[3]) {
    const ptrdiff_t larger = (n * l->p->groups + g) * l->wide + a;
    const ptrdiff_t tap =
        ((((g * l->narrow + b) * l->wide + a) * l->kernel[0] + r[0]) * l->kernel[1] + r[1]) *
            l->kernel[2] +
        r[2];
    ptrdiff_t j = ((n * l->p->groups + g) * l->narrow + b) * l->out[0] * l->out[1] * l->out[2];
    for (ptrdiff_t z = 0; z < l->out[0]; z++) {
        const ptrdiff_t depth = linked(l, 0, z, r[0]);
        for (ptrdiff_t y = 0; y < l->out[1]; y++) {
            const ptrdiff_t row = linked(l, 1, y, r[1]);
            const ptrdiff_t begin = ((larger * l->in[0] + depth) * l->in[1] + row) * l->in[2];
            for (ptrdiff_t x = 0; x < l->out[2]; x++, j++) {
                const ptrdiff_t column = linked(l, 2, x, r[2]);
                if (depth >= 0 && row >= 0 && column >= 0) add_link(l, begin + column, j, tap);
            }
        }
    }
}

static void add_all_links(const links *l) {
    const ptrdiff_t channels = l->p->groups * l->wide * l->narrow;
    for (ptrdiff_t n = 0; n < l->p->batch; n++)
        for (ptrdiff_t c = 0; c < channels; c++)
            for (ptrdiff_t r = 0; r < l->kernel[0] * l->kernel[1] * l->kernel[2]; r++) {
                const ptrdiff_t at[3] = {r / (l->kernel[1] * l->kernel[2]),
                                         r / l->kernel[2] % l->kernel[1], r % l->kernel[2]};
                add_links(l, n, c / (l->wide * l->narrow), c / l->narrow % l->wide, c % l->narrow,
                          at);
            }
}

static void finish(const gc_problem *p, truth *t, const double *bias, const double *residual) {
    const ptrdiff_t channels = p->groups * p->out_per_group;
    const ptrdiff_t positions = t->count / (p->batch * channels > 0 ? p->batch * channels : 1);
    for (ptrdiff_t i = 0; i < t->count; i++) {
        if (bias) add(t, i, bias[i / positions % channels]);
        if (residual) add(t, i, residual[i]);
        t->values[i] = activated(t->values[i], p->activation, p->activation_parameter);
    }
}

truth truth_create(const gc_problem *p, const double *input, const double *weight,
                   const double *bias, const double *residual) {
    ptrdiff_t sizes[3][5];
    shapes(p, sizes[0], sizes[1], sizes[2]);
    truth t = {.count = 1};
    for (int i = 0; i < 2 + p->ndim; i++) t.count *= sizes[2][i];
    t.values = checked_alloc((size_t)t.count * sizeof *t.values);
    t.bounds = checked_alloc((size_t)t.count * sizeof *t.bounds);
    for (ptrdiff_t i = 0; i < t.count; i++) t.values[i] = t.bounds[i] = 0;
    const int turned = p->op == GC_CONV_TRANSPOSE;
    links l = {.p = p, .input = input, .weight = weight, .result = &t};
    l.wide = turned ? p->out_per_group : p->in_per_group;
    l.narrow = turned ? p->in_per_group : p->out_per_group;
    ptrdiff_t taps = 1, positions = p->batch;
    for (int d = 0; d < 3; d++) {
        const int axis = d - (3 - p->ndim);
        l.in[d] = axis < 0 ? 1 : turned ? p->out_size[axis] : p->in_size[axis];
        l.out[d] = axis < 0 ? 1 : turned ? p->in_size[axis] : p->out_size[axis];
        l.kernel[d] = axis < 0 ? 1 : p->kernel[axis];
        taps *= l.kernel[d];
        positions *= l.out[d];
    }
    add_all_links(&l);
    t.terms = p->op == GC_GRAD_WEIGHT ? positions : taps * p->in_per_group;
    if (p->op != GC_GRAD_WEIGHT) finish(p, &t, bias, residual);
    for (ptrdiff_t i = 0; i < t.count; i++) t.largest = fmax(t.largest, t.bounds[i]);
    return t;
}

void truth_destroy(truth *t) {
    free(t->values);
    free(t->bounds);
}
