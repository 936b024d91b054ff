/* Depthwise convolution, forward and transposed, over packed channels: any multiplier, any stride, padding
 * mode, memory layout and activation. A channel is packed into phase planes, then computed in tiles of 8 rows.
 *
 * One row of outputs (1-D) is folded: neighbouring vectors are its "rows", and kernel positions one
 * vector apart its "kernel rows", so that a loaded vector still serves several outputs.
 * A strided transposed convolution has a pass for each residue of the output by the stride; the results
 * of the passes along the last dimension are interleaved before they are stored.
 * This file plans; depthwise_packed_work.c computes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "depthwise_packed.h"
#include "tile_store.h"

enum { most_chunk_rows = 8 };

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_packed_depthwise *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    for (ptrdiff_t i = 0; s->passes && i < s->npasses; i++) {
        free(s->passes[i].chunks);
        free(s->passes[i].columns);
    }
    free(s->passes);
    free(s->places);
    free(s);
    plan->state = NULL;
}

/* Chunks of the kernel rows that lie `classes` shifts apart in one phase, for one kernel depth. */
static void chunk_rows(const gc_packed_depthwise *s, gc_packed_pass *pass, const gc_axis_tap *d,
                       const gc_axis_pass *h, const gc_axis_pass *w) {
    const gc_axis_tap origin = {0, 0, s->axes[2].min_shift};
    for (ptrdiff_t slot = 0; slot < s->axes[1].nphases; slot++) {
        gc_depthwise_chunk *open = NULL;
        ptrdiff_t first_shift = 0, first_kernel = 0;
        for (ptrdiff_t t = 0; t < h->ntaps; t++) {
            const gc_axis_tap *tap = &h->taps[t];
            if (tap->slot != slot) continue;
            if (open && open->rows < most_chunk_rows &&
                tap->shift == first_shift + open->rows * s->classes) {
                if (open->rows == 1) open->weight_row = (tap->kernel - first_kernel) * s->weights.h;
                open->rows++;
                continue;
            }
            first_shift = tap->shift;
            first_kernel = tap->kernel;
            open = &pass->chunks[pass->nchunks++];
            *open = (gc_depthwise_chunk){
                .plane = gc_planes_tap(&s->planes, s->axes, d, tap, &origin),
                .weight = gc_weights_tap(&s->weights, 0, d->kernel, tap->kernel,
                                         w->ntaps ? w->taps[0].kernel : 0),
                .last = w->ntaps,
                .rows = 1,
            };
        }
    }
}

/* One row of outputs: columns of the folded kernel are its positions within one vector. */
static void chunk_fold(const gc_packed_depthwise *s, gc_packed_pass *pass, const gc_axis_pass *w,
                       int lanes) {
    const ptrdiff_t taps = w->ntaps;
    if (taps == 0) return;
    const ptrdiff_t base = gc_weights_tap(&s->weights, 0, 0, 0, w->taps[0].kernel);
    const int unit =
        s->axes[2].nphases == 1 && w->taps[taps - 1].shift - w->taps[0].shift == taps - 1;
    if (!unit || taps <= lanes) {
        pass->chunks[pass->nchunks++] =
            (gc_depthwise_chunk){.weight = base, .last = taps, .rows = 1};
        return;
    }
    const ptrdiff_t step = lanes * pass->weight_column;
    for (ptrdiff_t row = 0; row * lanes < taps; row += most_chunk_rows) {
        const ptrdiff_t left = taps - row * lanes, extra = left % lanes;
        const int full = (int)gc_min(left / lanes, most_chunk_rows);
        gc_depthwise_chunk chunk = {row * lanes, base + row * step, step, 0, lanes, full};
        if (full < most_chunk_rows && extra) { /* these columns have a row more */
            chunk.last = extra;
            chunk.rows = full + 1;
            pass->chunks[pass->nchunks++] = chunk;
            chunk.first = extra;
            chunk.last = lanes;
            chunk.rows = full;
        }
        if (chunk.rows) pass->chunks[pass->nchunks++] = chunk;
    }
}

