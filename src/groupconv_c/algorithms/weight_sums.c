#include "weight_sums.h"

#include <string.h>

enum {
    out_slab = 64, /* channels */
    in_slab = 64,
    wanted_units = 16, /* fewer: the batch is cut into chunks */
};

static ptrdiff_t per_channel(const gc_problem *p) {
    return p->kernel[0] * p->kernel[1] * p->kernel[2];
}

gc_weight_slabs gc_weight_slabs_of(const gc_problem *p) {
    gc_weight_slabs s = {
        .k = gc_ceil_div(p->out_per_group, out_slab),
        .c = gc_ceil_div(p->in_per_group, in_slab),
    };
    s.chunks = gc_max(1, gc_min(gc_ceil_div(wanted_units, p->groups * s.k * s.c), p->batch));
    s.most_k = gc_ceil_div(p->out_per_group, s.k);
    s.most_c = gc_ceil_div(p->in_per_group, s.c);
    return s;
}

ptrdiff_t gc_weight_units(const gc_problem *p, const gc_weight_slabs *s) {
    return p->groups * s->k * s->c * s->chunks;
}

gc_weight_part gc_weight_part_of(const gc_problem *p, const gc_weight_slabs *s, ptrdiff_t unit) {
    const ptrdiff_t c = unit % s->c, k = unit / s->c % s->k, rest = unit / s->c / s->k;
    return (gc_weight_part){
        .group = rest / s->chunks,
        .k0 = gc_cut(p->out_per_group, s->k, k),
        .k1 = gc_cut(p->out_per_group, s->k, k + 1),
        .c0 = gc_cut(p->in_per_group, s->c, c),
        .c1 = gc_cut(p->in_per_group, s->c, c + 1),
        .chunk = rest % s->chunks,
    };
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

/* Whether the kernels of one output channel follow each other in memory. */
static int follow(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    ptrdiff_t step = plan->storage_size;
    for (int i = 2; i >= 0; i--) {
        if (p->output_strides[2 + i] != step) return 0;
        step *= p->kernel[i];
    }
    return p->output_strides[1] == step;
}

/* Stores the kernels of output channel `row`, counted over all groups, over input channels c0 .. c1 - 1. */
static void store_kernels(const gc_run *run, ptrdiff_t row, ptrdiff_t c0, ptrdiff_t c1,
                          const char *from) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *strides = p->output_strides, size = (ptrdiff_t)plan->kernels->real_size;
    char *to = (char *)run->arrays->output + row * strides[0];
    gc_finish f = {.dtype = p->dtype, .to_stride = strides[4], .n = p->kernel[2]};
    if (follow(plan)) {
        f.from = from;
        f.to = to + c0 * strides[1];
        f.n = (c1 - c0) * per_channel(p);
        plan->kernels->finish(&f);
        return;
    }
    for (ptrdiff_t c = c0; c < c1; c++)
        for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
            for (ptrdiff_t h = 0; h < p->kernel[1]; h++, from += f.n * size) {
                f.from = from;
                f.to = to + c * strides[1] + d * strides[2] + h * strides[3];
                plan->kernels->finish(&f);
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
        store_kernels(run, row, part->c0, part->c1, sums);
    }
}

void gc_weight_sums_put_lanes(const gc_run *run, ptrdiff_t chunks, const gc_weight_part *part,
                              const char *sums, ptrdiff_t row, char *turned) {
    const gc_kernels *kernels = run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t taps = (part->c1 - part->c0) * per_channel(&run->plan->problem);
    for (ptrdiff_t t = 0; t < taps; t += lanes) {
        const gc_turn turn = {
            .from = sums + t * row * size,
            .to = turned + t * size,
            .from_step = row,
            .to_step = taps,
            .rows = gc_min(lanes, taps - t),
            .n = part->k1 - part->k0,
            .only_rows = taps - t < lanes,
        };
        kernels->turn(&turn);
    }
    gc_weight_sums_put(run, chunks, part, turned);
}

/* Adds n sums of all further chunks to those of the first. */
static void add_in_order(const gc_plan *plan, ptrdiff_t chunks, char *first, ptrdiff_t n) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t all = gc_weight_count(&plan->problem);
    for (ptrdiff_t chunk = 1; chunk < chunks; chunk++) {
        const char *from = first + chunk * all * size;
        if (size == 4)
            for (ptrdiff_t i = 0; i < n; i++) ((float *)first)[i] += ((const float *)from)[i];
        else
            for (ptrdiff_t i = 0; i < n; i++) ((double *)first)[i] += ((const double *)from)[i];
    }
}

void gc_weight_sums_combine(const gc_run *run, ptrdiff_t chunks, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t n = p->in_per_group * per_channel(p);
    for (ptrdiff_t row = first; row < last; row++) {
        char *sums = run->shared + row * n * (ptrdiff_t)run->plan->kernels->real_size;
        add_in_order(run->plan, chunks, sums, n);
        store_kernels(run, row, 0, p->in_per_group, sums);
    }
}
