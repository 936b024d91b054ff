/* The work of Winograd's method down columns: transform a box's windows, sum tiles of products, transform back.
 *
 * The transforms mix the rows of a window: an infinity or NaN would spread over a block, and so would an overflow.
 * Results of a tile that are not finite are replaced by direct sums over the packed box.
 */
#include <math.h>
#include <string.h>

#include "winograd_column.h"

/* A box of one image and group. */
typedef struct box {
    const gc_run *run;
    const gc_winograd_column *s;
    char *windows, *planes, *products, *tile;
    const char *image; /* of the group's first channel */
    ptrdiff_t origin[3], size[3];
    ptrdiff_t blocks;
    int packed;
    gc_stream ahead; /* the input of the next group */
} box;

/* Output channels of a box, over one depth: what all their tiles share. */
typedef struct slice {
    box *b;
    ptrdiff_t k, depth; /* first output channel, counted over all groups; within the box */
    int kb;
    const char *weights, *init;
    gc_target target; /* of the box's first row */
} slice;

static void bind(box *b, char *scratch) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const gc_winograd_column_sizes z = gc_winograd_column_scratch(plan, s);
    b->windows = scratch;
    b->planes = b->windows + z.windows;
    b->products = b->planes + z.planes;
    b->tile = b->products + z.products;
    /* what is read behind the windows, though no result comes of it */
    const size_t reach = (size_t)((GC_MAX_VB + 1) * lanes * size);
    for (ptrdiff_t e = 1; e < GC_COLUMN_WINDOW; e++)
        memset(b->windows + (e * s->element - lanes) * size, 0, (size_t)(lanes * size));
    memset(b->windows + (GC_COLUMN_WINDOW * s->element - lanes) * size, 0,
           reach + (size_t)(lanes * size));
    gc_planes_clear_slack(&s->planes, plan->problem.in_per_group, plan->kernels, b->planes);
}

static void pack(box *b) {
    const gc_plan *plan = b->run->plan;
    if (b->packed) return;
    gc_pack(plan, b->s->axes, &b->s->planes, b->image, plan->problem.input_strides + 1,
            plan->problem.in_per_group, b->origin, 0, b->planes);
    b->packed = 1;
}

static void zero_windows(const gc_winograd_column *s, char *to, ptrdiff_t size) {
    const ptrdiff_t reals = s->windows.slice + s->windows.size[2] - s->windows.pitch;
    for (int e = 0; e < GC_COLUMN_WINDOW; e++)
        memset(to + e * s->element * size, 0, (size_t)(reals * size));
}

/* Windows of one channel from the caller's rows. */
static void transform_in_place(const box *b, gc_winograd_column_input a, const char *channel,
                               char *to) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const gc_axis *d = &s->axes[0], *h = &s->axes[1], *w = &s->axes[2];
    a.from_row = h->in_step * p->input_strides[3];
    a.first = gc_min(gc_max(-w->min_shift, 0), a.n);
    a.last = gc_min(a.n, w->in_size - w->min_shift);
    for (ptrdiff_t plane = 0; plane < s->windows.nplanes; plane++) {
        const ptrdiff_t phase = plane % h->nphases, deep_phase = d->phases[plane / h->nphases];
        const char *rows = channel + h->phases[phase] * p->input_strides[3];
        a.top = b->origin[1] + gc_winograd_column_start(s, phase);
        a.height = gc_ceil_div(gc_max(h->in_size - h->phases[phase], 0), h->in_step);
        for (ptrdiff_t i = 0; i < s->windows.size[0]; i++) {
            const ptrdiff_t z = (b->origin[0] + d->min_shift + i) * d->in_step + deep_phase;
            a.out = to + (plane * s->windows.plane + i * s->windows.slice) * size;
            if (z < 0 || z >= d->in_size || a.first >= a.last) {
                zero_windows(s, a.out, size);
                continue;
            }
            a.from = rows + z * p->input_strides[2] + (w->min_shift + a.first) * size;
            plan->kernels->winograd_column_input(&a);
        }
    }
}

