/* Output channels of one group in the lanes; inputs are broadcast.
 *
 * A unit is one image, one group, one box of output positions of one depth, one block of vectors of output
 * channels. The box's input is packed once per thread for the channel blocks that follow each other, padded
 * and with channels side by side, so that every position reads its window at the same offsets; a 1x1 kernel
 * over channels_last memory reads in place. A tile is two runs of neighbouring positions of a row, each.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "channel_lanes.h"
#include "geometry.h"
#include "weights.h"

enum { box_bytes = 384 * 1024, wanted_units = 4 /* of small problems too */ };

typedef struct tiles {
    gc_channel_lanes_state common;
    int in_place, plain;         /* reads the caller's array; the microkernel stores results */
    int by_runs;                 /* boxes are some runs, not whole rows */
    gc_axis axes[3];             /* sizes and padding mode only */
    ptrdiff_t out[3];            /* positions, flattened where memory allows */
    ptrdiff_t in_row, in_column; /* bytes between positions of a depth, in place */
    ptrdiff_t pitch, columns, row,
        slice; /* packed: reals of a position, positions of a row, reals */
    ptrdiff_t *taps, ntaps, channels;
    ptrdiff_t g, runs;             /* positions of a run; runs of a row */
    ptrdiff_t boxes, rows;         /* per depth; output rows of the largest box (packed) */
    ptrdiff_t vectors, blocks, vb; /* of output channels of a group */
    gc_lane_epilogue epilogue;
} tiles;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    return NULL;
}

static void destroy(gc_plan *plan) {
    tiles *s = plan->state;
    if (s == NULL) return;
    free(s->taps);
    free(s);
    plan->state = NULL;
}

static int reads_in_place(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (!gc_lanes_in_memory(plan, p->input_strides, p->in_per_group)) return 0;
    for (int i = 0; i < 3; i++)
        if (p->kernel[i] != 1 || p->pad_before[i] ||
            (p->out_size[i] - 1) * p->stride[i] >= p->in_size[i])
            return 0;
    return (p->stride[2] * p->input_strides[4]) % 4096 !=
           0; /* neighbours would share a cache set */
}

/* Rows that follow each other in every array, as one row. */
static void flatten(const gc_problem *p, tiles *s) {
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides, wide = s->out[2];
    if (!s->in_place || wide == 1 || s->in_row != wide * s->in_column || o[3] != wide * o[4])
        return;
    if (p->has_residual && r[3] != wide * r[4]) return;
    s->out[2] *= s->out[1];
    s->out[1] = 1;
}

/* Where an axis of padded input ends for `count` outputs. */
static ptrdiff_t reach(const gc_problem *p, int axis, ptrdiff_t count) {
    return (count - 1) * p->stride[axis] + (p->kernel[axis] - 1) * p->dilation[axis] + 1;
}

static void lay_out(const gc_plan *plan, tiles *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    s->in_column = p->stride[2] * p->input_strides[4];
    s->in_row = p->stride[1] * p->input_strides[3];
    s->in_place = reads_in_place(plan);
    for (int i = 0; i < 3; i++) {
        s->out[i] = p->out_size[i];
        s->axes[i] = (gc_axis){.in_size = p->in_size[i], .mode = p->padding_mode};
    }
    flatten(p, s);
    s->pitch = p->in_per_group;
    if (s->pitch * p->stride[2] * size % 4096 == 0) s->pitch += plan->kernels->lanes;
    s->columns = gc_max(reach(p, 2, p->out_size[2]), 1);
    s->row = s->columns * s->pitch;
}

static ptrdiff_t cuts_of(const tiles *s) {
    return gc_max(s->by_runs ? s->out[1] * s->runs : s->out[1], 1);
}

