/* Depthwise convolution over rows that are read where they lie: zeros around, strides 1 and 2, kernels of at
 * most 7 rows, forward, and transposed with stride 1 (the forward one of the mirrored kernel).
 *
 * A unit is one image, one channel, one depth of the output and one band of its rows. A 3x3 of stride 1 goes
 * down the band one column of vectors after the other, each loaded vector serving three partial sums
 * ("rolling"); other kernels go through it in tiles of some rows. The last vector of a row is moved back to
 * end with it, so that only rows narrower than a vector are stored in part. Rows a dilation apart form a
 * class; its rows share loads.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "tile_store.h"
#include "weights.h"

enum {
    tile_rows = GC_DEPTHWISE_ROWS,
    few_rows = 4,
    band_outputs = 16 * 1024,
    most_columns = 32,
    most_fetched = 64 * 1024,
};

/* Some rows of a band: the first one's places in the slice, from its row 0. */
typedef struct tile {
    ptrdiff_t in, out, residual; /* reals */
    int nrows, few, edge, whole;
    int first, last; /* input rows that are there */
} tile;

typedef struct in_place {
    ptrdiff_t pad[3]; /* as a forward convolution has them */
    ptrdiff_t flip;   /* kernel positions count backwards */
    int rolling, narrow;
    gc_weights weights;
    ptrdiff_t weight_origin, weight_step[3];
    gc_columns *columns;
    uint32_t *bits;
    ptrdiff_t ncolumns;
    ptrdiff_t bands, ntiles;
    tile *tiles;          /* of all bands */
    ptrdiff_t *band_tile; /* the first tile of each band */
    gc_depthwise_rows_fn *const *kernels;
    int activate; /* after the microkernel, which clamps only */
    double low, high;
} in_place;

/* Input rows in place need rows of reals along the width. */
static int rows_in_memory(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, *i = p->input_strides;
    if ((size_t)size != plan->kernels->real_size || (p->in_size[2] > 1 && i[4] != size)) return 0;
    return i[0] % size == 0 && i[1] % size == 0 && i[2] % size == 0 && i[3] % size == 0;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    if (p->padding_mode != GC_ZEROS) return "it needs padding with zeros";
    if (!rows_in_memory(plan) || !gc_output_is_rows(plan) || !gc_residual_is_rows(plan))
        return "it needs contiguous rows of float32 or float64";
    if (p->kernel[1] > GC_DEPTHWISE_KERNEL_ROWS || p->kernel[2] > most_columns)
        return "it needs a kernel of at most 7 rows and 32 columns";
    if (p->op == GC_CONV_TRANSPOSE)
        for (int i = 0; i < 3; i++)
            if (p->stride[i] != 1) return "a transposed convolution needs stride 1";
    if (p->stride[1] != p->stride[2] || p->stride[2] > 2) return "it needs stride 1 or 2";
    if (p->stride[2] == 2 && (p->dilation[1] != 1 || p->dilation[2] != 1))
        return "it needs dilation 1 with stride 2";
    return NULL;
}

static void destroy(gc_plan *plan) {
    in_place *s = plan->state;
    if (s == NULL) return;
    free(s->columns);
    free(s->bits);
    free(s->tiles);
    free(s->band_tile);
    free(s);
    plan->state = NULL;
}

static void orient(const gc_plan *plan, in_place *s) {
    const gc_problem *p = &plan->problem;
    const gc_weights *w = &s->weights;
    const ptrdiff_t step[3] = {w->d, w->h, w->w};
    s->flip = p->op == GC_CONV_TRANSPOSE;
    for (int i = 0; i < 3; i++) {
        const ptrdiff_t reach = p->dilation[i] * (p->kernel[i] - 1);
        s->pad[i] = s->flip ? reach - p->pad_before[i] : p->pad_before[i];
        s->weight_step[i] = s->flip ? -step[i] : step[i];
        if (s->flip) s->weight_origin += (p->kernel[i] - 1) * step[i];
    }
}

