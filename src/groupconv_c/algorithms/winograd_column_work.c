/* The work of Winograd's method down columns: transform a box's windows (winograd_column_windows.c), sum tiles of products,
 * transform back.
 *
 * The transforms mix the rows of a window: an infinity or NaN would spread over a block, and so would an overflow.
 * Results of a tile that are not finite are replaced by direct sums over the packed box.
 */
#include <math.h>
#include <string.h>

#include "winograd_column.h"

/* Where a block of output channels of a box is: image, group, its first channel over all groups and their number. */
typedef struct place {
    ptrdiff_t n, group, k, origin[3];
    int kb;
} place;

/* Some vectors of one depth of a block. */
typedef struct tile {
    ptrdiff_t depth, v, vb;
    int kb;
    const char *weights, *init;
    gc_target target; /* of the box's first position */
} tile;

/* Memory of a later unit, which is asked for while products are summed up. */
typedef struct region {
    const char *base;
    ptrdiff_t apart, bytes; /* between channels; of each */
    ptrdiff_t next, step;   /* of the bytes of all channels, one after the other; 0: nothing */
} region;

/* A box of one image and group. */
typedef struct box {
    const gc_run *run;
    const gc_winograd_column *s;
    gc_winograd_column_box in;
    ptrdiff_t size[3]; /* of its results */
    char *products, *rows;
    region later[3]; /* results, input and, if there is one, residual */
    int regions;
} box;

static void bind(box *b, char *scratch) {
    const gc_winograd_column_sizes z = gc_winograd_column_scratch(b->run->plan, b->s);
    b->in.windows = scratch;
    b->in.planes = b->in.windows + z.windows;
    b->in.channel = b->in.planes + z.planes;
    b->products = b->in.channel + z.channel;
    b->rows = b->products + z.products;
    gc_winograd_column_clear(b->run->plan, &b->in);
}

/* Replaces waiting results of a tile's vector v that are not finite. */
static void mend(box *b, const tile *t, ptrdiff_t v) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, wide = b->size[2];
    double sums[GC_MAX_LANES];
    gc_tap_sum sum = {.taps = s->direct_taps, .ntaps = s->raw.per_k, .out = sums};
    gc_winograd_column_pack(plan, &b->in);
    const gc_column_piece *end = s->pieces + s->first_piece[v + 1];
    for (const gc_column_piece *p = s->pieces + s->first_piece[v]; p < end; p++) {
        const ptrdiff_t rows = gc_min(b->size[1] - p->row, s->outputs);
        const ptrdiff_t first = p->lanes.count ? __builtin_ctz(p->lanes.bits) : 0;
        for (ptrdiff_t i = 0; i < t->kb * rows; i++) {
            const ptrdiff_t k = i / rows, r = i % rows;
            char *results =
                b->rows + ((k * s->windows.extent[1] + r) * wide + p->at + first) * size;
            int finite = 1;
            for (ptrdiff_t l = 0; l < p->lanes.count; l++)
                finite &= isfinite(gc_read_real(results, l, size)) != 0;
            if (finite) continue;
            sum.plane = b->in.planes + size * (t->depth * s->planes.slice + p->column + first +
                                               (p->row + r) * s->planes.pitch);
            sum.weight =
                t->weights + size * (k * gc_winograd_column_per_k(s) + GC_COLUMN_WINDOW * s->ntaps);
            sum.init = t->init + k * size;
            plan->kernels->tap_sum[0][0](&sum);
            for (ptrdiff_t l = 0; l < p->lanes.count; l++)
                if (!isfinite(gc_read_real(results, l, size)))
                    memcpy(results + l * size, (const char *)sums + l * size, (size_t)size);
        }
    }
}

/* Rows first .. last - 1 of a depth of the box, from column x on, from where they wait to their place. */
static void store_rows(const box *b, const gc_target *to, int kb, ptrdiff_t first, ptrdiff_t last,
                       ptrdiff_t x, ptrdiff_t n) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, wide = b->size[2];
    const int joined = n == wide && to->row == wide * to->column &&
                       (to->residual == NULL || to->residual_row == wide * to->residual_column);
    const ptrdiff_t rows = joined ? last - first : 1;
    gc_finish f = {
        .to_stride = to->column,
        .residual_stride = to->residual_column,
        .n = rows * n,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (int k = 0; k < kb; k++)
        for (ptrdiff_t y = first; y < last; y += rows) {
            f.from = b->rows + ((k * b->s->windows.extent[1] + y) * wide + x) * size;
            f.to = to->base + k * to->channel + y * to->row + x * to->column;
            if (to->residual)
                f.residual = to->residual + k * to->residual_channel + y * to->residual_row +
                             x * to->residual_column;
            plan->kernels->finish(&f);
        }
}

