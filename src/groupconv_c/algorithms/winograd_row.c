/* Winograd's convolution F(4, 3) along rows, output channels in the lanes: for groups whose channels fill vectors, on
 * maps too small for tiles in the lanes (winograd.c), and for kernels of any height and depth.
 *
 * A unit is one image, one group, one box of output rows of one depth, one block of vectors of output channels. The
 * box's rows are cut into tiles of 4 outputs, and their windows of 6 columns transformed, channels in the lanes: in
 * place, or turned or packed first. For each of a window's 6 elements the products of a tile are a sum over kernel rows
 * and channels, inputs broadcast; half as many as the direct ones. The inverse transform has output channels in the
 * lanes, as they are stored in channels_last, or turned on their way.
 * This file plans; winograd_row_work.c computes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "weights.h"
#include "winograd_row.h"

enum {
    least_channels = 4,       /* fewer do not repay their transforms, */
    least_products = 64,      /* and in shorter sums its error would be seen */
    box_bytes = 256 * 1024,   /* of transformed windows, */
    most_bytes = 1024 * 1024, /* where an output row alone reads more than that */
    wanted_units = 4,         /* of small problems too */
    held_bytes = 12 * 1024,   /* of products that wait for their inverse transform; */
    turned_bytes = 24 * 1024, /* where results are turned, in more of whole squares; */
    most_held = 48 * 1024,    /* and where weights are too many for the first-level cache: */
    few_weights = 16 * 1024,  /* of a block and an element */
};

/* Rows that an output row's windows reach over. */
static ptrdiff_t reach(const gc_problem *p) { return (p->kernel[1] - 1) * p->dilation[1]; }

/* Reals of an element of a window: all channels, in whole vectors, so that tiles do not share cache sets. */
static ptrdiff_t element_of(const gc_plan *plan, ptrdiff_t channels) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t whole = gc_ceil_div(channels, lanes) * lanes;
    return whole * size % 1024 == 0 ? whole + lanes : whole;
}

/* Bytes of the windows of a row, of all depths of the kernel. */
static double row_bytes(const gc_plan *plan, ptrdiff_t channels) {
    const gc_problem *p = &plan->problem;
    return (double)p->kernel[0] * (double)gc_ceil_div(p->out_size[2], GC_ROW_OUTPUTS) *
           GC_ROW_WINDOW * (double)element_of(plan, channels) * (double)plan->kernels->real_size;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (p->kernel[2] != GC_ROW_TAPS) return "it needs a kernel of 3 columns";
    if (p->stride[1] != 1 || p->stride[2] != 1) return "it needs stride 1";
    if (p->op == GC_CONV_TRANSPOSE && p->stride[0] != 1) return "it needs stride 1";
    if (p->dilation[2] != 1) return "it needs columns of dilation 1";
    if (p->in_per_group < least_channels) return "it needs 4 input channels to a group";
    if (p->in_per_group * p->kernel[0] * p->kernel[1] * p->kernel[2] < least_products)
        return "it needs sums of 64 products";
    if ((double)(1 + reach(p)) * row_bytes(plan, p->in_per_group) > most_bytes)
        return "windows of an output row do not fit a near cache";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_winograd_row *s = plan->state;
    if (s == NULL) return;
    gc_channel_box_destroy(&s->box);
    free(s->taps);
    free(s->direct_taps);
    free(s);
    plan->state = NULL;
}

static const gc_lane_products_tile *shared_tiles(const gc_plan *plan, int share) {
    return plan->kernels->lane_shared_products[share == 4];
}

/* 2 or 4 groups that fill a vector together share it. */
static void share_vectors(const gc_plan *plan, gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    const int lanes = plan->kernels->lanes, icg = (int)gc_min(p->in_per_group, lanes);
    const int share = lanes / icg;
    const int fill = share * p->in_per_group == lanes && share * p->out_per_group == lanes;
    s->share = 1;
    if (p->op == GC_CONV && p->groups > 1 && fill && (share == 2 || share == 4) &&
        shared_tiles(plan, share)[GC_LANE_PRODUCT_TILES - 1].positions > 0)
        s->share = share;
    s->groups = gc_ceil_div(p->groups, s->share);
    s->in = s->share * p->in_per_group;
    s->out = s->share * p->out_per_group;
    for (int l = 0; l < lanes && s->share > 1; l++) {
        s->order[l] = (int32_t)(l % share * icg + l / share);
        s->back[l] = (int32_t)(l % icg * share + l / icg);
    }
}

static gc_row_source source_of(const gc_plan *plan, const gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    if (p->padding_mode != GC_ZEROS) return GC_ROW_PACKED;
    if (gc_lanes_in_memory(plan, p->input_strides, s->in)) return GC_ROW_IN_PLACE;
    return gc_channel_box_turns(plan, p->input_strides, s->in) ? GC_ROW_TURNED : GC_ROW_PACKED;
}

