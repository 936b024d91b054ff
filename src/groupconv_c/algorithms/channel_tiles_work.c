/* The work of plans with output channels of one group in the lanes: pack a box, sum tiles, store them. */
#include <math.h>
#include <string.h>

#include "channel_tiles.h"

/* What the tiles of a unit share. */
typedef struct box {
    const gc_run *run;
    const gc_channel_tiles_state *s;
    char *packed, *tile, *residual;     /* input; results and residuals that wait */
    gc_stream *ahead;                   /* the next group's input */
    ptrdiff_t n, g, depth, first, last; /* runs first .. last - 1 of the depth */
} box;

static ptrdiff_t first_row(const box *b) { return b->first / b->s->runs; }

/* `columns` positions of channels that are `stride` apart, turned. */
static void turn_columns(const gc_plan *plan, const char *source, ptrdiff_t stride,
                         ptrdiff_t channels, char *to, ptrdiff_t pitch, ptrdiff_t columns) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    for (ptrdiff_t c = 0; c < channels; c += lanes) {
        const gc_turn t = {
            .from = source + c * stride,
            .from_step = stride / size,
            .rows = lanes,
            .n = columns,
            .to = to + c * size,
            .to_step = pitch,
        };
        plan->kernels->turn(&t);
    }
}

/* A padded row of all channels' planes; row NULL: zeros. Zeros beside other columns are packed with them. */
static void pack_planes(const box *b, const char *row, char *to) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = b->s;
    gc_rows r = {
        .pitch = s->channel,
        .rows = p->in_per_group,
        .from_row = p->input_strides[1],
        .stride = (ptrdiff_t)plan->kernels->real_size,
        .dtype = p->dtype,
    };
    for (ptrdiff_t i = 0, u = 0; i < s->npieces; i++) {
        const ptrdiff_t from = u;
        if (s->pieces[i].source < 0 && i + 1 < s->npieces) u = s->pieces[i++].end;
        const ptrdiff_t source = s->pieces[i].source, first = u;
        ptrdiff_t last = u = s->pieces[i].end;
        if (i + 1 < s->npieces && s->pieces[i + 1].source < 0) u = s->pieces[++i].end;
        if (row == NULL || source < 0) last = first;
        r.to[0] = to + from * r.stride;
        r.from = last > first ? row + source * r.stride : b->packed;
        r.n = u - from;
        r.first = first - from;
        r.last = last - from;
        plan->kernels->pack_rows(&r);
    }
}

/* Columns from .. end - 1 of one padded row whose sources follow each other. */
static void pack_columns(const box *b, const char *source, char *to, ptrdiff_t from,
                         ptrdiff_t end) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    if (gc_channel_tiles_turns(plan, i, p->in_per_group)) {
        turn_columns(plan, source, i[1], p->in_per_group, to + from * b->s->pitch * size,
                     b->s->pitch, end - from);
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
    const ptrdiff_t bytes = s->pitch * (ptrdiff_t)plan->kernels->real_size;
    if (row == NULL) {
        memset(to, 0, (size_t)(s->columns * bytes));
        return;
    }
    for (ptrdiff_t i = 0, u = 0; i < s->npieces; u = s->pieces[i++].end) {
        const ptrdiff_t source = s->pieces[i].source, end = s->pieces[i].end;
        if (source < 0)
            memset(to + u * bytes, 0, (size_t)((end - u) * bytes));
        else
            pack_columns(b, row + source * plan->problem.input_strides[4], to, u, end);
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
            (s->planes ? pack_planes : pack_row)(
                b, z < 0 || source < 0 ? NULL : image + z * i[2] + source * i[3],
                b->packed + (d * s->slice + y * s->row) * size);
        }
    }
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

/* A block of output channels of a box. Unless the microkernel stores results in their place, they wait in the
 * thread's tile, the channels of a position side by side. */
typedef struct block {
    const box *box;
    ptrdiff_t k, channels; /* the first output channel, and how many */
    ptrdiff_t step;        /* bytes of a position in the tile */
    int turned; /* the microkernel finishes results; squares of vectors are turned on their way */
} block;

