#include "weights.h"

#include <stdlib.h>
#include <string.h>

void gc_weights_create(gc_weights *s, const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *b = p->weight_strides;
    const int transposed = p->op == GC_CONV_TRANSPOSE;
    s->k_bytes = b[transposed ? 1 : 0];
    s->c_bytes = b[transposed ? 0 : 1];
    s->group_bytes = transposed ? p->in_per_group * b[0] : p->out_per_group * b[0];
    s->in_place = plan->storage_size == size;
    for (int i = 0; i < 5; i++)
        if (b[i] % size) s->in_place = 0;
    s->per_k = p->in_per_group * p->kernel[0] * p->kernel[1] * p->kernel[2];
    if (s->in_place) {
        s->k = s->k_bytes / size;
        s->c = s->c_bytes / size;
        s->d = b[2] / size;
        s->h = b[3] / size;
        s->w = b[4] / size;
    } else {
        gc_weights_convert(s, plan);
    }
}

void gc_weights_convert(gc_weights *s, const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    s->in_place = 0;
    s->w = 1;
    s->h = p->kernel[2];
    s->d = s->h * p->kernel[1];
    s->c = s->d * p->kernel[0];
    s->k = s->per_k;
}

gc_status gc_weights_reorder(gc_weights *s, const gc_plan *plan) {
    gc_weights_convert(s, plan);
    s->order = calloc((size_t)s->per_k, sizeof *s->order);
    return s->order ? GC_OK : GC_ERROR_MEMORY;
}

void gc_weights_destroy(gc_weights *s) {
    free(s->order);
    s->order = NULL;
}

size_t gc_weights_prepared_size(const gc_weights *s, const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (s->in_place) return 0;
    return (size_t)(p->groups * p->out_per_group * s->per_k) * plan->kernels->real_size;
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

void gc_weights_prepare(const gc_weights *s, const gc_plan *plan, const void *weight,
                        void *prepared, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *b = p->weight_strides;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    char *to = (char *)prepared + first * s->per_k * size;
    for (ptrdiff_t k = first; k < last; k++) {
        const char *from = (const char *)weight + k / p->out_per_group * s->group_bytes +
                           k % p->out_per_group * s->k_bytes;
        if (s->order) {
            prepare_in_order(s, plan, from, to);
            to += s->per_k * size;
            continue;
        }
        for (ptrdiff_t c = 0; c < p->in_per_group; c++)
            for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
                for (ptrdiff_t h = 0; h < p->kernel[1]; h++) {
                    plan->kernels->load(to, from + c * s->c_bytes + d * b[2] + h * b[3], b[4],
                                        p->kernel[2], p->dtype);
                    to += p->kernel[2] * size;
                }
    }
}

const char *gc_weights_at(const gc_weights *s, const gc_plan *plan, const gc_run *run, ptrdiff_t g,
                          ptrdiff_t k) {
    if (s->in_place) return (const char *)run->arrays->weight + g * s->group_bytes + k * s->k_bytes;
    const ptrdiff_t row = g * plan->problem.out_per_group + k;
    return (const char *)run->weights + row * s->per_k * (ptrdiff_t)plan->kernels->real_size;
}