static gc_status create_pass(const gc_plan *plan, gc_packed_depthwise *s, ptrdiff_t index) {
    const gc_problem *p = &plan->problem;
    const int lanes = plan->kernels->lanes;
    const gc_axis *a = s->axes;
    gc_packed_pass *pass = &s->passes[index];
    const gc_axis_pass *d = &a[0].passes[index / (a[1].npasses * a[2].npasses)];
    const gc_axis_pass *h = &a[1].passes[index / a[2].npasses % a[1].npasses];
    const gc_axis_pass *w = &a[2].passes[index % a[2].npasses];
    const size_t most =
        (size_t)(p->kernel[0] * p->kernel[1] + 2 * (p->kernel[2] / (lanes * most_chunk_rows) + 2));
    pass->chunks = calloc(most, sizeof *pass->chunks);
    pass->columns = calloc((size_t)w->ntaps + 1, sizeof *pass->columns);
    if (pass->chunks == NULL || pass->columns == NULL) return GC_ERROR_MEMORY;
    pass->weight_column =
        w->ntaps > 1 ? (w->taps[1].kernel - w->taps[0].kernel) * s->weights.w : s->weights.w;
    for (ptrdiff_t t = 0; t < w->ntaps; t++)
        pass->columns[t] = w->taps[t].slot * s->planes.plane + w->taps[t].shift - a[2].min_shift;
    if (s->fold && (d->ntaps == 0 || h->ntaps == 0)) return GC_OK; /* between the input's rows */
    if (s->fold)
        chunk_fold(s, pass, w, lanes);
    else
        for (ptrdiff_t t = 0; t < d->ntaps; t++) chunk_rows(s, pass, &d->taps[t], h, w);
    return GC_OK;
}

static double predict(const gc_plan *plan, const gc_packed_depthwise *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double taps = (double)(p->kernel[0] * p->kernel[1] * p->kernel[2]) / (double)s->npasses;
    const double vectors = (double)(s->rows * s->vectors * s->axes[0].count * s->npasses);
    const double loads = s->fold && taps <= plan->kernels->lanes ? taps : taps / 3;
    double cycles = vectors * (gc_vector_cycles(plan->kernels) * taps + 0.2 * loads + 2) + 30;
    const double elements = (double)gc_planes_elements(&s->planes, 1);
    cycles += 40 + elements * 2.5 / plan->kernels->lanes;
    if (p->stride[2] > 1 && !gc_stores_reals(plan))
        cycles += elements * gc_planes_apart_cycles(&s->planes, p->stride[2]);
    cycles += 15 * (double)(s->planes.size[0] * s->planes.size[1] * s->planes.nplanes);
    if (!s->plain) cycles += vectors * 15;
    if (s->fold) cycles += vectors * 5;
    return (channels * cycles + gc_strided_cycles(plan)) * GC_CYCLE;
}

size_t gc_packed_planes_bytes(const gc_plan *plan, const gc_packed_depthwise *s) {
    return gc_round_up(gc_planes_elements(&s->planes, 1) * plan->kernels->real_size, 64);
}

/* Results of the passes along the last dimension, tile after tile, then a row of them interleaved. */
size_t gc_packed_tiles_bytes(const gc_plan *plan, const gc_packed_depthwise *s) {
    const size_t rows = (size_t)(s->axes[2].npasses * (s->tile_rows + 1) * plan->kernels->lanes);
    return rows * plan->kernels->real_size;
}

static void count_tiles(const gc_plan *plan, gc_packed_depthwise *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    s->vectors = s->fold ? 1 : gc_ceil_div(s->axes[2].count, lanes);
    s->rows = s->fold ? gc_ceil_div(s->axes[2].count, lanes) : s->axes[1].count;
    s->tile_rows = GC_DEPTHWISE_ROWS;
    if (s->fold && s->plain && p->groups * p->out_per_group >= GC_WANTED_UNITS) s->tile_rows *= 4;
    s->classes = 1;
    if (!s->fold && p->stride[1] == 1 && p->kernel[1] > 1)
        s->classes = gc_max(1, gc_min(p->dilation[1], s->rows));
}

