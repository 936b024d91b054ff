#include "ahead.h"

enum { least_rate = 32 /* bytes: at once rather than the same line again and again */ };

gc_ahead gc_ahead_planes(const gc_plan *plan, const gc_arrays *arrays, ptrdiff_t n, ptrdiff_t c,
                         ptrdiff_t inputs, ptrdiff_t k, ptrdiff_t outputs, ptrdiff_t passes) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *in = p->input_strides, *out = p->weight_strides, size = plan->storage_size;
    const ptrdiff_t rows = p->out_size[0] * p->out_size[1];
    const ptrdiff_t in_plane = p->in_size[0] * p->in_size[1] * p->in_size[2] * size;
    const ptrdiff_t out_plane = rows * p->out_size[2] * size;
    if (in[4] != size || out[4] != size || (inputs > 1 && in[1] != in_plane) ||
        (outputs > 1 && out[1] != out_plane))
        return (gc_ahead){0};
    gc_ahead a = {
        .next = {(const char *)arrays->input + n * in[0] + c * in[1],
                 (const char *)arrays->weight + n * out[0] + k * out[1]},
        .left = {inputs * in_plane, outputs * out_plane},
    };
    const ptrdiff_t vectors = rows * gc_ceil_div(p->out_size[2], plan->kernels->lanes);
    a.rate = gc_ceil_div(a.left[0] + a.left[1], gc_max(vectors * passes, 1));
    a.rate = gc_max(a.rate, least_rate);
    return a;
}

const char *gc_ahead_take(gc_ahead *a, ptrdiff_t vectors, ptrdiff_t *bytes) {
    const int i = a->left[0] <= 0;
    const char *from = a->next[i];
    *bytes = a->left[i] > 0 ? a->rate : 0;
    a->next[i] += vectors * a->rate;
    a->left[i] -= vectors * a->rate;
    return from;
}

ptrdiff_t gc_ahead_skip(gc_ahead *a, ptrdiff_t vectors) {
    const ptrdiff_t rate = a->left[0] > 0 || a->left[1] > 0 ? a->rate : 0;
    ptrdiff_t bytes = vectors * rate;
    for (int i = 0; i < 2; i++) {
        const ptrdiff_t taken = i == 0 ? gc_min(bytes, gc_max(a->left[0], 0)) : bytes;
        a->next[i] += taken;
        a->left[i] -= taken;
        bytes -= taken;
    }
    return rate;
}
