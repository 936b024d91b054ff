/* Winograd's convolution F(m x m, r x r) for stride 1, dense or grouped.
 *
 * A unit is one image, one group, one box of tile rows, one slab of output channels. Windows are read in place, row
 * by row, and split into tiles in the lanes; arrays and padding that this cannot read are packed first. The
 * products of each of the window's elements are a tap sum over channels; the inverse transform puts tiles side by
 * side into rows, which are finished (residual, activation, type) one by one.
 * This file plans; winograd_work.c computes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "winograd.h"

enum {
    input_bytes = 1100 * 1024, /* of a box, transformed */
    products_bytes = 512 *
        1024,           /* that wait for their inverse transform: the input is read once for them */
    k_slab = 16,        /* output channels of a unit */
    least_channels = 4, /* that are multiplied together */
    thread_bytes = 1984 * 1024, /* of a thread: with rows and tiles below 2 MiB */
    few_boxes = 4,              /* of a call, so that it had better transform them again for each */
};

static const char *refuse(const gc_plan *plan, int taps) {
    if (plan->problem.op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    return gc_winograd_refuse(&plan->problem, taps);
}

static void destroy(gc_plan *plan) {
    gc_winograd *s = plan->state;
    if (s == NULL) return;
    gc_winograd_tiles_destroy(&s->tiles);
    free(s->taps);
    free(s->direct_taps);
    free(s);
    plan->state = NULL;
}

/* Rows of tiles per box: the fewest vectors in all that keep the transformed input in cache. */
static ptrdiff_t choose_box(const gc_plan *plan, const gc_winograd_tiles *t) {
    const ptrdiff_t lanes = plan->kernels->lanes, high = gc_max(t->high, 1);
    const ptrdiff_t wide = gc_max(t->wide, 1);
    const ptrdiff_t per_vector = t->kind.window * t->kind.window * plan->problem.in_per_group *
                                 lanes * (ptrdiff_t)plan->kernels->real_size;
    ptrdiff_t best = 1, best_cost = 0;
    for (ptrdiff_t boxes = 1; boxes <= high; boxes++) {
        const ptrdiff_t rows = gc_ceil_div(high, boxes);
        const ptrdiff_t vectors = gc_ceil_div(rows * wide, lanes);
        if (vectors * per_vector > input_bytes && rows > 1) continue;
        /* each box packs a row more than it has and reads the weights again */
        const ptrdiff_t cost = gc_ceil_div(high, rows) * (8 * vectors + 2);
        if (best_cost == 0 || cost < best_cost) {
            best_cost = cost;
            best = rows;
        }
    }
    return best;
}

/* In the order of the weights, which a transposed convolution takes from the last to the first. */
static gc_status create_direct_taps(const gc_plan *plan, gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, r = s->tiles.kind.taps;
    s->direct_taps = malloc((size_t)gc_max(p->in_per_group * r * r, 1) * sizeof *s->direct_taps);
    if (s->direct_taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = s->direct_taps;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (ptrdiff_t i = 0; i < r * r; i++) {
            const ptrdiff_t at = p->op == GC_CONV_TRANSPOSE ? r * r - 1 - i : i;
            *tap++ = size * (c * s->tiles.planes.channel + at / r * s->tiles.planes.pitch + at % r);
        }
    return GC_OK;
}

static gc_winograd_panel panel_of(const gc_winograd *s, const gc_problem *p, ptrdiff_t rows) {
    gc_winograd_panel panel = {.step = gc_off_set(rows * p->in_per_group)};
    panel.raw = s->tiles.kind.window * s->tiles.kind.window * panel.step;
    panel.size = panel.raw + rows * s->raw.per_k;
    return panel;
}

gc_winograd_sizes gc_winograd_scratch(const gc_plan *plan, const gc_winograd *s) {
    const size_t size = plan->kernels->real_size;
    const int window = s->tiles.kind.window * s->tiles.kind.window;
    const ptrdiff_t icg = plan->problem.in_per_group;
    const gc_winograd_sizes z = {
        .planes = gc_round_up(gc_planes_elements(&s->tiles.planes, icg) * size, 64),
        .in = gc_round_up((size_t)(window * s->in_step) * size, 64),
        .out = gc_round_up((size_t)(window * s->out_step) * size, 64),
        .rows = gc_round_up((size_t)(s->tiles.kind.outputs * s->out_row) * size, 64),
        .tile = gc_round_up((size_t)(GC_MAX_VB * plan->kernels->lanes) * size, 64),
        .slab = plan->prepares_in_work ? (size_t)s->slab.size * size : 0,
    };
    return z;
}

/* Units are slabs of few channels, that share out evenly; a thread joins those that follow each other while
 * its memory lasts. The most channels that are multiplied together. Predictions and units do not know whether
 * the call transforms weights. */
static ptrdiff_t join_slabs(gc_plan *plan, gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, icg = p->in_per_group;
    const ptrdiff_t window = s->tiles.kind.window * s->tiles.kind.window,
                    taps = s->tiles.kind.taps * s->tiles.kind.taps;
    const ptrdiff_t input =
        ((ptrdiff_t)gc_planes_elements(&s->tiles.planes, icg) + window * s->in_step) * size;
    const ptrdiff_t left = gc_max(thread_bytes - input, 0);
    const ptrdiff_t products = window * s->tiles.vectors * plan->kernels->lanes * size;
    const ptrdiff_t weights = (window + taps) * icg * size;
    const ptrdiff_t fit = gc_min(
        gc_max(gc_min(products_bytes, left) / products / 8 * 8, least_channels), p->out_per_group);
    const ptrdiff_t late = gc_max(gc_min(left / (products + weights), k_slab), 1);
    plan->prepares_in_work = !p->weights_ahead && p->batch * s->tiles.boxes <= few_boxes;
    s->kslabs = gc_even_pieces(plan, p->groups * s->tiles.boxes, p->out_per_group,
                               gc_ceil_div(p->out_per_group, late));
    const ptrdiff_t slab = gc_ceil_div(p->out_per_group, s->kslabs);
    const ptrdiff_t most = plan->prepares_in_work ? gc_min(late, fit) : fit;
    s->joined = most == p->out_per_group ? s->kslabs : gc_max(most / slab, 1);
    s->kb = gc_choose_kb(plan->kernels, fit, s->tiles.vectors, &s->cycles_per_channel_pair);
    s->cycles_per_channel_pair *= (double)p->out_per_group / (double)fit;
    return gc_min(s->joined * slab, p->out_per_group);
}

static double predict(const gc_plan *plan, const gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const double window = s->tiles.kind.window * s->tiles.kind.window, v = (double)s->tiles.vectors;
    const double icg = (double)p->in_per_group, ocg = (double)p->out_per_group;
    const double calls = window * ceil(ocg / s->kb) * ceil(v / plan->kernels->max_vb[s->kb - 1]);
    const double products =
        window * icg * s->cycles_per_channel_pair + window * ocg * v / 2 + 40 * calls;
    const double weights = gc_weights_cycles(window * icg * ocg * (double)plan->kernels->real_size);
    const double rows = (double)(s->tiles.box_high * s->tiles.kind.outputs); /* of a box */
    const double transforms = (icg + ocg) * v * window * 5.5;
    const double elements = (double)gc_planes_elements(&s->tiles.planes, p->in_per_group);
    const double pack =
        s->tiles.in_place ? 0 : elements * (p->input_strides[4] == plan->storage_size ? 0.25 : 1.5);
    const double finish = ocg * (v * s->tiles.kind.outputs * s->tiles.kind.outputs * 3 + rows * 25);
    /* most weights come while others are at work */
    const double cycles =
        (double)s->tiles.boxes * (products + transforms + pack + finish) * 1.15 + 0.25 * weights;
    return ((double)(p->batch * p->groups) * cycles + gc_strided_cycles(plan)) * GC_CYCLE;
}

/* Turned and transformed in the near caches, where they stay for work that does it itself. */
static double predict_prepare(const gc_plan *plan, const gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const double taps = s->tiles.kind.taps * s->tiles.kind.taps,
                 window = s->tiles.kind.window * s->tiles.kind.window;
    const double pairs = (double)(p->groups * p->in_per_group * p->out_per_group);
    const double transform = 0.6 * (taps + 3 * window * s->tiles.kind.taps / plan->kernels->lanes);
    const double store = window * (double)plan->kernels->real_size / 3;
    const double cycles = plan->prepares_in_work ? (double)(p->batch * s->tiles.boxes) * transform
                                                 : transform + store;
    return pairs * cycles * GC_CYCLE;
}

static gc_status create_kind(gc_plan *plan, int which) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    gc_winograd *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    gc_status status = gc_winograd_tiles_cover(&s->tiles, plan, which);
    if (status == GC_OK)
        status = gc_winograd_tiles_cut(&s->tiles, plan, choose_box(plan, &s->tiles));
    if (status == GC_OK) status = create_direct_taps(plan, s);
    if (status != GC_OK) return status;
    s->in_step = gc_off_set(p->in_per_group * s->tiles.vectors * lanes);
    const ptrdiff_t wide = join_slabs(plan, s);
    s->out_step = gc_off_set(wide * s->tiles.vectors * lanes);
    s->out_row = s->tiles.vectors * lanes * s->tiles.kind.outputs;
    s->taps = malloc((size_t)p->in_per_group * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        s->taps[c] = c * s->tiles.vectors * lanes * (ptrdiff_t)plan->kernels->real_size;
    gc_weights_create(&s->raw, plan);
    gc_weights_convert(&s->raw);
    s->group = panel_of(s, p, p->out_per_group);
    s->slab = panel_of(s, p, wide);
    plan->units = p->batch * p->groups * s->tiles.boxes * s->kslabs;
    if (p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    const gc_winograd_sizes z = gc_winograd_scratch(plan, s);
    plan->scratch_size = z.planes + z.in + z.out + z.rows + z.tile + z.slab;
    plan->prepared_size = (size_t)(p->groups * s->group.size) * plan->kernels->real_size;
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_key = (size_t)(GC_KEY_WINOGRAD + which);
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = predict_prepare(plan, s);
    return GC_OK;
}

void gc_winograd_fill(const gc_plan *plan, const gc_winograd_panel *panel, const void *weight,
                      char *to, ptrdiff_t at, ptrdiff_t g, ptrdiff_t k, ptrdiff_t count) {
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, per_k = s->raw.per_k;
    const ptrdiff_t row = g * p->out_per_group + k;
    char *raw = to + (panel->raw + at * per_k) * size;
    gc_weights_copy(&s->raw, plan, weight, raw, row, row + count);
    gc_winograd_weights a = {
        .channels = p->in_per_group,
        .step = panel->step,
        .mirror = p->op == GC_CONV_TRANSPOSE,
    };
    for (ptrdiff_t i = 0; i < count; i++) {
        a.from = raw + i * per_k * size;
        a.to = to + (at + i) * p->in_per_group * size;
        plan->kernels->winograd_weights[s->tiles.which](&a);
    }
}

/* Units are output channels, counted over all groups. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_winograd *s = plan->state;
    const ptrdiff_t ocg = plan->problem.out_per_group;
    for (ptrdiff_t row = first; row < last; row++) {
        const ptrdiff_t g = row / ocg, k = row % ocg;
        char *to = (char *)prepared + g * s->group.size * (ptrdiff_t)plan->kernels->real_size;
        gc_winograd_fill(plan, &s->group, weight, to, k, g, k, 1);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_winograd *s = plan->state;
    const ptrdiff_t k = plan->problem.out_per_group, i = unit % s->kslabs;
    const ptrdiff_t rows = s->tiles.box_high, first = unit / s->kslabs % s->tiles.boxes * rows;
    return (double)(gc_min(rows, s->tiles.high - first) *
                    (gc_cut(k, s->kslabs, i + 1) - gc_cut(k, s->kslabs, i)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_winograd *s = plan->state;
    snprintf(text, size,
             "F(%dx%d, %dx%d), %td boxes of %td tiles; products %d output channels x %d vectors",
             s->tiles.kind.outputs, s->tiles.kind.outputs, s->tiles.kind.taps, s->tiles.kind.taps,
             s->tiles.boxes, s->tiles.box_high * s->tiles.wide, s->kb,
             plan->kernels->max_vb[s->kb - 1]);
}

/* Each kind is an algorithm of its own: a name tells which operations make a result. */
#define WINOGRAD(variable, text, kind, taps)                                                 \
    static const char *refuse_##variable(const gc_plan *plan) { return refuse(plan, taps); } \
    static gc_status create_##variable(gc_plan *plan) { return create_kind(plan, kind); }    \
    const gc_algorithm gc_##variable = {                                                     \
        .name = text,                                                                        \
        .refuse = refuse_##variable,                                                         \
        .create = create_##variable,                                                         \
        .destroy = destroy,                                                                  \
        .prepare = prepare,                                                                  \
        .work = gc_winograd_work,                                                            \
        .unit_cost = unit_cost,                                                              \
        .describe = describe,                                                                \
    }

WINOGRAD(winograd_4x4, "winograd_4x4", GC_WINOGRAD_43, 3);
WINOGRAD(winograd_2x2, "winograd_2x2", GC_WINOGRAD_23, 3);
WINOGRAD(winograd_2x2_5x5, "winograd_2x2_5x5", GC_WINOGRAD_25, 5);
