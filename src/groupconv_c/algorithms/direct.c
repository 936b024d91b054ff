/* Direct convolution: a sum over taps of shifted planes.
 *
 * A unit is one image, one group, one box of output positions, one block of output channels; of few and large
 * units, a part of the box's vectors. The box's input is packed once per thread for the units that follow each
 * other; then the tap-sum microkernel runs over the flattened positions. Forward and transposed convolution of every
 * stride, dilation and padding differ only in geometry.
 * This file plans; direct_work.c computes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "direct.h"

enum {
    box_bytes = 640 * 1024, /* planes of a box, in the second-level cache beside the weights */
};

static const char *refuse(const gc_plan *plan) {
    return plan->problem.op == GC_GRAD_WEIGHT ? "it does not compute weight gradients" : NULL;
}

static gc_status create_pass(const gc_plan *plan, gc_direct_state *s, gc_direct_pass *pass,
                             ptrdiff_t index) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t i[3] = {index / (s->axes[1].npasses * s->axes[2].npasses),
                            index / s->axes[2].npasses % s->axes[1].npasses,
                            index % s->axes[2].npasses};
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    ptrdiff_t per_channel = 1;
    for (int d = 0; d < 3; d++) {
        pass->axis[d] = &s->axes[d].passes[i[d]];
        per_channel *= pass->axis[d]->ntaps;
    }
    pass->ntaps = per_channel * p->in_per_group;
    pass->weight = s->ordered;
    pass->taps = malloc((size_t)(pass->ntaps + 1) * sizeof *pass->taps);
    if (pass->taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = pass->taps;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (ptrdiff_t d = 0; d < pass->axis[0]->ntaps; d++)
            for (ptrdiff_t h = 0; h < pass->axis[1]->ntaps; h++)
                for (ptrdiff_t w = 0; w < pass->axis[2]->ntaps; w++) {
                    const gc_axis_tap *td = &pass->axis[0]->taps[d], *th = &pass->axis[1]->taps[h],
                                      *tw = &pass->axis[2]->taps[w];
                    *tap++ = size * (c * s->planes.channel +
                                     gc_planes_tap(&s->planes, s->axes, td, th, tw));
                    if (s->weights.order) { /* straight on: pass after pass, tap after tap */
                        const ptrdiff_t *b = p->weight_strides;
                        s->weights.order[s->ordered++] = c * s->weights.c_bytes +
                                                         td->kernel * b[2] + th->kernel * b[3] +
                                                         tw->kernel * b[4];
                    }
                }
    return gc_run_lanes_create(&pass->lanes, gc_min(s->planes.extent[1], pass->axis[1]->count),
                               s->planes.pitch, gc_min(s->planes.extent[2], pass->axis[2]->count),
                               plan->kernels->lanes);
}

static void destroy(gc_plan *plan) {
    gc_direct_state *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    for (ptrdiff_t i = 0; s->passes && i < s->npasses; i++) {
        free(s->passes[i].taps);
        gc_run_lanes_destroy(&s->passes[i].lanes);
    }
    free(s->passes);
    gc_weights_destroy(&s->weights);
    free(s);
    plan->state = NULL;
}

/* Whether a group's planes are its input as it lies: nothing around it is read, and nothing is in another order. */
static int lies_as_planes(const gc_plan *plan, const gc_direct_state *s) {
    const gc_problem *p = &plan->problem;
    for (int d = 0; d < 3; d++)
        if (s->boxes[d] != 1 || s->axes[d].in_step != 1 || s->axes[d].min_shift != 0 ||
            s->planes.size[d] != p->in_size[d])
            return 0;
    return gc_input_is_contiguous(plan);
}

static double predict(const gc_plan *plan, const gc_direct_state *s, double cycles_per_tap) {
    const gc_problem *p = &plan->problem;
    const double boxes = (double)(s->boxes[0] * s->boxes[1] * s->boxes[2]);
    double tap_cycles = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i++) tap_cycles += (double)s->passes[i].ntaps;
    tap_cycles *= cycles_per_tap * (double)s->planes.extent[0];
    const double results =
        (double)(s->planes.extent[0] * s->planes.extent[1] * s->planes.extent[2]) *
        (double)(s->npasses * p->out_per_group);
    /* whole rows come from pairs of passes; more passes than two leave single results apart */
    const double apart = s->axes[2].npasses > 2 ? 5 : 0.8;
    const double store = results * (s->lanes_stored ? 1.5 / plan->kernels->lanes : apart) +
                         60 * (double)(s->npasses * s->planes.extent[0]) + 150;
    const double elements = (double)gc_planes_elements(&s->planes, p->in_per_group);
    const int plain = p->input_strides[4] == plan->storage_size;
    const int apart_halves = p->stride[2] > 1 && !gc_stores_reals(plan);
    const int whole = s->axes[2].in_step == 1 || gc_axis_splits(&s->axes[2]); /* vectors */
    const double slices = (double)gc_planes_slices(&s->planes, s->axes, p->in_per_group);
    const double pack =
        s->in_place ? 0
                    : elements * (apart_halves ? gc_planes_apart_cycles(&s->planes, p->stride[2])
                                  : !plain     ? 1.5
                                  : whole      ? 0.25
                                               : 1) +
                          slices * 90;
    const double weights = gc_weights_cycles((double)p->out_per_group * (double)s->weights.per_k *
                                             (double)plan->kernels->real_size);
    const double wait =
        plan->kernels->registers < 32 ? 1.1 : 1.25; /* of wide vectors for the caches */
    const double cycles = boxes * (tap_cycles + store + pack) * wait + weights;
    return ((double)(p->batch * p->groups) * cycles + gc_strided_cycles(plan)) * GC_CYCLE;
}