static void lay_out(const gc_plan *plan, gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    s->source = source_of(plan, s);
    s->ntaps = p->kernel[0] * p->kernel[1];
    s->turns =
        p->kernel[0] > 1 && p->stride[0] == 1 && p->dilation[0] == 1 && s->source != GC_ROW_PACKED;
    s->tiles = gc_ceil_div(p->out_size[2], GC_ROW_OUTPUTS);
    s->element = element_of(plan, s->in);
    s->tile = GC_ROW_WINDOW * s->element;
    gc_channel_box_start(&s->box, p);
    s->box.pitch = s->in;
    s->box.row = s->box.columns * s->box.pitch;
}

/* Boxes of rows whose windows are cached, and enough of them to share out with `blocks` blocks each. */
static void choose_boxes(const gc_plan *plan, gc_winograd_row *s, ptrdiff_t blocks) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t row = (ptrdiff_t)row_bytes(plan, s->in);
    const ptrdiff_t high = gc_max(p->out_size[1], 1),
                    others = gc_max(s->groups * p->out_size[0], 1);
    const ptrdiff_t rows = gc_max(box_bytes / gc_max(row, 1) - reach(p), 1);
    const ptrdiff_t units = others * blocks;
    const ptrdiff_t least = gc_max(gc_ceil_div(high, rows), gc_ceil_div(wanted_units, units));
    s->boxes = gc_even_pieces(plan, units, high, gc_min(least, high));
    s->rows = gc_ceil_div(high, s->boxes);
    s->in_rows = s->rows + reach(p);
    s->box.slice = s->in_rows * s->box.row;
}

static const gc_lane_products_tile *tiles_of(const gc_plan *plan, const gc_winograd_row *s,
                                             ptrdiff_t vb) {
    return s->share > 1 ? shared_tiles(plan, s->share) : plan->kernels->lane_products[vb - 1];
}

/* Of the products of some rows for a block of vb vectors. */
static double product_cycles(const gc_plan *plan, const gc_winograd_row *s,
                             const gc_lane_products_tile *tile, ptrdiff_t vb, ptrdiff_t rows) {
    const double each = gc_vector_cycles(plan->kernels);
    const double fmas = (double)(tile->positions * vb) * each;
    const double loads = (double)(tile->positions + 1) / 2 + (double)(2 * vb) * each;
    const double taps = (double)gc_winograd_row_taps(plan, s);
    const double call = taps * fmax(fmax(fmas, loads), 4) + 2 * fmas + 10.0 * (double)s->ntaps + 10;
    return GC_ROW_WINDOW * (double)gc_ceil_div(rows * s->tiles, tile->positions) * call;
}

/* The best tile for each number of vectors. */
static void choose_tiles(const gc_plan *plan, gc_winograd_row *s) {
    const ptrdiff_t bytes = plan->kernels->lanes * (ptrdiff_t)plan->kernels->real_size;
    for (ptrdiff_t vb = 1; vb <= GC_MAX_LANE_VB; vb++) {
        gc_row_products *products = &s->products[vb - 1];
        double best = INFINITY;
        for (int i = 0; i < GC_LANE_PRODUCT_TILES; i++) {
            const gc_lane_products_tile *tile = &tiles_of(plan, s, vb)[i];
            if (tile->positions == 0) continue;
            const double cycles = product_cycles(plan, s, tile, vb, s->rows);
            if (cycles >= best) continue;
            best = cycles;
            products->tile = tile;
        }
        const ptrdiff_t p = products->tile->positions;
        const ptrdiff_t weights = gc_winograd_row_taps(plan, s) * vb * bytes;
        const ptrdiff_t few = s->plain ? held_bytes : turned_bytes;
        const ptrdiff_t held = weights > few_weights ? most_held : few;
        products->held = gc_min(gc_max(held / (GC_ROW_WINDOW * vb * bytes * p), 1),
                                gc_ceil_div(gc_max(s->rows * s->tiles, 1), p)) *
                         p;
    }
}

static ptrdiff_t vectors_of(const gc_winograd_row *s, ptrdiff_t block) {
    return gc_cut(s->vectors, s->blocks, block + 1) - gc_cut(s->vectors, s->blocks, block);
}

/* Of all products of a unit's groups. */
static double all_product_cycles(const gc_plan *plan, const gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    double cycles = 0;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const ptrdiff_t vb = vectors_of(s, b);
        cycles += product_cycles(plan, s, s->products[vb - 1].tile, vb, s->rows);
    }
    return cycles * (double)(p->out_size[0] * p->out_size[1]) / (double)s->rows;
}

