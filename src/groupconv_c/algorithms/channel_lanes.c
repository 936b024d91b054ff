/* Convolution with output channels in the lanes: for channels_last arrays, and for maps too small to fill
 * vectors with positions. Groups of few channels share vectors (channel_rolls.c, channel_runs.c); wider ones
 * have theirs (channel_tiles.c). */
#include "channel_lanes.h"

#include "algorithms.h"
#include "tile_store.h"

gc_lane_epilogue gc_lane_epilogue_of(const gc_problem *p) {
    gc_lane_epilogue e = {.activation = p->activation, .parameter = p->activation_parameter};
    e.clamp = gc_activation_clamp(p->activation, &e.low, &e.high);
    return e;
}

int gc_lanes_in_memory(const gc_plan *plan, const ptrdiff_t strides[5], ptrdiff_t channels) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    if (plan->storage_size != size || (channels > 1 && strides[1] != size)) return 0;
    return strides[2] % size == 0 && strides[3] % size == 0 && strides[4] % size == 0;
}

static const gc_algorithm *way_of(const gc_plan *plan) {
    if (!gc_channel_rolls.refuse(plan)) return &gc_channel_rolls;
    return gc_channel_runs.refuse(plan) ? &gc_channel_tiles : &gc_channel_runs;
}

static const gc_algorithm *chosen(const gc_plan *plan) {
    return ((const gc_channel_lanes_state *)plan->state)->way;
}

static const char *refuse(const gc_plan *plan) { return way_of(plan)->refuse(plan); }
static gc_status create(gc_plan *plan) { return way_of(plan)->create(plan); }
static void destroy(gc_plan *plan) {
    if (plan->state) chosen(plan)->destroy(plan);
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    chosen(plan)->prepare(plan, weight, prepared, first, last);
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    chosen(run->plan)->work(run, scratch, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    return chosen(plan)->unit_cost(plan, unit);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    chosen(plan)->describe(plan, text, size);
}

const gc_algorithm gc_channel_lanes = {
    .name = "channel_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
