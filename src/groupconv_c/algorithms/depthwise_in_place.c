/* Depthwise convolution over rows that are read where they lie: zeros around, strides 1 and 2, kernels of at
 * most 7 rows, forward, and transposed with stride 1 (the forward one of the mirrored kernel).
 *
 * A unit is one image, one channel, one depth of the output and one band of its rows. Square kernels of 3, 5
 * and 7 go down the band one column of vectors after the other, each loaded vector serving the partial sums of
 * all output rows that it touches ("rolling"), 3x3 ones over some depths too, with AVX-512 up to four vectors of a
 * row side by side ("wide"); other kernels go through it in tiles of some rows. The last vector of a row is moved
 * back to end with it, so that only rows narrower than a vector are stored in part. Rows a dilation apart form a
 * class; its rows share loads. Maps whose rows fit a vector are read a whole row, or two, at a time, many channels
 * in one call ("small"). With AVX-512 arrays may be of halves, converted as they are loaded and stored.
 * This file plans; depthwise_in_place_work.c computes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "depthwise_in_place.h"
#include "tile_store.h"

enum {
    tile_rows = GC_DEPTHWISE_ROWS,
    few_rows = 4,
    band_outputs = 16 * 1024,
    most_columns = 32,
};

/* Input rows in place need elements along the width one after the other. */
static int rows_in_memory(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, *i = p->input_strides;
    if (p->in_size[2] > 1 && i[4] != size) return 0;
    return i[0] % size == 0 && i[1] % size == 0 && i[2] % size == 0 && i[3] % size == 0;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    if (p->padding_mode != GC_ZEROS) return "it needs padding with zeros";
    if (!rows_in_memory(plan) || !gc_output_is_contiguous(plan) || !gc_residual_is_rows(plan))
        return "it needs contiguous rows";
    if (p->kernel[1] > GC_DEPTHWISE_KERNEL_ROWS || p->kernel[2] > most_columns)
        return "it needs a kernel of at most 7 rows and 32 columns";
    if (p->op == GC_CONV_TRANSPOSE)
        for (int i = 0; i < 3; i++)
            if (p->stride[i] != 1) return "a transposed convolution needs stride 1";
    if (p->stride[1] != p->stride[2] || p->stride[2] > 2) return "it needs stride 1 or 2";
    if (p->stride[2] == 2 && (p->dilation[1] != 1 || p->dilation[2] != 1))
        return "it needs dilation 1 with stride 2";
    return gc_refuse_halves_in_place(plan);
}

static void destroy(gc_plan *plan) {
    gc_in_place *s = plan->state;
    if (s == NULL) return;
    free(s->columns);
    free(s->bits);
    free(s->classes);
    free(s->tiles);
    free(s->band_tile);
    free(s);
    plan->state = NULL;
}

static void orient(const gc_plan *plan, gc_in_place *s) {
    const gc_problem *p = &plan->problem;
    const gc_weights *w = &s->weights;
    const ptrdiff_t step[3] = {w->d, w->h, w->w};
    const int flip = p->op == GC_CONV_TRANSPOSE; /* kernel positions count backwards */
    for (int i = 0; i < 3; i++) {
        const ptrdiff_t reach = p->dilation[i] * (p->kernel[i] - 1);
        s->pad[i] = flip ? reach - p->pad_before[i] : p->pad_before[i];
        s->weight_step[i] = flip ? -step[i] : step[i];
        if (flip) s->weight_origin += (p->kernel[i] - 1) * step[i];
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

static gc_status create_columns(const gc_plan *plan, gc_in_place *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = s->table->lanes, wide = p->out_size[2], stride = p->stride[2];
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
            const ptrdiff_t useful = stride * (c->stored + (stride > 1)); /* rolling moves lanes */
            const int shared = s->roll && stride == 2 && t > 0 && t % 2 == 0;
            for (ptrdiff_t u = 0; u < stride; u++, bits++) {
                *bits = lanes_inside(p, from + u * lanes, lanes, useful - u * lanes);
                if (*bits != all && !shared) c->inside = 0;
            }
        }
    }
    return GC_OK;
}

/* The tile from output row `row` on of the class `step` rows apart, of at most `left` rows. */
static gc_in_place_tile place_tile(const gc_plan *plan, const gc_in_place *s, ptrdiff_t row,
                                   ptrdiff_t step, ptrdiff_t left) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, stride = p->stride[1], dilation = step;
    const ptrdiff_t origin = row * stride - s->pad[1], high = p->in_size[1];
    gc_in_place_tile t = {
        .in = origin * p->input_strides[3] / size,
        .out = row * p->output_strides[3] / size,
        .residual = row * p->residual_strides[3] / size,
        .few = stride == 1 && left <= few_rows,
    };
    const ptrdiff_t rows = t.few ? few_rows : tile_rows, reads = (rows - 1) * stride + p->kernel[1];
    t.nrows = (int)gc_min(left, rows);
    t.first = (int)gc_min(gc_ceil_div(gc_max(-origin, 0), dilation), reads);
    t.last = (int)gc_max(gc_min(gc_ceil_div(gc_max(high - origin, 0), dilation), reads), t.first);
    t.edge = t.first > 0 || t.last < reads;
    return t;
}

