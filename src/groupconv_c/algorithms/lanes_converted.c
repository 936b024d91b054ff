/* Convolution of float16 and bfloat16 whose channels lie side by side, depthwise and of narrow groups: some vectors
 * of channels at a time are converted to float32, convolved with channels in the lanes, and rounded when they are
 * stored.
 *
 * A unit is one image and some vectors of channels. The inner plan is of those, channels_last, without residual and
 * activation, which gc_finish adds; its prepared weights are a part of those of all vectors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "converted.h"
#include "lane_vectors.h"

enum {
    most_bytes = 4 * 1024 * 1024, /* of a unit in float32 */
    near_bytes = 64 * 1024,
    least_channels = 64, /* two cache lines of halves */
};

typedef struct converted {
    gc_lane_vectors vectors;
    gc_plan inner;
    ptrdiff_t together, parts; /* vectors of a unit, units of an image */
    ptrdiff_t in_bytes, out_bytes, bias_bytes;
} converted;

static void set_strides(ptrdiff_t strides[5], const ptrdiff_t size[3], ptrdiff_t channels) {
    strides[1] = (ptrdiff_t)sizeof(float);
    strides[4] = strides[1] * channels;
    strides[3] = strides[4] * size[2];
    strides[2] = strides[3] * size[1];
    strides[0] = strides[2] * size[0];
}

static gc_plan inner_plan(const gc_plan *plan, ptrdiff_t groups) {
    gc_plan inner = {
        .problem = gc_converted_problem(&plan->problem, groups),
        .algorithm = &gc_channel_lanes,
        .kernels = plan->kernels,
        .storage_size = (ptrdiff_t)sizeof(float),
    };
    gc_problem *p = &inner.problem;
    set_strides(p->input_strides, p->in_size, groups * p->in_per_group);
    set_strides(p->output_strides, p->out_size, groups * p->out_per_group);
    return inner;
}

/* float32 of one vector of channels. */
static ptrdiff_t vector_bytes(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    return plan->kernels->lanes / gc_max(p->in_per_group, p->out_per_group) * gc_converted_bytes(p);
}

/* As many vectors as two cache lines of halves fill, more of small maps; all units about as many. */
static ptrdiff_t vectors_of_unit(const gc_plan *plan, ptrdiff_t vectors) {
    const ptrdiff_t most = gc_max(near_bytes / gc_max(vector_bytes(plan), 1),
                                  gc_ceil_div(least_channels, plan->kernels->lanes));
    return gc_ceil_div(vectors, gc_ceil_div(vectors, most));
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->dtype != GC_F16 && p->dtype != GC_BF16) return "it is for float16 and bfloat16";
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    if (p->input_strides[1] != plan->storage_size)
        return "channels in lanes need channels_last arrays";
    const gc_plan inner = inner_plan(plan, p->groups);
    const char *reason = gc_lane_vectors_refuse(&inner);
    if (reason) return reason;
    const ptrdiff_t least = gc_ceil_div(least_channels, plan->kernels->lanes);
    return least * vector_bytes(plan) > most_bytes ? "it needs channels that fit a near cache"
                                                   : NULL;
}

static void destroy(gc_plan *plan) {
    converted *s = plan->state;
    if (s == NULL) return;
    gc_lane_vectors_destroy(&s->vectors);
    if (s->inner.state) gc_channel_lanes.destroy(&s->inner);
    free(s);
    plan->state = NULL;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    converted *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    gc_status status = gc_lane_vectors_create(&s->vectors, plan);
    if (status != GC_OK) return status;
    s->together = vectors_of_unit(plan, s->vectors.n);
    s->parts = gc_ceil_div(s->vectors.n, s->together);
    s->inner = inner_plan(plan, s->together * s->vectors.groups);
    status = gc_channel_lanes.create(&s->inner);
    if (status != GC_OK) return status;
    const gc_problem *q = &s->inner.problem;
    s->in_bytes = (ptrdiff_t)gc_round_up((size_t)q->input_strides[0], 64);
    s->out_bytes = (ptrdiff_t)gc_round_up((size_t)q->output_strides[0], 64);
    const ptrdiff_t channels = q->groups * q->out_per_group;
    s->bias_bytes = (ptrdiff_t)gc_round_up((size_t)channels * sizeof(float), 64);
    plan->scratch_size =
        (size_t)(s->in_bytes + s->out_bytes + s->bias_bytes) + s->inner.scratch_size;
    plan->units = s->inner.units ? p->batch * s->parts : 0;
    gc_lane_vectors_plan(&s->vectors, plan);
    const double positions =
        (double)(gc_converted_elements(p->in_size) + 2 * gc_converted_elements(p->out_size));
    const double calls = positions * (12 + 2 * (double)s->together);
    plan->seconds = (double)(p->batch * s->parts) * (s->inner.seconds + calls * GC_CYCLE);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const converted *s = plan->state;
    gc_lane_vectors_prepare(&s->vectors, plan, weight, prepared, first, last);
}