/* Boxes of whole rows, or of runs: cached, and enough of them to share out. */
static void choose_boxes(const gc_plan *plan, tiles *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    s->by_runs = s->in_place || s->out[1] == 1; /* a row is packed whole, once for its boxes */
    const ptrdiff_t cuts = cuts_of(s);
    const ptrdiff_t bytes = s->in_place ? cuts * s->g * p->in_per_group * size
                                        : p->kernel[0] * reach(p, 1, s->out[1]) * s->row * size;
    const ptrdiff_t others = gc_max(p->groups * p->out_size[0] * s->blocks, 1);
    const ptrdiff_t cached = s->by_runs && !s->in_place ? 1 : gc_ceil_div(bytes, box_bytes);
    const ptrdiff_t least = gc_max(cached, gc_ceil_div(wanted_units, others));
    s->boxes = gc_even_pieces(plan, others, cuts, gc_min(least, cuts));
    s->rows = s->by_runs ? 1 : gc_ceil_div(cuts, s->boxes);
    s->slice = reach(p, 1, s->rows) * s->row;
}

static gc_status create_taps(const gc_problem *p, tiles *s) {
    const int merged = s->pitch == p->in_per_group && p->dilation[2] == 1;
    const ptrdiff_t wide = merged ? 1 : p->kernel[2];
    s->taps = malloc((size_t)(p->kernel[0] * p->kernel[1] * wide) * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    s->channels = p->in_per_group * (merged ? p->kernel[2] : 1);
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
        for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
            for (ptrdiff_t w = 0; w < wide; w++)
                s->taps[s->ntaps++] =
                    d * s->slice + h * p->dilation[1] * s->row + w * p->dilation[2] * s->pitch;
    return GC_OK;
}

static ptrdiff_t vector_weights(const gc_problem *p) {
    return p->kernel[0] * p->kernel[1] * p->kernel[2] * p->in_per_group;
}

/* Vectors of block b of a group. */
static ptrdiff_t block_vectors(const tiles *s, ptrdiff_t b) {
    return gc_cut(s->vectors, s->blocks, b + 1) - gc_cut(s->vectors, s->blocks, b);
}

static double predict(const gc_plan *plan, const tiles *s) {
    const gc_problem *p = &plan->problem;
    const double size = (double)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const double terms = (double)vector_weights(p),
                 positions = (double)(s->out[0] * s->out[1] * s->out[2]);
    const double pairs = (double)(s->out[0] * gc_ceil_div(s->out[1] * s->runs, 2));
    double sums = 0;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const double vb = (double)block_vectors(s, b), g = (double)s->g;
        const double arithmetic = g * vb, loads = (2 * g + vb) / 2;
        const double cycles = (arithmetic > loads ? arithmetic : loads) * 0.98 + 0.2;
        sums += (cycles > 4 ? cycles : 4) * terms * pairs + pairs * (g * vb * 3 + 32);
    }
    /* but for the first block, weights come while others are at work */
    const double weights = gc_weights_cycles(terms * (double)s->vectors * lanes * size);
    sums = fmax(sums, weights) + weights / (double)s->blocks;
    const double packed = s->in_place ? 0
                                      : (double)(s->out[0] * s->boxes * p->kernel[0]) *
                                            (double)(reach(p, 1, s->rows) * s->columns);
    const int along = plan->storage_size == (ptrdiff_t)plan->kernels->real_size &&
                      p->input_strides[1] == plan->storage_size;
    const double icg = (double)p->in_per_group;
    const double pack = packed * (along ? 2.4 + icg * 1.6 / lanes : 5 + icg * 1.1);
    const double channels = (double)p->out_per_group;
    const double finish = s->plain ? 0 : positions * (24 * (double)s->blocks + channels * 1.3);
    const double spill = plan->kernels->registers < 32 ? 1.1 : 1;
    return (double)(p->batch * p->groups) * (sums * spill + pack + finish + 200) * GC_CYCLE;
}