/* Lists the tiles of output rows first .. last - 1; counts them only without a list. */
static ptrdiff_t list_tiles(const gc_plan *plan, const gc_in_place *s, ptrdiff_t first,
                            ptrdiff_t last, gc_in_place_tile *tiles) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t classes =
        p->stride[1] == 1 && p->kernel[1] > 1 ? gc_min(p->dilation[1], last - first) : 1;
    const ptrdiff_t step = gc_in_place_row_step(plan);
    ptrdiff_t n = 0;
    for (ptrdiff_t c = 0; c < classes; c++)
        for (ptrdiff_t row = first + c; row < last;) {
            gc_in_place_tile t = place_tile(plan, s, row, step, gc_ceil_div(last - row, step));
            if (classes == 1)
                t.whole = (int)gc_max(
                    gc_min(first + gc_in_place_whole_rows(plan, first, last) - row, t.nrows), 0);
            if (tiles) tiles[n] = t;
            n++;
            row += t.nrows * step;
        }
    return n;
}

static gc_status create_tiles(const gc_plan *plan, gc_in_place *s) {
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

static gc_status create_classes(const gc_plan *plan, gc_in_place *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t step = gc_in_place_row_step(plan), rows = p->out_size[1];
    gc_in_place_class *c = s->classes = calloc((size_t)(s->bands * step), sizeof *c);
    if (c == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t i = 0; i < s->bands * step; i++, c++) {
        const ptrdiff_t band = i / step, last = gc_cut(rows, s->bands, band + 1);
        c->first = gc_cut(rows, s->bands, band) + i % step;
        const ptrdiff_t top = c->first * p->stride[1] - s->pad[1]; /* of the first window */
        c->above = gc_ceil_div(gc_max(-top, 0), step);
        c->down = top + c->above * step;
        c->height = gc_ceil_div(gc_max(p->in_size[1] - c->down, 0), step);
        c->out_height = gc_ceil_div(gc_max(last - c->first, 0), step);
        c->whole = step == 1 ? gc_in_place_whole_rows(plan, c->first, last) : 0;
    }
    return GC_OK;
}

/* The microkernel that rolls, or NULL. Decided by the kernel alone: orders of adding differ, and pieces of an
 * input must give the bits of the whole. */
static gc_rolling_fn *rolling_kernel(const gc_problem *p, const gc_in_place_kernels *kernels) {
    const ptrdiff_t k = p->kernel[2], s = p->stride[2];
    if (p->kernel[1] != k || (k != 3 && k != 5 && k != 7)) return NULL;
    if (p->kernel[0] > 1)
        return k == 3 && p->kernel[0] <= GC_ROLLING_DEPTHS ? kernels->rolling_deep[s - 1] : NULL;
    if (k > 3 && (p->dilation[1] > 1 || p->dilation[2] > 1)) return NULL;
    if (s == 1 && p->dilation[1] == 2) return kernels->rolling_dilated;
    return kernels->rolling[s - 1][k / 2 - 1];
}

/* The microkernel of small maps, or NULL. It adds in the order of the one that rolls. */
static gc_small_maps_fn *small_kernel(const gc_plan *plan, const gc_in_place *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t k = p->kernel[2], wide = p->in_size[2], lanes = plan->kernels->lanes;
    if (!s->channelwise || p->stride[2] > 1 || p->dilation[1] > 1 || p->dilation[2] > 1)
        return NULL;
    if (wide > lanes || (p->in_size[1] > lanes && 2 * wide > lanes)) return NULL;
    for (int i = 1; i < 3; i++)
        if (s->pad[i] != k / 2 || p->out_size[i] != p->in_size[i]) return NULL;
    if (p->in_size[1] > 1 && p->input_strides[3] != wide * plan->storage_size) return NULL;
    return plan->kernels->in_place[p->dtype]->small_maps[k / 2 - 1];
}

/* Output rows in a vector of the microkernel of small maps. */
static int small_rows(const gc_plan *plan) {
    return 2 * plan->problem.out_size[2] <= plan->kernels->lanes ? 2 : 1;
}

/* Converting what a vector of results loads, and the results. */
static double halves_cycles(const gc_plan *plan, double loads) {
    return gc_stores_reals(plan) ? 0 : 0.35 * loads + 1.5;
}

static double predict_small(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups), k = (double)p->kernel[2];
    const int by = small_rows(plan);
    const double vectors = (double)gc_ceil_div(p->out_size[1], by);
    const double loads = (double)(p->out_size[1] + by - 1);
    const double each = 1.04 * gc_vector_cycles(plan->kernels) * k * k + halves_cycles(plan, 1);
    return channels * (each * vectors + 0.6 * k * loads + 10) * GC_CYCLE;
}

