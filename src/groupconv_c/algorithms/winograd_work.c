/* The work of Winograd's plans: pack, transform, multiply, transform back, finish.
 *
 * The transforms mix the elements of a window: an infinity or NaN would spread over its tile, and so
 * would an overflow. Where a channel's results in a box are not all finite, those that are not are
 * replaced by direct sums over the same phase planes.
 */
#include <math.h>
#include <string.h>

#include "winograd.h"

/* One box of one image and group. */
typedef struct box {
    const gc_run *run;
    const gc_winograd *s;
    char *planes, *in, *out, *rows, *tile;
    ptrdiff_t *taps;
    char *slab; /* where a slab's weights are transformed */
    ptrdiff_t n, g, origin, rows_of_tiles;
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
    b->taps = (ptrdiff_t *)(b->tile + z.tile);
    b->slab = (char *)b->taps + z.taps;
}

static ptrdiff_t flat_tiles(const box *b) {
    return (b->rows_of_tiles - 1) * b->s->planes.pitch + b->s->tiles_wide;
}

/* Lanes behind the last tile of the box are multiplied too: what the memory held before must not be subnormal. Transforms
 * of whole boxes may spill into them later. */
static void clear_last_lanes(const box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t tiles = b->rows_of_tiles * s->tiles_wide, whole = tiles / lanes * lanes;
    if (whole == tiles) return;
    for (int e = 0; e < s->kind.window * s->kind.window; e++)
        for (ptrdiff_t c = 0; c < plan->problem.in_per_group; c++)
            memset(b->in + (e * s->in_step + c * s->tile_vectors * lanes + whole) * size, 0,
                   (size_t)(lanes * size));
}

static void transform_input(const box *b, int again) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t origin[3] = {0, b->origin, 0};
    const char *image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                        b->g * p->in_per_group * p->input_strides[1];
    gc_pack(plan, s->axes, &s->planes, image, p->input_strides + 1, p->in_per_group, origin, again,
            b->planes);
    gc_winograd_input a = {.offsets = s->offsets, .lanes = s->lanes.lanes, .out_step = s->in_step};
    const ptrdiff_t flat = flat_tiles(b), whole = flat / lanes;
    const gc_lanes cut =
        flat % lanes ? gc_run_lanes_cut(&s->lanes, whole, flat, 0, (int)lanes) : (gc_lanes){0};
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        a.planes = b->planes + c * s->planes.channel * size;
        a.out = b->in + c * s->tile_vectors * lanes * size;
        a.lanes = s->lanes.lanes;
        a.vectors = whole;
        plan->kernels->winograd_input[s->kind.window == 6](&a);
        if (cut.count == 0) continue;
        a.planes = (const char *)a.planes + whole * lanes * size;
        a.out = (char *)a.out + s->lanes.start[whole] * size;
        a.lanes = &cut;
        a.vectors = 1;
        plan->kernels->winograd_input[s->kind.window == 6](&a);
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

