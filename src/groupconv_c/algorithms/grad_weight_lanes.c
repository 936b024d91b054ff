/* The gradient by the weight with output channels in the lanes: for many output channels per group.
 *
 * A unit is one group, a slab of its output channels, a slab of its input channels and a chunk of the
 * batch. Image by image and box by box, the inputs are packed as for a direct convolution, and the output
 * gradients with vectors of channels side by side at every position; each position then adds the outer
 * product of its inputs at some taps and a vector or two of gradients. Positions between rows are never
 * visited. Chunks of the batch exist only where there would be too little to share out otherwise; their sums
 * are combined in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "pack.h"
#include "to_lanes.h"
#include "weight_sums.h"

enum {
    box_bytes = 256 * 1024,
    block_bytes = 16 * 1024, /* of gradients at a time: they stay in the first-level cache */
};

typedef struct grad_lanes {
    gc_axis axes[3];
    gc_planes planes;
    ptrdiff_t boxes[3];
    ptrdiff_t *taps; /* offsets, one input channel after the other */
    ptrdiff_t per_channel;
    gc_weight_slabs slabs;
    ptrdiff_t vectors; /* of output channels of the largest slab */
    int vb;
} grad_lanes;

static const char *refuse(const gc_plan *plan) {
    return plan->problem.op == GC_GRAD_WEIGHT ? NULL : "it computes weight gradients only";
}

static void destroy(gc_plan *plan) {
    grad_lanes *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->taps);
    free(s);
    plan->state = NULL;
}

typedef struct sizes {
    size_t x, g, sums, turned, row;
} sizes;

static sizes scratch_sizes(const gc_plan *plan, const grad_lanes *s) {
    const size_t size = plan->kernels->real_size, lanes = (size_t)plan->kernels->lanes;
    const ptrdiff_t cslab = s->slabs.most_c, *e = s->planes.extent;
    const size_t taps = (size_t)(cslab * s->per_channel), channels = (size_t)s->vectors * lanes;
    return (sizes){
        .x = gc_round_up(gc_planes_elements(&s->planes, cslab) * size, 64),
        .g = gc_round_up((size_t)(e[0] * e[1] * e[2]) * channels * size, 64),
        .sums = gc_round_up(taps * channels * size, 64),
        .turned = gc_round_up(taps * channels * size, 64),
        .row = gc_round_up((size_t)(e[1] * e[2]) * size, 64),
    };
}

static double predict(const gc_plan *plan, const grad_lanes *s) {
    const gc_problem *p = &plan->problem;
    const double positions =
        (double)p->batch * (double)(p->out_size[0] * p->out_size[1]) * (double)p->out_size[2];
    const double taps = (double)(p->in_per_group * s->per_channel);
    const double each = taps * (double)(s->slabs.k * s->vectors) * 0.58;
    const double gradients = (double)(p->out_per_group * s->slabs.c) * 1.6;
    const double inputs = (double)(p->in_per_group * s->slabs.k) * 0.8;
    return (double)p->groups * positions * (each + gradients + inputs) * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    grad_lanes *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    s->slabs = gc_weight_slabs_of(p);
    s->vectors = gc_ceil_div(s->slabs.most_k, plan->kernels->lanes);
    s->vb = (int)gc_min(s->vectors, GC_MAX_LANE_DOT_VB);
    gc_planes_choose(&s->planes, s->axes, s->slabs.most_c, box_bytes, plan->kernels, s->boxes);
    s->per_channel = p->kernel[0] * p->kernel[1] * p->kernel[2];
    s->taps = gc_planes_taps(&s->planes, s->axes, s->slabs.most_c, s->planes.channel);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    plan->units = gc_weight_units(p, &s->slabs);
    const sizes z = scratch_sizes(plan, s);
    plan->scratch_size = z.x + z.g + z.sums + z.turned + z.row;
    gc_weight_sums_share(plan, s->slabs.chunks);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* The piece of the gradient that a unit sums up. */
typedef struct piece {
    const gc_run *run;
    const grad_lanes *s;
    char *x, *g, *sums, *turned, *row;
    gc_weight_part part;
    ptrdiff_t origin[3], size[3]; /* of the box */
} piece;

static ptrdiff_t taps_of(const piece *u) { return (u->part.c1 - u->part.c0) * u->s->per_channel; }

/* Gradients of the box: vectors of `vb` for every position, block of vectors after block. */
static char *gradients_at(const piece *u, ptrdiff_t vector, ptrdiff_t position, ptrdiff_t vb) {
    const ptrdiff_t lanes = u->run->plan->kernels->lanes;
    const ptrdiff_t positions = u->size[0] * u->size[1] * u->size[2];
    return u->g + (vector * positions + position * vb) * lanes *
                      (ptrdiff_t)u->run->plan->kernels->real_size;
}

static ptrdiff_t vectors_at(const piece *u, ptrdiff_t v) {
    const ptrdiff_t vectors = gc_ceil_div(u->part.k1 - u->part.k0, u->run->plan->kernels->lanes);
    return gc_min(u->s->vb, vectors - v);
}

static void pack_gradients(const piece *u, ptrdiff_t n) {
    const gc_problem *p = &u->run->plan->problem;
    const ptrdiff_t *b = p->weight_strides, wide = u->size[2];
    const char *image = (const char *)u->run->arrays->weight + n * b[0] +
                        (u->part.group * p->out_per_group + u->part.k0) * b[1] +
                        u->origin[0] * b[2] + u->origin[1] * b[3] + u->origin[2] * b[4];
    const int joined = b[3] == wide * b[4] && wide == p->out_size[2]; /* rows follow each other */
    const ptrdiff_t runs = joined ? 1 : u->size[1], each = joined ? u->size[1] * wide : wide;
    const ptrdiff_t lanes = u->run->plan->kernels->lanes;
    for (ptrdiff_t v = 0, vb; (vb = vectors_at(u, v)) > 0; v += vb)
        for (ptrdiff_t d = 0; d < u->size[0]; d++)
            for (ptrdiff_t i = 0; i < runs; i++)
                gc_to_lanes(u->run->plan, b, image + d * b[2] + i * b[3] + v * lanes * b[1],
                            gc_min(vb * lanes, u->part.k1 - u->part.k0 - v * lanes), vb, each,
                            gradients_at(u, v, d * u->size[1] * wide + i * each, vb), u->row);
}

static void pack_inputs(const piece *u, ptrdiff_t n, int again) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const char *image = (const char *)u->run->arrays->input + n * p->input_strides[0] +
                        (u->part.group * p->in_per_group + u->part.c0) * p->input_strides[1];
    gc_pack(plan, u->s->axes, &u->s->planes, image, p->input_strides + 1, u->part.c1 - u->part.c0,
            u->origin, again, u->x);
}

