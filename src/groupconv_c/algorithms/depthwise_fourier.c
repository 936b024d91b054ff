/* Depthwise convolution with large kernels: every row is transformed once, and each row of results is a sum over the
 * kernel's rows of products of spectra, transformed back once. Lanes are channels.
 *
 * A row is cut into blocks, each a power of two of elements of which all but what the kernel spans are results
 * (overlap-save). A unit is one image, a vector of channels, a block of columns, a box of rows and a slab of its rows; a
 * thread transforms the inputs of a box once for the slabs that follow each other. This file plans;
 * depthwise_fourier_work.c computes.
 */
#include "depthwise_fourier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"

enum {
    least_taps = 9,
    most_span = 1024,
    spectra_bytes = 1280 * 1024, /* of a box */
};

/* Of a transform: they depend on the kernel alone, and so do bits. */
static ptrdiff_t points_of(const gc_problem *p) {
    ptrdiff_t points = 16;
    while (points < 2 * p->kernel[2]) points *= 2;
    return points;
}

/* Rows of spectra that a box may have. */
static ptrdiff_t most_rows(const gc_plan *plan) {
    const ptrdiff_t bins = points_of(&plan->problem) / 2 + 1;
    return spectra_bytes / (bins * 2 * plan->kernels->lanes * (ptrdiff_t)plan->kernels->real_size);
}

/* Rows of results of a box, beside those of inputs: in boxes of like height. */
static ptrdiff_t rows_that_fit(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t rows = most_rows(plan), out = gc_max(p->out_size[1], 1);
    if (rows >= p->in_size[1] + out) return out;
    const ptrdiff_t most = gc_max((rows - p->kernel[1] + 1) / 2, 1);
    return gc_ceil_div(out, gc_ceil_div(out, most));
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    if (p->in_per_group != 1 || p->out_per_group != 1) return "it is for depthwise convolutions";
    if (p->kernel[0] != 1 || p->in_size[0] != 1 || p->out_size[0] != 1 || p->pad_before[0] != 0)
        return "it works in two dimensions";
    if (p->kernel[2] < least_taps) return "it needs a kernel of at least 9 columns";
    if (p->kernel[2] > most_span) return "it needs a kernel of at most 1024 columns";
    for (int i = 1; i < 3; i++)
        if (p->stride[i] != 1 || p->dilation[i] != 1) return "it needs stride 1 and dilation 1";
    if (p->padding_mode != GC_ZEROS) return "it pads with zeros only";
    if (gc_min(p->kernel[1], p->in_size[1]) + 1 > most_rows(plan))
        return "the spectra of its rows would take more than 1280 KiB";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_fourier_depthwise *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    gc_fourier_tables_destroy(&s->tables);
    free(s->taps);
    free(s);
    plan->state = NULL;
}

/* Of one image and vector of channels. */
static double cycles_of(const gc_plan *plan, const gc_fourier_depthwise *s) {
    const gc_problem *p = &plan->problem;
    const double out = (double)p->out_size[1], in = (double)(s->boxes * s->in_high);
    const double transforms = (in + out) * gc_fourier_cycles(&s->tables);
    const double taps = (double)gc_min(p->kernel[1], p->in_size[1]) + plan->kernels->fourier_margin;
    const double products = out * (double)(s->tables.half + 1) * taps * 2.2;
    const double calls = in * 60 + out * (60 + 12 * plan->kernels->lanes);
    const double arithmetic = (transforms + products) * 2 * gc_vector_cycles(plan->kernels);
    return (double)s->columns * (arithmetic + calls) + (double)p->out_size[2] * out * 4;
}

gc_fourier_depthwise_sizes gc_fourier_depthwise_scratch(const gc_plan *plan,
                                                        const gc_fourier_depthwise *s) {
    const size_t size = plan->kernels->real_size, lanes = (size_t)plan->kernels->lanes;
    const size_t row = (size_t)(s->tables.half + 1) * 2 * lanes * size;
    return (gc_fourier_depthwise_sizes){
        .in = (size_t)s->in_high * row,
        .out = (size_t)s->high * row,
        .data = (size_t)s->tables.points * lanes * size,
        .rows = (lanes + 1) * ((size_t)s->tables.points + lanes) * size,
        .planes = gc_round_up(gc_planes_elements(&s->planes, 1) * size, 64),
        .tile = lanes * size,
    };
}

