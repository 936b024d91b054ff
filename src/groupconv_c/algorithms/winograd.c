/* Winograd's convolution F(m x m, r x r), dense or grouped: for stride 1, and for transposed convolutions of stride 2,
 * whose four phases are convolutions of stride 1 over the same windows.
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
#include <string.h>

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

/* Of up to 5 kernel positions, those that meet one output span at most 3 inputs, wherever the padding puts them. */
static const char *refuse_up(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV_TRANSPOSE) return "it computes transposed convolutions only";
    if (p->kernel[0] != 1 || p->in_size[0] != 1 || p->out_size[0] != 1 || p->pad_before[0] != 0)
        return "it works in two dimensions";
    for (int i = 1; i < 3; i++) {
        if (p->stride[i] != 2 || p->dilation[i] != 1) return "it needs stride 2 and dilation 1";
        if (p->kernel[i] < 3 || p->kernel[i] > 5)
            return "it needs a kernel of 3 to 5 rows and columns";
        if (p->out_size[i] < 2) return "it needs an output of several rows and columns";
    }
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_winograd *s = plan->state;
    if (s == NULL) return;
    gc_winograd_tiles_destroy(&s->tiles);
    free(s->taps);
    free(s->direct_taps);
    gc_weights_destroy(&s->raw);
    free(s);
    plan->state = NULL;
}

/* The one phase of a convolution of stride 1; a transposed one takes its kernel from the last to the first. */
static void create_phase(const gc_problem *p, gc_winograd *s) {
    const int taps = s->tiles.kind.taps * s->tiles.kind.taps;
    gc_winograd_phase *f = s->phases;
    f->ntaps = taps;
    for (int i = 0; i < taps; i++) f->place[i] = p->op == GC_CONV_TRANSPOSE ? taps - 1 - i : i;
    f->points = (1ull << s->tiles.kind.window * s->tiles.kind.window) - 1;
}

/* Elements of a window of 6 where kernels with so many zeros at either end are not zero. */
static uint64_t points_of(const gc_axis_pass *pass, ptrdiff_t min_shift) {
    uint64_t points = 0x1e;
    for (ptrdiff_t t = 0; t < pass->ntaps; t++) {
        if (pass->taps[t].shift == min_shift) points |= 1;
        if (pass->taps[t].shift == min_shift + 2) points |= 0x20;
    }
    return points;
}

/* The phase of rows h and columns w: its weights' order, their places and points. */
static void create_up_phase(const gc_plan *plan, gc_winograd *s, gc_winograd_phase *f,
                            const gc_axis axes[3], int h, int w) {
    const gc_problem *p = &plan->problem;
    const gc_axis_pass *rows = &axes[1].passes[h], *columns = &axes[2].passes[w];
    const ptrdiff_t *b = p->weight_strides;
    ptrdiff_t *order = s->raw.order + f->first;
    for (ptrdiff_t i = 0; i < rows->ntaps; i++)
        for (ptrdiff_t j = 0; j < columns->ntaps; j++) {
            const gc_axis_tap *y = &rows->taps[i], *x = &columns->taps[j];
            f->place[f->ntaps++] =
                (int)(3 * (y->shift - axes[1].min_shift) + x->shift - axes[2].min_shift);
        }
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (ptrdiff_t i = 0; i < rows->ntaps; i++)
            for (ptrdiff_t j = 0; j < columns->ntaps; j++)
                *order++ = c * s->raw.c_bytes + rows->taps[i].kernel * b[3] +
                           columns->taps[j].kernel * b[4];
    const uint64_t across = points_of(columns, axes[2].min_shift);
    const uint64_t down = points_of(rows, axes[1].min_shift);
    for (int i = 0; i < 6; i++)
        if (down >> i & 1) f->points |= across << 6 * i;
}

