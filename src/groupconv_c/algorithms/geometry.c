#include "geometry.h"

#include <stdlib.h>

ptrdiff_t gc_axis_source(const gc_axis *axis, ptrdiff_t i) {
    const ptrdiff_t n = axis->in_size;
    if (i >= 0 && i < n) return i;
    switch (axis->mode) {
        case GC_ZEROS:
            return -1;
        case GC_REPLICATE:
            return i < 0 ? 0 : n - 1;
        case GC_CIRCULAR:
            return i - n * gc_floor_div(i, n);
        case GC_REFLECT: {
            if (n == 1) return 0;
            const ptrdiff_t period = 2 * (n - 1), r = i - period * gc_floor_div(i, period);
            return r < n ? r : period - r;
        }
    }
    return -1;
}

static ptrdiff_t slot_of(gc_axis *axis, ptrdiff_t phase) {
    for (ptrdiff_t i = 0; i < axis->nphases; i++)
        if (axis->phases[i] == phase) return i;
    axis->phases[axis->nphases] = phase;
    return axis->nphases++;
}

static void add_tap(gc_axis *axis, gc_axis_pass *pass, ptrdiff_t kernel, ptrdiff_t position) {
    const ptrdiff_t shift = gc_floor_div(position, axis->in_step);
    const ptrdiff_t slot = slot_of(axis, position - shift * axis->in_step);
    pass->taps[pass->ntaps++] = (gc_axis_tap){kernel, slot, shift};
}

static void bound_shifts(gc_axis *axis) {
    ptrdiff_t low = 0, high = 0;
    int any = 0;
    for (ptrdiff_t i = 0; i < axis->npasses; i++) {
        for (ptrdiff_t t = 0; t < axis->passes[i].ntaps; t++) {
            const ptrdiff_t shift = axis->passes[i].taps[t].shift;
            low = any ? gc_min(low, shift) : shift;
            high = any ? gc_max(high, shift) : shift;
            any = 1;
        }
        axis->count = gc_max(axis->count, axis->passes[i].count);
    }
    axis->min_shift = low;
    axis->span = high - low;
    if (axis->nphases == 0) axis->phases[axis->nphases++] = 0;
}

gc_status gc_axis_create(gc_axis *axis, const gc_problem *p, int dim) {
    const ptrdiff_t stride = p->stride[dim], dilation = p->dilation[dim], pad = p->pad_before[dim];
    const ptrdiff_t kernel = p->kernel[dim], out = p->out_size[dim];
    const int transposed = p->op == GC_CONV_TRANSPOSE;
    *axis = (gc_axis){.in_size = p->in_size[dim], .mode = p->padding_mode};
    axis->in_step = transposed ? 1 : stride;
    axis->npasses = transposed ? gc_max(gc_min(stride, out), 1) : 1;
    axis->passes = calloc((size_t)axis->npasses, sizeof *axis->passes);
    axis->phases = calloc((size_t)gc_min(axis->in_step, kernel) + 1, sizeof *axis->phases);
    if (axis->passes == NULL || axis->phases == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t i = 0; i < axis->npasses; i++) {
        gc_axis_pass *pass = &axis->passes[i];
        pass->first = i;
        pass->step = transposed ? stride : 1;
        pass->count = transposed ? gc_ceil_div(out - i, stride) : out;
        pass->taps = calloc((size_t)kernel, sizeof *pass->taps);
        if (pass->taps == NULL) return GC_ERROR_MEMORY;
        /* in the order of the source positions */
        for (ptrdiff_t t = 0; t < kernel; t++) {
            const ptrdiff_t r = transposed ? kernel - 1 - t : t;
            if (!transposed) {
                add_tap(axis, pass, r, r * dilation - pad);
                continue;
            }
            const ptrdiff_t numerator = i + pad - r * dilation;
            const ptrdiff_t position = gc_floor_div(numerator, stride);
            if (position * stride == numerator) add_tap(axis, pass, r, position);
        }
    }
    bound_shifts(axis);
    return GC_OK;
}

void gc_axis_destroy(gc_axis *axis) {
    if (axis->passes)
        for (ptrdiff_t i = 0; i < axis->npasses; i++) free(axis->passes[i].taps);
    free(axis->passes);
    free(axis->phases);
    axis->passes = NULL;
    axis->phases = NULL;
}