/* Vectors a .. b - 1 of all slices of a whole box, pass after pass, times their taps. */
static double terms(const gc_direct_state *s, ptrdiff_t a, ptrdiff_t b) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i += gc_direct_joined(s)) {
        const ptrdiff_t vectors = s->planes.extent[0] * s->passes[i].lanes.vectors;
        ptrdiff_t taps = 0;
        for (ptrdiff_t j = 0; j < gc_direct_joined(s); j++) taps += s->passes[i + j].ntaps;
        sum +=
            (double)(gc_min(gc_max(b, 0), vectors) - gc_min(gc_max(a, 0), vectors)) * (double)taps;
        a -= vectors;
        b -= vectors;
    }
    return sum;
}

static ptrdiff_t vectors_of(const gc_direct_state *s) {
    ptrdiff_t sum = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i += gc_direct_joined(s))
        sum += s->planes.extent[0] * s->passes[i].lanes.vectors;
    return sum;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    gc_direct_state *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    gc_planes_choose(&s->planes, s->axes, p->in_per_group, box_bytes, plan->kernels, s->boxes);
    s->in_place = lies_as_planes(plan, s);
    gc_weights_create(&s->weights, plan);
    if (p->op == GC_CONV_TRANSPOSE) { /* a channel's weights lie far apart, a pass's in between */
        const gc_status status = gc_weights_reorder(&s->weights);
        if (status != GC_OK) return status;
    }
    s->npasses = s->axes[0].npasses * s->axes[1].npasses * s->axes[2].npasses;
    s->passes = calloc((size_t)s->npasses, sizeof *s->passes);
    if (s->passes == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t i = 0; i < s->npasses; i++) {
        const gc_status status = create_pass(plan, s, &s->passes[i], i);
        if (status != GC_OK) return status;
    }
    double cycles_per_tap;
    s->kb =
        gc_choose_kb(plan->kernels, p->out_per_group, s->passes[0].lanes.vectors, &cycles_per_tap);
    s->kblocks = gc_ceil_div(p->out_per_group, s->kb);
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    s->lanes_stored = s->npasses == 1 && s->axes[2].passes[0].step == 1 &&
                      gc_output_is_rows(plan) && gc_residual_is_rows(plan);
    s->zipped = s->axes[2].npasses == 2 && gc_output_is_rows(plan) && !p->has_residual &&
                p->activation == GC_IDENTITY;
    s->far = gc_waits_to_store() || gc_problem_is_far(p);
    const ptrdiff_t blocks = p->groups * s->boxes[0] * s->boxes[1] * s->boxes[2] * s->kblocks;
    s->parts = gc_even_pieces(plan, blocks, vectors_of(s), 1);
    plan->units = p->batch * blocks * s->parts;
    for (int i = 0; i < 3; i++)
        if (p->out_size[i] == 0) plan->units = 0;
    const size_t tile = (size_t)(GC_MAX_KB * GC_MAX_VB * plan->kernels->lanes);
    plan->scratch_size =
        (gc_planes_elements(&s->planes, p->in_per_group) + 4 * tile) * plan->kernels->real_size +
        64;
    gc_weights_plan(&s->weights, plan);
    if (s->weights.order)
        plan->prepared_key =
            (size_t)(GC_KEY_PASSES + 256 * (s->axes[0].npasses +
                                            256 * (s->axes[1].npasses + 256 * s->axes[2].npasses)));
    plan->seconds = predict(plan, s, cycles_per_tap);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_direct_state *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_direct_state *s = plan->state;
    const ptrdiff_t part = unit % s->parts, kblock = unit / s->parts % s->kblocks;
    const ptrdiff_t all = vectors_of(s);
    return (double)(gc_cut(plan->problem.out_per_group, s->kblocks, kblock + 1) -
                    gc_cut(plan->problem.out_per_group, s->kblocks, kblock)) *
           terms(s, gc_cut(all, s->parts, part), gc_cut(all, s->parts, part + 1));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_direct_state *s = plan->state;
    snprintf(text, size, "up to %d output channels x %d vectors of %d lanes; %s of %td x %td x %td",
             s->kb, plan->kernels->max_vb[s->kb - 1], plan->kernels->lanes,
             s->in_place ? "maps in place" : "boxes", s->planes.extent[0], s->planes.extent[1],
             s->planes.extent[2]);
}

const gc_algorithm gc_direct = {
    .name = "direct",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_direct_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