/* Results of vectors first .. last - 1 of a depth: whole blocks at once. */
static void store_waiting(const box *b, const gc_target *to, int kb, ptrdiff_t first,
                          ptrdiff_t last) {
    const gc_winograd_column *s = b->s;
    const ptrdiff_t lanes = b->run->plan->kernels->lanes, pitch = s->windows.pitch;
    const ptrdiff_t wide = b->size[2], blocks = gc_ceil_div(b->size[1], s->outputs);
    for (ptrdiff_t block = first * lanes / pitch, next; block < blocks; block = next) {
        const ptrdiff_t x = gc_max(first * lanes - block * pitch, 0);
        const ptrdiff_t end = gc_min(last * lanes - block * pitch, wide);
        if (end <= 0) break;
        next = block + 1;
        while (x == 0 && next < blocks && last * lanes - next * pitch >= wide) next++;
        if (x < end)
            store_rows(b, to, kb, block * s->outputs, gc_min(next * s->outputs, b->size[1]), x,
                       end - x);
    }
}

/* Results of a tile to their place. Those that the transform cannot store, or that are not finite, go by way of whole
 * rows: until a block is done, where all of them wait, or at once. */
static void finish(box *b, const tile *t) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    gc_winograd_column_output a = {
        .in = b->products,
        .init = t->init,
        .residual = t->target.residual,
        .out = t->target.base,
        .pieces = s->pieces + s->first_piece[t->v],
        .element = t->kb * t->vb * plan->kernels->lanes,
        .height = b->size[1],
        .out_k = t->target.channel / size,
        .out_row = b->size[2],
        .residual_k = t->target.residual_channel / size,
        .channels = t->kb,
        .vectors = (int)t->vb,
        .clamp = plan->problem.activation != GC_IDENTITY,
        .low = s->low,
        .high = s->high,
    };
    if (s->plain && !plan->kernels->winograd_column_output[s->outputs - 2](&a)) return;
    a.residual = NULL;
    a.out = b->rows;
    a.out_k = s->windows.extent[1] * b->size[2];
    a.clamp = 0;
    a.low = -INFINITY;
    a.high = INFINITY;
    if (plan->kernels->winograd_column_output[s->outputs - 2](&a))
        for (ptrdiff_t i = 0; i < t->vb; i++) mend(b, t, t->v + i);
    if (s->plain) store_waiting(b, &t->target, t->kb, t->v, t->v + t->vb);
}

/* Where to ask from now: the next step of a region. */
static const char *take(region *r) {
    if (r->step == 0) return NULL;
    const char *from = r->base + r->next / r->bytes * r->apart + r->next % r->bytes;
    r->next += r->step;
    return from;
}

static void multiply(box *b, const tile *t) {
    static const double zeros[GC_MAX_KB];
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    gc_tap_sum sum = {
        .plane = b->in.windows + (t->depth * s->windows.slice + t->v * lanes) * size,
        .weight = t->weights,
        .taps = s->taps,
        .ntaps = s->ntaps,
        .weight_k = gc_winograd_column_per_k(s),
        .init = zeros,
        .out = b->products,
        .out_k = t->vb * lanes,
    };
    for (int e = 0; e < GC_COLUMN_WINDOW; e++) {
        region *later = &b->later[e % b->regions];
        sum.fetch = take(later);
        sum.fetch_step = gc_ceil_div(later->step, s->ntaps);
        plan->kernels->tap_sum[t->kb - 1][t->vb - 1](&sum);
        sum.plane = (const char *)sum.plane + s->element * size;
        sum.weight = (const char *)sum.weight + s->ntaps * size;
        sum.out = (char *)sum.out + t->kb * t->vb * lanes * size;
    }
}

/* Blocks of channels of a box follow each other, boxes of a group, groups of an image. */
static place place_of(const gc_plan *plan, ptrdiff_t block) {
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t kblock = block % s->kblocks, high = block / s->kblocks % s->boxes[1];
    const ptrdiff_t deep = block / s->kblocks / s->boxes[1], group = deep / s->boxes[0];
    const ptrdiff_t k = gc_cut(p->out_per_group, s->kblocks, kblock);
    return (place){
        .n = group / p->groups,
        .group = group % p->groups,
        .k = group % p->groups * p->out_per_group + k,
        .kb = (int)(gc_cut(p->out_per_group, s->kblocks, kblock + 1) - k),
        .origin = {deep % s->boxes[0] * s->windows.extent[0], high * s->windows.extent[1], 0},
    };
}

/* Bytes to a block's first result, or to what is added to it. */
static ptrdiff_t offset_of(const place *at, const ptrdiff_t strides[5]) {
    return at->n * strides[0] + at->k * strides[1] + at->origin[0] * strides[2] +
           at->origin[1] * strides[3];
}

/* Where the results of a block go. */
static gc_target target_of(const gc_run *run, const place *at) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    gc_target t = {
        .base = (char *)run->arrays->output + offset_of(at, o),
        .channel = o[1],
        .row = o[3],
        .column = o[4],
        .residual_channel = r[1],
        .residual_row = r[3],
        .residual_column = r[4],
    };
    if (p->has_residual) t.residual = (const char *)run->arrays->residual + offset_of(at, r);
    return t;
}

