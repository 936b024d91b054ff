#include "channel_weights.h"

#include <string.h>

#include "weights.h"

/* A vector of output channels. */
typedef struct lanes_of {
    const gc_weights *weights;
    const char *row; /* the first lane's weights */
    char *to;
    ptrdiff_t channels, step; /* lanes that exist */
    ptrdiff_t piece;
} lanes_of;

/* Weights of a lane before those of input channel c; of these, the next kernel position's are v->piece further. */
static ptrdiff_t place_of(const lanes_of *v, ptrdiff_t positions, ptrdiff_t c) {
    return c / v->piece * positions * v->piece + c % v->piece;
}

static ptrdiff_t positions_of(const gc_problem *p) {
    return p->kernel[0] * p->kernel[1] * p->kernel[2];
}

/* Weights of an output channel that follow each other as reals: squares of vectors are turned. */
static void copy_turned(const gc_plan *plan, const lanes_of *v) {
    enum { columns = 64 };
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, positions = positions_of(p);
    const ptrdiff_t bytes = plan->kernels->lanes * size, all = positions * p->in_per_group;
    _Alignas(64) char turned[columns * 64];
    ptrdiff_t c = 0, k = 0;
    char *to = v->to;
    for (ptrdiff_t i = 0; i < all; i += columns) {
        const gc_turn t = {
            .from = v->row + i * size,
            .from_step = v->weights->k_bytes / size,
            .rows = v->channels,
            .n = gc_min(columns, all - i),
            .to = turned,
            .to_step = plan->kernels->lanes,
        };
        plan->kernels->turn(&t);
        for (ptrdiff_t j = 0; j < t.n; j++) {
            memcpy(to, turned + j * bytes, (size_t)bytes);
            to += v->piece * v->step;
            if (++k < positions) continue;
            k = 0;
            to = v->to + place_of(v, positions, ++c) * v->step;
        }
    }
}

/* A transposed convolution's kernels from their last to their first weight. */
static void copy_any(const gc_plan *plan, const lanes_of *v) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, *b = p->weight_strides;
    const ptrdiff_t bytes = lanes * (ptrdiff_t)plan->kernels->real_size;
    const int mirror = p->op == GC_CONV_TRANSPOSE;
    ptrdiff_t steps[3] = {b[2], b[3], b[4]}, first = 0;
    for (int i = 0; i < 3 && mirror; i++) {
        first += (p->kernel[i] - 1) * steps[i];
        steps[i] = -steps[i];
    }
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        const char *from = v->row + c * v->weights->c_bytes + first;
        char *to = v->to + place_of(v, positions_of(p), c) * v->step;
        for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
            for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
                for (ptrdiff_t w = 0; w < p->kernel[2]; w++, to += v->piece * v->step) {
                    if (v->channels < lanes) memset(to, 0, (size_t)bytes);
                    plan->kernels->load(to, from + d * steps[0] + h * steps[1] + w * steps[2],
                                        v->weights->k_bytes, v->channels, p->dtype);
                }
    }
}

void gc_channel_weights_copy(const gc_plan *plan, const void *weight, ptrdiff_t k,
                             ptrdiff_t channels, ptrdiff_t piece, char *to, ptrdiff_t step) {
    const gc_problem *p = &plan->problem;
    gc_weights weights = {0};
    gc_weights_create(&weights, plan);
    const lanes_of v = {
        .weights = &weights,
        .row = (const char *)weight + k / p->out_per_group * weights.group_bytes +
               k % p->out_per_group * weights.k_bytes,
        .to = to,
        .channels = channels,
        .step = step,
        .piece = piece,
    };
    (weights.in_place && p->op == GC_CONV ? copy_turned : copy_any)(plan, &v);
}