/* Lanes of the vector from input column `from` on that lie in the row and are of use to `stored` outputs. */
static uint32_t lanes_inside(const gc_problem *p, ptrdiff_t from, ptrdiff_t lanes,
                             ptrdiff_t useful) {
    uint32_t bits = 0;
    for (ptrdiff_t lane = 0; lane < gc_min(lanes, useful); lane++)
        if (from + lane >= 0 && from + lane < p->in_size[2]) bits |= 1u << lane;
    return bits;
}

static gc_status create_columns(const gc_plan *plan, in_place *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, wide = p->out_size[2], stride = p->stride[2];
    const ptrdiff_t each = stride * p->kernel[2];
    const uint32_t all = (uint32_t)((1ull << lanes) - 1);
    s->ncolumns = gc_ceil_div(wide, lanes);
    s->columns = calloc((size_t)(s->ncolumns + 1), sizeof *s->columns);
    s->bits = calloc((size_t)((s->ncolumns + 1) * each), sizeof *s->bits);
    if (s->columns == NULL || s->bits == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t v = 0; v < s->ncolumns; v++) {
        gc_columns *c = &s->columns[v];
        uint32_t *bits = s->bits + v * each;
        c->column = gc_max(gc_min(v * lanes, wide - lanes), 0);
        c->stored = (int)gc_min(lanes, wide - c->column);
        c->inside = 1;
        c->bits = bits;
        for (ptrdiff_t t = 0; t < p->kernel[2]; t++) {
            const ptrdiff_t from = c->column * stride + t * p->dilation[2] - s->pad[2];
            for (ptrdiff_t u = 0; u < stride; u++, bits++) {
                *bits = lanes_inside(p, from + u * lanes, lanes, stride * c->stored - u * lanes);
                if (*bits != all) c->inside = 0;
            }
        }
    }
    return GC_OK;
}

/* Rows of a band first .. last - 1 that may be stored whole where a vector is wider than a row. */
static ptrdiff_t whole_rows(const gc_plan *plan, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t wide = gc_max(plan->problem.out_size[2], 1), lanes = plan->kernels->lanes;
    return gc_max(last - first - (gc_ceil_div(gc_max(lanes, wide), wide) - 1), 0);
}

/* The tile from output row `row` on of the class `step` rows apart, of at most `left` rows. */
static tile place_tile(const gc_plan *plan, const in_place *s, ptrdiff_t row, ptrdiff_t step,
                       ptrdiff_t left) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, stride = p->stride[1], dilation = step;
    const ptrdiff_t origin = row * stride - s->pad[1], high = p->in_size[1];
    tile t = {
        .in = origin * p->input_strides[3] / size,
        .out = row * p->output_strides[3] / size,
        .residual = row * p->residual_strides[3] / size,
        .few = left <= few_rows,
    };
    const ptrdiff_t rows = t.few ? few_rows : tile_rows, reads = (rows - 1) * stride + p->kernel[1];
    t.nrows = (int)gc_min(left, rows);
    t.first = (int)gc_min(gc_ceil_div(gc_max(-origin, 0), dilation), reads);
    t.last = (int)gc_max(gc_min(gc_ceil_div(gc_max(high - origin, 0), dilation), reads), t.first);
    t.edge = t.first > 0 || t.last < reads;
    return t;
}

/* Lists the tiles of output rows first .. last - 1; counts them only without a list. */
static ptrdiff_t list_tiles(const gc_plan *plan, const in_place *s, ptrdiff_t first, ptrdiff_t last,
                            tile *tiles) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t classes =
        p->stride[1] == 1 && p->kernel[1] > 1 ? gc_min(p->dilation[1], last - first) : 1;
    const ptrdiff_t step = p->stride[1] == 1 && p->kernel[1] > 1 ? p->dilation[1] : 1;
    ptrdiff_t n = 0;
    for (ptrdiff_t c = 0; c < classes; c++)
        for (ptrdiff_t row = first + c; row < last;) {
            tile t = place_tile(plan, s, row, step, gc_ceil_div(last - row, step));
            if (classes == 1)
                t.whole =
                    (int)gc_max(gc_min(first + whole_rows(plan, first, last) - row, t.nrows), 0);
            if (tiles) tiles[n] = t;
            n++;
            row += t.nrows * step;
        }
    return n;
}

