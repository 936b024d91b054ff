/* Output channels of one group in the lanes; inputs are broadcast.
 *
 * A unit is one image, one group, one box of output positions of one depth, one block of vectors of output
 * channels. The box's input is packed once per thread for the channel blocks that follow each other, padded, so
 * that every position reads its window at the same offsets: with channels side by side, or as planes where its
 * rows are contiguous. A 1x1 kernel reads in place; where its input stays in the second-level cache, the boxes of a
 * block follow each other instead, and weights come once from farther away. A tile is two runs of neighbouring
 * positions of a row, each; or, where registers are few, some positions wherever they lie: more vectors then share
 * an input.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "channel_tiles.h"
#include "channel_weights.h"
#include "weights.h"

enum {
    box_bytes = 384 * 1024,
    slice_bytes = 900 * 1024, /* of input that stays in the second-level cache while weights pass */
    weight_bytes = 512 * 1024, /* of weights that stay there beside a box */
    wanted_units = 4,          /* of small problems too */
    piece_bytes = 16 * 1024,   /* of weights after which the same inputs are read again */
    held_bytes = 8 * 1024,     /* of results that wait for each other */
};

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_channel_tiles_state *s = plan->state;
    if (s == NULL) return;
    gc_channel_box_destroy(&s->box);
    free(s->taps);
    free(s);
    plan->state = NULL;
}

/* Whether an input of contiguous rows is read as planes: by tiles that are runs, which make use of a row's cache lines;
 * places would load each again for every few positions. */
static int has_planes(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (plan->kernels->lane_place_count[0] > 0) return 0;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    return plan->storage_size == size && i[4] == size && (i[1] != size || p->in_per_group == 1);
}

static int reads_in_place(const gc_plan *plan, int planes) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *in = p->input_strides;
    if (!planes && !gc_lanes_in_memory(plan, in, p->in_per_group)) return 0;
    for (int i = 0; i < 3; i++)
        if (p->kernel[i] != 1 || p->pad_before[i] || in[1 + i] % size != 0 ||
            (p->out_size[i] - 1) * p->stride[i] >= p->in_size[i])
            return 0;
    /* neighbours would share a cache set */
    return (planes ? in[1] : p->stride[2] * in[4]) % 4096 != 0;
}

/* Rows that follow each other in every array, as one row. */
static void flatten(const gc_problem *p, gc_channel_tiles_state *s) {
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides, wide = s->out[2];
    if (!s->in_place || wide == 1 || s->in_row != wide * s->in_column || o[3] != wide * o[4])
        return;
    if (p->has_residual && r[3] != wide * r[4]) return;
    s->out[2] *= s->out[1];
    s->out[1] = 1;
}

static void lay_out(const gc_plan *plan, gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    s->in_column = p->stride[2] * p->input_strides[4];
    s->in_row = p->stride[1] * p->input_strides[3];
    s->box.planes = has_planes(plan);
    s->in_place = reads_in_place(plan, s->box.planes);
    s->box.channel = s->box.planes ? p->input_strides[1] / size : 1;
    gc_channel_box_start(&s->box, p);
    for (int i = 0; i < 3; i++) s->out[i] = p->out_size[i];
    flatten(p, s);
    s->box.pitch = s->box.planes ? 1 : p->in_per_group;
    if (!s->box.planes && s->box.pitch * p->stride[2] * size % 4096 == 0)
        s->box.pitch += plan->kernels->lanes;
    s->box.row = s->box.columns * s->box.pitch;
    if (s->in_place) return;
    s->in_column = p->stride[2] * s->box.pitch * size;
    s->in_row = p->stride[1] * s->box.row * size;
}