static double predict(const gc_plan *plan, const gc_in_place *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double taps = (double)(p->kernel[0] * p->kernel[1] * p->kernel[2]);
    double rows = (double)p->out_size[1] + (double)(p->kernel[1] - 1) / 2; /* begun, not finished */
    if (!s->roll) { /* all rows of a tile are computed */
        rows = 0;
        for (ptrdiff_t i = 0; i < s->band_tile[s->bands]; i++)
            rows += s->tiles[i].few ? few_rows : tile_rows;
    }
    const double vectors = (double)p->out_size[0] * rows * (double)s->ncolumns;
    /* one row shares its loads with no other */
    const double shared = p->out_size[1] == 1 ? 1 : s->roll ? 3 : 2.5;
    const double loads = taps / shared * (double)p->stride[2];
    const double sums = 1.04 * gc_vector_cycles(plan->kernels) * taps;
    const double cycles =
        vectors * (sums + 0.3 * loads + 1.5 + halves_cycles(plan, loads)) + 40 + taps;
    /* weights of several depths do not fit the registers, unless vectors side by side share them; a tile loads its rows
     * for each depth */
    const int shares = s->roll && s->ncolumns > 1 && plan->kernels->registers >= 32;
    const int loads_once = p->kernel[0] == 1 || p->kernel[1] == 1 || shares;
    const double again = loads_once ? 1 : s->roll ? 1.15 : 1.3;
    return channels * cycles * again * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    gc_in_place *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    if (s->activate) s->low = -INFINITY;
    gc_weights_create(&s->weights, plan);
    orient(plan, s);
    const gc_kernels *half = gc_half_kernels(plan->kernels);
    s->table =
        half && half->in_place[p->dtype] && p->out_size[2] <= half->lanes ? half : plan->kernels;
    const gc_in_place_kernels *kernels = s->table->in_place[p->dtype];
    s->roll = rolling_kernel(p, kernels);
    s->kernels[0] = kernels->rows[p->stride[2] - 1][p->kernel[1] - 1];
    s->kernels[1] = kernels->few[p->kernel[1] - 1];
    if (create_columns(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    const ptrdiff_t rows = gc_max(p->out_size[1], 1);
    const ptrdiff_t band = gc_max(band_outputs / gc_max(p->out_size[2], 1), 4 * p->kernel[1]);
    s->bands = gc_max(rows / band, 1);
    const int flat =
        p->kernel[0] == 1 && p->out_size[0] == 1 && s->pad[0] == 0 && p->in_size[0] > 0;
    s->channelwise = s->roll && flat && s->bands == 1 && p->out_per_group == 1 &&
                     gc_in_place_row_step(plan) == 1;
    s->small = small_kernel(plan, s);
    if ((s->roll ? create_classes(plan, s) : create_tiles(plan, s)) != GC_OK)
        return GC_ERROR_MEMORY;
    plan->units = p->batch * p->groups * p->out_per_group * p->out_size[0] * s->bands;
    if (p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    if (p->kernel[0] > 1) plan->scratch_size = (size_t)p->kernel[0] * sizeof(gc_depthwise_slab);
    gc_weights_plan(&s->weights, plan);
    plan->seconds = s->small ? predict_small(plan) : predict(plan, s);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_in_place *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_in_place *s = plan->state;
    const ptrdiff_t rows = plan->problem.out_size[1], band = unit % s->bands;
    return (double)(gc_cut(rows, s->bands, band + 1) - gc_cut(rows, s->bands, band));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_in_place *s = plan->state;
    if (s->small)
        snprintf(text, size, "maps of %d rows a vector of %d lanes", small_rows(plan),
                 plan->kernels->lanes);
    else if (s->roll)
        snprintf(text, size, "columns of %d lanes rolling over rows; %td bands", s->table->lanes,
                 s->bands);
    else
        snprintf(text, size, "tiles of %d rows x %d lanes; %td bands", tile_rows, s->table->lanes,
                 s->bands);
}

const gc_algorithm gc_depthwise_in_place = {
    .name = "depthwise_in_place",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_in_place_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
