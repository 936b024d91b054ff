#include "weight_sums.h"

#include <string.h>

static ptrdiff_t per_channel(const gc_problem *p) {
    return p->kernel[0] * p->kernel[1] * p->kernel[2];
}

ptrdiff_t gc_weight_count(const gc_problem *p) {
    return p->groups * p->out_per_group * p->in_per_group * per_channel(p);
}

void gc_weight_sums_share(gc_plan *plan, ptrdiff_t chunks) {
    const gc_problem *p = &plan->problem;
    if (chunks == 1) return;
    plan->shared_size = (size_t)(chunks * gc_weight_count(p)) * plan->kernels->real_size;
    plan->combine_units = p->groups * p->out_per_group;
}

/* Stores the kernel of output channel `row`, counted over all groups, over input channel c. */
static void store_kernel(const gc_run *run, ptrdiff_t row, ptrdiff_t c, const char *from) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *strides = p->output_strides;
    gc_finish f = {.dtype = p->dtype, .to_stride = strides[4], .n = p->kernel[2]};
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
        for (ptrdiff_t h = 0; h < p->kernel[1]; h++) {
            f.from = from;
            f.to = (char *)run->arrays->output + row * strides[0] + c * strides[1] +
                   d * strides[2] + h * strides[3];
            plan->kernels->finish(&f);
            from += p->kernel[2] * (ptrdiff_t)plan->kernels->real_size;
        }
}

void gc_weight_sums_put(const gc_run *run, ptrdiff_t chunks, const gc_weight_part *part,
                        const char *sums) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t kernel = per_channel(p) * (ptrdiff_t)run->plan->kernels->real_size;
    const ptrdiff_t bytes = (part->c1 - part->c0) * kernel;
    for (ptrdiff_t k = part->k0; k < part->k1; k++, sums += bytes) {
        const ptrdiff_t row = part->group * p->out_per_group + k;
        if (chunks > 1) {
            const ptrdiff_t rows = part->chunk * p->groups * p->out_per_group + row;
            memcpy(run->shared + (rows * p->in_per_group + part->c0) * kernel, sums, (size_t)bytes);
            continue;
        }
        for (ptrdiff_t c = part->c0; c < part->c1; c++)
            store_kernel(run, row, c, sums + (c - part->c0) * kernel);
    }
}

static void add_in_order(const gc_plan *plan, ptrdiff_t chunks, char *to, const char *shared,
                         ptrdiff_t n) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t all = gc_weight_count(&plan->problem);
    memcpy(to, shared, (size_t)(n * size));
    for (ptrdiff_t chunk = 1; chunk < chunks; chunk++) {
        const char *from = shared + chunk * all * size;
        for (ptrdiff_t i = 0; i < n; i++) {
            if (size == 4)
                ((float *)to)[i] += ((const float *)from)[i];
            else
                ((double *)to)[i] += ((const double *)from)[i];
        }
    }
}

void gc_weight_sums_combine(const gc_run *run, ptrdiff_t chunks, char *scratch, ptrdiff_t first,
                            ptrdiff_t last) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t n = per_channel(p), size = (ptrdiff_t)run->plan->kernels->real_size;
    for (ptrdiff_t row = first; row < last; row++)
        for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
            add_in_order(run->plan, chunks, scratch,
                         run->shared + (row * p->in_per_group + c) * n * size, n);
            store_kernel(run, row, c, scratch);
        }
}