/* Vectors first .. last - 1 of the box's depths, which follow each other. */
static void run_block(box *b, const place *at, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t blocks = gc_ceil_div(b->size[1], s->outputs);
    const ptrdiff_t flat = (blocks - 1) * s->windows.pitch + b->size[2];
    const ptrdiff_t vectors = gc_ceil_div(flat, plan->kernels->lanes);
    tile t = {
        .kb = at->kb,
        .weights = (const char *)b->run->weights + at->k * gc_winograd_column_per_k(s) * size,
        .init = (const char *)b->run->bias + at->k * size,
        .target = target_of(b->run, at),
    };
    for (; t.depth < b->size[0]; t.depth++) {
        const ptrdiff_t begin = gc_max(first - t.depth * s->vectors, 0);
        const ptrdiff_t end = gc_min(last - t.depth * s->vectors, vectors);
        for (t.v = begin; t.v < end; t.v += t.vb) {
            t.vb = gc_even_tile(end, t.v, plan->kernels->max_vb[at->kb - 1]);
            multiply(b, &t);
            finish(b, &t);
        }
        if (!s->plain && begin < end) store_waiting(b, &t.target, t.kb, begin, end);
        t.target.base += plan->problem.output_strides[2];
        if (t.target.residual) t.target.residual += plan->problem.residual_strides[2];
    }
}

static const char *image_of(const gc_run *run, const place *at) {
    const gc_problem *p = &run->plan->problem;
    return (const char *)run->arrays->input + at->n * p->input_strides[0] +
           at->group * p->in_per_group * p->input_strides[1];
}

static void go_to(box *b, const place *at) {
    const ptrdiff_t *out_size = b->run->plan->problem.out_size;
    b->in.image = image_of(b->run, at);
    for (int i = 0; i < 3; i++) {
        b->in.origin[i] = at->origin[i];
        b->size[i] = gc_min(b->s->windows.extent[i], out_size[i] - at->origin[i]);
    }
    gc_winograd_column_transform(b->run->plan, &b->in);
}

/* `channels` channels of rows, to be asked for in so many steps; nothing if that is more than the near caches have room
 * for beside a box. */
static region region_of(const char *base, ptrdiff_t channels, ptrdiff_t apart, ptrdiff_t bytes,
                        ptrdiff_t steps) {
    enum { most_bytes = 256 * 1024 };
    region r = {.base = base, .apart = apart, .bytes = bytes};
    if (channels * bytes <= most_bytes) r.step = gc_ceil_div(channels * bytes, steps);
    return r;
}

/* From block `block` on, the last of them before `end`: asks for the next group's input, if this one has just begun, and
 * for the next block's results and residual, of its first depth. */
static void look_ahead(box *b, ptrdiff_t block, ptrdiff_t end) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = b->s;
    const ptrdiff_t vectors = s->windows.extent[0] * s->vectors;
    const ptrdiff_t tiles = gc_ceil_div(vectors, plan->kernels->max_vb[s->kb - 1]);
    b->regions = p->has_residual ? 3 : 2;
    const ptrdiff_t steps = tiles * (GC_COLUMN_WINDOW / b->regions); /* of a block, for each */
    const ptrdiff_t blocks = s->boxes[0] * s->boxes[1] * s->kblocks; /* of a group */
    const ptrdiff_t rest = blocks - block % blocks;
    const place next = place_of(plan, block + 1);
    b->later[0].step = b->later[2].step = 0;
    if (rest == blocks || b->later[1].base == NULL) {
        const place group = place_of(plan, block + rest);
        const ptrdiff_t bytes = p->in_size[0] * p->in_size[1] * p->in_size[2] * plan->storage_size;
        b->later[1] = region_of(image_of(b->run, &group), p->in_per_group, p->input_strides[1],
                                bytes, steps * rest);
        if (block + rest >= end) b->later[1].step = 0;
    }
    if (!s->plain || block + 1 >= end) return;
    const gc_target target = target_of(b->run, &next);
    const ptrdiff_t bytes = b->size[1] * b->size[2] * plan->storage_size;
    b->later[0] = region_of(target.base, next.kb, target.channel, bytes, steps);
    if (target.residual)
        b->later[2] = region_of(target.residual, next.kb, target.residual_channel, bytes, steps);
}

void gc_winograd_column_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_winograd_column *s = run->plan->state;
    const ptrdiff_t vectors = s->windows.extent[0] * s->vectors;
    ptrdiff_t begun = -1;
    box b = {.run = run, .s = s};
    bind(&b, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t part = unit % s->parts, block = unit / s->parts;
        const place at = place_of(run->plan, block);
        if (begun < 0 || block / s->kblocks != begun / s->kblocks) go_to(&b, &at);
        if (block != begun) look_ahead(&b, block, gc_ceil_div(last, s->parts));
        begun = block;
        run_block(&b, &at, gc_cut(vectors, s->parts, part), gc_cut(vectors, s->parts, part + 1));
    }
}
