/* The work of plans with output channels of one group in the lanes: pack a box, sum tiles, store them. */
#include <string.h>

#include "channel_tiles.h"

/* What the tiles of a unit share. */
typedef struct box {
    const gc_run *run;
    const gc_channel_tiles_state *s;
    char *packed, *tile;                /* input; results that wait */
    gc_stream *ahead;                   /* the next group's input */
    const char *later;                  /* weights of the next block */
    ptrdiff_t n, g, depth, first, last; /* runs first .. last - 1 of the depth */
} box;

static ptrdiff_t first_row(const box *b) { return b->first / b->s->runs; }

static void pack_box(const box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = b->s;
    const ptrdiff_t rows = gc_ceil_div(b->last - b->first, s->runs);
    const gc_channel_source source = {
        .image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                 b->g * p->in_per_group * p->input_strides[1],
        .channels = p->in_per_group,
        .depth = b->depth * p->stride[0] - p->pad_before[0],
        .row = first_row(b) * p->stride[1] - p->pad_before[1],
        .rows = gc_channel_box_reach(p, 1, rows),
    };
    gc_channel_box_pack(&s->box, plan, &source, b->packed);
}

/* Output positions that follow each other, from `first` of a row on. */
typedef struct stretch {
    ptrdiff_t row, first, count;
} stretch;

static stretch stretch_of(const gc_channel_tiles_state *s, ptrdiff_t run) {
    const ptrdiff_t j = run % s->runs, first = gc_cut(s->out[2], s->runs, j);
    return (stretch){run / s->runs, first, gc_cut(s->out[2], s->runs, j + 1) - first};
}

static const char *input_of(const box *b, ptrdiff_t row, ptrdiff_t column) {
    const gc_problem *p = &b->run->plan->problem;
    const gc_channel_tiles_state *s = b->s;
    const ptrdiff_t *i = p->input_strides;
    const char *from = b->packed;
    if (s->in_place)
        from = (const char *)b->run->arrays->input + b->n * i[0] + b->g * p->in_per_group * i[1] +
               b->depth * p->stride[0] * i[2];
    else
        row -= first_row(b);
    return from + row * s->in_row + column * s->in_column;
}

static ptrdiff_t position_of(const gc_channel_tiles_state *s, ptrdiff_t run) {
    const stretch at = stretch_of(s, run);
    return at.row * s->out[2] + at.first;
}

/* Where the results of the tile of runs i .. i + runs - 1 go, and the residual: of the next tile where it is added to
 * sums in registers. */
static void ask_for_results(const box *b, const gc_channel_results *o, ptrdiff_t i, int runs,
                            gc_lane_soon soon[2]) {
    const gc_channel_tiles_state *s = b->s;
    const gc_problem *p = &b->run->plan->problem;
    const int axis = s->plain ? 4 : 1; /* vectors of a position, or positions of a channel */
    const ptrdiff_t left = s->plain ? runs * s->g : o->channels;
    stretch at = stretch_of(s, i);
    soon[1].left = 0;
    soon[0] = (gc_lane_soon){
        .at = gc_channel_results_output(o, at.row, at.first),
        .step = p->output_strides[axis],
        .left = left,
        .written = 1,
    };
    if (!p->has_residual || (s->plain && i + 2 >= b->last)) return;
    if (s->plain) at = stretch_of(s, i + 2);
    soon[1] = (gc_lane_soon){
        .at = gc_channel_results_residual(o, at.row, at.first),
        .step = p->residual_strides[axis],
        .left = left,
    };
}

/* Sums of the runs first .. last - 1, into their place or into the tile. */
static void sum_runs(box *b, const gc_channel_results *o, gc_lane_tile *a, ptrdiff_t vb,
                     ptrdiff_t first, ptrdiff_t last) {
    const gc_channel_tiles_state *s = b->s;
    for (ptrdiff_t i = first; i < last; i += 2) {
        const int runs = i + 1 < last ? 2 : 1;
        for (int r = 0; r < runs; r++) {
            const stretch at = stretch_of(s, i + r);
            const ptrdiff_t start = gc_min(at.first, s->out[2] - s->g);
            const ptrdiff_t waits = (position_of(s, i + r) - position_of(s, first)) * o->step;
            a->run[r].in = input_of(b, at.row, start);
            a->run[r].first = (int)(at.first - start);
            a->run[r].count = (int)at.count;
            a->run[r].out =
                s->plain ? gc_channel_results_output(o, at.row, at.first) : b->tile + waits;
            if (s->plain) a->run[r].residual = gc_channel_results_residual(o, at.row, at.first);
        }
        ask_for_results(b, o, i, runs, a->soon);
        gc_stream_on(b->ahead);
        a->later = b->later;
        if (b->later) b->later += s->ntaps * s->channels * a->later_step;
        b->run->plan->kernels->lane_tile[s->g - 1][vb - 1][runs - 1](a);
    }
}

