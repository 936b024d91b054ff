#include "channel_box.h"

#include <stdlib.h>
#include <string.h>

void gc_channel_box_start(gc_channel_box *s, const gc_problem *p) {
    for (int i = 0; i < 3; i++)
        s->axes[i] = (gc_axis){.in_size = p->in_size[i], .mode = p->padding_mode};
    s->columns = gc_max(gc_channel_box_reach(p, 2, p->out_size[2]), 1);
}

gc_status gc_channel_box_create(gc_channel_box *s, const gc_problem *p) {
    /* a transposed convolution's padding takes columns away */
    const ptrdiff_t start = gc_max(p->pad_before[2], 0), before = gc_min(start, s->columns);
    const ptrdiff_t inside = p->in_size[2] + gc_min(p->pad_before[2], 0);
    const ptrdiff_t after = gc_max(s->columns - p->pad_before[2] - p->in_size[2], 0);
    s->pieces = malloc((size_t)(before + 1 + after) * sizeof *s->pieces);
    if (s->pieces == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t u = 0, next = -2; u < s->columns;) {
        const ptrdiff_t source = gc_axis_source(&s->axes[2], u - p->pad_before[2]);
        if (source != next) s->pieces[s->npieces++].source = source;
        u += u == start && inside > 0 ? gc_min(inside, s->columns - u) : 1;
        s->pieces[s->npieces - 1].end = u;
        next = source < 0 ? source : -2; /* padding of other modes is copied a column at a time */
    }
    return GC_OK;
}

void gc_channel_box_destroy(gc_channel_box *s) {
    free(s->pieces);
    s->pieces = NULL;
}

static void turn_reals(const gc_plan *plan, const char *from, ptrdiff_t stride, ptrdiff_t channels,
                       char *to, ptrdiff_t pitch, ptrdiff_t positions) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    for (ptrdiff_t c = 0; c < channels; c += lanes) {
        const gc_turn t = {
            .from = from + c * stride,
            .from_step = stride / size,
            .rows = gc_min(channels - c, lanes),
            .n = positions,
            .to = to + c * size,
            .to_step = pitch,
            .only_rows = channels - c < lanes,
        };
        plan->kernels->turn(&t);
    }
}

/* Halves are converted a vector of channels at a time. */
static void turn_converted(const gc_plan *plan, const char *from, ptrdiff_t stride,
                           ptrdiff_t channels, char *to, ptrdiff_t pitch, ptrdiff_t positions) {
    const ptrdiff_t lanes = plan->kernels->lanes, size = (ptrdiff_t)sizeof(float);
    float reals[GC_MAX_LANES][GC_CONVERTED_POSITIONS];
    for (ptrdiff_t c = 0; c < channels; c += lanes)
        for (ptrdiff_t i = 0; i < positions; i += GC_CONVERTED_POSITIONS) {
            const ptrdiff_t n = gc_min(positions - i, GC_CONVERTED_POSITIONS);
            const ptrdiff_t count = gc_min(channels - c, lanes);
            for (ptrdiff_t r = 0; r < count; r++)
                plan->kernels->load(reals[r], from + (c + r) * stride + i * plan->storage_size,
                                    plan->storage_size, n, plan->problem.dtype);
            turn_reals(plan, (const char *)reals, (ptrdiff_t)sizeof reals[0], count,
                       to + (i * pitch + c) * size, pitch, n);
        }
}

void gc_channel_box_turn(const gc_plan *plan, const char *from, ptrdiff_t stride,
                         ptrdiff_t channels, char *to, ptrdiff_t pitch, ptrdiff_t positions) {
    const int reals = gc_stores_reals(plan);
    (reals ? turn_reals : turn_converted)(plan, from, stride, channels, to, pitch, positions);
}

/* A padded row of all channels' planes; row NULL: zeros. Zeros beside other columns are packed with them. */
static void pack_planes(const gc_channel_box *s, const gc_plan *plan, ptrdiff_t channels,
                        const char *row, char *to) {
    const gc_problem *p = &plan->problem;
    gc_rows r = {
        .pitch = s->channel,
        .rows = channels,
        .from_row = p->input_strides[1],
        .stride = (ptrdiff_t)plan->kernels->real_size,
        .ahead = gc_store_ahead(),
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
        r.from = last > first ? row + source * r.stride : to;
        r.n = u - from;
        r.first = first - from;
        r.last = last - from;
        plan->kernels->pack_rows(&r);
    }
}

/* Columns from .. end - 1 of one padded row whose sources follow each other. */
static void pack_columns(const gc_channel_box *s, const gc_plan *plan, ptrdiff_t channels,
                         const char *source, char *to, ptrdiff_t from, ptrdiff_t end) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    to += from * s->pitch * size;
    if (gc_channel_box_turns(plan, i, channels)) {
        gc_channel_box_turn(plan, source, i[1], channels, to, s->pitch, end - from);
        return;
    }
    gc_rows r = {
        .to = {to},
        .from = source,
        .pitch = s->pitch,
        .rows = end - from,
        .n = channels,
        .last = channels,
        .from_row = i[4],
        .stride = i[1],
        .ahead = gc_store_ahead(),
        .dtype = p->dtype,
    };
    const int joined = i[1] == plan->storage_size && i[4] == channels * i[1];
    if (joined && r.pitch == channels) {
        r.n = r.last = r.n * r.rows;
        r.rows = 1;
    }
    plan->kernels->pack_rows(&r);
}

static void pack_row(const gc_channel_box *s, const gc_plan *plan, ptrdiff_t channels,
                     const char *row, char *to) {
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
            pack_columns(s, plan, channels, row + source * plan->problem.input_strides[4], to, u,
                         end);
    }
}

void gc_channel_box_pack(const gc_channel_box *s, const gc_plan *plan,
                         const gc_channel_source *from, char *to) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const ptrdiff_t z = gc_axis_source(&s->axes[0], from->depth + d * p->dilation[0]);
        for (ptrdiff_t y = 0; y < from->rows; y++) {
            const ptrdiff_t source = gc_axis_source(&s->axes[1], from->row + y);
            (s->planes ? pack_planes : pack_row)(
                s, plan, from->channels,
                z < 0 || source < 0 ? NULL : from->image + z * i[2] + source * i[3],
                to + (d * s->slice + y * s->row) * size);
        }
    }
}
