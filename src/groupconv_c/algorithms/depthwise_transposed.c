/* Depthwise transposed convolution of stride 2 along rows and columns, over rows that are read where they lie;
 * so also the gradient by the input of a strided depthwise convolution.
 *
 * A unit is one image, one channel and one band of pairs of output rows: rows 2*j and 2*j + 1 of the output
 * before it is cropped by the padding read the same rows of the input (depthwise_up_tmpl.h).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "tile_store.h"
#include "weights.h"

enum { band_outputs = 16 * 1024, least_pairs = 8 };

typedef struct upsampling {
    gc_weights weights;
    gc_columns *columns;
    uint32_t *bits;
    ptrdiff_t ncolumns, first, pairs, bands;
    ptrdiff_t fetched; /* bytes of the next channel with each pair */
    int asks;          /* for output rows */
    gc_depthwise_up_fn *up;
    int activate; /* after the microkernel, which clamps only */
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
            p->kernel[d] > GC_DEPTHWISE_UP_KERNEL || p->out_size[d] < 2)
            return "it needs stride 2, dilation 1 and a kernel of 2 to 8 rows and columns";
    if ((p->in_size[2] > 1 && i[4] != size) || i[0] % size || i[1] % size || i[3] % size ||
        !gc_output_is_contiguous(plan) || !gc_residual_is_rows(plan))
        return "it needs contiguous rows";
    return gc_refuse_halves_in_place(plan);
}

static void destroy(gc_plan *plan) {
    upsampling *s = plan->state;
    if (s == NULL) return;
    free(s->columns);
    free(s->bits);
    free(s);
    plan->state = NULL;
}

/* Of a vector of columns the bits of every column that it reads, the last one first. */
static gc_status create_columns(const gc_plan *plan, upsampling *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, odd = p->pad_before[2] % 2;
    const ptrdiff_t reads = gc_max(gc_ceil_div(p->kernel[2], 2), p->kernel[2] / 2 + odd);
    const uint32_t all = (uint32_t)((1ull << lanes) - 1);
    const ptrdiff_t wide = gc_ceil_div(p->out_size[2], 2); /* pairs of output columns */
    s->ncolumns = gc_ceil_div(wide, lanes);
    s->bits = calloc((size_t)(s->ncolumns * reads), sizeof *s->bits);
    s->columns = calloc((size_t)s->ncolumns, sizeof *s->columns);
    if (s->bits == NULL || s->columns == NULL) return GC_ERROR_MEMORY;
    uint32_t *bits = s->bits;
    for (ptrdiff_t v = 0; v < s->ncolumns; v++) {
        gc_columns *c = &s->columns[v];
        c->column = gc_max(gc_min(v * lanes, wide - lanes), 0);
        c->stored = (int)gc_min(2 * lanes, p->out_size[2] - 2 * c->column);
        c->inside = c->stored == 2 * lanes;
        c->bits = bits;
        for (ptrdiff_t i = 0; i < reads; i++, bits++) {
            for (ptrdiff_t lane = 0; lane < gc_min(lanes, wide - c->column); lane++) {
                const ptrdiff_t source = p->pad_before[2] / 2 + c->column + lane + odd - i;
                if (source >= 0 && source < p->in_size[2]) *bits |= 1u << lane;
            }
            if (*bits != all) c->inside = 0;
        }
    }
    return GC_OK;
}

static double predict(const gc_plan *plan, const upsampling *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double vectors = (double)(s->pairs * s->ncolumns);
    const double taps = (double)(p->kernel[1] * p->kernel[2]);
    return channels * (vectors * (1.5 * gc_vector_cycles(plan->kernels) * taps + 6) + 60) *
           GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    upsampling *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    if (s->activate) s->low = -INFINITY;
    gc_weights_create(&s->weights, plan);
    if (create_columns(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    const ptrdiff_t last = (p->pad_before[1] + p->out_size[1] - 1) / 2 + 1;
    s->first = p->pad_before[1] / 2;
    s->pairs = last - s->first;
    s->bands = gc_max(s->pairs / gc_max(band_outputs / (2 * p->out_size[2]), least_pairs), 1);
    const ptrdiff_t bytes = p->in_size[1] * p->in_size[2] * plan->storage_size;
    s->asks = !gc_leaves_rows();
    if (s->asks && s->bands == 1 && p->out_per_group == 1) s->fetched = bytes / s->pairs + 1;
    const ptrdiff_t square = p->kernel[1] == p->kernel[2] ? p->kernel[1] - 1 : 0;
    s->up = plan->kernels->in_place[p->dtype]->up[p->pad_before[2] % 2][square];
    plan->units = p->batch * p->groups * p->out_per_group * s->bands;
    gc_weights_plan(&s->weights, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* The rest of the activation, for the results of the pairs first .. last - 1. */
static void activate(const gc_plan *plan, char *out, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t begin = gc_max(2 * first - p->pad_before[1], 0),
                    end = gc_min(2 * last - p->pad_before[1], p->out_size[1]);
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
    const char *residual = run->arrays->residual;
    gc_depthwise_up a = {
        .in_row = i[3] / size,
        .out_row = o[3] / size,
        .residual_row = r[3] / size,
        .weight_row = s->weights.h,
        .weight_column = s->weights.w,
        .in_height = p->in_size[1],
        .out_height = p->out_size[1],
        .pad = p->pad_before[1],
        .ncolumns = s->ncolumns,
        .kernel_rows = p->kernel[1],
        .kernel_columns = p->kernel[2],
        .columns = s->columns,
        .fetch_bytes = s->fetched,
        .asks = s->asks,
        .clamp = p->activation != GC_IDENTITY && !s->activate,
        .low = s->low,
        .high = s->high,
    };
    (void)scratch;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t k = unit / s->bands % channels, n = unit / s->bands / channels;
        const ptrdiff_t g = k / p->out_per_group, band = unit % s->bands;
        const char *in = (const char *)run->arrays->input + n * i[0] + g * i[1];
        a.in = in + p->pad_before[2] / 2 * size;
        a.weight = gc_weights_at(&s->weights, plan, run, g, k - g * p->out_per_group);
        a.init = (const char *)run->bias + k * (ptrdiff_t)plan->kernels->real_size;
        a.residual = residual ? residual + n * r[0] + k * r[1] : NULL;
        a.out = (char *)run->arrays->output + n * o[0] + k * o[1];
        a.first = s->first + gc_cut(s->pairs, s->bands, band);
        a.last = s->first + gc_cut(s->pairs, s->bands, band + 1);
        a.fetch = in + i[1]; /* the next channel */
        s->up(&a);
        if (s->activate) activate(plan, a.out, a.first, a.last);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const upsampling *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const upsampling *s = plan->state;
    const ptrdiff_t band = unit % s->bands;
    return (double)(gc_cut(s->pairs, s->bands, band + 1) - gc_cut(s->pairs, s->bands, band));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const upsampling *s = plan->state;
    snprintf(text, size, "pairs of rows x 2 x %d lanes; %td bands", plan->kernels->lanes, s->bands);
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