static ptrdiff_t offset_in(const ptrdiff_t *strides, const block *o, const stretch *at) {
    const box *b = o->box;
    return b->n * strides[0] + o->k * strides[1] + b->depth * strides[2] + at->row * strides[3] +
           at->first * strides[4];
}

static char *output_of(const block *o, const stretch *at) {
    const gc_run *run = o->box->run;
    return (char *)run->arrays->output + offset_in(run->plan->problem.output_strides, o, at);
}

static const char *residual_of(const block *o, const stretch *at) {
    const gc_run *run = o->box->run;
    const gc_problem *p = &run->plan->problem;
    if (!p->has_residual) return NULL;
    return (const char *)run->arrays->residual + offset_in(p->residual_strides, o, at);
}

static void turn_residual(const block *o, const stretch *at, char *tile) {
    const gc_plan *plan = o->box->run->plan;
    turn_columns(plan, residual_of(o, at), plan->problem.residual_strides[1], o->channels, tile,
                 o->step / (ptrdiff_t)plan->kernels->real_size, at->count);
}

static void turn_results(const block *o, const stretch *at, char *tile) {
    const gc_plan *plan = o->box->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t *to = plan->problem.output_strides;
    for (ptrdiff_t i = 0; i < at->count; i += lanes) {
        const gc_turn t = {
            .from = tile + i * o->step,
            .from_step = o->step / size,
            .rows = gc_min(at->count - i, lanes),
            .n = o->channels,
            .to = output_of(o, at) + i * to[4],
            .to_step = to[1] / size,
            .only_rows = 1,
        };
        plan->kernels->turn(&t);
    }
}

/* Takes results to their place, one position at a time. */
static void finish_results(const block *o, const stretch *at, char *tile) {
    const gc_plan *plan = o->box->run->plan;
    const gc_problem *p = &plan->problem;
    gc_finish f = {
        .from = tile,
        .to = output_of(o, at),
        .to_stride = p->output_strides[1],
        .residual = residual_of(o, at),
        .residual_stride = p->residual_strides[1],
        .n = o->channels,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t i = 0; i < at->count; i++) {
        plan->kernels->finish(&f);
        f.from = (const char *)f.from + o->step;
        f.to = (char *)f.to + p->output_strides[4];
        if (f.residual) f.residual = (const char *)f.residual + p->residual_strides[4];
    }
}

static ptrdiff_t position_of(const gc_channel_tiles_state *s, ptrdiff_t run) {
    const stretch at = stretch_of(s, run);
    return at.row * s->out[2] + at.first;
}

/* Moves what the runs first .. last - 1 have in the tile. */
static void move(const block *o, ptrdiff_t first, ptrdiff_t last, char *tile,
                 void (*one)(const block *, const stretch *, char *)) {
    const gc_channel_tiles_state *s = o->box->s;
    const ptrdiff_t end = position_of(s, last);
    for (ptrdiff_t i = position_of(s, first); i < end;) {
        stretch at = {i / s->out[2], i % s->out[2], end - i};
        if (!s->joined) at.count = gc_min(at.count, s->out[2] - at.first);
        one(o, &at, tile);
        tile += at.count * o->step;
        i += at.count;
    }
}

/* Sums of the runs first .. last - 1, into their place or into the tile. */
static void sum_runs(const block *o, gc_lane_tile *a, ptrdiff_t vb, ptrdiff_t first,
                     ptrdiff_t last) {
    const box *b = o->box;
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
            a->run[r].out = s->plain ? output_of(o, &at) : b->tile + waits;
            if (s->plain)
                a->run[r].residual = residual_of(o, &at);
            else if (o->turned && b->run->plan->problem.has_residual)
                a->run[r].residual = b->residual + waits;
        }
        a->soon = NULL;
        if (i + 2 < b->last && s->plain) {
            const stretch next = stretch_of(s, i + 2);
            a->soon = residual_of(o, &next);
        }
        gc_stream_on(b->ahead);
        b->run->plan->kernels->lane_tile[s->g - 1][vb - 1][runs - 1](a);
    }
}

