/* The work of Winograd's plans: pack, transform, multiply, transform back, finish.
 *
 * The transforms mix the elements of a window: an infinity or NaN would spread over its tile, and so
 * would an overflow. Where a channel's results in a box are not all finite, those that are not are
 * replaced by direct sums over the box's planes.
 */
#include <math.h>
#include <string.h>

#include "winograd.h"

/* One box of one image and group. */
typedef struct box {
    const gc_run *run;
    const gc_winograd *s;
    gc_winograd_box tiles;
    char *in, *out, *rows, *tile, *zipped;
    char *slab; /* where a slab's weights are transformed */
    ptrdiff_t n, g;
    ptrdiff_t packed; /* the origin of the box in the planes, or -1 */
} box;

/* Output channels k..k+count-1 of the box's group, and where their weights are. */
typedef struct slab {
    ptrdiff_t k, count;
    const char *weights, *raw;
    ptrdiff_t step, phase; /* bytes between elements of the window, and between phases */
} slab;

static void bind(box *b, const gc_plan *plan, char *scratch) {
    const gc_winograd_sizes z = gc_winograd_scratch(plan, b->s);
    b->tiles.planes = scratch;
    b->in = b->tiles.planes + z.planes;
    b->out = b->in + z.in;
    b->rows = b->out + z.out;
    b->tile = b->rows + z.rows;
    b->zipped = b->tile + z.tile;
    b->slab = b->zipped + z.zipped;
}

static slab slab_of(const box *b, ptrdiff_t k, ptrdiff_t count) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const char *prepared = b->run->weights;
    const gc_winograd_panel *panel = prepared ? &s->group : &s->slab;
    const ptrdiff_t row = prepared ? k : 0;
    const char *weights = prepared ? prepared + b->g * panel->size * size : b->slab;
    if (prepared == NULL)
        gc_winograd_fill(plan, panel, b->run->arrays->weight, b->slab, 0, b->g, k, count);
    return (slab){
        .k = k,
        .count = count,
        .weights = weights + row * plan->problem.in_per_group * size,
        .raw = weights + (panel->raw + row * s->raw.per_k) * size,
        .step = panel->step * size,
        .phase = panel->rows * plan->problem.in_per_group * size,
    };
}

/* Output channels of a product's tiles, and how their vectors are cut: `longer` pieces of least + 1 vectors, then
 * pieces of `least`. */
typedef struct cut {
    ptrdiff_t kb, pieces, least, longer;
} cut;

static cut cut_of(const gc_kernels *kernels, ptrdiff_t kb, ptrdiff_t vectors) {
    const ptrdiff_t pieces = gc_ceil_div(vectors, kernels->max_vb[kb - 1]);
    return (cut){kb, pieces, vectors / pieces, vectors % pieces};
}

/* One element of the window: its weights by its input, for kb output channels. */
static void multiply_tile(const gc_kernels *kernels, const cut *c, gc_tap_sum *sum) {
    const ptrdiff_t vector = kernels->lanes * (ptrdiff_t)kernels->real_size;
    for (ptrdiff_t piece = 0; piece < c->pieces; piece++) {
        const ptrdiff_t vb = c->least + (piece < c->longer);
        kernels->tap_sum[c->kb - 1][vb - 1](sum);
        sum->plane = (const char *)sum->plane + vb * vector;
        sum->out = (char *)sum->out + vb * vector;
    }
}

/* Phase f. Where its kernels are zeros, so are the products. */
static void multiply(const box *b, const slab *t, int f) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t window = s->tiles.kind.window * s->tiles.kind.window;
    const ptrdiff_t vectors = gc_ceil_div(b->tiles.rows * s->tiles.wide, lanes);
    const ptrdiff_t tiles = gc_ceil_div(t->count, s->kb), kb = t->count / tiles;
    const ptrdiff_t wider = t->count % tiles; /* so many tiles have an output channel more */
    const cut wide = cut_of(plan->kernels, kb + (wider > 0), vectors),
              narrow = cut_of(plan->kernels, kb, vectors);
    static const double zeros[GC_MAX_KB];
    gc_tap_sum sum = {
        .taps = s->taps,
        .ntaps = p->in_per_group,
        .weight_k = p->in_per_group,
        .init = zeros,
        .out_k = s->tiles.vectors * lanes,
    };
    const ptrdiff_t block = t->count * sum.out_k * size;
    const char *first = t->weights + f * t->phase;
    for (ptrdiff_t e = 0; e < window; e++) {
        const char *weights = first + e * t->step;
        char *out = b->out + e * s->out_step * size + f * block;
        if (!(s->phases[f].points >> e & 1)) {
            memset(out, 0, (size_t)block);
            continue;
        }
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const cut *c = i < wider ? &wide : &narrow;
            sum.weight = weights;
            weights += c->kb * p->in_per_group * size;
            if (i + 1 == tiles) weights = first + (e + 1) * t->step;
            sum.fetch = e + 1 < window || i + 1 < tiles ? weights : NULL;
            sum.fetch_step = c->kb * size;
            sum.plane = b->in + e * s->in_step * size;
            sum.out = out;
            out += c->kb * sum.out_k * size;
            multiply_tile(plan->kernels, c, &sum);
        }
    }
}

enum { least_fetched = 128 /* bytes of a row: shorter ones share their lines */ };