/* The four phases of a transposed convolution of stride 2, and the convolution whose tiles all of them share. */
static gc_status create_up_phases(const gc_plan *plan, gc_winograd *s, gc_problem *phases) {
    const gc_problem *p = &plan->problem;
    gc_axis axes[3] = {0};
    gc_status status = gc_weights_reorder(&s->raw);
    for (int i = 1; i < 3 && status == GC_OK; i++) {
        status = gc_axis_create(&axes[i], p, i);
        phases->kernel[i] = 3;
        phases->stride[i] = 1;
        phases->pad_before[i] = -axes[i].min_shift;
        phases->out_size[i] = axes[i].count;
    }
    phases->op = GC_CONV;
    for (int f = 0; f < 4 && status == GC_OK; f++) {
        if (f)
            s->phases[f].first = s->phases[f - 1].first + s->phases[f - 1].ntaps * p->in_per_group;
        create_up_phase(plan, s, &s->phases[f], axes, f / 2, f % 2);
    }
    for (int i = 1; i < 3; i++) gc_axis_destroy(&axes[i]);
    return status;
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

static gc_status create_direct_taps(const gc_plan *plan, gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const gc_planes *planes = &s->tiles.planes;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, r = s->tiles.kind.taps;
    s->direct_taps = malloc((size_t)gc_max(s->raw.per_k, 1) * sizeof *s->direct_taps);
    if (s->direct_taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = s->direct_taps;
    for (const gc_winograd_phase *f = s->phases; f < s->phases + s->up * s->up; f++)
        for (ptrdiff_t c = 0; c < p->in_per_group; c++)
            for (int i = 0; i < f->ntaps; i++)
                *tap++ = size *
                         (c * planes->channel + f->place[i] / r * planes->pitch + f->place[i] % r);
    return GC_OK;
}

static gc_winograd_panel panel_of(const gc_winograd *s, const gc_problem *p, ptrdiff_t rows) {
    gc_winograd_panel panel = {.rows = rows,
                               .step = gc_off_set(s->up * s->up * rows * p->in_per_group)};
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
        .rows =
            gc_round_up((size_t)(s->up * s->up * s->tiles.kind.outputs * s->out_row) * size, 64),
        .tile = gc_round_up((size_t)(GC_MAX_VB * plan->kernels->lanes) * size, 64),
        .zipped =
            s->up == 1
                ? 0
                : gc_round_up((size_t)(plan->problem.out_size[2] + 2 * plan->kernels->lanes) * size,
                              64),
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
    const ptrdiff_t window = s->tiles.kind.window * s->tiles.kind.window;
    const ptrdiff_t input =
        ((ptrdiff_t)gc_planes_elements(&s->tiles.planes, icg) + window * s->in_step) * size;
    const ptrdiff_t left = gc_max(thread_bytes - input, 0);
    const ptrdiff_t phases = s->up * s->up;
    const ptrdiff_t products = phases * window * s->tiles.vectors * plan->kernels->lanes * size;
    const ptrdiff_t weights = (phases * window + s->raw.per_k / icg) * icg * size;
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

static int points_of_phases(const gc_winograd *s) {
    int points = 0;
    for (int f = 0; f < s->up * s->up; f++) points += __builtin_popcountll(s->phases[f].points);
    return points;
}

static double predict(const gc_plan *plan, const gc_winograd *s) {
    const gc_problem *p = &plan->problem;
    const double window = s->tiles.kind.window * s->tiles.kind.window, v = (double)s->tiles.vectors;
    const double icg = (double)p->in_per_group, ocg = (double)p->out_per_group;
    const double phases = s->up * s->up, points = (double)points_of_phases(s);
    const double calls = points * ceil(ocg / s->kb) * ceil(v / plan->kernels->max_vb[s->kb - 1]);
    const double products =
        points * icg * s->cycles_per_channel_pair + points * ocg * v / 2 + 40 * calls;
    const double weights = gc_weights_cycles(points * icg * ocg * (double)plan->kernels->real_size);
    const double rows = (double)(s->tiles.box_high * s->tiles.kind.outputs); /* of a box */
    const double transforms = (icg + phases * ocg) * v * window * 5.5;
    const double elements = (double)gc_planes_elements(&s->tiles.planes, p->in_per_group);
    const double pack =
        s->tiles.in_place ? 0 : elements * (p->input_strides[4] == plan->storage_size ? 0.25 : 1.5);
    const double finish =
        phases * ocg * (v * s->tiles.kind.outputs * s->tiles.kind.outputs * 3 + rows * 25);
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

static gc_status create_kind(gc_plan *plan, int which, int up) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    gc_winograd *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    gc_problem phases = *p;
    s->up = up;
    s->bare = gc_output_is_rows(plan) && !p->has_residual && p->activation == GC_IDENTITY;
    gc_weights_create(&s->raw, plan);
    gc_weights_convert(&s->raw);
    gc_status status = up == 1 ? GC_OK : create_up_phases(plan, s, &phases);
    if (status == GC_OK) status = gc_winograd_tiles_cover(&s->tiles, &phases, which);
    if (up == 1) create_phase(p, s);
    if (status == GC_OK)
        status = gc_winograd_tiles_cut(&s->tiles, plan, choose_box(plan, &s->tiles));
    if (status == GC_OK) status = create_direct_taps(plan, s);
    if (status != GC_OK) return status;
    s->in_step = gc_off_set(p->in_per_group * s->tiles.vectors * lanes);
    const ptrdiff_t wide = join_slabs(plan, s);
    s->out_step = gc_off_set(up * up * wide * s->tiles.vectors * lanes);
    s->out_row = s->tiles.vectors * lanes * s->tiles.kind.outputs;
    s->taps = malloc((size_t)p->in_per_group * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        s->taps[c] = c * s->tiles.vectors * lanes * (ptrdiff_t)plan->kernels->real_size;
    s->group = panel_of(s, p, p->out_per_group);
    s->slab = panel_of(s, p, wide);
    plan->units = p->batch * p->groups * s->tiles.boxes * s->kslabs;
    if (p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    const gc_winograd_sizes z = gc_winograd_scratch(plan, s);
    plan->scratch_size = z.planes + z.in + z.out + z.rows + z.tile + z.zipped + z.slab;
    plan->prepared_size = (size_t)(p->groups * s->group.size) * plan->kernels->real_size;
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_key = (size_t)(GC_KEY_WINOGRAD + which);
    if (up == 2) /* the padding decides where a phase's weights lie */
        plan->prepared_key += (size_t)(256 << (p->pad_before[1] & 1) << 2 * (p->pad_before[2] & 1));
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = predict_prepare(plan, s);
    return GC_OK;
}

/* One output channel's kernels of a phase. */
static void transform_weights(const gc_plan *plan, const gc_winograd_phase *f,
                              const gc_winograd_panel *panel, const char *raw, char *to) {
    enum { together = 64 }; /* channels */
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    gc_winograd_weights a = {
        .from = raw,
        .to = to,
        .channels = p->in_per_group,
        .step = panel->step,
        .mirror = p->op == GC_CONV_TRANSPOSE && s->up == 1,
    };
    if (s->up == 1) {
        plan->kernels->winograd_weights[s->tiles.which](&a);
        return;
    }
    double kernels[9 * together];
    const char *from = raw + f->first * size;
    for (ptrdiff_t c = 0; c < p->in_per_group; c += together) {
        a.from = kernels;
        a.to = to + c * size;
        a.channels = gc_min(together, p->in_per_group - c);
        memset(kernels, 0, sizeof kernels);
        for (ptrdiff_t i = 0; i < a.channels; i++)
            for (int t = 0; t < f->ntaps; t++, from += size)
                memcpy((char *)kernels + (9 * i + f->place[t]) * size, from, (size_t)size);
        plan->kernels->winograd_weights[s->tiles.which](&a);
    }
}

void gc_winograd_fill(const gc_plan *plan, const gc_winograd_panel *panel, const void *weight,
                      char *to, ptrdiff_t at, ptrdiff_t g, ptrdiff_t k, ptrdiff_t count) {
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, per_k = s->raw.per_k;
    const ptrdiff_t row = g * p->out_per_group + k;
    char *raw = to + (panel->raw + at * per_k) * size;
    gc_weights_copy(&s->raw, plan, weight, raw, row, row + count);
    for (ptrdiff_t i = 0; i < count; i++)
        for (int f = 0; f < s->up * s->up; f++)
            transform_weights(plan, &s->phases[f], panel, raw + i * per_k * size,
                              to + (f * panel->rows + at + i) * p->in_per_group * size);
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
#define WINOGRAD(variable, text, kind, why, up)                                               \
    static const char *refuse_##variable(const gc_plan *plan) { return why; }                 \
    static gc_status create_##variable(gc_plan *plan) { return create_kind(plan, kind, up); } \
    const gc_algorithm gc_##variable = {                                                      \
        .name = text,                                                                         \
        .refuse = refuse_##variable,                                                          \
        .create = create_##variable,                                                          \
        .destroy = destroy,                                                                   \
        .prepare = prepare,                                                                   \
        .work = gc_winograd_work,                                                             \
        .unit_cost = unit_cost,                                                               \
        .describe = describe,                                                                 \
    }

WINOGRAD(winograd_4x4, "winograd_4x4", GC_WINOGRAD_43, refuse(plan, 3), 1);
WINOGRAD(winograd_2x2, "winograd_2x2", GC_WINOGRAD_23, refuse(plan, 3), 1);
WINOGRAD(winograd_2x2_5x5, "winograd_2x2_5x5", GC_WINOGRAD_25, refuse(plan, 5), 1);
WINOGRAD(winograd_4x4_up2, "winograd_4x4_up2", GC_WINOGRAD_43, refuse_up(plan), 2);