/* `channels` channels of an image, from `from` on. */
static void convert(const gc_plan *plan, const gc_problem *inner, const char *from, char *to,
                    ptrdiff_t channels) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides;
    for (ptrdiff_t z = 0; z < p->in_size[0]; z++)
        for (ptrdiff_t y = 0; y < p->in_size[1]; y++)
            for (ptrdiff_t x = 0; x < p->in_size[2]; x++, to += inner->input_strides[4])
                plan->kernels->load(to, from + z * i[2] + y * i[3] + x * i[4], plan->storage_size,
                                    channels, p->dtype);
}

/* The results of `channels` output channels from channel k on. */
static void finish(const gc_run *run, const gc_problem *inner, const char *from, ptrdiff_t n,
                   ptrdiff_t k, ptrdiff_t channels) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    char *const to = (char *)run->arrays->output + n * o[0] + k * o[1];
    const char *residual = run->arrays->residual;
    if (residual) residual += n * r[0] + k * r[1];
    gc_finish f = {
        .from = from,
        .to_stride = o[1],
        .residual_stride = r[1],
        .n = channels,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t z = 0; z < p->out_size[0]; z++)
        for (ptrdiff_t y = 0; y < p->out_size[1]; y++)
            for (ptrdiff_t x = 0; x < p->out_size[2]; x++) {
                f.to = to + z * o[2] + y * o[3] + x * o[4];
                f.residual = residual ? residual + z * r[2] + y * r[3] + x * r[4] : NULL;
                run->plan->kernels->finish(&f);
                f.from = (const char *)f.from + inner->output_strides[4];
            }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const converted *s = plan->state;
    const gc_problem *q = &s->inner.problem;
    const ptrdiff_t *i = p->input_strides, size = (ptrdiff_t)sizeof(float);
    char *const in = scratch, *const out = in + s->in_bytes, *const bias = out + s->out_bytes;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t n = unit / s->parts, v = unit % s->parts * s->together;
        /* the last unit computes some vectors of the one before again, but does not store them */
        const ptrdiff_t begin = gc_min(v, s->vectors.n - s->together);
        const ptrdiff_t g = begin * s->vectors.groups, k = g * p->out_per_group;
        const ptrdiff_t groups = gc_min(q->groups, p->groups - g);
        const ptrdiff_t again = (v - begin) * s->vectors.groups * p->out_per_group;
        convert(plan, q, (const char *)run->arrays->input + n * i[0] + g * p->in_per_group * i[1],
                in, groups * p->in_per_group);
        memcpy(bias, (const char *)run->bias + k * size,
               (size_t)(groups * p->out_per_group * size));
        const gc_arrays arrays = {.input = in, .output = out};
        const gc_run inner = {
            .plan = &s->inner,
            .arrays = &arrays,
            .weights = (const char *)run->weights + begin * s->vectors.bytes,
            .bias = bias,
        };
        gc_channel_lanes.work(&inner, bias + s->bias_bytes, 0, s->inner.units);
        finish(run, q, out + again * size, n, k + again, groups * p->out_per_group - again);
    }
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const converted *s = plan->state;
    const int n = snprintf(text, size, "%td vectors of channels at a time; ", s->together);
    if (n > 0 && (size_t)n < size) gc_channel_lanes.describe(&s->inner, text + n, size - n);
}

const gc_algorithm gc_lanes_converted = {
    .name = "lanes_converted",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .describe = describe,
};
