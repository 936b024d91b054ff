/* Long kernels along one dimension as products of spectra: overlap-save.
 *
 * The row is cut into blocks of outputs; a block reads N elements, a power of two and at least twice what the
 * kernel spans, of which all but that span are left as outputs. N depends on the kernel alone. A unit is one image,
 * one group, some blocks and a slab of its output channels. The blocks' inputs are turned, channels into the lanes,
 * and transformed; at each frequency, spectra of kernels are multiplied with those of inputs and summed up over
 * channels; what comes back is turned into rows again. This file plans; fourier_work.c computes.
 */
#include "fourier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"

enum {
    least_taps = 32,
    most_span = 2048,
    most_memory = 20,        /* times that of the weights */
    least_pairs = 16,        /* of channels of a group: the transforms must be worth it */
    input_bytes = 640 << 10, /* of rows and spectra, transformed together */
    few_boxes = 4,           /* of a call, so that it had better transform weights again for each */
};

static ptrdiff_t span(const gc_problem *p) { return p->dilation[2] * (p->kernel[2] - 1) + 1; }

/* Of a transform. */
static ptrdiff_t points_of(const gc_problem *p) {
    ptrdiff_t points = 4;
    while (points < 2 * span(p)) points *= 2;
    return points;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    for (int i = 0; i < 2; i++)
        if (p->in_size[i] != 1 || p->out_size[i] != 1 || p->kernel[i] != 1 || p->pad_before[i] != 0)
            return "it works in one dimension";
    if (p->kernel[2] < least_taps) return "it needs a kernel of at least 32 positions";
    if (span(p) > most_span) return "it needs a kernel that spans at most 2048 positions";
    if (p->stride[2] != 1) return "it needs stride 1";
    if (p->in_per_group * p->out_per_group < least_pairs)
        return "it needs several channels per group";
    const ptrdiff_t lanes = plan->kernels->lanes;
    const ptrdiff_t channels = gc_ceil_div(p->out_per_group, lanes) * lanes;
    if (channels * points_of(p) > most_memory * p->out_per_group * p->kernel[2])
        return "its spectra would take more than 20 times the memory of the weights";
    return NULL;
}

static void destroy(gc_plan *plan) {
    gc_fourier_state *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->offset);
    free(s->taps);
    gc_fourier_tables_destroy(&s->tables);
    free(s);
    plan->state = NULL;
}

static gc_status create_tables(const gc_plan *plan, gc_fourier_state *s) {
    const gc_problem *p = &plan->problem;
    const size_t size = plan->kernels->real_size;
    s->offset = malloc((size_t)p->kernel[2] * sizeof *s->offset);
    s->taps = malloc((size_t)(p->in_per_group * p->kernel[2]) * sizeof *s->taps);
    if (!s->offset || !s->taps) return GC_ERROR_MEMORY;
    const gc_axis_pass *pass = s->axes[2].passes;
    const gc_axis_tap *none[2] = {s->axes[0].passes[0].taps, s->axes[1].passes[0].taps};
    for (ptrdiff_t t = 0; t < pass->ntaps; t++)
        s->offset[pass->taps[t].kernel] =
            gc_planes_tap(&s->planes, s->axes, none[0], none[1], &pass->taps[t]);
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (ptrdiff_t t = 0; t < p->kernel[2]; t++)
            s->taps[c * p->kernel[2] + t] =
                (c * s->planes.channel + s->offset[t]) * (ptrdiff_t)size;
    return GC_OK;
}

gc_fourier_sizes gc_fourier_scratch(const gc_plan *plan, const gc_fourier_state *s) {
    const gc_problem *p = &plan->problem;
    const size_t size = plan->kernels->real_size;
    const size_t vector = (size_t)plan->kernels->lanes * size;
    const size_t bins = (size_t)s->tables.half + 1;
    return (gc_fourier_sizes){
        .planes = gc_round_up(gc_planes_elements(&s->planes, p->in_per_group) * size, 64),
        .in = gc_round_up(bins * (size_t)s->bin * size, 64),
        .out = bins * (size_t)s->most * 2 * vector,
        .data = (size_t)s->tables.points * vector,
        .row = gc_round_up((size_t)(s->outputs + plan->kernels->lanes) * vector, 64),
        .tile = vector,
        .raw = plan->prepares_in_work ? gc_round_up((size_t)s->raw.per_k * vector, 64) : 0,
        .spectra = plan->prepares_in_work ? gc_round_up((size_t)s->vector * size, 64) : 0,
    };
}

/* Blocks of a unit: as many as share out evenly. A thread joins those of units that follow each other while its
 * memory lasts, so that it reads the spectra of kernels once for them. */
static void share_out(gc_plan *plan, gc_fourier_state *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t block =
        (p->in_per_group * s->outputs + (s->tables.half + 1) * 2 * s->in_vectors * lanes) * size;
    const ptrdiff_t fit = gc_max(input_bytes / block, 1), blocks = gc_max(s->blocks, 1);
    static const int teams[] = {8, 16, 64};
    double best = 0;
    for (ptrdiff_t boxes = gc_ceil_div(blocks, fit); boxes <= blocks; boxes++) {
        const ptrdiff_t together = gc_ceil_div(blocks, boxes),
                        others = p->groups * gc_ceil_div(blocks, together);
        const ptrdiff_t slabs = gc_even_pieces(plan, others, s->out_vectors, 1);
        double worst = 1;
        for (int i = 0; i < 3; i++) {
            const double mean = (double)(p->groups * blocks * s->out_vectors) / teams[i];
            const ptrdiff_t most = gc_ceil_div(others * slabs, teams[i]) * together *
                                   gc_ceil_div(s->out_vectors, slabs);
            worst = fmax(worst, (double)most / mean);
        }
        if (best == 0 || worst < best - 0.05) {
            best = worst;
            s->together = together;
            s->boxes = gc_ceil_div(blocks, together);
            s->kslabs = slabs;
        }
        if (gc_problem_macs(p) <= (double)(p->batch * GC_MANY_MACS) || best < 1.1) break;
    }
    s->most = gc_min(gc_max(fit / s->together, 1), s->boxes) * s->together;
    plan->prepares_in_work = !p->weights_ahead && p->batch * s->boxes <= few_boxes;
}