/* Part `part` of a channel: a depth slice of the output and a tile of rows in it. */
static gc_packed_tile place_tile(const gc_plan *plan, const gc_packed_depthwise *s, ptrdiff_t part,
                                 ptrdiff_t per_slice) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t passes_d = s->axes[0].npasses, passes_h = s->axes[1].npasses;
    const ptrdiff_t per_pass = per_slice / passes_h, per_class = per_pass / s->classes;
    const ptrdiff_t slice = part / per_slice, in_slice = part % per_slice;
    const ptrdiff_t ph = in_slice / per_pass, class = in_slice % per_pass / per_class;
    const ptrdiff_t block = in_slice % per_class, width = lanes * s->axes[2].npasses;
    const gc_axis_pass *d = &s->axes[0].passes[slice % passes_d], *h = &s->axes[1].passes[ph];
    const ptrdiff_t rows = s->fold ? s->rows : h->count;
    gc_packed_tile t = {
        .pass = (slice % passes_d * passes_h + ph) * s->axes[2].npasses,
        .row = class + block * s->tile_rows * s->classes,
        .nrows = gc_min(s->tile_rows, gc_ceil_div(rows - class, s->classes) - block * s->tile_rows),
    };
    const ptrdiff_t depth = slice / passes_d, out_depth = d->first + depth * d->step;
    const ptrdiff_t left =
        p->out_size[2] - (s->fold ? t.row + t.nrows - 1 : s->vectors - 1) * lanes;
    t.last = (int)(s->plain ? gc_min(left, lanes) : lanes);
    t.stored = s->fold ? (int)lanes : t.last;
    if (s->fold) {
        t.plane = t.row * lanes * size;
        t.out = t.row * width * o[4];
        t.residual = t.row * width * r[4];
        t.out_row = width * o[4];
        t.residual_row = width * r[4];
    } else {
        const ptrdiff_t out_row = h->first + t.row * h->step;
        t.plane = (depth * s->planes.slice + t.row * s->planes.pitch) * size;
        t.out = out_depth * o[2] + out_row * o[3];
        t.residual = out_depth * r[2] + out_row * r[3];
        t.out_row = s->classes * h->step * o[3];
        t.residual_row = s->classes * h->step * r[3];
    }
    return t;
}

/* The tiles of a channel; parts without rows are left out. */
static gc_status place_tiles(const gc_plan *plan, gc_packed_depthwise *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t per_class =
        gc_ceil_div(gc_ceil_div(gc_max(s->rows, 1), s->classes), s->tile_rows);
    const ptrdiff_t per_slice = s->axes[1].npasses * s->classes * per_class;
    const ptrdiff_t parts = p->out_size[0] * per_slice;
    s->places = malloc((size_t)(parts + 1) * sizeof *s->places);
    if (s->places == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t part = 0; part < parts; part++) {
        const gc_packed_tile t = place_tile(plan, s, part, per_slice);
        if (t.nrows > 0) s->places[s->tiles++] = t;
    }
    return GC_OK;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const int lanes = plan->kernels->lanes;
    gc_packed_depthwise *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    s->npasses = s->axes[0].npasses * s->axes[1].npasses * s->axes[2].npasses;
    s->fold = p->out_size[0] == 1 && p->out_size[1] == 1 && p->kernel[0] == 1 && p->kernel[1] == 1;
    s->clamp = gc_activation_clamp(p->activation, &s->low, &s->high);
    s->plain = s->clamp && s->axes[2].passes[0].step == 1 && s->axes[1].passes[0].step == 1 &&
               s->axes[0].passes[0].step == 1 && gc_output_is_rows(plan) &&
               gc_residual_is_rows(plan);
    s->scattered = s->fold && !s->plain && gc_output_is_rows(plan) && gc_residual_is_rows(plan);
    gc_weights_create(&s->weights, plan);
    count_tiles(plan, s);
    const ptrdiff_t counts[3] = {gc_max(s->axes[0].count, 1), gc_max(s->axes[1].count, 1),
                                 gc_max(s->axes[2].count, 1)};
    /* tiles may reach over the last row and column of a plane */
    const ptrdiff_t wide = counts[2] + s->axes[2].span + lanes;
    const ptrdiff_t below = GC_DEPTHWISE_ROWS * s->classes + most_chunk_rows;
    gc_planes_layout(
        &s->planes, s->axes, counts,
        s->fold ? (GC_DEPTHWISE_ROWS + most_chunk_rows + 1) * lanes : below * wide + lanes);
    s->passes = calloc((size_t)s->npasses, sizeof *s->passes);
    if (s->passes == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t i = 0; i < s->npasses; i++) {
        const gc_status status = create_pass(plan, s, i);
        if (status != GC_OK) return status;
    }
    if (place_tiles(plan, s) != GC_OK) return GC_ERROR_MEMORY;
    plan->units = p->batch * p->groups * p->out_per_group * s->tiles;
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    plan->scratch_size = gc_packed_planes_bytes(plan, s) + gc_packed_tiles_bytes(plan, s);
    gc_weights_plan(&s->weights, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_packed_depthwise *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_packed_depthwise *s = plan->state;
    snprintf(text, size, "%s, %d lanes",
             s->fold ? "tiles of 8 vectors of a packed row" : "tiles of 8 rows, packed",
             plan->kernels->lanes);
}

const gc_algorithm gc_depthwise_packed = {
    .name = "depthwise_packed",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_packed_work,
    .describe = describe,
};