/* The same, some positions at a time wherever their inputs are. */
static void sum_places(box *b, const gc_channel_results *o, gc_lane_tile *a, ptrdiff_t vb,
                       ptrdiff_t first, ptrdiff_t last) {
    const gc_channel_tiles_state *s = b->s;
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t most = kernels->lane_place_count[vb - 1];
    const ptrdiff_t to_next_row = s->in_row - s->out[2] * s->in_column;
    for (ptrdiff_t i = first, count; i < last; i += count) {
        stretch at = {i / s->out[2], i % s->out[2], 1};
        count = gc_min(most, last - i);
        if (s->plain && !s->joined) count = gc_min(count, s->out[2] - at.first);
        a->run[0].first = 0;
        a->run[0].count = (int)count;
        a->run[0].out = s->plain ? gc_channel_results_output(o, at.row, at.first)
                                 : b->tile + (i - first) * o->step;
        if (s->plain) a->run[0].residual = gc_channel_results_residual(o, at.row, at.first);
        const char *in = input_of(b, at.row, at.first);
        for (ptrdiff_t j = 0, left = s->out[2] - at.first; j < most; j++) {
            a->place[j] = j < count ? in : a->place[0]; /* what is not stored reads anything */
            in += s->in_column;
            if (--left > 0) continue;
            in += to_next_row;
            left = s->out[2];
        }
        kernels->lane_places[vb - 1](a);
    }
}

/* The box's share of the weights of the block that comes next to its input, or to the boxes of which this is one,
 * to be fetched while its tiles are summed. */
static void fetch_weights(box *b, gc_lane_tile *a, const gc_channel_tiles_unit *at) {
    const gc_channel_tiles_state *s = b->s;
    const gc_kernels *kernels = b->run->plan->kernels;
    b->later = NULL;
    if (at->block + 1 == s->blocks) return;
    const ptrdiff_t vector = gc_channel_tiles_weights(&b->run->plan->problem) * kernels->lanes *
                             (ptrdiff_t)kernels->real_size;
    const ptrdiff_t bytes = vector * gc_channel_tiles_vectors(s, at->block + 1);
    const ptrdiff_t shares = s->blocks_first ? s->boxes : 1, share = s->blocks_first ? at->box : 0;
    const ptrdiff_t tiles = gc_ceil_div(b->last - b->first, 2);
    b->later = (const char *)a->weight + vector * gc_channel_tiles_vectors(s, at->block) +
               gc_cut(bytes, shares, share);
    a->later_step = gc_ceil_div(gc_ceil_div(bytes, shares), tiles * s->ntaps * s->channels);
}

static void run_block(box *b, const gc_channel_tiles_unit *at) {
    const gc_channel_tiles_state *s = b->s;
    const gc_run *run = b->run;
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t v = gc_cut(s->vectors, s->blocks, at->block),
                    vb = gc_channel_tiles_vectors(s, at->block);
    gc_channel_results o = {
        .run = run,
        .n = b->n,
        .depth = b->depth,
        .k = b->g * p->out_per_group + v * lanes,
        .channels = gc_min(vb * lanes, p->out_per_group - v * lanes),
        .wide = s->out[2],
        .joined = s->joined,
        .step = vb * lanes * size,
        .epilogue = s->epilogue,
    };
    o.turned = !s->plain && gc_channel_results_turn(plan, o.channels);
    gc_lane_tile a = {
        .step = s->in_column / size,
        .channel = s->box.channel,
        .out_step = s->plain ? p->output_strides[4] / size : vb * lanes,
        .residual_step = p->residual_strides[4] / size,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .channels = s->channels,
        .weight = (const char *)run->weights +
                  (b->g * s->vectors + v) * gc_channel_tiles_weights(p) * lanes * size,
        .init = (const char *)run->bias + o.k * size,
        .last = (int)(o.channels - (vb - 1) * lanes),
        .epilogue = s->epilogue,
    };
    if (!s->plain) a.epilogue = gc_channel_results_before(&o);
    fetch_weights(b, &a, at);
    for (ptrdiff_t i = b->first; i < b->last; i += s->held) {
        const ptrdiff_t end = gc_min(i + s->held, b->last);
        const ptrdiff_t from = position_of(s, i), to = position_of(s, end);
        (s->places ? sum_places : sum_runs)(b, &o, &a, vb, i, end);
        if (!s->plain) gc_channel_results_store(&o, from, to, b->tile);
    }
}

/* The input of a group that is packed next, to be fetched while tiles are summed up. */
static gc_stream stream_ahead(const gc_run *run, ptrdiff_t group, int more) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = plan->state;
    if (!more || !s->box.planes || s->boxes > 1 || s->out[0] > 1) return (gc_stream){0};
    const ptrdiff_t tiles = gc_ceil_div(s->out[1] * s->runs, 2); /* planes are read by runs only */
    const char *image = (const char *)run->arrays->input + group / p->groups * p->input_strides[0] +
                        group % p->groups * p->in_per_group * p->input_strides[1];
    return gc_stream_input(plan, image, p->in_per_group, tiles * s->blocks);
}

void gc_channel_tiles_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = plan->state;
    const ptrdiff_t per = s->by_runs ? 1 : s->runs, cuts = gc_channel_tiles_cuts(s);
    gc_stream ahead = {0};
    box b = {.run = run, .s = s, .packed = scratch, .ahead = &ahead};
    b.tile = b.packed + gc_channel_tiles_packed(plan, s);
    ptrdiff_t packed = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const gc_channel_tiles_unit at = gc_channel_tiles_unit_at(s, unit);
        b.first = gc_cut(cuts, s->boxes, at.box) * per;
        b.last = gc_cut(cuts, s->boxes, at.box + 1) * per;
        b.depth = at.slice % s->out[0];
        b.g = at.slice / s->out[0] % p->groups;
        b.n = at.slice / s->out[0] / p->groups;
        const ptrdiff_t source = s->by_runs ? at.slice : at.slice * s->boxes + at.box;
        if (!s->in_place && packed != source) {
            pack_box(&b);
            ahead = stream_ahead(run, source + 1, (unit / s->blocks + 1) * s->blocks < last);
        }
        packed = source;
        run_block(&b, &at);
    }
}