/* Boxes of whole rows, or of runs: cached, and enough of them to share out. */
static void choose_boxes(const gc_plan *plan, gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    s->by_runs = s->in_place || s->out[1] == 1; /* a row is packed whole, once for its boxes */
    const ptrdiff_t cuts = gc_channel_tiles_cuts(s);
    const ptrdiff_t bytes = s->in_place
                                ? cuts * s->g * p->in_per_group * size
                                : p->kernel[0] * gc_channel_box_reach(p, 1, s->out[1]) *
                                      s->box.row * (s->box.planes ? p->in_per_group : 1) * size;
    const ptrdiff_t others = gc_max(p->groups * p->out_size[0] * s->blocks, 1);
    const ptrdiff_t cached = s->by_runs && !s->in_place ? 1 : gc_ceil_div(bytes, box_bytes);
    const ptrdiff_t least = gc_max(cached, gc_ceil_div(wanted_units, others));
    s->boxes = gc_even_pieces(plan, others, cuts, gc_min(least, cuts));
    s->blocks_first = s->in_place && bytes <= slice_bytes;
    s->rows = s->by_runs ? 1 : gc_ceil_div(cuts, s->boxes);
    s->box.slice = gc_channel_box_reach(p, 1, s->rows) * s->box.row;
    if (!s->box.planes || s->in_place) return;
    s->box.channel =
        p->kernel[0] * s->box.slice + plan->kernels->lanes; /* what spills from a row */
    if (s->box.channel * size % 4096 == 0) s->box.channel += plan->kernels->lanes;
}

/* Channels that go through all kernel positions before the next ones do, so that inputs which neighbouring
 * positions share are still in the first-level cache. */
static ptrdiff_t piece_of(const gc_plan *plan, ptrdiff_t vb) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t icg = p->in_per_group;
    const ptrdiff_t bytes = vb * plan->kernels->lanes * (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t most = piece_bytes / (bytes * p->kernel[2]);
    if (p->kernel[0] * p->kernel[1] * p->kernel[2] == 1) return icg;
    for (ptrdiff_t pieces = gc_ceil_div(icg, gc_max(most, 1)); 8 * pieces <= icg; pieces++)
        if (icg % pieces == 0) return icg / pieces;
    return icg;
}