static void choose_blocks(const gc_plan *plan, gc_winograd_row *s) {
    double best = INFINITY;
    for (ptrdiff_t vb = gc_min(s->vectors, GC_MAX_LANE_VB); vb > 0; vb--) {
        gc_winograd_row t = *s;
        t.vb = vb;
        t.blocks = gc_ceil_div(s->vectors, vb);
        const double cycles = all_product_cycles(plan, &t);
        if (cycles >= best) continue;
        best = cycles;
        s->vb = vb;
        s->blocks = t.blocks;
    }
}

/* Windows of depth d of the kernel are the ((first + d) % kernel)-th; `first` is 0 unless depths take turns. */
static gc_status create_taps(const gc_problem *p, gc_winograd_row *s) {
    const ptrdiff_t deep = p->kernel[0];
    s->taps = malloc((size_t)(deep * s->ntaps) * sizeof *s->taps);
    s->direct_taps = malloc((size_t)(s->ntaps * GC_ROW_TAPS) * sizeof *s->direct_taps);
    if (s->taps == NULL || s->direct_taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = s->taps, *direct = s->direct_taps;
    for (ptrdiff_t first = 0; first < deep; first++)
        for (ptrdiff_t d = 0; d < deep; d++)
            for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
                *tap++ =
                    ((first + d) % deep * s->in_rows + h * p->dilation[1]) * s->tiles * s->tile;
    for (ptrdiff_t d = 0; d < deep; d++)
        for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
            for (int w = 0; w < GC_ROW_TAPS; w++)
                *direct++ = d * s->box.slice + h * p->dilation[1] * s->box.row + w * s->box.pitch;
    return GC_OK;
}

gc_winograd_row_sizes gc_winograd_row_scratch(const gc_plan *plan, const gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    const size_t size = plan->kernels->real_size;
    const ptrdiff_t lanes = plan->kernels->lanes;
    ptrdiff_t held = 0;  /* reals of an element's products */
    ptrdiff_t spill = 0; /* positions behind a box's last */
    for (ptrdiff_t vb = 1; vb <= s->vb; vb++) {
        held = gc_max(held, s->products[vb - 1].held * vb * lanes);
        spill = gc_max(spill, s->products[vb - 1].tile->positions);
    }
    const ptrdiff_t windows = p->kernel[0] * s->in_rows * s->tiles * s->tile;
    const ptrdiff_t turned = s->in_rows * p->in_size[2] * s->in;
    const gc_winograd_row_sizes z = {
        .windows = gc_round_up((size_t)windows * size, 64),
        .spill = gc_round_up((size_t)(spill * s->tile) * size, 64),
        .products = gc_round_up((size_t)(GC_ROW_WINDOW * held) * size, 64),
        .results = gc_round_up((size_t)(GC_ROW_OUTPUTS * held + lanes) * size, 64),
        .input = gc_round_up((size_t)gc_max(p->kernel[0] * s->box.slice, turned) * size, 64),
    };
    return z;
}

/* Of bringing a group's input into windows, and its products to their place. */
static double other_cycles(const gc_plan *plan, const gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    const double lanes = plan->kernels->lanes, in = (double)s->in;
    const ptrdiff_t deep = p->out_size[0], high = p->out_size[1];
    const double rows = (double)(s->turns ? (deep + p->kernel[0] - 1) * (high + s->boxes * reach(p))
                                          : deep * p->kernel[0] * (high + reach(p)));
    const double tiles = (double)s->tiles;
    const double windows = rows * (20 + tiles * ceil(in / lanes) * 12);
    const double columns = rows * (double)p->in_size[2];
    const double input = s->source == GC_ROW_IN_PLACE ? 0
                         : s->source == GC_ROW_TURNED ? columns * in * 8 / lanes
                                                      : rows * 30 + columns * (3 + in * 1.1);
    const double out = (double)(p->out_size[0] * p->out_size[1]) * tiles;
    const double outputs =
        out * (double)s->vectors * 16 + 30 * (double)(s->blocks * p->out_size[1]);
    const double positions = out * GC_ROW_OUTPUTS, channels = (double)s->out;
    const double finish = s->plain ? 0
                          : gc_channel_results_turn(plan, s->out)
                              ? positions * channels * 7 / lanes
                              : positions * (24 * (double)s->blocks + channels * 1.3);
    return windows + input + outputs + finish;
}

static double predict(const gc_plan *plan, const gc_winograd_row *s) {
    const gc_problem *p = &plan->problem;
    const double bytes = (double)(s->vectors * plan->kernels->lanes) *
                         (double)(gc_winograd_row_transformed(plan, s)) *
                         (double)plan->kernels->real_size;
    double sums = all_product_cycles(plan, s);
    const double weights = gc_weights_cycles(bytes);
    sums = fmax(sums, weights) + 0.3 * weights;
    return (double)(p->batch * s->groups) * (sums * 1.22 + other_cycles(plan, s) + 200) * GC_CYCLE;
}

/* A transposed convolution of stride 1 is the forward one of the mirrored kernel. */
static gc_problem forward(const gc_problem *p) {
    gc_problem whole = *p;
    whole.op = GC_CONV;
    for (int i = 0; i < 3 && p->op == GC_CONV_TRANSPOSE; i++)
        whole.pad_before[i] = (p->kernel[i] - 1) * p->dilation[i] - p->pad_before[i];
    return whole;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem, whole = forward(p);
    const gc_kernels *kernels = plan->kernels;
    gc_winograd_row *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    memcpy(s->pad_before, whole.pad_before, sizeof s->pad_before);
    s->epilogue = gc_lane_epilogue_of(p);
    s->plain = gc_lanes_in_memory(plan, p->output_strides, p->groups * p->out_per_group) &&
               (!p->has_residual ||
                gc_lanes_in_memory(plan, p->residual_strides, p->groups * p->out_per_group));
    s->joined = gc_channel_results_joined(p, p->out_size[2]);
    share_vectors(plan, s);
    s->vectors = gc_ceil_div(s->out, kernels->lanes);
    lay_out(plan, s);
    choose_boxes(plan, s, s->vectors);
    choose_tiles(plan, s);
    choose_blocks(plan, s);
    choose_boxes(plan, s, s->blocks);
    choose_tiles(plan, s);
    gc_status status = create_taps(p, s);
    if (status == GC_OK) status = gc_channel_box_create(&s->box, &whole);
    if (status != GC_OK) return status;
    plan->units = p->batch * s->groups * p->out_size[0] * s->boxes * s->blocks;
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    const gc_winograd_row_sizes z = gc_winograd_row_scratch(plan, s);
    plan->scratch_size = z.windows + z.spill + z.products + z.results + z.input;
    plan->prepared_size = (size_t)(s->groups * gc_winograd_row_group(plan, s)) * kernels->real_size;
    plan->prepare_units = s->groups * s->vectors;
    plan->prepared_key = (size_t)(GC_KEY_WINOGRAD_ROW + 256 * s->vb);
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = gc_prepare_seconds(plan, 0.5);
    return GC_OK;
}

/* Units are vectors. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_winograd_row *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t icg = plan->problem.in_per_group;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t g = unit / s->vectors, i = unit % s->vectors;
        char *group = (char *)prepared + g * gc_winograd_row_group(plan, s) * size;
        char *raw = group + (s->vectors * gc_winograd_row_transformed(plan, s) +
                             i * gc_winograd_row_raw(plan, s)) *
                                lanes * size;
        const ptrdiff_t k = i * lanes, count = gc_winograd_row_out(plan, s, g) - k;
        gc_channel_weights_copy(plan, weight, g * s->out + k, gc_min(lanes, count), icg, raw,
                                lanes * size);
        ptrdiff_t block = 0;
        while (gc_cut(s->vectors, s->blocks, block + 1) <= i) block++;
        const ptrdiff_t begin = gc_cut(s->vectors, s->blocks, block), vb = vectors_of(s, block);
        gc_winograd_row_weights w = {
            .from = raw,
            .to = group + (begin * gc_winograd_row_transformed(plan, s) + i - begin) * lanes * size,
            .rows = icg,
            .tap = icg * lanes,
            .element = gc_winograd_row_taps(plan, s) * vb * lanes,
            .row = vb * lanes,
            .order = s->share > 1 ? s->order : NULL,
        };
        for (ptrdiff_t t = 0; t < s->ntaps; t++) {
            plan->kernels->winograd_row_weights(&w);
            w.from = (const char *)w.from + GC_ROW_TAPS * w.tap * size;
            w.to = (char *)w.to + icg * w.row * size;
        }
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_winograd_row *s = plan->state;
    const gc_winograd_row_place at = gc_winograd_row_at(plan, s, unit / s->blocks);
    return (double)(vectors_of(s, unit % s->blocks) * (at.last - at.first));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    static const char *const sources[] = {"in place", "turned", "packed"};
    const gc_winograd_row *s = plan->state;
    snprintf(text, size,
             "F(4, 3) along rows, %s, %td boxes of %td tiles; products %d positions x %td vectors "
             "of %d output channels%s",
             sources[s->source], s->boxes, s->rows * s->tiles,
             s->products[s->vb - 1].tile->positions, s->vb, plan->kernels->lanes,
             s->share == 2   ? " of 2 groups"
             : s->share == 4 ? " of 4 groups"
                             : "");
}

const gc_algorithm gc_winograd_1x4 = {
    .name = "winograd_1x4",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_winograd_row_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