/* Rows first .. first + rows - 1 of depth d: every tap by every vector. */
static void add_rows(const piece *u, ptrdiff_t d, ptrdiff_t first, ptrdiff_t rows) {
    const gc_kernels *kernels = u->run->plan->kernels;
    const grad_lanes *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t taps = taps_of(u);
    gc_lane_dot a = {
        .plane = u->x + (d * s->planes.slice + first * s->planes.pitch) * size,
        .rows = rows,
        .columns = u->size[2],
        .pitch = s->planes.pitch,
        .sums_t = s->vectors * lanes,
    };
    for (ptrdiff_t v = 0, vb; (vb = vectors_at(u, v)) > 0; v += vb) {
        a.grad = gradients_at(u, v, (d * u->size[1] + first) * u->size[2], vb);
        for (ptrdiff_t t = 0, tb; t < taps; t += tb) {
            tb = gc_ceil_div(taps - t, gc_ceil_div(taps - t, kernels->max_lane_dot_tb[vb - 1]));
            a.taps = s->taps + t;
            a.sums = u->sums + (t * a.sums_t + v * lanes) * size;
            kernels->lane_dot[tb - 1][vb - 1](&a);
        }
    }
}

static void add_box(const piece *u) {
    const gc_kernels *kernels = u->run->plan->kernels;
    const ptrdiff_t row = u->size[2] * u->s->vb * kernels->lanes * (ptrdiff_t)kernels->real_size;
    const ptrdiff_t blocks = gc_ceil_div(u->size[1], gc_max(block_bytes / row, 1));
    for (ptrdiff_t d = 0; d < u->size[0]; d++)
        for (ptrdiff_t i = 0; i < blocks; i++) {
            const ptrdiff_t first = gc_cut(u->size[1], blocks, i);
            add_rows(u, d, first, gc_cut(u->size[1], blocks, i + 1) - first);
        }
}

static void sum_piece(piece *u) {
    const gc_problem *p = &u->run->plan->problem;
    const grad_lanes *s = u->s;
    const ptrdiff_t first = gc_cut(p->batch, s->slabs.chunks, u->part.chunk),
                    last = gc_cut(p->batch, s->slabs.chunks, u->part.chunk + 1);
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1] * s->boxes[2];
    memset(u->sums, 0, scratch_sizes(u->run->plan, s).sums);
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) return;
    for (ptrdiff_t n = first; n < last; n++)
        for (ptrdiff_t box = 0; box < boxes; box++) {
            const ptrdiff_t at[3] = {box / (s->boxes[1] * s->boxes[2]),
                                     box / s->boxes[2] % s->boxes[1], box % s->boxes[2]};
            for (int i = 0; i < 3; i++) {
                u->origin[i] = at[i] * s->planes.extent[i];
                u->size[i] = gc_min(s->planes.extent[i], p->out_size[i] - u->origin[i]);
            }
            pack_inputs(u, n, boxes == 1 && n > first);
            pack_gradients(u, n);
            add_box(u);
        }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const grad_lanes *s = plan->state;
    const sizes z = scratch_sizes(plan, s);
    piece u = {.run = run, .s = s, .x = scratch};
    u.g = u.x + z.x;
    u.sums = u.g + z.g;
    u.turned = u.sums + z.sums;
    u.row = u.turned + z.turned;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        u.part = gc_weight_part_of(p, &s->slabs, unit);
        sum_piece(&u);
        gc_weight_sums_put_lanes(run, s->slabs.chunks, &u.part, u.sums,
                                 s->vectors * plan->kernels->lanes, u.turned);
    }
}

static void combine(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const grad_lanes *s = run->plan->state;
    gc_weight_sums_combine(run, s->slabs.chunks, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const grad_lanes *s = plan->state;
    snprintf(text, size, "%d taps x %d vectors of %d output channels; %td chunks of the batch",
             plan->kernels->max_lane_dot_tb[s->vb - 1], s->vb, plan->kernels->lanes,
             s->slabs.chunks);
}

const gc_algorithm gc_grad_weight_lanes = {
    .name = "grad_weight_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .work = work,
    .combine = combine,
    .describe = describe,
};