static gc_status create_taps(const gc_problem *p, gc_channel_tiles_state *s) {
    const ptrdiff_t icg = p->in_per_group;
    const int merged =
        !s->box.planes && s->box.pitch == icg && s->piece == icg && p->dilation[2] == 1;
    const ptrdiff_t wide = merged ? 1 : p->kernel[2];
    const ptrdiff_t taps = icg / gc_max(s->piece, 1) * p->kernel[0] * p->kernel[1] * wide;
    s->taps = malloc((size_t)gc_max(taps, 1) * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    s->channels = s->piece * (merged ? p->kernel[2] : 1);
    for (ptrdiff_t c = 0; c < icg; c += s->piece)
        for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
            for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
                for (ptrdiff_t w = 0; w < wide; w++)
                    s->taps[s->ntaps++] = d * s->box.slice + h * p->dilation[1] * s->box.row +
                                          w * p->dilation[2] * s->box.pitch + c * s->box.channel;
    return GC_OK;
}

/* Cycles of an input channel for two runs of g positions and vb vectors: its arithmetic, or loading inputs and
 * weights and asking for later weights. */
static double run_cycles(ptrdiff_t g, ptrdiff_t vb, double each) {
    return fmax(fmax((double)(2 * g * vb) * each, (double)(g + vb)) * 0.98 + 0.2, 4);
}

/* The same for a tile of places. */
static double place_cycles(ptrdiff_t positions, ptrdiff_t vb, double each) {
    return fmax((double)(positions * vb) * each, (double)(positions + vb + 1) / 2) + 0.1;
}

/* Of going from one kernel position to the next, where their channels do not follow each other. */
static double tap_cycles(const gc_problem *p, const gc_channel_tiles_state *s) {
    return (double)(p->kernel[0] * p->kernel[1] * (s->box.planes ? p->kernel[2] : 1)) * 6;
}

/* Of all sums of a block of vb vectors of a group: `terms` products to a result, and what else a tile takes. */
static double sum_cycles(const gc_kernels *kernels, const gc_channel_tiles_state *s, ptrdiff_t vb,
                         double terms, double others) {
    if (!s->places)
        return (double)(s->out[0] * gc_ceil_div(s->out[1] * s->runs, 2)) *
               (run_cycles(s->g, vb, gc_vector_cycles(kernels)) * terms + others +
                (double)(s->g * vb * 3 + 32));
    const ptrdiff_t positions = kernels->lane_place_count[vb - 1];
    return (double)(s->out[0] * gc_ceil_div(s->out[1] * s->out[2], positions)) *
           (place_cycles(positions, vb, gc_vector_cycles(kernels)) * terms + others +
            (double)(positions * (vb + 1) + 16));
}

/* Rows are cut into equal runs; how well that goes decides how many vectors a tile is wide. */
static void choose_tile(const gc_kernels *kernels, gc_channel_tiles_state *s, double terms,
                        double others) {
    double best = INFINITY;
    for (ptrdiff_t vb = gc_min(s->vectors, GC_MAX_LANE_VB); vb > 0; vb--)
        for (int places = 0; places < 2; places++) {
            gc_channel_tiles_state t = *s;
            t.vb = vb;
            t.blocks = gc_ceil_div(s->vectors, vb);
            t.places = places;
            if (places ? kernels->lane_place_count[vb - 1] == 0 : vb > GC_MAX_LANE_RUN_VB) continue;
            t.runs = places
                         ? gc_max(s->out[2], 1)
                         : gc_max(gc_ceil_div(s->out[2], kernels->max_lane_positions[vb - 1]), 1);
            t.g = gc_max(gc_ceil_div(s->out[2], t.runs), 1);
            double cycles = 0;
            for (ptrdiff_t b = 0; b < t.blocks; b++)
                cycles += sum_cycles(kernels, &t, gc_channel_tiles_vectors(&t, b), terms, others);
            if (cycles >= best) continue;
            best = cycles;
            *s = t;
        }
}

/* Runs whose results wait for each other, in whole tiles and whole squares of vectors. */
static ptrdiff_t choose_held(const gc_kernels *kernels, const gc_channel_tiles_state *s) {
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size;
    const ptrdiff_t runs = held_bytes / (s->g * s->vb * kernels->lanes * size);
    const ptrdiff_t whole =
        s->places ? kernels->lane_place_count[s->vb - 1] * kernels->lanes / 2 : 2;
    return gc_max(runs / whole, 1) * whole;
}

/* Of packing a group's input. */
static double pack_cycles(const gc_plan *plan, const gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    if (s->in_place) return 0;
    const double lanes = plan->kernels->lanes, channels = (double)p->in_per_group;
    const double rows = (double)(s->out[0] * s->boxes * p->kernel[0] *
                                 gc_channel_box_reach(p, 1, s->rows)),
                 positions = rows * (double)s->box.columns;
    if (s->box.planes)
        return rows *
               (30 + (double)gc_ceil_div(s->box.columns, plan->kernels->lanes) * channels * 3);
    if (gc_channel_box_turns(plan, p->input_strides, p->in_per_group))
        return rows *
               (30 + (double)gc_ceil_div(p->in_size[2], plan->kernels->lanes) * channels * 8);
    if (!gc_stores_reals(plan)) return positions * (60 + channels * 1.5);
    const int along = p->input_strides[1] == plan->storage_size;
    return positions * (along ? 1 + channels * 1.6 / lanes : 3 + channels * 1.1);
}

/* Of taking a group's results to their place. */
static double finish_cycles(const gc_plan *plan, const gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    if (s->plain) return 0;
    const ptrdiff_t positions = s->out[0] * s->out[1] * s->out[2];
    const double channels = (double)p->out_per_group;
    if (gc_channel_box_turns(plan, p->output_strides, p->out_per_group))
        return (double)gc_ceil_div(positions, plan->kernels->lanes) * channels *
               (gc_stores_reals(plan) ? 20 : 27);
    return (double)positions * (24 * (double)s->blocks + channels * 1.3);
}

static double predict(const gc_plan *plan, const gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    const double size = (double)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const double terms = (double)gc_channel_tiles_weights(p);
    double sums = 0;
    for (ptrdiff_t b = 0; b < s->blocks; b++)
        sums +=
            sum_cycles(plan->kernels, s, gc_channel_tiles_vectors(s, b), terms, tap_cycles(p, s));
    /* but for the first block, most weights come while others are at work */
    const double weights = gc_weights_cycles(terms * (double)s->vectors * lanes * size);
    sums = fmax(sums, weights) + weights * fmax(0.3, 1 / (double)s->blocks);
    const double bytes = terms * (double)s->vectors * lanes * size;
    if (s->boxes > 1 && !s->blocks_first && bytes > weight_bytes) sums *= 1.15; /* again for each */
    const double registers = plan->kernels->registers < 32 ? 1.05 : 1.15;
    /* runs of planes lose nothing unless loads bind them */
    const double spill = s->places || (s->box.planes && s->vb > 1) ? 1 : registers;
    return (double)(p->batch * p->groups) *
           (sums * spill + pack_cycles(plan, s) + finish_cycles(plan, s) + 200) * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t channels = p->groups * p->out_per_group, size = (ptrdiff_t)kernels->real_size;
    gc_channel_tiles_state *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->common.way = &gc_channel_tiles;
    s->epilogue = gc_lane_epilogue_of(p);
    s->plain = gc_lanes_in_memory(plan, p->output_strides, channels) &&
               (!p->has_residual || gc_lanes_in_memory(plan, p->residual_strides, channels));
    s->vectors = gc_ceil_div(p->out_per_group, kernels->lanes);
    lay_out(plan, s);
    choose_tile(kernels, s, (double)gc_channel_tiles_weights(p), tap_cycles(p, s));
    s->piece = piece_of(plan, s->vb);
    s->held = choose_held(kernels, s);
    s->joined = gc_channel_results_joined(p, s->out[2]);
    choose_boxes(plan, s);
    gc_status status = create_taps(p, s);
    if (status == GC_OK && !s->in_place) status = gc_channel_box_create(&s->box, p);
    if (status != GC_OK) return status;
    plan->units = p->batch * p->groups * s->out[0] * s->boxes * s->blocks;
    if (s->out[0] * s->out[1] * s->out[2] == 0) plan->units = 0;
    plan->scratch_size = gc_channel_tiles_packed(plan, s) + gc_channel_tiles_tile(plan, s);
    plan->prepared_size =
        (size_t)(p->groups * s->vectors * gc_channel_tiles_weights(p) * kernels->lanes * size);
    plan->prepare_units = p->groups * s->vectors;
    plan->prepared_key = (size_t)(GC_KEY_LANE_TILES + 256 * s->vb);
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = gc_prepare_seconds(plan, 1.5);
    return GC_OK;
}

/* W[group][block][piece][kernel position][channel of the piece][vector of the block][lane], lanes without a
 * channel zero. Units are vectors. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = plan->state;
    const ptrdiff_t lanes = plan->kernels->lanes;
    const ptrdiff_t bytes = lanes * (ptrdiff_t)plan->kernels->real_size;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t g = unit / s->vectors, i = unit % s->vectors;
        ptrdiff_t block = 0;
        while (gc_cut(s->vectors, s->blocks, block + 1) <= i) block++;
        const ptrdiff_t begin = gc_cut(s->vectors, s->blocks, block);
        char *to = (char *)prepared +
                   (g * s->vectors + begin) * gc_channel_tiles_weights(p) * bytes +
                   (i - begin) * bytes;
        const ptrdiff_t k = i * lanes;
        gc_channel_weights_copy(plan, weight, g * p->out_per_group + k,
                                gc_min(lanes, p->out_per_group - k), s->piece, to,
                                gc_channel_tiles_vectors(s, block) * bytes);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_channel_tiles_state *s = plan->state;
    const gc_channel_tiles_unit at = gc_channel_tiles_unit_at(s, unit);
    const ptrdiff_t cuts = gc_channel_tiles_cuts(s);
    return (double)(gc_channel_tiles_vectors(s, at.block) *
                    (gc_cut(cuts, s->boxes, at.box + 1) - gc_cut(cuts, s->boxes, at.box)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_channel_tiles_state *s = plan->state;
    const ptrdiff_t positions = s->places ? plan->kernels->lane_place_count[s->vb - 1] : s->g;
    snprintf(text, size, "%s%td positions x %td vectors of %d output channels, %s; %td boxes",
             s->places ? "" : "2 x ", positions, s->vb, plan->kernels->lanes,
             s->in_place ? "in place" : "packed", s->boxes);
}

const gc_algorithm gc_channel_tiles = {
    .name = "channel_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_channel_tiles_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