static size_t packed_bytes(const gc_plan *plan, const tiles *s) {
    if (s->in_place) return 0;
    return gc_round_up((size_t)(plan->problem.kernel[0] * s->slice) * plan->kernels->real_size, 64);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t channels = p->groups * p->out_per_group, size = (ptrdiff_t)kernels->real_size;
    tiles *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->common.way = &gc_channel_tiles;
    s->epilogue = gc_lane_epilogue_of(p);
    s->plain = gc_lanes_in_memory(plan, p->output_strides, channels) &&
               (!p->has_residual || gc_lanes_in_memory(plan, p->residual_strides, channels));
    s->vectors = gc_ceil_div(p->out_per_group, kernels->lanes);
    s->vb = gc_min(s->vectors, GC_MAX_LANE_VB);
    s->blocks = gc_ceil_div(s->vectors, s->vb);
    lay_out(plan, s);
    s->runs = gc_max(gc_ceil_div(s->out[2], kernels->max_lane_positions[s->vb - 1]), 1);
    s->g = gc_max(gc_ceil_div(s->out[2], s->runs), 1);
    choose_boxes(plan, s);
    const gc_status status = create_taps(p, s);
    if (status != GC_OK) return status;
    plan->units = p->batch * p->groups * s->out[0] * s->boxes * s->blocks;
    if (s->out[0] * s->out[1] * s->out[2] == 0) plan->units = 0;
    const size_t tile =
        (size_t)(2 * GC_MAX_LANE_POSITIONS * GC_MAX_LANE_VB * kernels->lanes * size);
    plan->scratch_size = packed_bytes(plan, s) + (s->plain ? 0 : tile);
    plan->prepared_size =
        (size_t)(p->groups * s->vectors * vector_weights(p) * kernels->lanes * size);
    plan->prepare_units = p->groups * s->vectors;
    plan->prepared_key = GC_KEY_LANE_TILES;
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = gc_prepare_seconds(plan, 3.2);
    return GC_OK;
}

/* W[group][block][kernel position][channel][vector of the block][lane], lanes without a channel zero.
 * Units are vectors. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const tiles *s = plan->state;
    const ptrdiff_t lanes = plan->kernels->lanes, *b = p->weight_strides, icg = p->in_per_group;
    const ptrdiff_t bytes = lanes * (ptrdiff_t)plan->kernels->real_size;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t g = unit / s->vectors, v = unit % s->vectors;
        ptrdiff_t block = 0;
        while (gc_cut(s->vectors, s->blocks, block + 1) <= v) block++;
        const ptrdiff_t begin = gc_cut(s->vectors, s->blocks, block), vb = block_vectors(s, block);
        const ptrdiff_t n = gc_min(lanes, p->out_per_group - v * lanes);
        const char *row = (const char *)weight + (g * p->out_per_group + v * lanes) * b[0];
        char *block_to = (char *)prepared + (g * s->vectors + begin) * vector_weights(p) * bytes +
                         (v - begin) * bytes;
        for (ptrdiff_t c = 0; c < icg; c++) {
            char *to = block_to + c * vb * bytes;
            for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
                for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
                    for (ptrdiff_t w = 0; w < p->kernel[2]; w++, to += icg * vb * bytes) {
                        if (n < lanes) memset(to, 0, (size_t)bytes);
                        plan->kernels->load(to, row + c * b[1] + d * b[2] + h * b[3] + w * b[4],
                                            b[0], n, p->dtype);
                    }
        }
    }
}

/* What the tiles of a unit share. */
typedef struct box {
    const gc_run *run;
    const tiles *s;
    char *packed, *tile;
    ptrdiff_t n, g, depth, first, last; /* runs first .. last - 1 of the depth */
} box;

static ptrdiff_t first_row(const box *b) { return b->first / b->s->runs; }

/* Columns from..to-1 of one padded row whose sources follow each other. */
static void pack_columns(const box *b, const char *source, char *to, ptrdiff_t from,
                         ptrdiff_t end) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    gc_rows r = {
        .to = {to + from * b->s->pitch * size},
        .from = source,
        .pitch = b->s->pitch,
        .rows = end - from,
        .n = p->in_per_group,
        .last = p->in_per_group,
        .from_row = i[4],
        .stride = i[1],
        .dtype = p->dtype,
    };
    const int joined = i[1] == plan->storage_size && i[4] == p->in_per_group * i[1];
    if (joined && r.pitch == p->in_per_group) {
        r.n = r.last = r.n * r.rows;
        r.rows = 1;
    }
    plan->kernels->pack_rows(&r);
}

