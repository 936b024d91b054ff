/* Depthwise transposed convolution of stride 2 along rows and columns, over rows that are read where they lie;
 * so also the gradient by the input of a strided depthwise convolution.
 *
 * A unit is one image, one channel and one band of output rows. Rows of one parity read the kernel rows of
 * one parity; a tile is four of them. Even and odd columns are summed up apart, each over its own columns of
 * the kernel, and interleaved when they are stored.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "geometry.h"
#include "tile_store.h"
#include "weights.h"

enum { tile_rows = 4, band_outputs = 16 * 1024, most_kernel = 2 * GC_DEPTHWISE_UP_ROWS };

typedef struct upsampling {
    gc_axis axes[3];
    gc_weights weights;
    gc_columns *columns[2]; /* of even and odd output columns */
    uint32_t *bits;
    ptrdiff_t ncolumns, bands;
    ptrdiff_t fetched; /* bytes of the next channel with each vector of columns */
    int activate;      /* after the microkernel, which clamps only */
    double low, high;
} upsampling;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, *i = p->input_strides;
    if (p->op != GC_CONV_TRANSPOSE) return "it computes transposed convolutions only";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    if (p->in_size[0] != 1 || p->out_size[0] != 1 || p->kernel[0] != 1 || p->pad_before[0] != 0)
        return "it works in two dimensions";
    for (int d = 1; d < 3; d++)
        if (p->stride[d] != 2 || p->dilation[d] != 1 || p->kernel[d] < 2 ||
            p->kernel[d] > most_kernel || p->out_size[d] < 2)
            return "it needs stride 2, dilation 1 and a kernel of 2 to 8 rows and columns";
    if ((size_t)size != plan->kernels->real_size || (p->in_size[2] > 1 && i[4] != size) ||
        i[0] % size || i[1] % size || i[3] % size || !gc_output_is_rows(plan) ||
        !gc_residual_is_rows(plan))
        return "it needs contiguous rows of float32 or float64";
    return NULL;
}

static void destroy(gc_plan *plan) {
    upsampling *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->columns[0]);
    free(s->columns[1]);
    free(s->bits);
    free(s);
    plan->state = NULL;
}

static gc_status create_columns(const gc_plan *plan, upsampling *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, wide = s->axes[2].count;
    const uint32_t all = (uint32_t)((1ull << lanes) - 1);
    s->ncolumns = gc_ceil_div(wide, lanes);
    s->bits = calloc((size_t)(s->ncolumns * p->kernel[2]) + 1, sizeof *s->bits);
    if (s->bits == NULL) return GC_ERROR_MEMORY;
    uint32_t *bits = s->bits;
    for (int parity = 0; parity < 2; parity++) {
        const gc_axis_pass *pass = &s->axes[2].passes[parity];
        gc_columns *c = s->columns[parity] = calloc((size_t)s->ncolumns + 1, sizeof *c);
        if (c == NULL) return GC_ERROR_MEMORY;
        for (ptrdiff_t v = 0; v < s->ncolumns; v++, c++) {
            c->column = gc_max(gc_min(v * lanes, wide - lanes), 0);
            c->stored = (int)gc_min(2 * lanes, p->out_size[2] - 2 * c->column);
            c->inside = 1;
            c->bits = bits;
            for (ptrdiff_t t = 0; t < pass->ntaps; t++, bits++) {
                for (ptrdiff_t lane = 0; lane < gc_min(lanes, wide - c->column); lane++) {
                    const ptrdiff_t source = c->column + lane + pass->taps[t].shift;
                    if (source >= 0 && source < p->in_size[2]) *bits |= 1u << lane;
                }
                if (*bits != all) c->inside = 0;
            }
        }
    }
    return GC_OK;
}