static void multiply(const box *b, const slab *t) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t window = s->kind.window * s->kind.window;
    const ptrdiff_t vectors = gc_ceil_div(b->rows_of_tiles * s->tiles_wide, lanes);
    static const double zeros[GC_MAX_KB];
    gc_tap_sum sum = {
        .taps = s->taps,
        .ntaps = p->in_per_group,
        .weight_k = p->in_per_group,
        .init = zeros,
        .out_k = s->tile_vectors * lanes,
    };
    for (ptrdiff_t e = 0; e < window; e++)
        for (ptrdiff_t i = 0, kb; i < t->count; i += kb) {
            kb = gc_even_tile(t->count, i, s->kb);
            sum.weight = t->weights + e * t->step + i * p->in_per_group * size;
            const char *next = (const char *)sum.weight + kb * p->in_per_group * size;
            if (i + kb >= t->count) next = t->weights + (e + 1) * t->step;
            sum.fetch = e + 1 < window || i + kb < t->count ? next : NULL;
            sum.fetch_step = kb * size;
            const ptrdiff_t pieces = gc_ceil_div(vectors, plan->kernels->max_vb[kb - 1]);
            const ptrdiff_t least = vectors / pieces, longer = vectors - least * pieces;
            sum.plane = b->in + e * s->in_step * size;
            sum.out = b->out + (e * s->out_step + i * sum.out_k) * size;
            for (ptrdiff_t piece = 0; piece < pieces; piece++) {
                const ptrdiff_t vb = least + (piece < longer);
                plan->kernels->tap_sum[kb - 1][vb - 1](&sum);
                sum.plane = (const char *)sum.plane + vb * lanes * size;
                sum.out = (char *)sum.out + vb * lanes * size;
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

/* In the order of the weights, which a transposed convolution takes from the last to the first. */
static void list_direct_taps(const box *b, int i, int j) {
    const gc_winograd *s = b->s;
    const int r = s->kind.taps, window = s->kind.window;
    const int flip = b->run->plan->problem.op == GC_CONV_TRANSPOSE;
    const ptrdiff_t size = (ptrdiff_t)b->run->plan->kernels->real_size;
    ptrdiff_t *tap = b->taps;
    for (ptrdiff_t c = 0; c < b->run->plan->problem.in_per_group; c++)
        for (int y = 0; y < r; y++)
            for (int x = 0; x < r; x++) {
                const int row = flip ? r - 1 - y : y, column = flip ? r - 1 - x : x;
                *tap++ =
                    size * (c * s->planes.channel + s->offsets[(i + row) * window + j + column]);
            }
}

/* Replaces the box's results of one channel that are not finite by plain tap sums over the phase planes. */
static void redo_directly(const box *b, const void *weight, const void *bias) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t m = s->kind.outputs, flat = flat_tiles(b);
    gc_tap_sum sum = {
        .weight = weight,
        .taps = b->taps,
        .ntaps = plan->problem.in_per_group * s->kind.taps * s->kind.taps,
        .init = bias,
        .out = b->tile,
    };
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) {
            list_direct_taps(b, i, j);
            for (ptrdiff_t v = 0; v * lanes < flat; v++) {
                const gc_lanes chosen = gc_run_lanes_cut(&s->lanes, v, flat, 0, (int)lanes);
                sum.plane = b->planes + v * lanes * size;
                sum.lanes = &chosen;
                plan->kernels->tap_sum[0][0](&sum);
                char *to = b->rows + (i * s->out_row + s->lanes.start[v] * m + j) * size;
                for (ptrdiff_t t = 0; t < (ptrdiff_t)chosen.count; t++)
                    if (!isfinite(gc_read_real(to, t * m, size)))
                        memcpy(to + t * m * size, b->tile + t * size, (size_t)size);
            }
        }
}

static void run_slab(const box *b, const slab *t) {
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
    box b = {.run = run, .s = s};
    bind(&b, plan, scratch);
    gc_planes_clear_slack(&s->planes, p->in_per_group, plan->kernels, b.planes);
    ptrdiff_t ready = -1, clear = -1;
    for (ptrdiff_t unit = first, n; unit < last; unit += n) {
        const ptrdiff_t i = unit % s->kslabs, place = unit / s->kslabs;
        n = gc_min(gc_min(s->joined, s->kslabs - i), last - unit);
        if (place != ready) {
            const int again = ready >= 0 && ready % s->boxes == place % s->boxes;
            b.origin = place % s->boxes * s->planes.extent[1];
            b.g = place / s->boxes % p->groups;
            b.n = place / s->boxes / p->groups;
            b.rows_of_tiles = gc_min(s->planes.extent[1], s->tiles_high - b.origin);
            if (clear != b.rows_of_tiles) clear_last_lanes(&b);
            clear = b.rows_of_tiles;
            transform_input(&b, again);
            ready = place;
        }
        const ptrdiff_t k = gc_cut(p->out_per_group, s->kslabs, i);
        const slab t = slab_of(&b, k, gc_cut(p->out_per_group, s->kslabs, i + n) - k);
        run_slab(&b, &t);
    }
}
