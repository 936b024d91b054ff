/* The work of plans with output channels of one group in the lanes: pack a box, sum tiles, store them. */
#include <math.h>
#include <string.h>

#include "channel_tiles.h"

/* What the tiles of a unit share. */
typedef struct box {
    const gc_run *run;
    const gc_channel_tiles_state *s;
    char *packed, *tile;
    ptrdiff_t n, g, depth, first, last; /* runs first .. last - 1 of the depth */
} box;

static ptrdiff_t first_row(const box *b) { return b->first / b->s->runs; }

/* Whether positions follow each other where channels should, in whole vectors: then squares of vectors are turned. */
static int turns(const gc_plan *plan, const ptrdiff_t *strides, ptrdiff_t channels) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    return plan->storage_size == size && strides[4] == size && strides[1] % size == 0 &&
           channels % plan->kernels->lanes == 0;
}

/* `columns` positions of all channels of a group, turned. */
static void turn_columns(const gc_plan *plan, const char *source, char *to, ptrdiff_t pitch,
                         ptrdiff_t columns) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    for (ptrdiff_t c = 0; c < p->in_per_group; c += lanes) {
        const gc_turn t = {
            .from = source + c * p->input_strides[1],
            .from_step = p->input_strides[1] / size,
            .rows = lanes,
            .n = columns,
            .to = to + c * size,
            .to_step = pitch,
        };
        plan->kernels->turn(&t);
    }
}

/* Columns from..to-1 of one padded row whose sources follow each other. */
static void pack_columns(const box *b, const char *source, char *to, ptrdiff_t from,
                         ptrdiff_t end) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    if (turns(plan, i, p->in_per_group)) {
        turn_columns(plan, source, to + from * b->s->pitch * size, b->s->pitch, end - from);
        return;
    }
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
    const gc_channel_tiles_state *s = b->s;
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
    const gc_channel_tiles_state *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    const ptrdiff_t rows = gc_channel_tiles_reach(p, 1, gc_ceil_div(b->last - b->first, s->runs));
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

static run_place place_of(const gc_channel_tiles_state *s, ptrdiff_t i) {
    const ptrdiff_t j = i % s->runs, first = gc_cut(s->out[2], s->runs, j);
    return (run_place){i / s->runs, first, gc_cut(s->out[2], s->runs, j + 1) - first};
}

static const char *input_of(const box *b, ptrdiff_t row, ptrdiff_t column) {
    const gc_problem *p = &b->run->plan->problem;
    const gc_channel_tiles_state *s = b->s;
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

/* Whether a block's results, finished but for their place, are turned into it. */
static int turns_results(const gc_plan *plan, ptrdiff_t channels) {
    const gc_channel_tiles_state *s = plan->state;
    const gc_problem *p = &plan->problem;
    return !s->plain && s->epilogue.clamp && !p->has_residual && s->g <= plan->kernels->lanes &&
           turns(plan, p->output_strides, channels);
}

static void turn_run(const box *b, const run_place *at, ptrdiff_t k, ptrdiff_t channels,
                     const char *tile, ptrdiff_t tile_step) {
    const gc_plan *plan = b->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *o = plan->problem.output_strides;
    const gc_turn t = {
        .from = tile,
        .from_step = tile_step / size,
        .rows = at->count,
        .n = channels,
        .to = (char *)b->run->arrays->output + offset_in(o, b, at, k),
        .to_step = o[1] / size,
        .only_rows = 1,
    };
    plan->kernels->turn(&t);
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
    const gc_channel_tiles_state *s = b->s;
    const gc_run *run = b->run;
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t v = gc_cut(s->vectors, s->blocks, block),
                    vb = gc_channel_tiles_vectors(s, block);
    const ptrdiff_t channels = gc_min(vb * lanes, p->out_per_group - v * lanes);
    const ptrdiff_t k = b->g * p->out_per_group + v * lanes, tile_step = vb * lanes * size;
    gc_lane_tile a = {
        .step = s->in_place ? s->in_column / size : p->stride[2] * s->pitch,
        .out_step = s->plain ? p->output_strides[4] / size : vb * lanes,
        .residual_step = p->residual_strides[4] / size,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .channels = s->channels,
        .weight = (const char *)run->weights +
                  (b->g * s->vectors + v) * gc_channel_tiles_weights(p) * lanes * size,
        .init = (const char *)run->bias + k * size,
        .last = (int)(channels - (vb - 1) * lanes),
        .epilogue = s->epilogue,
    };
    const int turned = turns_results(plan, channels);
    if (!s->plain && !turned) {
        a.epilogue.clamp = 1;
        a.epilogue.low = -INFINITY;
        a.epilogue.high = INFINITY;
    }
    for (ptrdiff_t i = b->first; i < b->last; i += 2) {
        const int runs = i + 1 < b->last ? 2 : 1;
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
            (turned ? turn_run : finish_run)(b, &at[r], k, channels, a.run[r].out, tile_step);
    }
}

void gc_channel_tiles_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = plan->state;
    const ptrdiff_t per = s->by_runs ? 1 : s->runs, cuts = gc_channel_tiles_cuts(s);
    box b = {.run = run, .s = s, .packed = scratch};
    b.tile = b.packed + gc_channel_tiles_packed(plan, s);
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
