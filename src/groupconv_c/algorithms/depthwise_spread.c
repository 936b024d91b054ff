/* One-dimensional depthwise transposed convolution with a stride, whose kernel is a multiple of the stride:
 * every output has as many terms. So also the gradient by the input of a strided one.
 *
 * Neighbouring outputs are lanes. Of a period, as many vectors as the stride is long, each takes its inputs
 * from one vector of the row per term: which lanes, and which weights, is the same in every period and listed
 * once. A unit is one image and channel; its row is copied with zeros around.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "geometry.h"
#include "tile_store.h"
#include "weights.h"

typedef struct spreading {
    gc_axis axis;
    gc_weights weights;
    ptrdiff_t taps;    /* of an output */
    ptrdiff_t *input;  /* [vector of the period][tap]: where its vector of inputs begins */
    int32_t *lists[2]; /* [vector of the period][tap][lane]: of inputs, from there on; of weights */
    int clamp, finished; /* by the microkernel; afterwards */
    double low, high;
} spreading;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, *i = p->input_strides, lanes = plan->kernels->lanes;
    if (p->op != GC_CONV_TRANSPOSE) return "it computes transposed convolutions only";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    for (int d = 0; d < 2; d++)
        if (p->in_size[d] != 1 || p->out_size[d] != 1 || p->kernel[d] != 1 || p->pad_before[d] != 0)
            return "it works in one dimension";
    if (p->stride[2] < 2 || p->dilation[2] != 1 || p->kernel[2] % p->stride[2])
        return "it needs a stride, dilation 1 and a kernel of a multiple of the stride";
    if (p->kernel[2] > lanes || lanes < 4 || p->out_size[2] < p->stride[2])
        return "it needs a kernel no longer than a vector";
    if (!gc_stores_reals(plan) || (p->in_size[2] > 1 && i[4] != size) || !gc_output_is_rows(plan) ||
        !gc_residual_is_rows(plan))
        return "it needs contiguous rows of float32 or float64";
    return NULL;
}

static void destroy(gc_plan *plan) {
    spreading *s = plan->state;
    if (s == NULL) return;
    gc_axis_destroy(&s->axis);
    free(s->input);
    free(s->lists[0]);
    free(s->lists[1]);
    free(s);
    plan->state = NULL;
}

/* Lists what vector `v` of the period takes for term t. */
static void list_term(const gc_plan *plan, spreading *s, ptrdiff_t v, ptrdiff_t t) {
    const ptrdiff_t lanes = plan->kernels->lanes, stride = plan->problem.stride[2];
    const ptrdiff_t at = v * s->taps + t;
    ptrdiff_t *const begin = &s->input[at];
    for (ptrdiff_t lane = 0; lane < lanes; lane++) {
        const ptrdiff_t out = v * lanes + lane;
        const gc_axis_tap *tap = &s->axis.passes[out % stride].taps[t];
        const ptrdiff_t from = out / stride + tap->shift - s->axis.min_shift;
        s->lists[0][at * lanes + lane] = (int32_t)from;
        s->lists[1][at * lanes + lane] = (int32_t)tap->kernel;
        *begin = lane ? gc_min(*begin, from) : from;
    }
    for (ptrdiff_t lane = 0; lane < lanes; lane++)
        s->lists[0][at * lanes + lane] -= (int32_t)*begin;
}

/* Reals of a row between zeros: whole periods of outputs read a vector behind the last input. */
static ptrdiff_t row_size(const gc_plan *plan, const spreading *s) {
    const ptrdiff_t lanes = plan->kernels->lanes;
    const ptrdiff_t inputs = gc_ceil_div(plan->problem.out_size[2], plan->problem.stride[2]);
    return gc_max(inputs, plan->problem.in_size[2]) + s->axis.span + 3 * lanes +
           gc_max(0, -s->axis.min_shift);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, stride = p->stride[2];
    spreading *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    const gc_status status = gc_axis_create(&s->axis, p, 2);
    if (status != GC_OK) return status;
    gc_weights_create(&s->weights, plan);
    s->taps = p->kernel[2] / stride;
    const size_t terms = (size_t)(stride * s->taps);
    s->input = calloc(terms, sizeof *s->input);
    for (int i = 0; i < 2; i++) s->lists[i] = calloc(terms * (size_t)lanes, sizeof *s->lists[i]);
    if (s->input == NULL || s->lists[0] == NULL || s->lists[1] == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t v = 0; v < stride; v++)
        for (ptrdiff_t t = 0; t < s->taps; t++) list_term(plan, s, v, t);
    s->clamp = gc_activation_clamp(p->activation, &s->low, &s->high);
    s->finished = p->has_residual || !s->clamp;
    s->clamp = s->clamp && !s->finished && p->activation != GC_IDENTITY;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    plan->units = p->batch * channels;
    plan->scratch_size = (size_t)row_size(plan, s) * plan->kernels->real_size;
    gc_weights_plan(&s->weights, plan);
    const double vectors = (double)gc_ceil_div(p->out_size[2], lanes), taps = (double)s->taps;
    const double copied = (double)row_size(plan, s) / (double)lanes;
    const double cycles = 60 + copied + (double)stride * taps * 4 +
                          vectors * (2.5 * taps + 4 + (s->finished ? 5 : 0));
    plan->seconds = (double)(p->batch * channels) * cycles * GC_CYCLE;
    return GC_OK;
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const spreading *s = plan->state;
    const ptrdiff_t size = plan->storage_size, channels = p->groups * p->out_per_group;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    /* where the input's first column is in the copy, which begins min_shift before it */
    const ptrdiff_t from = gc_max(0, -s->axis.min_shift), skipped = gc_max(0, s->axis.min_shift);
    const ptrdiff_t columns = gc_max(p->in_size[2] - skipped, 0);
    memset(scratch, 0, plan->scratch_size);
    gc_spread a = {
        .in = scratch,
        .input = s->input,
        .input_index = s->lists[0],
        .weight_index = s->lists[1],
        .kernel = p->kernel[2],
        .stride = p->stride[2],
        .taps = s->taps,
        .n = p->out_size[2],
        .clamp = s->clamp,
        .low = s->low,
        .high = s->high,
    };
    gc_finish f = {
        .to_stride = size,
        .residual_stride = size,
        .n = p->out_size[2],
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    ptrdiff_t copied = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t n = unit / channels, k = unit % channels, g = k / p->out_per_group;
        const char *row = (const char *)run->arrays->input + n * i[0] + g * i[1];
        if (n * p->groups + g != copied)
            memcpy((char *)scratch + from * size, row + skipped * size, (size_t)(columns * size));
        copied = n * p->groups + g;
        a.weight = gc_weights_at(&s->weights, plan, run, g, k - g * p->out_per_group);
        a.init = (const char *)run->bias + k * size;
        a.out = (char *)run->arrays->output + n * o[0] + k * o[1];
        plan->kernels->depthwise_spread(&a);
        if (!s->finished) continue;
        f.from = f.to = a.out;
        if (p->has_residual) f.residual = (const char *)run->arrays->residual + n * r[0] + k * r[1];
        plan->kernels->finish(&f);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const spreading *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const spreading *s = plan->state;
    snprintf(text, size, "periods of %td vectors of %d outputs, %td terms each",
             plan->problem.stride[2], plan->kernels->lanes, s->taps);
}

const gc_algorithm gc_depthwise_spread = {
    .name = "depthwise_spread",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .describe = describe,
};
