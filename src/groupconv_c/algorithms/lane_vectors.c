#include "lane_vectors.h"

#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "channel_lanes.h"

const char *gc_lane_vectors_refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t in = p->groups * p->in_per_group, out = p->groups * p->out_per_group;
    if (p->padding_mode != GC_ZEROS) return "channels in lanes need padding with zeros";
    if (p->groups == 1 ||
        2 * gc_max(p->in_per_group, p->out_per_group) > (ptrdiff_t)plan->kernels->lanes)
        return "groups are too wide to share a vector";
    if (!gc_lanes_in_memory(plan, p->input_strides, in) ||
        !gc_lanes_in_memory(plan, p->output_strides, out) ||
        (p->has_residual && !gc_lanes_in_memory(plan, p->residual_strides, out)))
        return "channels in lanes need channels_last arrays";
    return NULL;
}

gc_status gc_lane_vectors_create(gc_lane_vectors *s, const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    const ptrdiff_t icg = p->in_per_group, ocg = p->out_per_group;
    s->spread = icg != 1 || ocg != 1;
    s->groups = gc_min(lanes / gc_max(icg, ocg), p->groups);
    s->n = gc_ceil_div(p->groups, s->groups);
    s->taps = p->kernel[0] * p->kernel[1] * p->kernel[2] * icg;
    s->bytes = (s->taps + 1) * lanes * (ptrdiff_t)plan->kernels->real_size;
    s->index = calloc((size_t)(icg * lanes), sizeof *s->index);
    if (s->index == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t c = 0; c < icg; c++)
        for (ptrdiff_t k = 0; k < s->groups * ocg; k++)
            s->index[c * lanes + k] = (int32_t)(k / ocg * icg + c);
    return GC_OK;
}

void gc_lane_vectors_destroy(gc_lane_vectors *s) { free(s->index); }

int gc_lane_vectors_finite(const gc_lane_vectors *s, const gc_run *run, ptrdiff_t v) {
    const ptrdiff_t flag = s->bytes / (s->taps + 1) * s->taps;
    return *(const int *)((const char *)run->weights + v * s->bytes + flag);
}

void gc_lane_vectors_plan(const gc_lane_vectors *s, gc_plan *plan) {
    plan->prepared_size = (size_t)(s->n * s->bytes);
    plan->prepare_units = s->n;
    plan->prepared_key = GC_KEY_LANE_RUNS;
    plan->prepare_seconds = gc_prepare_seconds(plan, 3.2);
}

/* Lanes without a channel hold zeros. */
void gc_lane_vectors_prepare(const gc_lane_vectors *s, const gc_plan *plan, const void *weight,
                             void *prepared, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *b = p->weight_strides, in_vector = s->groups * p->out_per_group;
    const ptrdiff_t lanes_bytes = plan->kernels->lanes * (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t all = p->groups * p->out_per_group;
    for (ptrdiff_t v = first; v < last; v++) {
        const char *channel = (const char *)weight + v * in_vector * b[0];
        char *to = (char *)prepared + v * s->bytes;
        memset(to, 0, (size_t)s->bytes);
        for (ptrdiff_t d = 0; d < p->kernel[0]; d++)
            for (ptrdiff_t h = 0; h < p->kernel[1]; h++)
                for (ptrdiff_t c = 0; c < p->in_per_group; c++)
                    for (ptrdiff_t t = 0; t < p->kernel[2]; t++, to += lanes_bytes)
                        plan->kernels->load(to, channel + c * b[1] + d * b[2] + h * b[3] + t * b[4],
                                            b[0], gc_min(in_vector, all - v * in_vector), p->dtype);
        *(int *)to = plan->kernels->finite((char *)prepared + v * s->bytes, s->taps);
    }
}
