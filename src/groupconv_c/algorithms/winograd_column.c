/* Winograd's convolutions F(4, 3), F(3, 4) and F(2, 5) down columns, positions in the lanes: for groups of few channels,
 * whose rows are read and written as they lie, and for kernels whose rows have a stride.
 *
 * A unit is one image, one group, one box of output positions, one block of output channels; of few and large units, a
 * part of the box's vectors. Output rows are cut into blocks of 4, 3 or 2, whose windows of 6 rows are transformed,
 * position by position, to 6 elements. Over each of them runs the tap sum of direct convolution, with the kernel's depths
 * and columns for taps: half as many products as the direct ones, or 4/7 or 3/5. The inverse transform stores a block's
 * rows at a time.
 * Rows of stride s are s convolutions of stride 1, each of one phase of input rows with every s-th row of the kernel.
 * They have windows of their own, and the products of all of them are added up before the inverse transform.
 * This file plans; winograd_column_work.c computes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "winograd_column.h"

enum {
    least_products = 64,    /* in shorter sums its error would be seen, and transforms not repaid */
    box_bytes = 512 * 1024, /* of transformed windows, in the second-level cache */
    most_bytes = 768 * 1024, /* where a row of blocks alone has more than that */
};

/* Reals of the windows of a box of one group. */
static size_t window_reals(const gc_plan *plan, const gc_winograd_column *s) {
    const ptrdiff_t reach = (GC_MAX_VB + 1) * plan->kernels->lanes;
    return (size_t)(GC_COLUMN_WINDOW * s->element + reach);
}

/* Reals of an input channel. */
static size_t channel_reals(const gc_problem *p) {
    return (size_t)(p->in_size[0] * p->in_size[1] * p->in_size[2]);
}

gc_winograd_column_sizes gc_winograd_column_scratch(const gc_plan *plan,
                                                    const gc_winograd_column *s) {
    const size_t size = plan->kernels->real_size, line = 64;
    const size_t tile = (size_t)(GC_MAX_KB * GC_MAX_VB * plan->kernels->lanes) * size;
    return (gc_winograd_column_sizes){
        .windows = gc_round_up(window_reals(plan, s) * size, line),
        .planes =
            gc_round_up(gc_planes_elements(&s->planes, plan->problem.in_per_group) * size, line),
        .channel = s->converts ? gc_round_up(channel_reals(&plan->problem) * size, line) : 0,
        .products = GC_COLUMN_WINDOW * tile,
        .rows = (size_t)(s->kb * s->windows.extent[1] * s->windows.extent[2]) * size,
    };
}

ptrdiff_t gc_winograd_column_start(const gc_winograd_column *s, ptrdiff_t phase) {
    const gc_axis_tap *tap = s->axes[1].passes->taps; /* in the order of their shifts */
    while (tap->slot != phase) tap++;
    return tap->shift;
}

/* Boxes of `extent` output positions. */
static void lay_out(const gc_plan *plan, gc_winograd_column *s, const ptrdiff_t extent[3]) {
    const ptrdiff_t lanes = plan->kernels->lanes;
    gc_planes_layout(&s->planes, s->axes, extent, (GC_MAX_VB + 1) * lanes);
    gc_planes *w = &s->windows;
    *w = s->planes;
    w->size[1] = gc_ceil_div(extent[1], s->outputs);
    w->slice = w->size[1] * w->pitch;
    w->plane = w->size[0] * w->slice + w->size[2] - w->pitch;
    w->channel = w->nplanes * w->plane;
    s->element = plan->problem.in_per_group * w->channel + lanes;
}