static gc_status create_tiles(const gc_plan *plan, in_place *s) {
    const ptrdiff_t rows = plan->problem.out_size[1];
    s->band_tile = calloc((size_t)s->bands + 1, sizeof *s->band_tile);
    if (s->band_tile == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t b = 0; b < s->bands; b++)
        s->band_tile[b + 1] = s->band_tile[b] + list_tiles(plan, s, gc_cut(rows, s->bands, b),
                                                           gc_cut(rows, s->bands, b + 1), NULL);
    s->tiles = calloc((size_t)s->band_tile[s->bands] + 1, sizeof *s->tiles);
    if (s->tiles == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t b = 0; b < s->bands; b++)
        list_tiles(plan, s, gc_cut(rows, s->bands, b), gc_cut(rows, s->bands, b + 1),
                   s->tiles + s->band_tile[b]);
    return GC_OK;
}

static int can_roll(const gc_problem *p) {
    if (p->kernel[0] != 1 || p->pad_before[0] != 0) return 0;
    if ((p->out_size[0] - 1) * p->stride[0] >= p->in_size[0]) return 0;
    for (int i = 1; i < 3; i++)
        if (p->kernel[i] != 3 || p->stride[i] != 1 || p->dilation[i] != 1) return 0;
    return 1;
}