static void pack_row(const box *b, const char *row, char *to) {
    const tiles *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    for (ptrdiff_t u = 0; u < s->columns;) {
        const ptrdiff_t source = gc_axis_source(&s->axes[2], u - p->pad_before[2]);
        ptrdiff_t end = u + 1;
        if (row == NULL || source < 0) {
            while (end < s->columns &&
                   (row == NULL || gc_axis_source(&s->axes[2], end - p->pad_before[2]) < 0))
                end++;
            memset(to + u * s->pitch * size, 0, (size_t)((end - u) * s->pitch * size));
        } else {
            while (end < s->columns &&
                   gc_axis_source(&s->axes[2], end - p->pad_before[2]) == source + end - u)
                end++;
            pack_columns(b, row + source * p->input_strides[4], to, u, end);
        }
        u = end;
    }
}

static void pack_box(const box *b) {
    const tiles *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    const ptrdiff_t rows = reach(p, 1, gc_ceil_div(b->last - b->first, s->runs));
    const char *image =
        (const char *)b->run->arrays->input + b->n * i[0] + b->g * p->in_per_group * i[1];
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const ptrdiff_t z = gc_axis_source(
            &s->axes[0], b->depth * p->stride[0] + d * p->dilation[0] - p->pad_before[0]);
        for (ptrdiff_t y = 0; y < rows; y++) {
            const ptrdiff_t source =
                gc_axis_source(&s->axes[1], first_row(b) * p->stride[1] + y - p->pad_before[1]);
            pack_row(b, z < 0 || source < 0 ? NULL : image + z * i[2] + source * i[3],
                     b->packed + (d * s->slice + y * s->row) * size);
        }
    }
}

/* A run's place in the output: its row, first position and number of positions. */
typedef struct run_place {
    ptrdiff_t row, first, count;
} run_place;

static run_place place_of(const tiles *s, ptrdiff_t i) {
    const ptrdiff_t j = i % s->runs, first = gc_cut(s->out[2], s->runs, j);
    return (run_place){i / s->runs, first, gc_cut(s->out[2], s->runs, j + 1) - first};
}

static const char *input_of(const box *b, ptrdiff_t row, ptrdiff_t column) {
    const gc_problem *p = &b->run->plan->problem;
    const tiles *s = b->s;
    const ptrdiff_t *i = p->input_strides;
    if (s->in_place)
        return (const char *)b->run->arrays->input + b->n * i[0] + b->g * p->in_per_group * i[1] +
               b->depth * p->stride[0] * i[2] + row * s->in_row + column * s->in_column;
    const ptrdiff_t at =
        (row - first_row(b)) * p->stride[1] * s->row + column * p->stride[2] * s->pitch;
    return b->packed + at * (ptrdiff_t)b->run->plan->kernels->real_size;
}

static ptrdiff_t offset_in(const ptrdiff_t *strides, const box *b, const run_place *at,
                           ptrdiff_t k) {
    return b->n * strides[0] + k * strides[1] + b->depth * strides[2] + at->row * strides[3] +
           at->first * strides[4];
}

/* Takes a run's results from the scratch tile to their place, one position at a time. */
static void finish_run(const box *b, const run_place *at, ptrdiff_t k, ptrdiff_t channels,
                       const char *tile, ptrdiff_t tile_step) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    gc_finish f = {
        .from = tile,
        .to = (char *)b->run->arrays->output + offset_in(o, b, at, k),
        .to_stride = o[1],
        .residual_stride = r[1],
        .n = channels,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    if (p->has_residual)
        f.residual = (const char *)b->run->arrays->residual + offset_in(r, b, at, k);
    for (ptrdiff_t i = 0; i < at->count; i++) {
        plan->kernels->finish(&f);
        f.from = (const char *)f.from + tile_step;
        f.to = (char *)f.to + o[4];
        if (f.residual) f.residual = (const char *)f.residual + r[4];
    }
}