/* Cuts a dimension until the windows of a box are cached, or it is down to `least` steps, blocks for rows. */
static void cut(const gc_plan *plan, gc_winograd_column *s, ptrdiff_t extent[3], int dim,
                ptrdiff_t least) {
    const size_t size = plan->kernels->real_size;
    const ptrdiff_t count = gc_max(s->axes[dim].count, 1), step = dim == 1 ? s->outputs : 1;
    const ptrdiff_t steps = gc_ceil_div(count, step);
    ptrdiff_t each = gc_ceil_div(extent[dim], step);
    for (ptrdiff_t parts = gc_ceil_div(steps, each) + 1;
         window_reals(plan, s) * size > box_bytes && each > least; parts++) {
        each = gc_max(gc_ceil_div(steps, parts), least);
        extent[dim] = gc_min(each * step, count);
        lay_out(plan, s, extent);
    }
}

/* The largest boxes whose windows are cached. Depths are cut first, unless they share windows, columns never. */
static void choose_boxes(const gc_plan *plan, gc_winograd_column *s) {
    enum { few_blocks = 2 };
    ptrdiff_t extent[3];
    for (int i = 0; i < 3; i++) extent[i] = gc_max(s->axes[i].count, 1);
    lay_out(plan, s, extent);
    if (plan->problem.kernel[0] > 1) cut(plan, s, extent, 1, few_blocks);
    cut(plan, s, extent, 0, 1);
    cut(plan, s, extent, 1, 1);
    for (int i = 0; i < 3; i++) s->boxes[i] = gc_ceil_div(gc_max(s->axes[i].count, 1), extent[i]);
}

/* Rows of the kernel that read one phase of input rows, at most. */
static ptrdiff_t rows_of_phase(const gc_problem *p) {
    return gc_ceil_div(p->kernel[1], p->stride[1]);
}

static const char *refuse(const gc_plan *plan, ptrdiff_t outputs) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    for (int i = 0; i < 3 && p->op == GC_CONV_TRANSPOSE; i++)
        if (p->stride[i] != 1) return "it needs stride 1";
    if (p->dilation[1] != 1) return "it needs rows of dilation 1";
    if (outputs + rows_of_phase(p) != GC_COLUMN_WINDOW + 1)
        return outputs == 4   ? "it needs a kernel of 3 rows, times the stride"
               : outputs == 3 ? "it needs a kernel of 4 rows, times the stride"
                              : "it needs a kernel of 5 rows, times the stride";
    if (p->in_per_group * p->kernel[0] * p->kernel[1] * p->kernel[2] < least_products)
        return "it needs sums of 64 products";
    const double columns = (double)p->out_size[2] + (double)(p->kernel[2] * p->dilation[2]);
    const double phases = (double)(p->stride[1] * p->stride[2]);
    const double row = columns * phases * (double)(p->in_per_group * p->kernel[0]);
    if (GC_COLUMN_WINDOW * row * (double)plan->kernels->real_size > most_bytes)
        return "windows of a row do not fit a near cache";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_winograd_column *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->taps);
    free(s->direct_taps);
    free(s->pieces);
    free(s->first_piece);
    gc_weights_destroy(&s->raw);
    free(s);
    plan->state = NULL;
}