static double predict(const gc_plan *plan, const gc_fourier_state *s) {
    const gc_problem *p = &plan->problem;
    const double blocks = (double)s->blocks, bins = (double)s->tables.half + 1;
    const double products = bins * (double)(p->in_per_group * s->out_vectors) * 2.3;
    const double transforms =
        (double)(s->in_vectors + s->out_vectors) * gc_fourier_cycles(&s->tables);
    const double arithmetic = (products + transforms) * 2 * gc_vector_cycles(plan->kernels);
    const double finish = (double)(p->out_per_group * s->outputs) * 0.8;
    const double weights =
        gc_weights_cycles((double)(s->spectra * s->out_vectors) * (double)plan->kernels->real_size);
    return (double)(p->batch * p->groups) *
           (blocks * (arithmetic + finish) + (double)gc_ceil_div(s->blocks, s->most) * weights) *
           GC_CYCLE;
}

static double predict_prepare(const gc_plan *plan, const gc_fourier_state *s) {
    const gc_problem *p = &plan->problem;
    const double kernel =
        gc_fourier_cycles(&s->tables) + (double)(p->kernel[2] * plan->kernels->lanes) * 1.5;
    /* work joins as many blocks as one preparation serves */
    const double times =
        plan->prepares_in_work ? (double)(p->batch * gc_ceil_div(s->blocks, s->most)) : 1;
    return (double)(p->groups * s->out_vectors * p->in_per_group) * times * kernel * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    gc_fourier_state *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    const gc_status made = gc_fourier_tables_create(&s->tables, points_of(p), plan->kernels);
    if (made != GC_OK) return made;
    s->outputs = s->tables.points - span(p) + 1;
    s->blocks = gc_ceil_div(p->out_size[2], s->outputs);
    s->in_vectors = gc_ceil_div(p->in_per_group, lanes);
    s->out_vectors = gc_ceil_div(p->out_per_group, lanes);
    share_out(plan, s);
    s->bin = s->most * s->in_vectors * 2 * lanes;
    const ptrdiff_t extent[3] = {1, 1, s->most * s->outputs};
    gc_planes_layout(&s->planes, s->axes, extent, (GC_MAX_VB + 1) * lanes);
    gc_weights_create(&s->raw, plan);
    gc_weights_convert(&s->raw);
    const gc_status status = create_tables(plan, s);
    if (status != GC_OK) return status;
    s->spectra = (s->tables.half + 1) * p->in_per_group * 2 * lanes;
    s->vector = s->spectra + (s->tables.points + p->kernel[2]) * lanes;
    s->group = s->out_vectors * s->vector + p->out_per_group * s->raw.per_k;
    plan->units = s->blocks ? p->batch * p->groups * s->boxes * s->kslabs : 0;
    const gc_fourier_sizes z = gc_fourier_scratch(plan, s);
    plan->scratch_size = z.planes + z.in + z.out + z.data + z.row + z.tile + z.raw + z.spectra;
    plan->prepared_size = (size_t)(p->groups * s->group) * plan->kernels->real_size;
    plan->prepare_units = p->groups * s->out_vectors;
    plan->prepared_key = GC_KEY_FOURIER;
    plan->seconds = predict(plan, s);
    plan->prepare_seconds = predict_prepare(plan, s);
    return GC_OK;
}

/* Units are vectors of output channels, counted over all groups. */
static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const gc_fourier_state *s = plan->state;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t g = unit / s->out_vectors, v = unit % s->out_vectors;
        const ptrdiff_t count = gc_min(lanes, p->out_per_group - v * lanes);
        const ptrdiff_t row = g * p->out_per_group + v * lanes;
        char *group = (char *)prepared + g * s->group * size;
        char *raw = group + (s->out_vectors * s->vector + v * lanes * s->raw.per_k) * size;
        gc_weights_copy(&s->raw, plan, weight, raw, row, row + count);
        gc_fourier_weights(plan, raw, count, group + v * s->vector * size);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const gc_fourier_state *s = plan->state;
    const ptrdiff_t i = unit % s->kslabs, box = unit / s->kslabs % s->boxes;
    return (
        double)(gc_min(s->together, s->blocks - box * s->together) *
                (gc_cut(s->out_vectors, s->kslabs, i + 1) - gc_cut(s->out_vectors, s->kslabs, i)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const gc_fourier_state *s = plan->state;
    snprintf(text, size,
             "transforms of %td points, %td outputs each; %td a unit, up to %td joined, %td in all",
             s->tables.points, s->outputs, s->together, s->most, s->blocks);
}

const gc_algorithm gc_fourier_1d = {
    .name = "fourier",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = gc_fourier_work,
    .unit_cost = unit_cost,
    .describe = describe,
};