static void transform_packed(const box *b, gc_winograd_column_input a, const char *channel,
                             char *to) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    a.from_row = s->planes.pitch * size;
    a.height = s->planes.size[1];
    a.last = a.n;
    for (ptrdiff_t plane = 0; plane < s->planes.nplanes; plane++) {
        const ptrdiff_t phase = plane / s->axes[2].nphases % s->axes[1].nphases;
        a.top = gc_winograd_column_start(s, phase) - s->axes[1].min_shift;
        for (ptrdiff_t i = 0; i < s->planes.size[0]; i++) {
            a.from = channel + (plane * s->planes.plane + i * s->planes.slice) * size;
            a.out = to + (plane * s->windows.plane + i * s->windows.slice) * size;
            plan->kernels->winograd_column_input(&a);
        }
    }
}

static void transform(box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const gc_winograd_column_input a = {
        .n = s->windows.size[2],
        .step = s->outputs,
        .blocks = s->windows.size[1],
        .pitch = s->windows.pitch,
        .element = s->element,
    };
    b->packed = 0;
    if (!s->in_place) pack(b);
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        char *to = b->windows + c * s->windows.channel * size;
        if (s->in_place)
            transform_in_place(b, a, b->image + c * p->input_strides[1], to);
        else
            transform_packed(b, a, b->planes + c * s->planes.channel * size, to);
    }
}

/* Asks for the lines of a block's rows from `at` on. */
GC_ASKS void ask_for_rows(const char *at, ptrdiff_t row, ptrdiff_t rows) {
    for (ptrdiff_t r = 0; r < rows; r++, at += row) __builtin_prefetch(at, 1);
}

/* Asks for far memory that is read and written once a tile's products are there: part e of it, while element e is
 * summed up. */
GC_ASKS void ask_meanwhile(const slice *t, ptrdiff_t v, ptrdiff_t vb, int e) {
    const gc_winograd_column *s = t->b->s;
    const gc_target *to = &t->target;
    const ptrdiff_t size = (ptrdiff_t)t->b->run->plan->kernels->real_size;
    if (!s->far) return;
    const ptrdiff_t last = gc_cut(t->kb, GC_COLUMN_WINDOW, e + 1);
    const gc_column_piece *end = s->pieces + s->first_piece[v + vb];
    for (ptrdiff_t k = gc_cut(t->kb, GC_COLUMN_WINDOW, e); k < last; k++)
        for (const gc_column_piece *p = s->pieces + s->first_piece[v]; p < end; p++) {
            const ptrdiff_t row = s->outputs * p->block, column = gc_max(p->column, 0) * size;
            if (to->residual)
                ask_for_rows(
                    to->residual + k * to->residual_channel + row * to->residual_row + column,
                    to->residual_row, s->outputs);
            ask_for_rows(to->base + k * to->channel + row * to->row + column, to->row, s->outputs);
        }
}

static void multiply(const slice *t, ptrdiff_t v, ptrdiff_t vb) {
    static const double zeros[GC_MAX_KB];
    box *b = t->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t vector = lanes * size;
    gc_tap_sum sum = {
        .plane = b->windows + t->depth * s->windows.slice * size + v * vector,
        .weight = t->weights,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .weight_k = gc_winograd_column_per_k(s),
        .init = zeros,
        .out = b->products,
        .out_k = vb * lanes,
        .fetch_step = gc_ceil_div(b->ahead.step, gc_max(s->ntaps, 1)),
    };
    for (int e = 0; e < GC_COLUMN_WINDOW; e++) {
        sum.fetch = b->ahead.step ? b->ahead.next : NULL;
        b->ahead.next += b->ahead.step;
        ask_meanwhile(t, v, vb, e);
        plan->kernels->tap_sum[t->kb - 1][vb - 1](&sum);
        sum.plane = (const char *)sum.plane + s->element * size;
        sum.weight = (const char *)sum.weight + s->ntaps * size;
        sum.out = (char *)sum.out + t->kb * vb * vector;
    }
}