static double predict(const gc_plan *plan, const upsampling *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double vectors =
        (double)(gc_ceil_div(s->axes[1].count, tile_rows) * tile_rows * 2 * s->ncolumns);
    const double taps = (double)(p->kernel[1] * p->kernel[2]) / 2;
    return channels * (vectors * (0.8 * taps + 6) + 60) * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    upsampling *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    if (s->activate) s->low = -INFINITY;
    gc_weights_create(&s->weights, plan);
    if (create_columns(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    const ptrdiff_t rows = s->axes[1].count, band = band_outputs / (2 * gc_max(p->out_size[2], 1));
    s->bands = gc_max(rows / gc_max(band, 2 * tile_rows), 1);
    const ptrdiff_t bytes = p->in_size[1] * p->in_size[2] * plan->storage_size;
    if (s->bands == 1 && p->out_per_group == 1)
        s->fetched = bytes / (2 * gc_ceil_div(rows, tile_rows) * s->ncolumns) + 1;
    plan->units = p->batch * p->groups * p->out_per_group * s->bands;
    gc_weights_plan(&s->weights, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* A unit's channel in the arrays. */
typedef struct channel {
    const char *in, *weight, *residual;
    char *out;
} channel;

/* Rows first .. first + nrows - 1 of one parity, counted apart from the other's. */
static void run_tile(const gc_run *run, const channel *at, gc_depthwise_up *a, int parity,
                     ptrdiff_t first, ptrdiff_t nrows) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const upsampling *s = plan->state;
    const ptrdiff_t size = plan->storage_size, row = parity + 2 * first;
    const gc_axis_pass *h = &s->axes[1].passes[parity];
    const ptrdiff_t top = first + h->taps[0].shift, reads = tile_rows + h->ntaps - 1;
    gc_depthwise_slab slab = {
        .there = 1,
        .first = (int)gc_max(gc_min(-top, reads), 0),
    };
    slab.last = (int)gc_max(gc_min(p->in_size[1] - top, reads), slab.first);
    gc_depthwise_rows *const pass[2] = {&a->even, &a->odd};
    for (int i = 0; i < 2; i++) {
        const gc_axis_pass *w = &s->axes[2].passes[i];
        const ptrdiff_t left = w->ntaps ? w->taps[0].shift : 0;
        pass[i]->in = at->in + top * p->input_strides[3] + left * size;
        pass[i]->slabs = &slab;
        pass[i]->weight = at->weight + gc_weights_tap(&s->weights, 0, 0, h->taps[0].kernel,
                                                      w->ntaps ? w->taps[0].kernel : 0) *
                                           size;
    }
    a->even.edge = slab.first > 0 || slab.last < reads;
    a->even.nrows = (int)nrows;
    a->next = at->out + (parity ? row + 2 * tile_rows - 1 : row + 1) * p->output_strides[3];
    a->even.out = at->out + row * p->output_strides[3];
    a->even.residual = at->residual ? at->residual + row * p->residual_strides[3] : NULL;
    plan->kernels->depthwise_up[h->ntaps - 1](a);
}

static void activate(const gc_plan *plan, char *out, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t begin = 2 * first, end = gc_min(2 * last, p->out_size[1]);
    const gc_finish f = {
        .from = out + begin * p->output_strides[3],
        .to = out + begin * p->output_strides[3],
        .to_stride = plan->storage_size,
        .n = (end - begin) * p->out_size[2],
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    plan->kernels->finish(&f);
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const upsampling *s = plan->state;
    const ptrdiff_t size = plan->storage_size, channels = p->groups * p->out_per_group;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    (void)scratch;
    gc_depthwise_up a = {.even = {
                             .in_row = i[3] / size,
                             .ncolumns = s->ncolumns,
                             .nslabs = 1,
                             .weight_row = -2 * s->weights.h,
                             .weight_column = -2 * s->weights.w,
                             .dilation = 1,
                             .out_row = 2 * o[3] / size,
                             .residual_row = 2 * r[3] / size,
                             .clamp = p->activation != GC_IDENTITY && !s->activate,
                             .low = s->low,
                             .high = s->high,
                         }};
    a.odd = a.even;
    a.even.columns = s->columns[0];
    a.odd.columns = s->columns[1];
    a.even.taps = (int)s->axes[2].passes[0].ntaps;
    a.odd.taps = (int)s->axes[2].passes[1].ntaps;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t k = unit / s->bands % channels, n = unit / s->bands / channels;
        const ptrdiff_t g = k / p->out_per_group, band = unit % s->bands;
        const ptrdiff_t begin = gc_cut(s->axes[1].count, s->bands, band),
                        end = gc_cut(s->axes[1].count, s->bands, band + 1);
        const char *residual = run->arrays->residual;
        const channel at = {
            .in = (const char *)run->arrays->input + n * i[0] + g * i[1],
            .weight = gc_weights_at(&s->weights, plan, run, g, k - g * p->out_per_group),
            .residual = residual ? residual + n * r[0] + k * r[1] : NULL,
            .out = (char *)run->arrays->output + n * o[0] + k * o[1],
        };
        a.even.init = (const char *)run->bias + k * size;
        a.even.fetch = at.in + i[1]; /* the next channel */
        a.even.fetch_bytes = s->fetched;
        for (ptrdiff_t row = begin; row < end; row += tile_rows)
            for (int parity = 0; parity < 2; parity++, a.even.fetch += s->fetched * s->ncolumns) {
                const ptrdiff_t count = s->axes[1].passes[parity].count;
                const ptrdiff_t nrows = gc_min(gc_min(end, count) - row, tile_rows);
                if (nrows > 0) run_tile(run, &at, &a, parity, row, nrows);
            }
        if (s->activate) activate(plan, at.out, begin, end);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const upsampling *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const upsampling *s = plan->state;
    const ptrdiff_t rows = s->axes[1].count, band = unit % s->bands;
    return (double)(gc_cut(rows, s->bands, band + 1) - gc_cut(rows, s->bands, band));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const upsampling *s = plan->state;
    snprintf(text, size, "tiles of %d rows of a parity x 2 x %d lanes; %td bands", tile_rows,
             plan->kernels->lanes, s->bands);
}

const gc_algorithm gc_depthwise_transposed = {
    .name = "depthwise_transposed",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