/* Rows of phases lie between each other, and so do their columns. */
static void finish_rows(const box *b, ptrdiff_t k) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, m = s->tiles.kind.outputs;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    char *out = (char *)b->run->arrays->output + b->n * o[0] + k * o[1];
    const char *residual =
        p->has_residual ? (const char *)b->run->arrays->residual + b->n * r[0] + k * r[1] : NULL;
    gc_finish f = {
        .to_stride = o[4],
        .residual_stride = r[4],
        .n = p->out_size[2],
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    const ptrdiff_t phase = m * s->out_row * size;
    const ptrdiff_t bytes = p->out_size[2] * plan->storage_size;
    const int next = o[4] == plan->storage_size && bytes >= least_fetched &&
                     k + 1 < p->groups * p->out_per_group;
    for (ptrdiff_t t = 0; t < b->tiles.rows; t++)
        for (ptrdiff_t i = 0; i < m * s->up; i++) {
            const ptrdiff_t row = (b->tiles.origin + t) * m * s->up + i;
            if (row >= p->out_size[1]) return;
            f.from = b->rows + (i / s->up * s->out_row + t * s->tiles.wide * m) * size;
            f.to = out + row * o[3];
            if (next) gc_prefetch((const char *)f.to + o[1], bytes);
            if (s->up == 2) {
                const char *even = (const char *)f.from + i % 2 * 2 * phase;
                plan->kernels->zip(s->bare ? f.to : b->zipped, even, even + phase, f.n);
                if (s->bare) continue;
                f.from = b->zipped;
            }
            if (residual) f.residual = residual + row * r[3];
            plan->kernels->finish(&f);
        }
}

/* Replaces results of phase f of one channel that are not finite by plain tap sums over the box's planes. */
static void redo_directly(box *b, int f, const char *weight, const void *bias, char *rows) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t m = s->tiles.kind.outputs, wide = s->tiles.wide * m;
    gc_tap_sum sum = {
        .weight = weight + s->phases[f].first * size,
        .taps = s->direct_taps + s->phases[f].first,
        .ntaps = plan->problem.in_per_group * s->phases[f].ntaps,
        .init = bias,
        .out = b->tile,
    };
    if (b->packed != b->tiles.origin) gc_winograd_pack(&s->tiles, plan, &b->tiles, 0);
    b->packed = b->tiles.origin;
    for (ptrdiff_t y = 0; y < b->tiles.rows * m; y++)
        for (ptrdiff_t x = 0; x < wide; x += lanes) {
            char *to = rows + (y % m * s->out_row + y / m * wide + x) * size;
            sum.plane = b->tiles.planes + (y * s->tiles.planes.pitch + x) * size;
            plan->kernels->tap_sum[0][0](&sum);
            for (ptrdiff_t l = 0; l < gc_min(lanes, wide - x); l++)
                if (!isfinite(gc_read_real(to, l, size)))
                    memcpy(to + l * size, b->tile + l * size, (size_t)size);
        }
}

static void run_slab(box *b, const slab *t) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t tiles = b->tiles.rows * s->tiles.wide, vectors = gc_ceil_div(tiles, lanes);
    const ptrdiff_t last = tiles - (vectors - 1) * lanes;
    for (int f = 0; f < s->up * s->up; f++) multiply(b, t, f);
    for (ptrdiff_t i = 0; i < t->count; i++) {
        const ptrdiff_t channel = b->g * plan->problem.out_per_group + t->k + i;
        gc_winograd_output a = {
            .init = (const char *)b->run->bias + channel * size,
            .in_step = s->out_step,
            .vectors = vectors,
            .out_row = s->out_row,
            .last_bits = (uint32_t)((1ull << last) - 1),
        };
        for (int f = 0; f < s->up * s->up; f++) {
            a.in = b->out + (f * t->count + i) * s->tiles.vectors * lanes * size;
            a.out = b->rows + f * s->tiles.kind.outputs * s->out_row * size;
            if (plan->kernels->winograd_output[s->tiles.which](&a))
                redo_directly(b, f, t->raw + i * s->raw.per_k * size, a.init, a.out);
        }
        finish_rows(b, channel);
    }
}

/* The transformed windows of a box, counted over images and groups. */
static void start_box(box *b, ptrdiff_t place) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_tiles *t = &b->s->tiles;
    const ptrdiff_t origin = place % t->boxes * t->box_high;
    const int again = b->packed >= 0 && b->packed == origin;
    b->g = place / t->boxes % p->groups;
    b->n = place / t->boxes / p->groups;
    b->tiles.image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                     b->g * p->in_per_group * p->input_strides[1];
    b->tiles.origin = origin;
    b->tiles.rows = gc_min(t->box_high, t->high - origin);
    b->packed = -1;
    if (!t->in_place) {
        gc_winograd_pack(t, plan, &b->tiles, again);
        b->packed = origin;
    }
    gc_winograd_windows(t, plan, &b->tiles, b->s->in_step, t->vectors * plan->kernels->lanes,
                        b->in);
}

void gc_winograd_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = plan->state;
    box b = {.run = run, .s = s, .tiles.channels = p->in_per_group, .packed = -1};
    bind(&b, plan, scratch);
    gc_planes_clear_slack(&s->tiles.planes, p->in_per_group, plan->kernels, b.tiles.planes);
    ptrdiff_t ready = -1;
    for (ptrdiff_t unit = first, n; unit < last; unit += n) {
        const ptrdiff_t i = unit % s->kslabs, place = unit / s->kslabs;
        n = gc_min(gc_min(s->joined, s->kslabs - i), last - unit);
        if (place != ready) {
            start_box(&b, place);
            ready = place;
        }
        const ptrdiff_t k = gc_cut(p->out_per_group, s->kslabs, i);
        const slab t = slab_of(&b, k, gc_cut(p->out_per_group, s->kslabs, i + n) - k);
        run_slab(&b, &t);
    }
}