/* Replaces results of a tile's vector v that are not finite, row r of channel k at tile + k*channel + r*row bytes. */
static void mend(const slice *t, ptrdiff_t v, char *tile, ptrdiff_t channel, ptrdiff_t row) {
    box *b = t->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    double sums[GC_MAX_LANES];
    gc_tap_sum sum = {
        .taps = s->direct_taps,
        .ntaps = s->raw.per_k,
        .out = sums,
    };
    pack(b);
    for (const gc_column_piece *p = s->pieces + s->first_piece[v];; p++) {
        const ptrdiff_t first = __builtin_ctz(p->lanes.bits | 1u << 31);
        for (int k = 0; k < t->kb && p->block < b->blocks; k++)
            for (ptrdiff_t r = 0; r < s->outputs; r++) {
                char *to = tile + k * channel + r * row + first * size;
                int finite = 1;
                for (ptrdiff_t l = 0; l < p->lanes.count; l++)
                    finite &= isfinite(gc_read_real(to, l, size)) != 0;
                if (finite || s->outputs * p->block + r >= b->size[1]) continue;
                sum.plane = b->planes + size * (t->depth * s->planes.slice + p->column + first +
                                                (s->outputs * p->block + r) * s->planes.pitch);
                sum.weight = t->weights +
                             (k * gc_winograd_column_per_k(s) + GC_COLUMN_WINDOW * s->ntaps) * size;
                sum.init = t->init + k * size;
                plan->kernels->tap_sum[0][0](&sum);
                for (ptrdiff_t l = 0; l < p->lanes.count; l++)
                    if (!isfinite(gc_read_real(to, l, size)))
                        memcpy(to + l * size, (const char *)sums + l * size, (size_t)size);
            }
        if (!p->more) break;
    }
}

/* Results of a tile by way of scratch memory: those that the transform cannot store, or that are not finite. */
static void finish_apart(const slice *t, ptrdiff_t v, ptrdiff_t vb, gc_winograd_column_output a) {
    box *b = t->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t pitch = s->windows.pitch, columns = b->size[2];
    gc_column_piece whole[GC_MAX_VB];
    for (ptrdiff_t i = 0; i < vb; i++)
        whole[i] = (gc_column_piece){.column = i * lanes,
                                     .lanes = {.bits = UINT32_MAX, .count = (uint16_t)lanes}};
    a.pieces = whole;
    a.height = s->outputs;
    a.out = b->tile;
    a.out_k = vb * lanes;
    a.out_row = t->kb * a.out_k;
    a.residual = NULL;
    a.clamp = 0;
    a.low = -INFINITY;
    a.high = INFINITY;
    if (plan->kernels->winograd_column_output[s->outputs - 2](&a))
        for (ptrdiff_t i = 0; i < vb; i++)
            mend(t, v + i, b->tile + i * lanes * size, a.out_k * size, a.out_row * size);
    gc_target target = t->target;
    target.row *= s->outputs;
    target.residual_row *= s->outputs;
    for (ptrdiff_t r = 0; r < s->outputs; r++) {
        const ptrdiff_t blocks = gc_ceil_div(b->size[1] - r, s->outputs); /* with such a row */
        const ptrdiff_t flat = blocks > 0 ? (blocks - 1) * pitch + columns : 0;
        gc_tile_finish(plan, &target, b->tile + r * a.out_row * size, a.out_k, t->kb, v * lanes,
                       gc_min(vb * lanes, flat - v * lanes), pitch, columns);
        target.base += t->target.row;
        if (target.residual) target.residual += t->target.residual_row;
    }
}

static void finish(const slice *t, ptrdiff_t v, ptrdiff_t vb) {
    box *b = t->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const gc_winograd_column_output a = {
        .in = b->products,
        .init = t->init,
        .residual = t->target.residual,
        .out = t->target.base,
        .pieces = s->pieces + s->first_piece[v],
        .element = t->kb * vb * plan->kernels->lanes,
        .height = b->size[1],
        .out_k = t->target.channel / size,
        .out_row = t->target.row / size,
        .residual_k = t->target.residual_channel / size,
        .residual_row = t->target.residual_row / size,
        .channels = t->kb,
        .vectors = (int)vb,
        .clamp = plan->problem.activation != GC_IDENTITY,
        .low = s->low,
        .high = s->high,
    };
    if (!s->plain || plan->kernels->winograd_column_output[s->outputs - 2](&a))
        finish_apart(t, v, vb, a);
}

