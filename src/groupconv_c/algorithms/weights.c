#include "weights.h"

#include "algorithms.h"

#include <stdlib.h>
#include <string.h>

/* Weights of one output channel that follow each other at one distance, in bytes: of as many of its
 * dimensions, from the last, as do. */
typedef struct even_run {
    ptrdiff_t n, step;
} even_run;

static even_run run_of(const ptrdiff_t sizes[4], const ptrdiff_t strides[4]) {
    even_run r = {1, 0};
    for (int i = 3; i >= 0; i--) {
        if (sizes[i] == 1) continue;
        if (r.n == 1) r.step = strides[i];
        if (strides[i] != r.n * r.step) break;
        r.n *= sizes[i];
    }
    return r;
}

void gc_weights_create(gc_weights *s, const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *b = p->weight_strides;
    const int transposed = p->op == GC_CONV_TRANSPOSE;
    s->k_bytes = b[transposed ? 1 : 0];
    s->c_bytes = b[transposed ? 0 : 1];
    s->group_bytes = transposed ? p->in_per_group * b[0] : p->out_per_group * b[0];
    s->w = 1;
    s->h = p->kernel[2];
    s->d = s->h * p->kernel[1];
    s->c = s->d * p->kernel[0];
    s->k = s->per_k = s->c * p->in_per_group;
    const ptrdiff_t sizes[4] = {p->in_per_group, p->kernel[0], p->kernel[1], p->kernel[2]};
    const ptrdiff_t strides[4] = {s->c_bytes, b[2], b[3], b[4]};
    const even_run whole = run_of(sizes, strides);
    s->in_place = plan->storage_size == size && s->k_bytes % size == 0 &&
                  s->group_bytes % size == 0 && whole.n == s->per_k &&
                  (whole.n == 1 || whole.step == size);
    if (s->in_place) s->k = s->k_bytes / size;
}

void gc_weights_convert(gc_weights *s) {
    s->in_place = 0;
    s->k = s->per_k;
}

gc_status gc_weights_reorder(gc_weights *s) {
    gc_weights_convert(s);
    s->order = calloc((size_t)s->per_k, sizeof *s->order);
    return s->order ? GC_OK : GC_ERROR_MEMORY;
}

void gc_weights_destroy(gc_weights *s) {
    free(s->order);
    s->order = NULL;
}

void gc_weights_plan(const gc_weights *s, gc_plan *plan) {
    const ptrdiff_t channels = plan->problem.groups * plan->problem.out_per_group;
    plan->prepare_units = channels;
    if (s->in_place) return;
    plan->prepared_size = (size_t)(channels * s->per_k) * plan->kernels->real_size;
    plan->prepared_key = GC_KEY_CONVERTED;
    plan->prepare_seconds = gc_prepare_seconds(plan, 1.2);
}

static void prepare_in_order(const gc_weights *s, const gc_plan *plan, const char *from, char *to) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    for (ptrdiff_t i = 0; i < s->per_k; i++, to += size)
        if (plan->storage_size != size)
            plan->kernels->load(to, from + s->order[i], size, 1, plan->problem.dtype);
        else if (size == 4)
            memcpy(to, from + s->order[i], 4);
        else
            memcpy(to, from + s->order[i], 8);
}

static ptrdiff_t offset_of(ptrdiff_t index, const ptrdiff_t sizes[4], const ptrdiff_t strides[4]) {
    ptrdiff_t offset = 0;
    for (int i = 3; i >= 0; i--) {
        offset += index % sizes[i] * strides[i];
        index /= sizes[i];
    }
    return offset;
}

void gc_weights_copy(const gc_weights *s, const gc_plan *plan, const void *weight, char *to,
                     ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *b = p->weight_strides, size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t sizes[4] = {p->in_per_group, p->kernel[0], p->kernel[1], p->kernel[2]};
    const ptrdiff_t strides[4] = {s->c_bytes, b[2], b[3], b[4]};
    const even_run row = run_of(sizes, strides);
    for (ptrdiff_t k = first; k < last; k++, to += s->per_k * size) {
        const char *from = (const char *)weight + k / p->out_per_group * s->group_bytes +
                           k % p->out_per_group * s->k_bytes;
        if (s->order) {
            prepare_in_order(s, plan, from, to);
            continue;
        }
        for (ptrdiff_t i = 0; i < s->per_k; i += row.n)
            plan->kernels->load(to + i * size, from + offset_of(i, sizes, strides), row.step, row.n,
                                p->dtype);
    }
}

void gc_weights_prepare(const gc_weights *s, const gc_plan *plan, const void *weight,
                        void *prepared, ptrdiff_t first, ptrdiff_t last) {
    gc_weights_copy(s, plan, weight,
                    (char *)prepared + first * s->per_k * (ptrdiff_t)plan->kernels->real_size,
                    first, last);
}

ptrdiff_t gc_weights_group_step(const gc_weights *s, const gc_plan *plan) {
    if (s->in_place) return s->group_bytes;
    return plan->problem.out_per_group * s->per_k * (ptrdiff_t)plan->kernels->real_size;
}

const char *gc_weights_at(const gc_weights *s, const gc_plan *plan, const gc_run *run, ptrdiff_t g,
                          ptrdiff_t k) {
    if (s->in_place) return (const char *)run->arrays->weight + g * s->group_bytes + k * s->k_bytes;
    const ptrdiff_t row = g * plan->problem.out_per_group + k;
    return (const char *)run->weights + row * s->per_k * (ptrdiff_t)plan->kernels->real_size;
}