static gc_status create_taps(const gc_plan *plan, gc_winograd_column *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, phases = s->axes[1].nphases;
    const gc_axis_pass *d = s->axes[0].passes, *h = s->axes[1].passes, *w = s->axes[2].passes;
    s->ntaps = p->in_per_group * p->kernel[0] * phases * p->kernel[2];
    s->taps = malloc((size_t)s->ntaps * sizeof *s->taps);
    s->direct_taps = malloc((size_t)s->raw.per_k * sizeof *s->direct_taps);
    if (s->taps == NULL || s->direct_taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = s->taps;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (const gc_axis_tap *td = d->taps; td < d->taps + d->ntaps; td++) {
            for (ptrdiff_t i = 0; i < phases * w->ntaps; i++) {
                const gc_axis_tap window = {.slot = i / w->ntaps, .shift = s->axes[1].min_shift};
                const gc_axis_tap *tw = &w->taps[i % w->ntaps];
                *tap++ = size * (c * s->windows.channel +
                                 gc_planes_tap(&s->windows, s->axes, td, &window, tw));
            }
            for (ptrdiff_t i = 0; i < h->ntaps * w->ntaps; i++) {
                const gc_axis_tap *th = &h->taps[i / w->ntaps], *tw = &w->taps[i % w->ntaps];
                const ptrdiff_t at = gc_weights_tap(&s->raw, c, td->kernel, th->kernel, tw->kernel);
                s->direct_taps[at] =
                    size * (c * s->planes.channel + gc_planes_tap(&s->planes, s->axes, td, th, tw));
            }
        }
    return GC_OK;
}

/* Vectors of flat positions, and the parts of their lanes that are results of one block. */
static gc_status create_pieces(const gc_plan *plan, gc_winograd_column *s) {
    const ptrdiff_t lanes = plan->kernels->lanes;
    const ptrdiff_t pitch = s->windows.pitch, columns = s->windows.extent[2];
    const ptrdiff_t blocks = s->windows.size[1];
    s->vectors = gc_ceil_div((blocks - 1) * pitch + columns, lanes);
    s->pieces = calloc((size_t)(s->vectors + blocks + 1), sizeof *s->pieces);
    s->first_piece = calloc((size_t)s->vectors + 1, sizeof *s->first_piece);
    if (s->pieces == NULL || s->first_piece == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t count = 0;
    for (ptrdiff_t v = 0; v < s->vectors; v++) {
        s->first_piece[v] = count;
        for (ptrdiff_t l = 0; l < lanes;) {
            const ptrdiff_t block = (v * lanes + l) / pitch, column = (v * lanes + l) % pitch;
            const ptrdiff_t results = gc_min(columns - column, lanes - l), row = block * s->outputs;
            if (block < blocks && results > 0)
                s->pieces[count++] = (gc_column_piece){
                    .row = row,
                    .column = column - l,
                    .at = row * columns + column - l, /* rows follow each other */
                    .lanes = {.bits = (uint32_t)(((1ull << results) - 1) << l),
                              .count = (uint16_t)results},
                    .more = 1,
                };
            l += pitch - column;
        }
        if (count == s->first_piece[v]) /* between blocks */
            s->pieces[count++] = (gc_column_piece){.row = blocks * s->outputs};
        s->pieces[count - 1].more = 0;
    }
    s->first_piece[s->vectors] = count;
    return GC_OK;
}

static double predict(const gc_plan *plan, const gc_winograd_column *s, double cycles_per_tap) {
    const gc_problem *p = &plan->problem;
    const double boxes = (double)(s->boxes[0] * s->boxes[1]);
    const double deep = (double)s->windows.extent[0], lanes = plan->kernels->lanes;
    const double vectors = deep * (double)s->vectors, k = (double)p->out_per_group;
    const double calls = vectors * (double)s->kblocks / plan->kernels->max_vb[s->kb - 1];
    const double products = GC_COLUMN_WINDOW * (cycles_per_tap * (double)s->ntaps * deep +
                                                20 * calls + k * vectors / 2);
    const double windows =
        (double)(p->in_per_group * s->windows.nplanes * s->windows.size[0]) *
        (double)s->windows.size[1] *
        ((double)gc_ceil_div(s->windows.size[2], plan->kernels->lanes) * 14 + 10);
    const int even = p->output_strides[4] == plan->storage_size;
    const double finish = s->plain ? 0 : even ? 3 : 2.5 * lanes;
    const double outputs = k * vectors * (14 + (3 + finish) * (double)s->outputs);
    const double elements =
        s->in_place ? 0 : (double)gc_planes_elements(&s->planes, p->in_per_group);
    const double slices = (double)gc_planes_slices(&s->planes, s->axes, p->in_per_group);
    const double pack =
        s->converts ? (double)p->in_per_group * (double)channel_reals(p) * 1.5 / lanes
                    : elements * (p->input_strides[4] == plan->storage_size ? 4 / lanes : 1.5);
    const double weights = gc_weights_cycles(k * (double)gc_winograd_column_per_k(s) *
                                             (double)plan->kernels->real_size);
    const double wait = plan->kernels->registers < 32 ? 1.08 : 1.25;
    /* where arithmetic takes long, most weights come while others are at work */
    const double late = gc_takes_halves(plan->kernels) ? 0.3 : 1;
    const double cycles =
        boxes * (products + windows + outputs + pack + slices * 50) * wait + late * weights;
    return ((double)(p->batch * p->groups) * cycles + gc_strided_cycles(plan)) * GC_CYCLE;
}

/* Whether the windows are read from rows as they lie, or as they lie once a channel of halves is converted. */
static void choose_source(const gc_plan *plan, gc_winograd_column *s) {
    enum { most_converted = 64 * 1024 };
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides, size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t item = plan->storage_size, row = p->in_size[2];
    if (p->padding_mode != GC_ZEROS || s->axes[2].in_step != 1 || i[4] != item) return;
    s->converts = item != size;
    s->in_place = 1;
    s->from_row = s->converts ? size * row : i[3];
    s->from_depth = s->converts ? s->from_row * p->in_size[1] : i[2];
    if (s->converts) /* whole channels, once */
        s->in_place = s->converts = (p->in_size[1] == 1 || i[3] == item * row) &&
                                    s->boxes[0] * s->boxes[1] == 1 &&
                                    channel_reals(p) <= most_converted;
}

static gc_status create(gc_plan *plan, ptrdiff_t outputs) {
    const gc_problem *p = &plan->problem;
    gc_winograd_column *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->outputs = outputs;
    gc_status status = GC_OK;
    for (int i = 0; i < 3 && status == GC_OK; i++) status = gc_axis_create(&s->axes[i], p, i);
    if (status != GC_OK) return status;
    choose_boxes(plan, s);
    gc_weights_create(&s->raw, plan);
    gc_weights_convert(&s->raw);
    choose_source(plan, s);
    s->plain = gc_activation_clamp(p->activation, &s->low, &s->high) && gc_output_is_rows(plan) &&
               gc_residual_is_rows(plan);

    status = create_taps(plan, s);
    if (status == GC_OK) status = create_pieces(plan, s);
    if (status != GC_OK) return status;
    double cycles_per_tap;
    s->kb = gc_choose_kb(plan->kernels, p->out_per_group, s->vectors, &cycles_per_tap);
    s->kblocks = gc_ceil_div(p->out_per_group, s->kb);
    const ptrdiff_t blocks = p->groups * s->boxes[0] * s->boxes[1] * s->kblocks;
    s->parts = gc_even_pieces(plan, blocks, s->windows.extent[0] * s->vectors, 1);
    plan->units = p->batch * blocks * s->parts;
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    const gc_winograd_column_sizes z = gc_winograd_column_scratch(plan, s);
    plan->scratch_size = z.windows + z.planes + z.channel + z.products + z.rows;
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_size =
        (size_t)(plan->prepare_units * gc_winograd_column_per_k(s)) * plan->kernels->real_size;
    plan->prepared_key = (size_t)(GC_KEY_WINOGRAD_COLUMN + outputs);
    plan->seconds = predict(plan, s, cycles_per_tap);
    plan->prepare_seconds = gc_prepare_seconds(plan, 1.2);
    return GC_OK;
}

/* Taps first .. first + count - 1 of the elements of one output channel, from its weights `raw`. */
static void transform_weights(const gc_plan *plan, const char *raw, char *to, ptrdiff_t first,
                              ptrdiff_t count) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t wide = plan->problem.kernel[2], deep = plan->problem.kernel[0];
    const gc_axis_pass *d = s->axes[0].passes, *h = s->axes[1].passes, *w = s->axes[2].passes;
    double rows[GC_COLUMN_TAPS][GC_MAX_LANES] = {{0}}, elements[GC_COLUMN_WINDOW][GC_MAX_LANES];
    const gc_winograd_column_weights a = {
        .from = rows,
        .to = elements,
        .tap = GC_MAX_LANES * (ptrdiff_t)sizeof(double) / size,
        .element = GC_MAX_LANES * (ptrdiff_t)sizeof(double) / size,
        .taps = GC_COLUMN_WINDOW + 1 - (int)s->outputs,
    };
    for (ptrdiff_t l = 0; l < count; l++) {
        const ptrdiff_t phases = s->axes[1].nphases, row = (first + l) / wide;
        const ptrdiff_t phase = row % phases, start = gc_winograd_column_start(s, phase);
        const gc_axis_tap *tw = &w->taps[(first + l) % wide], *td = &d->taps[row / phases % deep];
        for (const gc_axis_tap *th = h->taps; th < h->taps + h->ntaps; th++) {
            if (th->slot != phase) continue;
            const ptrdiff_t from =
                gc_weights_tap(&s->raw, row / phases / deep, td->kernel, th->kernel, tw->kernel);
            memcpy((char *)rows[th->shift - start] + l * size, raw + from * size, (size_t)size);
        }
    }
    plan->kernels->winograd_column_weights(&a);
    for (int e = 0; e < GC_COLUMN_WINDOW; e++)
        memcpy(to + (e * s->ntaps + first) * size, elements[e], (size_t)(count * size));
}

/* Units are output channels, counted over all groups. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    for (ptrdiff_t k = first; k < last; k++) {
        char *to = (char *)prepared + k * gc_winograd_column_per_k(s) * size;
        char *raw = to + GC_COLUMN_WINDOW * s->ntaps * size;
        gc_weights_copy(&s->raw, plan, weight, raw, k, k + 1);
        for (ptrdiff_t i = 0; i < s->ntaps; i += lanes)
            transform_weights(plan, raw, to, i, gc_min(lanes, s->ntaps - i));
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t ocg = plan->problem.out_per_group;
    const ptrdiff_t part = unit % s->parts, whole = unit / s->parts, kblock = whole % s->kblocks;
    const ptrdiff_t box = whole / s->kblocks % s->boxes[1], rows = s->windows.extent[1];
    const ptrdiff_t high = gc_min(rows, plan->problem.out_size[1] - box * rows);
    const ptrdiff_t vectors = s->windows.extent[0] * s->vectors;
    return (double)(gc_cut(ocg, s->kblocks, kblock + 1) - gc_cut(ocg, s->kblocks, kblock)) *
           (double)(gc_cut(vectors, s->parts, part + 1) - gc_cut(vectors, s->parts, part)) *
           (double)high;
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_winograd_column *s = plan->state;
    snprintf(
        text, size,
        "F(%td, %td) down columns, %s, boxes of %td x %td rows; products up to %d output channels "
        "x %d vectors of %d lanes",
        s->outputs, GC_COLUMN_WINDOW + 1 - s->outputs,
        s->converts   ? "converted"
        : s->in_place ? "in place"
                      : "packed",
        s->windows.extent[0], s->windows.extent[1], s->kb, plan->kernels->max_vb[s->kb - 1],
        plan->kernels->lanes);
}

/* Each is an algorithm of its own: a name tells which operations make a result. */
#define WINOGRAD_COLUMN(variable, text, outputs)                                                \
    static const char *refuse_##variable(const gc_plan *plan) { return refuse(plan, outputs); } \
    static gc_status create_##variable(gc_plan *plan) { return create(plan, outputs); }         \
    const gc_algorithm gc_##variable = {                                                        \
        .name = text,                                                                           \
        .refuse = refuse_##variable,                                                            \
        .create = create_##variable,                                                            \
        .destroy = destroy,                                                                     \
        .prepare = prepare,                                                                     \
        .work = gc_winograd_column_work,                                                        \
        .unit_cost = unit_cost,                                                                 \
        .describe = describe,                                                                   \
    }

WINOGRAD_COLUMN(winograd_4x1, "winograd_4x1", 4);
WINOGRAD_COLUMN(winograd_3x1, "winograd_3x1", 3);
WINOGRAD_COLUMN(winograd_2x1, "winograd_2x1", 2);