static void run_block(const box *b, ptrdiff_t block) {
    const tiles *s = b->s;
    const gc_run *run = b->run;
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t v = gc_cut(s->vectors, s->blocks, block), vb = block_vectors(s, block);
    const ptrdiff_t channels = gc_min(vb * lanes, p->out_per_group - v * lanes);
    const ptrdiff_t k = b->g * p->out_per_group + v * lanes, tile_step = vb * lanes * size;
    gc_lane_tile a = {
        .step = s->in_place ? s->in_column / size : p->stride[2] * s->pitch,
        .out_step = s->plain ? p->output_strides[4] / size : vb * lanes,
        .residual_step = p->residual_strides[4] / size,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .channels = s->channels,
        .weight =
            (const char *)run->weights + (b->g * s->vectors + v) * vector_weights(p) * lanes * size,
        .init = (const char *)run->bias + k * size,
        .last = (int)(channels - (vb - 1) * lanes),
        .epilogue = s->epilogue,
    };
    if (!s->plain) {
        a.epilogue.clamp = 1;
        a.epilogue.low = -INFINITY;
        a.epilogue.high = INFINITY;
    }
    for (ptrdiff_t i = b->first; i < b->last; i += 2) {
        const int runs = i + 1 < b->last ? 2 : 1;
        /* the next block's weights come while this one's are at work, one vector of each pair a tile */
        a.ahead = (vb * vector_weights(p) + (i - b->first) / 2 % vb) * lanes;
        run_place at[2];
        for (int r = 0; r < runs; r++) {
            at[r] = place_of(s, i + r);
            const ptrdiff_t start = gc_min(at[r].first, s->out[2] - s->g);
            a.run[r].in = input_of(b, at[r].row, start);
            a.run[r].first = (int)(at[r].first - start);
            a.run[r].count = (int)at[r].count;
            if (s->plain)
                a.run[r].out =
                    (char *)run->arrays->output + offset_in(p->output_strides, b, &at[r], k);
            else
                a.run[r].out = b->tile + r * s->g * tile_step;
            if (s->plain && p->has_residual)
                a.run[r].residual = (const char *)run->arrays->residual +
                                    offset_in(p->residual_strides, b, &at[r], k);
        }
        plan->kernels->lane_tile[s->g - 1][vb - 1][runs - 1](&a);
        for (int r = 0; r < runs && !s->plain; r++)
            finish_run(b, &at[r], k, channels, a.run[r].out, tile_step);
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const tiles *s = plan->state;
    const ptrdiff_t per = s->by_runs ? 1 : s->runs, cuts = cuts_of(s);
    box b = {.run = run, .s = s, .packed = scratch};
    b.tile = b.packed + packed_bytes(plan, s);
    ptrdiff_t packed = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t place = unit / s->blocks, slice = place / s->boxes;
        b.first = gc_cut(cuts, s->boxes, place % s->boxes) * per;
        b.last = gc_cut(cuts, s->boxes, place % s->boxes + 1) * per;
        b.depth = slice % s->out[0];
        b.g = slice / s->out[0] % p->groups;
        b.n = slice / s->out[0] / p->groups;
        const ptrdiff_t source = s->by_runs ? slice : place;
        if (!s->in_place && packed != source) pack_box(&b);
        packed = source;
        run_block(&b, unit % s->blocks);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const tiles *s = plan->state;
    const ptrdiff_t i = unit / s->blocks % s->boxes;
    const ptrdiff_t cuts = cuts_of(s);
    return (double)(block_vectors(s, unit % s->blocks) *
                    (gc_cut(cuts, s->boxes, i + 1) - gc_cut(cuts, s->boxes, i)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const tiles *s = plan->state;
    snprintf(text, size, "2 x %td positions x %td vectors of %d output channels, %s; %td boxes",
             s->g, s->vb, plan->kernels->lanes, s->in_place ? "in place" : "packed", s->boxes);
}

const gc_algorithm gc_channel_tiles = {
    .name = "channel_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
