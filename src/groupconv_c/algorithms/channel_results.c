#include "channel_results.h"

#include <math.h>

#include "channel_box.h"

/* Output positions that follow each other, from `first` of a row on. */
typedef struct stretch {
    ptrdiff_t row, first, count;
} stretch;

static int rows_joined(const ptrdiff_t *strides, ptrdiff_t wide) {
    return strides[3] == wide * strides[4];
}

int gc_channel_results_joined(const gc_problem *p, ptrdiff_t wide) {
    return rows_joined(p->output_strides, wide) &&
           (!p->has_residual || rows_joined(p->residual_strides, wide));
}

int gc_channel_results_turn(const gc_plan *plan, ptrdiff_t channels) {
    const gc_problem *p = &plan->problem;
    return gc_channel_box_turns(plan, p->output_strides, channels) &&
           (!p->has_residual || gc_channel_box_turns(plan, p->residual_strides, channels));
}

static ptrdiff_t offset_in(const ptrdiff_t *strides, const gc_channel_results *r, ptrdiff_t row,
                           ptrdiff_t column) {
    return r->n * strides[0] + r->k * strides[1] + r->depth * strides[2] + row * strides[3] +
           column * strides[4];
}

char *gc_channel_results_output(const gc_channel_results *r, ptrdiff_t row, ptrdiff_t column) {
    const ptrdiff_t *strides = r->run->plan->problem.output_strides;
    return (char *)r->run->arrays->output + offset_in(strides, r, row, column);
}

const char *gc_channel_results_residual(const gc_channel_results *r, ptrdiff_t row,
                                        ptrdiff_t column) {
    const gc_problem *p = &r->run->plan->problem;
    if (!p->has_residual) return NULL;
    return (const char *)r->run->arrays->residual + offset_in(p->residual_strides, r, row, column);
}

int gc_channel_results_late(const gc_channel_results *r) {
    const gc_plan *plan = r->run->plan;
    return !r->turned || plan->problem.has_residual || !gc_stores_reals(plan);
}

gc_lane_epilogue gc_channel_results_before(const gc_channel_results *r) {
    if (!gc_channel_results_late(r)) return r->epilogue;
    return (gc_lane_epilogue){.clamp = 1, .low = -INFINITY, .high = INFINITY};
}

/* Turned into a vector of channels at a time, which are rounded when they are finished. */
static void turn_to_halves(const gc_channel_results *r, const stretch *at, char *tile) {
    const gc_plan *plan = r->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, step = r->step / (ptrdiff_t)sizeof(float);
    const ptrdiff_t *to = p->output_strides, *add = p->residual_strides;
    float reals[GC_MAX_LANES][GC_CONVERTED_POSITIONS];
    for (ptrdiff_t i = 0; i < at->count; i += GC_CONVERTED_POSITIONS) {
        const ptrdiff_t n = gc_min(at->count - i, GC_CONVERTED_POSITIONS);
        char *out = gc_channel_results_output(r, at->row, at->first) + i * to[4];
        const char *residual = gc_channel_results_residual(r, at->row, at->first);
        for (ptrdiff_t c = 0; c < r->channels; c += lanes) {
            const ptrdiff_t count = gc_min(r->channels - c, lanes);
            for (ptrdiff_t j = 0; j < n; j += lanes) {
                const gc_turn t = {
                    .from = (const float *)tile + (i + j) * step + c,
                    .from_step = step,
                    .rows = gc_min(n - j, lanes),
                    .n = count,
                    .to = &reals[0][j],
                    .to_step = GC_CONVERTED_POSITIONS,
                };
                plan->kernels->turn(&t);
            }
            for (ptrdiff_t k = 0; k < count; k++) {
                const gc_finish f = {
                    .from = reals[k],
                    .to = out + (c + k) * to[1],
                    .to_stride = to[4],
                    .residual = residual ? residual + i * add[4] + (c + k) * add[1] : NULL,
                    .residual_stride = add[4],
                    .n = n,
                    .dtype = p->dtype,
                    .activation = p->activation,
                    .parameter = p->activation_parameter,
                };
                plan->kernels->finish(&f);
            }
        }
    }
}

static void turn_results(const gc_channel_results *r, const stretch *at, char *tile) {
    const gc_plan *plan = r->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t *to = plan->problem.output_strides, *add = plan->problem.residual_strides;
    const char *residual = gc_channel_results_residual(r, at->row, at->first);
    gc_turn t = {
        .from = tile,
        .from_step = r->step / size,
        .n = r->channels,
        .to = gc_channel_results_output(r, at->row, at->first),
        .to_step = to[1] / size,
        .only_rows = 1,
    };
    gc_turn_finish f = {
        .from_step = t.from_step,
        .to_step = t.to_step,
        .residual = residual,
        .residual_step = add[1] / size,
        .n = t.n,
        .epilogue = r->epilogue,
    };
    for (ptrdiff_t left = at->count; left > 0; left -= lanes) {
        t.rows = f.rows = gc_min(left, lanes);
        f.from = t.from;
        f.to = t.to;
        if (residual)
            plan->kernels->turn_finish(&f);
        else
            plan->kernels->turn(&t);
        t.from = (const char *)t.from + lanes * r->step;
        t.to = (char *)t.to + lanes * to[4];
        if (residual) f.residual = (const char *)f.residual + lanes * add[4];
    }
}

/* Takes results to their place, one position at a time. */
static void finish_results(const gc_channel_results *r, const stretch *at, char *tile) {
    const gc_plan *plan = r->run->plan;
    const gc_problem *p = &plan->problem;
    gc_finish f = {
        .from = tile,
        .to = gc_channel_results_output(r, at->row, at->first),
        .to_stride = p->output_strides[1],
        .residual = gc_channel_results_residual(r, at->row, at->first),
        .residual_stride = p->residual_strides[1],
        .n = r->channels,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t i = 0; i < at->count; i++) {
        plan->kernels->finish(&f);
        f.from = (const char *)f.from + r->step;
        f.to = (char *)f.to + p->output_strides[4];
        if (f.residual) f.residual = (const char *)f.residual + p->residual_strides[4];
    }
}

static void move(const gc_channel_results *r, ptrdiff_t first, ptrdiff_t last, char *tile,
                 void (*one)(const gc_channel_results *, const stretch *, char *)) {
    for (ptrdiff_t i = first; i < last;) {
        stretch at = {i / r->wide, i % r->wide, last - i};
        if (!r->joined) at.count = gc_min(at.count, r->wide - at.first);
        one(r, &at, tile);
        tile += at.count * r->step;
        i += at.count;
    }
}

void gc_channel_results_store(const gc_channel_results *r, ptrdiff_t first, ptrdiff_t last,
                              char *tile) {
    const gc_plan *plan = r->run->plan;
    const int reals = gc_stores_reals(plan);
    move(r, first, last, tile, !r->turned ? finish_results : reals ? turn_results : turn_to_halves);
}
