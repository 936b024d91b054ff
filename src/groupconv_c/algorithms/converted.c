/* Convolution of float16 and bfloat16, some groups at a time: they are converted to float32, convolved by the
 * fastest of the algorithms that need no prepared weights, and results are rounded when they are stored. The
 * float32 planes stay in a near cache.
 *
 * A unit is one image and some groups. The inner plan is of those groups, in contiguous memory, without residual
 * and activation, which gc_finish adds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "converted.h"
#include "weights.h"

enum {
    most_bytes = 4 * 1024 * 1024, /* planes of a group */
    near_bytes = 32 * 1024,       /* of a unit */
    least_groups = 8,             /* of much work */
};

typedef struct converted {
    gc_weights weights; /* float32, prepared */
    gc_plan inner;
    ptrdiff_t groups, parts;       /* of a unit; of an image */
    ptrdiff_t in_bytes, out_bytes; /* float32 planes of a unit */
} converted;

static double macs_of_image(const gc_problem *p) {
    return gc_problem_macs(p) / (double)gc_max(p->batch, 1);
}

/* Groups of a unit: small maps take many, unless there are cores to be kept busy. */
static ptrdiff_t groups_of_unit(const gc_problem *p) {
    const ptrdiff_t near = near_bytes / gc_max(gc_converted_bytes(p), 1);
    const ptrdiff_t most =
        macs_of_image(p) < GC_MANY_MACS ? p->groups : p->groups / GC_WANTED_UNITS;
    return gc_max(gc_min(near, most), 1);
}

/* Strides of contiguous float32. */
static void set_strides(ptrdiff_t strides[5], const ptrdiff_t size[3]) {
    strides[4] = (ptrdiff_t)sizeof(float);
    strides[3] = strides[4] * size[2];
    strides[2] = strides[3] * size[1];
    strides[0] = strides[1] = strides[2] * size[0];
}

/* The plan of a unit's groups; its weights are as gc_weights prepares those of all groups. */
static gc_plan inner_plan(const gc_plan *plan) {
    gc_plan inner = {
        .problem = gc_converted_problem(&plan->problem, groups_of_unit(&plan->problem)),
        .kernels = plan->kernels,
        .storage_size = (ptrdiff_t)sizeof(float),
    };
    gc_problem *p = &inner.problem;
    set_strides(p->input_strides, p->in_size);
    set_strides(p->output_strides, p->out_size);
    set_strides(p->weight_strides, p->kernel);
    p->weight_strides[0] *= p->op == GC_CONV_TRANSPOSE ? p->out_per_group : p->in_per_group;
    return inner;
}

/* Units of one group follow each other in all of them, and weights are read as they lie. */
static const gc_algorithm *const inner_algorithms[] = {
    &gc_depthwise_in_place,   &gc_depthwise_line, &gc_depthwise_spread,
    &gc_depthwise_transposed, &gc_direct,
};
enum { inner_count = sizeof inner_algorithms / sizeof inner_algorithms[0] };

/* Whether one of them suits; direct would prepare the weights of transposed convolutions. */
static int suits(const gc_plan *inner, const gc_algorithm *algorithm) {
    const gc_problem *p = &inner->problem;
    if (algorithm == &gc_direct && (p->op != GC_CONV || p->in_per_group == 1)) return 0;
    return algorithm->refuse(inner) == NULL;
}

static int any_suits(const gc_plan *inner) {
    for (int i = 0; i < inner_count; i++)
        if (suits(inner, inner_algorithms[i])) return 1;
    return 0;
}

/* Creates the plan of the fastest. */
static gc_status create_inner(gc_plan *inner) {
    gc_plan best = {0};
    for (int i = 0; i < inner_count; i++) {
        if (!suits(inner, inner_algorithms[i])) continue;
        gc_plan next = *inner;
        next.algorithm = inner_algorithms[i];
        const gc_status status = next.algorithm->create(&next);
        const int better = status == GC_OK && next.prepared_size == 0 &&
                           (best.algorithm == NULL || next.seconds < best.seconds);
        gc_plan *const worse = better ? &best : &next;
        if (worse->algorithm) worse->algorithm->destroy(worse);
        if (better) best = next;
        if (status != GC_OK) {
            if (best.algorithm) best.algorithm->destroy(&best);
            return status;
        }
    }
    *inner = best;
    return GC_OK;
}

static int rows_in_memory(const ptrdiff_t strides[5], const ptrdiff_t size[3]) {
    return size[2] <= 1 || strides[4] == (ptrdiff_t)sizeof(uint16_t);
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->dtype != GC_F16 && p->dtype != GC_BF16) return "it is for float16 and bfloat16";
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (!rows_in_memory(p->input_strides, p->in_size)) return "it needs contiguous rows";
    if (p->groups < least_groups && macs_of_image(p) > GC_MANY_MACS)
        return "it needs several groups to share out";
    if (gc_converted_bytes(p) > most_bytes) return "it needs groups that fit a near cache";
    const gc_plan inner = inner_plan(plan);
    return any_suits(&inner) ? NULL : "there is no algorithm for its groups in float32";
}

static void destroy(gc_plan *plan) {
    converted *s = plan->state;
    if (s == NULL) return;
    if (s->inner.algorithm) s->inner.algorithm->destroy(&s->inner);
    free(s);
    plan->state = NULL;
}