/* Where the results of a box's depth go. */
static gc_target target_of(const box *b, ptrdiff_t n, ptrdiff_t k, ptrdiff_t depth) {
    const gc_problem *p = &b->run->plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t z = b->origin[0] + depth, y = b->origin[1];
    gc_target t = {
        .base = (char *)b->run->arrays->output + n * o[0] + k * o[1] + z * o[2] + y * o[3],
        .channel = o[1],
        .row = o[3],
        .column = o[4],
        .residual_channel = r[1],
        .residual_row = r[3],
        .residual_column = r[4],
    };
    if (p->has_residual)
        t.residual =
            (const char *)b->run->arrays->residual + n * r[0] + k * r[1] + z * r[2] + y * r[3];
    return t;
}

/* Vectors first .. last - 1 of a box's depths, which follow each other. */
static void run_block(slice *t, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last) {
    box *b = t->b;
    const gc_winograd_column *s = b->s;
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t flat = (b->blocks - 1) * s->windows.pitch + b->size[2];
    const ptrdiff_t vectors = gc_ceil_div(flat, kernels->lanes);
    for (t->depth = 0; t->depth < b->size[0]; t->depth++) {
        const ptrdiff_t begin = gc_max(first - t->depth * s->vectors, 0);
        const ptrdiff_t end = gc_min(last - t->depth * s->vectors, vectors);
        t->target = target_of(b, n, t->k, t->depth);
        for (ptrdiff_t v = begin, vb; v < end; v += vb) {
            vb = gc_even_tile(end, v, kernels->max_vb[t->kb - 1]);
            multiply(t, v, vb);
            finish(t, v, vb);
        }
    }
}

/* Groups are counted over all images. */
static const char *image_of(const gc_run *run, ptrdiff_t group) {
    const gc_problem *p = &run->plan->problem;
    return (const char *)run->arrays->input + group / p->groups * p->input_strides[0] +
           group % p->groups * p->in_per_group * p->input_strides[1];
}

/* A group's input, to be fetched while the tiles of `boxes` boxes of the one before are computed. */
static gc_stream stream_ahead(const gc_run *run, ptrdiff_t group, ptrdiff_t boxes) {
    const gc_plan *plan = run->plan;
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t tiles = gc_ceil_div(s->vectors, plan->kernels->max_vb[s->kb - 1]);
    return gc_stream_input(plan, image_of(run, group), plan->problem.in_per_group,
                           GC_COLUMN_WINDOW * tiles * s->windows.extent[0] * s->kblocks * boxes);
}

void gc_winograd_column_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1];
    const ptrdiff_t vectors = s->windows.extent[0] * s->vectors;
    ptrdiff_t ready = -1, seen = -1; /* place, group */
    box b = {.run = run, .s = s};
    bind(&b, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t part = unit % s->parts, whole = unit / s->parts;
        const ptrdiff_t kblock = whole % s->kblocks, place = whole / s->kblocks;
        const ptrdiff_t at = place % boxes, group = place / boxes;
        if (place != ready) {
            b.image = image_of(run, group);
            b.origin[0] = at / s->boxes[1] * s->windows.extent[0];
            b.origin[1] = at % s->boxes[1] * s->windows.extent[1];
            for (int i = 0; i < 3; i++)
                b.size[i] = gc_min(s->windows.extent[i], p->out_size[i] - b.origin[i]);
            b.blocks = gc_ceil_div(b.size[1], s->outputs);
            transform(&b);
            ready = place;
        }
        if (group != seen) {
            const int more = (group + 1) * boxes * s->kblocks * s->parts < last;
            b.ahead = more ? stream_ahead(run, group + 1, boxes - at) : (gc_stream){0};
            seen = group;
        }
        const ptrdiff_t k = gc_cut(p->out_per_group, s->kblocks, kblock);
        slice t = {.b = &b, .k = group % p->groups * p->out_per_group + k};
        t.kb = (int)(gc_cut(p->out_per_group, s->kblocks, kblock + 1) - k);
        t.weights = (const char *)run->weights + t.k * gc_winograd_column_per_k(s) * size;
        t.init = (const char *)run->bias + t.k * size;
        run_block(&t, group / p->groups, gc_cut(vectors, s->parts, part),
                  gc_cut(vectors, s->parts, part + 1));
    }
}
