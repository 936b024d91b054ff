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
    char *planes, *in, *out, *rows, *tile;
    char *slab; /* where a slab's weights are transformed */
    ptrdiff_t n, g, origin, rows_of_tiles;
    ptrdiff_t packed; /* the origin of the box in the planes, or -1 */
} box;

/* Output channels k..k+count-1 of the box's group, and where their weights are. */
typedef struct slab {
    ptrdiff_t k, count;
    const char *weights, *raw;
    ptrdiff_t step; /* bytes between elements of the window */
} slab;

static void bind(box *b, const gc_plan *plan, char *scratch) {
    const gc_winograd_sizes z = gc_winograd_scratch(plan, b->s);
    b->planes = scratch;
    b->in = b->planes + z.planes;
    b->out = b->in + z.in;
    b->rows = b->out + z.out;
    b->tile = b->rows + z.rows;
    b->slab = b->tile + z.tile;
}

static const char *image_of(const box *b) {
    const gc_problem *p = &b->run->plan->problem;
    return (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
           b->g * p->in_per_group * p->input_strides[1];
}

/* `again`: the planes hold a box of the same origin. */
static void pack(const box *b, int again) {
    const gc_problem *p = &b->run->plan->problem;
    const ptrdiff_t origin[3] = {0, b->origin * b->s->kind.outputs, 0};
    gc_pack(b->run->plan, b->s->axes, &b->s->planes, image_of(b), p->input_strides + 1,
            p->in_per_group, origin, again, b->planes);
}

static void transform_input(const box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t channel = s->in_place ? p->input_strides[1] : s->planes.channel * size;
    gc_winograd_input a = {
        .source = s->in_place ? image_of(b) : b->planes,
        .row_step = s->in_place ? p->input_strides[3] : s->planes.pitch * size,
        .first = s->in_place ? b->origin * s->kind.outputs + s->axes[1].min_shift : 0,
        .height = s->in_place ? p->in_size[1] : s->planes.size[1],
        .pieces = s->pieces,
        .parts = s->parts,
        .vectors = gc_ceil_div(b->rows_of_tiles * s->tiles_wide, lanes),
        .out_step = s->in_step,
        .out = b->in,
    };
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        plan->kernels->winograd_input[s->which](&a);
        a.source += channel;
        a.out = (char *)a.out + s->tile_vectors * lanes * size;
    }
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

static void multiply(const box *b, const slab *t) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t window = s->kind.window * s->kind.window;
    const ptrdiff_t vectors = gc_ceil_div(b->rows_of_tiles * s->tiles_wide, lanes);
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
        .out_k = s->tile_vectors * lanes,
    };
    for (ptrdiff_t e = 0; e < window; e++) {
        const char *weights = t->weights + e * t->step;
        char *out = b->out + e * s->out_step * size;
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const cut *c = i < wider ? &wide : &narrow;
            sum.weight = weights;
            weights += c->kb * p->in_per_group * size;
            if (i + 1 == tiles) weights = t->weights + (e + 1) * t->step;
            sum.fetch = e + 1 < window || i + 1 < tiles ? weights : NULL;
            sum.fetch_step = c->kb * size;
            sum.plane = b->in + e * s->in_step * size;
            sum.out = out;
            out += c->kb * sum.out_k * size;
            multiply_tile(plan->kernels, c, &sum);
        }
    }
}

static void finish_rows(const box *b, ptrdiff_t k) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, m = s->kind.outputs;
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
    for (ptrdiff_t t = 0; t < b->rows_of_tiles; t++)
        for (ptrdiff_t i = 0; i < m; i++) {
            const ptrdiff_t row = (b->origin + t) * m + i;
            if (row >= p->out_size[1]) return;
            f.from = b->rows + (i * s->out_row + t * s->tiles_wide * m) * size;
            f.to = out + row * o[3];
            if (residual) f.residual = residual + row * r[3];
            plan->kernels->finish(&f);
        }
}

/* Replaces the box's results of one channel that are not finite by plain tap sums over its planes. */
static void redo_directly(box *b, const void *weight, const void *bias) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t m = s->kind.outputs, wide = s->tiles_wide * m;
    gc_tap_sum sum = {
        .weight = weight,
        .taps = s->direct_taps,
        .ntaps = plan->problem.in_per_group * s->kind.taps * s->kind.taps,
        .init = bias,
        .out = b->tile,
    };
    if (b->packed != b->origin) pack(b, 0);
    b->packed = b->origin;
    for (ptrdiff_t y = 0; y < b->rows_of_tiles * m; y++)
        for (ptrdiff_t x = 0; x < wide; x += lanes) {
            char *to = b->rows + (y % m * s->out_row + y / m * wide + x) * size;
            sum.plane = b->planes + (y * s->planes.pitch + x) * size;
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
    const ptrdiff_t tiles = b->rows_of_tiles * s->tiles_wide, vectors = gc_ceil_div(tiles, lanes);
    const ptrdiff_t last = tiles - (vectors - 1) * lanes;
    multiply(b, t);
    for (ptrdiff_t i = 0; i < t->count; i++) {
        const ptrdiff_t channel = b->g * plan->problem.out_per_group + t->k + i;
        const gc_winograd_output a = {
            .in = b->out + i * s->tile_vectors * lanes * size,
            .init = (const char *)b->run->bias + channel * size,
            .in_step = s->out_step,
            .vectors = vectors,
            .out_row = s->out_row,
            .last_bits = (uint32_t)((1ull << last) - 1),
            .out = b->rows,
        };
        if (plan->kernels->winograd_output[s->which](&a))
            redo_directly(b, t->raw + i * s->raw.per_k * size, a.init);
        finish_rows(b, channel);
    }
}

void gc_winograd_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = plan->state;
    box b = {.run = run, .s = s, .packed = -1};
    bind(&b, plan, scratch);
    gc_planes_clear_slack(&s->planes, p->in_per_group, plan->kernels, b.planes);
    ptrdiff_t ready = -1;
    for (ptrdiff_t unit = first, n; unit < last; unit += n) {
        const ptrdiff_t i = unit % s->kslabs, place = unit / s->kslabs;
        n = gc_min(gc_min(s->joined, s->kslabs - i), last - unit);
        if (place != ready) {
            const int again = b.packed >= 0 && b.packed == place % s->boxes * s->box_high;
            b.origin = place % s->boxes * s->box_high;
            b.g = place / s->boxes % p->groups;
            b.n = place / s->boxes / p->groups;
            b.rows_of_tiles = gc_min(s->box_high, s->tiles_high - b.origin);
            b.packed = -1;
            if (!s->in_place) {
                pack(&b, again);
                b.packed = b.origin;
            }
            transform_input(&b);
            ready = place;
        }
        const ptrdiff_t k = gc_cut(p->out_per_group, s->kslabs, i);
        const slab t = slab_of(&b, k, gc_cut(p->out_per_group, s->kslabs, i + n) - k);
        run_slab(&b, &t);
    }
}