static double predict(const gc_plan *plan, const converted *s) {
    const gc_problem *p = &plan->problem;
    const double lanes = plan->kernels->lanes;
    const double read = (double)(p->in_per_group * gc_converted_elements(p->in_size)) / lanes;
    const double stored = (double)(p->out_per_group * gc_converted_elements(p->out_size)) / lanes;
    const double converting = 2.5 * read + 4 * stored, calls = 100 / (double)s->groups;
    return (double)(p->batch * p->groups) *
           (s->inner.seconds / (double)s->groups + (converting + calls) * GC_CYCLE);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    converted *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    gc_weights_create(&s->weights, plan);
    s->inner = inner_plan(plan);
    const gc_status status = create_inner(&s->inner);
    if (status != GC_OK) return status;
    s->groups = s->inner.problem.groups;
    s->parts = gc_ceil_div(p->groups, s->groups);
    const size_t in =
        (size_t)(s->groups * p->in_per_group * gc_converted_elements(p->in_size)) * sizeof(float);
    const size_t out =
        (size_t)(s->groups * p->out_per_group * gc_converted_elements(p->out_size)) * sizeof(float);
    s->in_bytes = (ptrdiff_t)gc_round_up(in, 64);
    s->out_bytes = (ptrdiff_t)gc_round_up(out, 64);
    plan->scratch_size = (size_t)(s->in_bytes + s->out_bytes) + s->inner.scratch_size;
    plan->units = s->inner.units ? p->batch * s->parts : 0;
    gc_weights_plan(&s->weights, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* Channels in memory: how many runs of channels, depths, rows, and what is in a row, `step` bytes apart. What
 * follows each other is one. */
typedef struct stretch {
    ptrdiff_t channels, depths, rows, wide, step;
} stretch;

static stretch stretch_of(const ptrdiff_t strides[5], const ptrdiff_t size[3], ptrdiff_t channels) {
    const ptrdiff_t item = (ptrdiff_t)sizeof(uint16_t), row = item * size[2],
                    n = gc_converted_elements(size);
    if (strides[4] != item || (size[1] > 1 && strides[3] != row) ||
        (size[0] > 1 && strides[2] != row * size[1]))
        return (stretch){channels, size[0], size[1], size[2], strides[4]};
    if (channels > 1 && strides[1] != item * n) return (stretch){channels, 1, 1, n, item};
    return (stretch){1, 1, 1, channels * n, item};
}

/* The input of `channels` channels. */
static void convert(const gc_plan *plan, const char *from, char *to, ptrdiff_t channels) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides;
    const stretch t = stretch_of(i, p->in_size, channels);
    for (ptrdiff_t c = 0; c < t.channels; c++)
        for (ptrdiff_t z = 0; z < t.depths; z++)
            for (ptrdiff_t y = 0; y < t.rows; y++, to += t.wide * (ptrdiff_t)sizeof(float))
                plan->kernels->load(to, from + c * i[1] + z * i[2] + y * i[3], plan->storage_size,
                                    t.wide, p->dtype);
}

/* The results of `channels` output channels from channel k on. */
static void finish(const gc_run *run, const char *from, ptrdiff_t n, ptrdiff_t k,
                   ptrdiff_t channels) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    char *const to = (char *)run->arrays->output + n * o[0] + k * o[1];
    const char *residual = run->arrays->residual;
    stretch t = stretch_of(o, p->out_size, channels);
    if (residual) {
        residual += n * r[0] + k * r[1];
        if (stretch_of(r, p->out_size, channels).wide != t.wide)
            t = (stretch){channels, p->out_size[0], p->out_size[1], p->out_size[2], o[4]};
    }
    gc_finish f = {
        .from = from,
        .to_stride = t.step,
        .residual_stride = r[4],
        .n = t.wide,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t c = 0; c < t.channels; c++)
        for (ptrdiff_t z = 0; z < t.depths; z++)
            for (ptrdiff_t y = 0; y < t.rows; y++) {
                f.to = to + c * o[1] + z * o[2] + y * o[3];
                f.residual = residual ? residual + c * r[1] + z * r[2] + y * r[3] : NULL;
                run->plan->kernels->finish(&f);
                f.from = (const char *)f.from + t.wide * (ptrdiff_t)sizeof(float);
            }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const converted *s = plan->state;
    const ptrdiff_t *i = p->input_strides, per_group = s->inner.units / s->groups;
    char *const in = scratch, *const out = in + s->in_bytes;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t n = unit / s->parts, g = unit % s->parts * s->groups;
        const ptrdiff_t groups = gc_min(s->groups, p->groups - g), k = g * p->out_per_group;
        const char *from = (const char *)run->arrays->input + n * i[0] + g * p->in_per_group * i[1];
        convert(plan, from, in, groups * p->in_per_group);
        const gc_arrays arrays = {
            .input = in,
            .weight = gc_weights_at(&s->weights, plan, run, g, 0),
            .output = out,
        };
        const gc_run inner = {
            .plan = &s->inner,
            .arrays = &arrays,
            .bias = (const char *)run->bias + k * (ptrdiff_t)sizeof(float),
        };
        s->inner.algorithm->work(&inner, out + s->out_bytes, 0, groups * per_group);
        finish(run, out, n, k, groups * p->out_per_group);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const converted *s = plan->state;
    return (double)gc_min(s->groups, plan->problem.groups - unit % s->parts * s->groups);
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const converted *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const converted *s = plan->state;
    const int n = snprintf(text, size, "%td groups at a time; ", s->groups);
    if (n > 0 && (size_t)n < size) s->inner.algorithm->describe(&s->inner, text + n, size - n);
}

static const char *refuse_depthwise(const gc_plan *plan) {
    return plan->problem.in_per_group == 1 ? refuse(plan) : "it needs one input channel per group";
}

static const char *refuse_direct(const gc_plan *plan) {
    return plan->problem.in_per_group == 1 ? "it needs several input channels per group"
                                           : refuse(plan);
}

const gc_algorithm gc_depthwise_converted = {
    .name = "depthwise_converted",
    .refuse = refuse_depthwise,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};

const gc_algorithm gc_converted = {
    .name = "converted",
    .refuse = refuse_direct,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