static double predict_prepare(const gc_plan *plan, const gc_fourier_depthwise *s) {
    const gc_problem *p = &plan->problem;
    const double row =
        gc_fourier_cycles(&s->tables) + (double)(p->kernel[2] * plan->kernels->lanes) * 1.5;
    return (double)(s->vectors * p->kernel[1]) * row * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = (ptrdiff_t)plan->kernels->real_size;
    gc_fourier_depthwise *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    gc_status status = GC_OK;
    for (int i = 0; i < 3 && status == GC_OK; i++) status = gc_axis_create(&s->axes[i], p, i);
    if (status == GC_OK) status = gc_fourier_tables_create(&s->tables, points_of(p), plan->kernels);
    if (status != GC_OK) return status;
    s->outputs = s->tables.points - p->kernel[2] + 1;
    s->columns = gc_ceil_div(p->out_size[2], s->outputs);
    s->high = rows_that_fit(plan);
    s->boxes = gc_ceil_div(p->out_size[1], s->high);
    s->in_high = gc_min(s->high + p->kernel[1] - 1, p->in_size[1]);
    s->vectors = gc_ceil_div(p->groups, lanes);
    s->slabs = gc_even_pieces(plan, s->vectors * s->columns * s->boxes,
                              gc_ceil_div(s->high, plan->kernels->fourier_margin + 1), 1);
    const ptrdiff_t extent[3] = {1, s->high, gc_max(gc_min(s->outputs, p->out_size[2]), 1)};
    gc_planes_layout(&s->planes, s->axes, extent, (GC_MAX_VB + 1) * lanes);
    s->taps = gc_planes_taps(&s->planes, s->axes, 1, 0);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t t = 0; t < p->kernel[1] * p->kernel[2]; t++) s->taps[t] *= size;
    gc_weights_create(&s->raw, plan);
    gc_weights_convert(&s->raw);
    s->kernel = p->kernel[1] + 2 * plan->kernels->fourier_margin;
    s->spectra = (s->tables.half + 1) * s->kernel * 2 * lanes;
    s->vector = s->spectra + (s->tables.points + p->kernel[2]) * lanes;
    plan->units = p->batch * s->vectors * s->columns * s->boxes * s->slabs;
    const gc_fourier_depthwise_sizes z = gc_fourier_depthwise_scratch(plan, s);
    plan->scratch_size = z.in + z.out + z.data + z.rows + z.planes + z.tile;
    plan->prepared_size = (size_t)((s->vectors * s->vector + p->groups * s->raw.per_k) * size);
    plan->prepare_units = s->vectors;
    plan->prepared_key = GC_KEY_FOURIER_ROWS;
    const double weights = gc_weights_cycles((double)(s->spectra * s->vectors * size));
    plan->seconds =
        (double)p->batch * ((double)s->vectors * cycles_of(plan, s) + weights) * GC_CYCLE;
    plan->prepare_seconds = predict_prepare(plan, s);
    return GC_OK;
}

/* The kernels of vector v of channels, turned, each of their rows transformed. */
static void prepare_vector(const gc_plan *plan, const void *weight, char *prepared, ptrdiff_t v) {
    const gc_fourier_depthwise *s = plan->state;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t points = s->tables.points, taps = p->kernel[2], vector = lanes * size;
    const ptrdiff_t first = v * lanes, count = gc_min(lanes, p->groups - first);
    char *raw = prepared + (s->vectors * s->vector + first * s->raw.per_k) * size;
    char *to = prepared + v * s->vector * size, *data = to + s->spectra * size;
    char *turned = data + points * vector;
    gc_weights_copy(&s->raw, plan, weight, raw, first, first + count);
    memset(to, 0, (size_t)(s->spectra * size));
    for (ptrdiff_t row = 0; row < p->kernel[1]; row++) {
        plan->kernels->turn(&(gc_turn){
            .from = raw + row * taps * size,
            .to = turned,
            .from_step = s->raw.per_k,
            .to_step = lanes,
            .rows = count,
            .n = taps,
        });
        memset(data, 0, (size_t)(points * vector));
        for (ptrdiff_t t = 0; t < taps; t++)
            memcpy(data + (points - t) % points * vector, turned + t * vector, (size_t)vector);
        gc_fourier a = gc_fourier_transform(&s->tables, data,
                                            to + (plan->kernels->fourier_margin + row) * 2 * vector,
                                            s->kernel * 2 * lanes, lanes);
        a.scale = 0.25 / (double)points; /* of both transforms forth and the one back */
        plan->kernels->fourier_forth(&a);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    for (ptrdiff_t v = first; v < last; v++) prepare_vector(plan, weight, prepared, v);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_fourier_depthwise *s = plan->state;
    const ptrdiff_t i = unit % s->slabs, box = unit / s->slabs % s->boxes;
    const ptrdiff_t rows = gc_min(s->high, plan->problem.out_size[1] - box * s->high);
    return (double)(gc_cut(rows, s->slabs, i + 1) - gc_cut(rows, s->slabs, i));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_fourier_depthwise *s = plan->state;
    snprintf(text, size,
             "rows in %td blocks of %td outputs, transforms of %td points; %td boxes of %td rows",
             s->columns, s->outputs, s->tables.points, s->boxes, s->high);
}

const gc_algorithm gc_depthwise_fourier = {
    .name = "depthwise_fourier",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_fourier_depthwise_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