static double predict(const gc_plan *plan, const in_place *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double taps = (double)(p->kernel[0] * p->kernel[1] * p->kernel[2]);
    double rows = (double)p->out_size[1];
    if (!s->rolling) { /* all rows of a tile are computed */
        rows = 0;
        for (ptrdiff_t i = 0; i < s->band_tile[s->bands]; i++)
            rows += s->tiles[i].few ? few_rows : tile_rows;
    }
    const double vectors = (double)p->out_size[0] * rows * (double)s->ncolumns;
    const double loads = taps / (s->rolling ? 3 : 2.5) * (double)p->stride[2];
    const double cycles = vectors * (0.52 * taps + 0.3 * loads + 1.5) + 60;
    return channels * cycles * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    in_place *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    if (s->activate) s->low = -INFINITY;
    gc_weights_create(&s->weights, plan);
    orient(plan, s);
    s->rolling = can_roll(p);
    s->narrow = 2 * gc_max(p->out_size[2], p->in_size[2]) <= plan->kernels->lanes;
    s->kernels = plan->kernels->depthwise_rows[p->stride[2] - 1][p->kernel[1] - 1];
    if (create_columns(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    const ptrdiff_t rows = gc_max(p->out_size[1], 1);
    const ptrdiff_t band = gc_max(band_outputs / gc_max(p->out_size[2], 1), 4 * p->kernel[1]);
    s->bands = gc_max(rows / band, 1);
    if (!s->rolling && create_tiles(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    plan->units = p->batch * p->groups * p->out_per_group * p->out_size[0] * s->bands;
    if (p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    if (p->kernel[0] > 1) plan->scratch_size = (size_t)p->kernel[0] * sizeof(gc_depthwise_slab);
    plan->prepared_size = gc_weights_prepared_size(&s->weights, plan);
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_key = plan->prepared_size ? GC_KEY_CONVERTED : 0;
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = gc_prepare_seconds(plan, 1.2);
    return GC_OK;
}

/* A unit. Channels can be tiny, so places count up and nothing is divided. */
typedef struct cursor {
    ptrdiff_t n, g, within, depth, band;
} cursor;

static cursor cursor_at(const gc_plan *plan, ptrdiff_t unit) {
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    const ptrdiff_t slice = unit / s->bands, channel = slice / p->out_size[0];
    return (cursor){
        .n = channel / (p->groups * p->out_per_group),
        .g = channel / p->out_per_group % p->groups,
        .within = channel % p->out_per_group,
        .depth = slice % p->out_size[0],
        .band = unit % s->bands,
    };
}

static void advance(const gc_plan *plan, cursor *at) {
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    if (++at->band < s->bands) return;
    at->band = 0;
    if (++at->depth < p->out_size[0]) return;
    at->depth = 0;
    if (++at->within < p->out_per_group) return;
    at->within = 0;
    if (++at->g < p->groups) return;
    at->g = 0;
    at->n++;
}

/* Where the arrays have a unit's channel: its first input row, its depth of the output and the residual,
 * its weights and bias. */
typedef struct place {
    const char *in, *residual, *weight, *init;
    char *out;
} place;

static place place_of(const gc_run *run, const cursor *at) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    const ptrdiff_t size = plan->storage_size, k = at->g * p->out_per_group + at->within;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    const char *residual = run->arrays->residual;
    return (place){
        .in = (const char *)run->arrays->input + at->n * i[0] + at->g * i[1],
        .residual = residual ? residual + at->n * r[0] + k * r[1] + at->depth * r[2] : NULL,
        .weight =
            gc_weights_at(&s->weights, plan, run, at->g, at->within) + s->weight_origin * size,
        .init = (const char *)run->bias + k * size,
        .out = (char *)run->arrays->output + at->n * o[0] + k * o[1] + at->depth * o[2],
    };
}

/* Input rows that a unit reads and their bytes, to be fetched while the one before is computed: columns of
 * vectors are an order that hardware does not foresee. */
static ptrdiff_t fetched_bytes(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    const ptrdiff_t bytes =
        (p->in_size[1] - 1) * p->input_strides[3] + p->in_size[2] * plan->storage_size;
    const int fits = s->bands == 1 && p->in_size[0] == 1 && p->input_strides[3] > 0;
    return fits && bytes <= most_fetched ? bytes : 0;
}

/* The rest of the activation, for a unit's results where they are. */
static void activate(const gc_run *run, const cursor *at, char *slice) {
    const gc_problem *p = &run->plan->problem;
    const in_place *s = run->plan->state;
    const ptrdiff_t size = run->plan->storage_size, rows = p->out_size[1];
    const ptrdiff_t first = gc_cut(rows, s->bands, at->band),
                    last = gc_cut(rows, s->bands, at->band + 1);
    char *const results = slice + first * p->out_size[2] * size;
    const gc_finish f = {
        .from = results,
        .to = results,
        .to_stride = size,
        .n = (last - first) * p->out_size[2],
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    run->plan->kernels->finish(&f);
}

static void bind_rolling(const gc_run *run, const cursor *at, gc_rolling *a) {
    const gc_problem *p = &run->plan->problem;
    const in_place *s = run->plan->state;
    const ptrdiff_t size = run->plan->storage_size, rows = p->out_size[1];
    const ptrdiff_t first = gc_cut(rows, s->bands, at->band),
                    last = gc_cut(rows, s->bands, at->band + 1);
    const ptrdiff_t down = gc_max(first - s->pad[1], 0); /* input rows left behind */
    const place here = place_of(run, at);
    a->in = here.in + at->depth * p->stride[0] * p->input_strides[2] + down * p->input_strides[3] -
            s->pad[2] * size;
    a->weight = here.weight;
    a->init = here.init;
    a->out = here.out + first * p->output_strides[3];
    a->residual = here.residual ? here.residual + first * p->residual_strides[3] : NULL;
    a->above = s->pad[1] - first + down;
    a->height = gc_max(p->in_size[1] - down, 0);
    a->out_height = last - first;
    a->whole = whole_rows(run->plan, first, last);
}

static void work_rolling(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    const ptrdiff_t size = plan->storage_size, fetch = fetched_bytes(plan);
    gc_rolling a = {
        .in_row = p->input_strides[3] / size,
        .out_row = p->output_strides[3] / size,
        .residual_row = p->residual_strides[3] / size,
        .weight_row = s->weight_step[1],
        .weight_column = s->weight_step[2],
        .ncolumns = s->ncolumns,
        .columns = s->columns,
        .clamp = p->activation != GC_IDENTITY && !s->activate,
        .low = s->low,
        .high = s->high,
    };
    gc_rolling next = a;
    cursor at = cursor_at(plan, first), after = at;
    bind_rolling(run, &at, &a);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const int more = unit + 1 < last, pair = more && s->narrow && s->bands == 1;
        if (more) {
            advance(plan, &after);
            bind_rolling(run, &after, &next);
        }
        if (pair) {
            plan->kernels->rolling3x3_pair(&a, &next);
        } else {
            a.fetch = next.in;
            a.fetch_bytes = more && next.in != a.in ? fetch / s->ncolumns + 1 : 0;
            plan->kernels->rolling3x3(&a);
        }
        if (s->activate) activate(run, &at, place_of(run, &at).out);
        if (pair && s->activate) activate(run, &after, place_of(run, &after).out);
        if (pair && ++unit + 1 < last) {
            advance(plan, &after);
            bind_rolling(run, &after, &next);
        }
        a = next;
        at = after;
    }
}

/* The kernel's depths over the input's; whether all of them lie in it. */
static int list_slabs(const gc_plan *plan, const cursor *at, gc_depthwise_slab *slabs) {
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    int all = 1;
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const ptrdiff_t z = at->depth * p->stride[0] + d * p->dilation[0] - s->pad[0];
        const int there = z >= 0 && z < p->in_size[0];
        slabs[d] = (gc_depthwise_slab){
            .in = there ? z * p->input_strides[2] / plan->storage_size : 0,
            .weight = d * s->weight_step[0],
            .there = there,
        };
        all &= there;
    }
    return all;
}

static void work_tiles(const gc_run *run, gc_depthwise_slab *slabs, ptrdiff_t first,
                       ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const in_place *s = plan->state;
    const ptrdiff_t size = plan->storage_size, fetch = fetched_bytes(plan);
    const ptrdiff_t step = p->stride[1] == 1 && p->kernel[1] > 1 ? p->dilation[1] : 1;
    gc_depthwise_slab one, *const list = p->kernel[0] > 1 ? slabs : &one;
    gc_depthwise_rows a = {
        .in_row = step * p->input_strides[3] / size,
        .out_row = step * p->output_strides[3] / size,
        .residual_row = step * p->residual_strides[3] / size,
        .columns = s->columns,
        .ncolumns = s->ncolumns,
        .slabs = list,
        .nslabs = p->kernel[0],
        .weight_row = s->weight_step[1],
        .weight_column = s->weight_step[2],
        .dilation = p->dilation[2],
        .taps = (int)p->kernel[2],
        .clamp = p->activation != GC_IDENTITY && !s->activate,
        .low = s->low,
        .high = s->high,
    };
    cursor at = cursor_at(plan, first);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const place here = place_of(run, &at);
        const ptrdiff_t begin = s->band_tile[at.band], end = s->band_tile[at.band + 1];
        const int all = list_slabs(plan, &at, list);
        const cursor now = at;
        advance(plan, &at);
        const char *const next = (const char *)run->arrays->input + at.n * p->input_strides[0] +
                                 at.g * p->input_strides[1];
        const ptrdiff_t ahead = unit + 1 < last && next != here.in ? fetch / (end - begin) + 1 : 0;
        a.fetch_bytes = ahead ? ahead / s->ncolumns + 1 : 0;
        a.weight = here.weight;
        a.init = here.init;
        for (ptrdiff_t i = begin; i < end; i++) {
            const tile *t = &s->tiles[i];
            a.fetch = next + (i - begin) * ahead;
            for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
                list[d].first = t->first;
                list[d].last = list[d].there ? t->last : t->first;
            }
            a.edge = t->edge || !all;
            a.in = here.in + (t->in - s->pad[2]) * size;
            a.out = here.out + t->out * size;
            a.residual = here.residual ? here.residual + t->residual * size : NULL;
            a.nrows = t->nrows;
            a.whole = t->whole;
            s->kernels[t->few](&a);
        }
        if (s->activate) activate(run, &now, here.out);
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const in_place *s = run->plan->state;
    if (first == last) return;
    if (s->rolling)
        work_rolling(run, first, last);
    else
        work_tiles(run, scratch, first, last);
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const in_place *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const in_place *s = plan->state;
    const ptrdiff_t rows = plan->problem.out_size[1], band = unit % s->bands;
    return (double)(gc_cut(rows, s->bands, band + 1) - gc_cut(rows, s->bands, band));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const in_place *s = plan->state;
    if (s->rolling)
        snprintf(text, size, "columns of %d lanes rolling over rows; %td bands",
                 plan->kernels->lanes, s->bands);
    else
        snprintf(text, size, "tiles of %d rows x %d lanes; %td bands", tile_rows,
                 plan->kernels->lanes, s->bands);
}

const gc_algorithm gc_depthwise_in_place = {
    .name = "depthwise_in_place",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