/* The same, some positions at a time wherever their inputs are. */
static void sum_places(const block *o, gc_lane_tile *a, ptrdiff_t vb, ptrdiff_t first,
                       ptrdiff_t last) {
    const box *b = o->box;
    const gc_channel_tiles_state *s = b->s;
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t most = kernels->lane_place_count[vb - 1];
    const int residual = b->run->plan->problem.has_residual && (s->plain || o->turned);
    const ptrdiff_t to_next_row = s->in_row - s->out[2] * s->in_column;
    for (ptrdiff_t i = first, count; i < last; i += count) {
        stretch at = {i / s->out[2], i % s->out[2], 1};
        count = gc_min(most, last - i);
        if (s->plain && !s->joined) count = gc_min(count, s->out[2] - at.first);
        a->run[0].first = 0;
        a->run[0].count = (int)count;
        a->run[0].out = s->plain ? output_of(o, &at) : b->tile + (i - first) * o->step;
        if (residual)
            a->run[0].residual =
                s->plain ? residual_of(o, &at) : b->residual + (i - first) * o->step;
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

static void run_block(const box *b, ptrdiff_t index) {
    const gc_channel_tiles_state *s = b->s;
    const gc_run *run = b->run;
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t v = gc_cut(s->vectors, s->blocks, index),
                    vb = gc_channel_tiles_vectors(s, index);
    block o = {
        .box = b,
        .k = b->g * p->out_per_group + v * lanes,
        .channels = gc_min(vb * lanes, p->out_per_group - v * lanes),
        .step = vb * lanes * size,
    };
    o.turned = !s->plain && gc_channel_tiles_turns(plan, p->output_strides, o.channels) &&
               (!p->has_residual || gc_channel_tiles_turns(plan, p->residual_strides, o.channels));
    gc_lane_tile a = {
        .step = s->in_column / size,
        .channel = s->channel,
        .out_step = s->plain ? p->output_strides[4] / size : vb * lanes,
        .residual_step = s->plain ? p->residual_strides[4] / size : vb * lanes,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .channels = s->channels,
        .weight = (const char *)run->weights +
                  (b->g * s->vectors + v) * gc_channel_tiles_weights(p) * lanes * size,
        .init = (const char *)run->bias + o.k * size,
        .last = (int)(o.channels - (vb - 1) * lanes),
        .epilogue = s->epilogue,
    };
    if (!s->plain && !o.turned)
        a.epilogue = (gc_lane_epilogue){.clamp = 1, .low = -INFINITY, .high = INFINITY};
    for (ptrdiff_t i = b->first; i < b->last; i += s->held) {
        const ptrdiff_t end = gc_min(i + s->held, b->last);
        if (o.turned && p->has_residual) move(&o, i, end, b->residual, turn_residual);
        (s->places ? sum_places : sum_runs)(&o, &a, vb, i, end);
        if (!s->plain) move(&o, i, end, b->tile, o.turned ? turn_results : finish_results);
    }
}

/* The input of a group that is packed next, to be fetched while tiles are summed up. */
static gc_stream stream_ahead(const gc_run *run, ptrdiff_t group, int more) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_channel_tiles_state *s = plan->state;
    if (!more || !s->planes || s->boxes > 1 || s->out[0] > 1) return (gc_stream){0};
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
    b.residual = b.tile + gc_channel_tiles_tile(plan, s);
    ptrdiff_t packed = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t place = unit / s->blocks, slice = place / s->boxes;
        b.first = gc_cut(cuts, s->boxes, place % s->boxes) * per;
        b.last = gc_cut(cuts, s->boxes, place % s->boxes + 1) * per;
        b.depth = slice % s->out[0];
        b.g = slice / s->out[0] % p->groups;
        b.n = slice / s->out[0] / p->groups;
        const ptrdiff_t source = s->by_runs ? slice : place;
        if (!s->in_place && packed != source) {
            pack_box(&b);
            ahead = stream_ahead(run, source + 1, (place + 1) * s->blocks < last);
        }
        packed = source;
        run_block(&b, unit % s->blocks);
    }
}
