/* The gradient by the weight as dot products of planes: for few output channels per group.
 *
 * A unit is one group, a slab of its output channels, a slab of its input channels and a chunk of the
 * batch. Image by image (several small ones side by side) and box by box, the inputs are packed as for
 * a direct convolution and the output gradients into planes of the same geometry; each weight then is one
 * dot product at the offset of its tap. Chunks of the batch exist only where there would be too little to
 * share out otherwise; their sums are combined in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "algorithms.h"
#include "pack.h"
#include "weight_sums.h"

enum {
    box_bytes = 640 * 1024,
    slab = 32,          /* channels, so that packing stays a small part */
    wanted_units = 16,  /* fewer: the batch is cut into chunks */
    run_vectors = 64,   /* small images are joined until a run is this long */
    block_vectors = 96, /* of a dot product at a time: its planes stay in the first-level cache */
};

typedef struct grad_weight {
    gc_axis axes[3];
    gc_planes planes;
    ptrdiff_t boxes[3];
    ptrdiff_t images; /* side by side in one run */
    ptrdiff_t flat;   /* positions of one image, up to the last result */
    ptrdiff_t *taps;  /* offsets, one input channel after the other */
    ptrdiff_t per_channel;
    uint32_t *bits;
    ptrdiff_t kslabs, cslabs, chunks;
    int kb;
} grad_weight;

static const char *refuse(const gc_plan *plan) {
    return plan->problem.op == GC_GRAD_WEIGHT ? NULL : "it computes weight gradients only";
}

static void destroy(gc_plan *plan) {
    grad_weight *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->taps);
    free(s->bits);
    free(s);
    plan->state = NULL;
}

/* Elements between channels: the planes of `images` images one after the other, in whole vectors. */
static ptrdiff_t channel_size(const grad_weight *s) {
    return (s->images * s->planes.channel + GC_MAX_LANES - 1) / GC_MAX_LANES * GC_MAX_LANES;
}

/* Which flat positions of a full box are results. */
static gc_status create_bits(const gc_kernels *kernels, grad_weight *s) {
    const gc_planes *p = &s->planes;
    const ptrdiff_t total = (s->images - 1) * p->channel + s->flat;
    const ptrdiff_t vectors = gc_ceil_div(total, kernels->lanes);
    s->bits = calloc((size_t)vectors + 1, sizeof *s->bits);
    if (s->bits == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t f = 0; f < total; f++) {
        const ptrdiff_t i = f % p->channel, within = i % p->slice;
        if (i < s->flat && within / p->pitch < p->extent[1] && within % p->pitch < p->extent[2])
            s->bits[f / kernels->lanes] |= 1u << f % kernels->lanes;
    }
    return GC_OK;
}

/* Cycles of a vector of positions with `channels` output channels by `taps`, in tiles of kb channels. */
static double vector_cycles(const gc_kernels *k, ptrdiff_t channels, ptrdiff_t taps, int kb) {
    const int tb = k->max_tb[kb - 1];
    /* inputs at the offsets of taps cross cache lines: two loads each */
    const double used = (double)gc_min(tb, taps), loads = kb / 2.0 + used;
    const double arithmetic = kb * used / 2;
    return (double)gc_ceil_div(channels, kb) * (double)gc_ceil_div(taps, tb) *
           ((loads > arithmetic ? loads : arithmetic) + 1);
}

/* Output channels per tile that need the fewest cycles for a slab. */
static int choose_kb(const gc_kernels *k, ptrdiff_t channels, ptrdiff_t taps) {
    int best = 1;
    double best_cycles = 0;
    for (int kb = 1; kb <= GC_MAX_DOT_KB && kb <= channels; kb++) {
        const double cycles = vector_cycles(k, channels, taps, kb);
        if (best_cycles == 0 || cycles < best_cycles) {
            best = kb;
            best_cycles = cycles;
        }
    }
    return best;
}

static double predict(const gc_plan *plan, const grad_weight *s) {
    const gc_problem *p = &plan->problem;
    const double lanes = (double)plan->kernels->lanes;
    const double vectors = (double)(s->flat * s->boxes[0] * s->boxes[1] * s->boxes[2]) / lanes;
    const ptrdiff_t kslab = gc_ceil_div(p->out_per_group, s->kslabs);
    const ptrdiff_t cslab = gc_ceil_div(p->in_per_group, s->cslabs);
    /* more than a few channels come from the second-level cache */
    const double reading = 1 + (double)gc_min(cslab + kslab / 4, 24) / 24;
    const double products = reading * vectors *
                            vector_cycles(plan->kernels, kslab, cslab * s->per_channel, s->kb) *
                            (double)(s->kslabs * s->cslabs);
    const double inputs = (double)(p->in_size[0] * p->in_size[1] * p->in_size[2]) / lanes;
    const double pack = (double)(p->in_per_group * s->kslabs) * (inputs * 2.8 + 50) +
                        (double)(p->out_per_group * s->cslabs) * (vectors * 2.8 + 50);
    return (double)(p->batch * p->groups) * (products + pack) * GC_CYCLE;
}

static size_t x_elements(const gc_plan *plan, const grad_weight *s) {
    const ptrdiff_t cslab = gc_ceil_div(plan->problem.in_per_group, s->cslabs);
    return (size_t)(cslab * channel_size(s) + s->planes.slack);
}

static size_t g_elements(const gc_plan *plan, const grad_weight *s) {
    const ptrdiff_t kslab = gc_ceil_div(plan->problem.out_per_group, s->kslabs);
    return (size_t)(kslab * channel_size(s) + 2 * plan->kernels->lanes);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    grad_weight *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    s->kslabs = gc_ceil_div(p->out_per_group, slab);
    s->cslabs = gc_ceil_div(p->in_per_group, 2 * slab);
    const ptrdiff_t cslab = gc_ceil_div(p->in_per_group, s->cslabs);
    const ptrdiff_t kslab = gc_ceil_div(p->out_per_group, s->kslabs);
    const ptrdiff_t phases = s->axes[0].nphases * s->axes[1].nphases * s->axes[2].nphases;
    gc_planes_choose(&s->planes, s->axes, cslab + gc_ceil_div(kslab, phases), box_bytes,
                     plan->kernels, s->boxes);
    const ptrdiff_t *e = s->planes.extent;
    s->flat = (e[0] - 1) * s->planes.slice + (e[1] - 1) * s->planes.pitch + e[2];
    const int whole = s->boxes[0] * s->boxes[1] * s->boxes[2] == 1 && s->planes.nplanes == 1;
    const ptrdiff_t run = run_vectors * plan->kernels->lanes;
    s->images = whole ? gc_max(gc_min(p->batch, run / s->planes.channel), 1) : 1;
    s->per_channel = p->kernel[0] * p->kernel[1] * p->kernel[2];
    s->taps = gc_planes_taps(&s->planes, s->axes, gc_ceil_div(p->in_per_group, s->cslabs),
                             channel_size(s));
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    const gc_status status_bits = create_bits(plan->kernels, s);
    if (status_bits != GC_OK) return status_bits;
    const ptrdiff_t alone = p->groups * s->kslabs * s->cslabs;
    s->chunks = gc_max(1, gc_min(wanted_units / alone, p->batch / s->images));
    s->kb = choose_kb(plan->kernels, kslab, cslab * s->per_channel);
    plan->units = alone * s->chunks;
    const size_t size = plan->kernels->real_size;
    plan->scratch_size = gc_round_up(x_elements(plan, s) * size, 64) +
                         gc_round_up(g_elements(plan, s) * size, 64) +
                         (size_t)(kslab * cslab * s->per_channel) * size;
    gc_weight_sums_share(plan, s->chunks);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* The piece of the gradient that a unit sums up. */
typedef struct piece {
    const gc_run *run;
    const grad_weight *s;
    char *x, *g, *sums;
    ptrdiff_t group, k0, k1, c0, c1, chunk;
    int more; /* the next unit is the same piece of the next group */
} piece;

static ptrdiff_t taps_of(const piece *u) { return (u->c1 - u->c0) * u->s->per_channel; }

/* Output gradients of one image and box, in the geometry of the inputs; what lies between their rows
 * is never read. */
static void pack_gradients(const piece *u, ptrdiff_t n, ptrdiff_t slot, const ptrdiff_t origin[3]) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_planes *planes = &u->s->planes;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *strides = p->weight_strides;
    gc_rows rows = {.pitch = planes->pitch,
                    .rows = gc_min(planes->extent[1], p->out_size[1] - origin[1]),
                    .n = gc_min(planes->extent[2], p->out_size[2] - origin[2]),
                    .from_row = strides[3],
                    .stride = strides[4],
                    .ahead = gc_store_ahead(),
                    .dtype = p->dtype};
    rows.last = rows.n;
    const ptrdiff_t depth = gc_min(planes->extent[0], p->out_size[0] - origin[0]);
    const int partial =
        depth < planes->extent[0] || rows.rows < planes->extent[1] || rows.n < planes->extent[2];
    for (ptrdiff_t k = u->k0; k < u->k1; k++) {
        char *to = u->g + ((k - u->k0) * channel_size(u->s) + slot * planes->channel) * size;
        if (partial) memset(to, 0, (size_t)(planes->channel * size)); /* what the box lacks */
        const char *from = (const char *)u->run->arrays->weight + n * strides[0] +
                           (u->group * p->out_per_group + k) * strides[1] + origin[0] * strides[2] +
                           origin[1] * strides[3] + origin[2] * strides[4];
        for (ptrdiff_t d = 0; d < depth; d++) {
            rows.to[0] = to + d * planes->slice * size;
            rows.from = from + d * strides[2];
            plan->kernels->pack_rows(&rows);
        }
    }
}

static void pack_inputs(const piece *u, ptrdiff_t n, ptrdiff_t slot, const ptrdiff_t origin[3],
                        int again) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const char *image = (const char *)u->run->arrays->input + n * p->input_strides[0] +
                        (u->group * p->in_per_group + u->c0) * p->input_strides[1];
    for (ptrdiff_t c = 0; c < u->c1 - u->c0; c++)
        gc_pack(plan, u->s->axes, &u->s->planes, image + c * p->input_strides[1],
                p->input_strides + 1, 1, origin, again,
                u->x + (c * channel_size(u->s) + slot * u->s->planes.channel) * size);
}

static void clear_slot(const piece *u, ptrdiff_t slot) {
    const ptrdiff_t size = (ptrdiff_t)u->run->plan->kernels->real_size;
    const ptrdiff_t bytes = u->s->planes.channel * size;
    for (ptrdiff_t c = 0; c < u->c1 - u->c0; c++)
        memset(u->x + (c * channel_size(u->s)) * size + slot * bytes, 0, (size_t)bytes);
    for (ptrdiff_t k = 0; k < u->k1 - u->k0; k++)
        memset(u->g + (k * channel_size(u->s)) * size + slot * bytes, 0, (size_t)bytes);
}

/* What the dot products of one image read of the next one; nothing where several are joined or one is cut. */
static gc_ahead ahead_of(const piece *u, ptrdiff_t n) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const grad_weight *s = u->s;
    if (s->images > 1 || s->boxes[0] * s->boxes[1] * s->boxes[2] > 1) return (gc_ahead){0};
    const ptrdiff_t channels = u->k1 - u->k0, taps = taps_of(u);
    const ptrdiff_t passes =
        gc_ceil_div(channels, s->kb) * gc_ceil_div(taps, plan->kernels->max_tb[s->kb - 1]);
    return gc_ahead_planes(plan, u->run->arrays, n, u->group * p->in_per_group + u->c0,
                           u->c1 - u->c0, u->group * p->out_per_group + u->k0, channels, passes);
}

static void add_products(const piece *u, gc_ahead next) {
    const gc_kernels *kernels = u->run->plan->kernels;
    const grad_weight *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t vectors = gc_ceil_div((s->images - 1) * s->planes.channel + s->flat, lanes);
    const ptrdiff_t taps = taps_of(u), channels = u->k1 - u->k0;
    gc_tap_dot dot = {.grad_k = channel_size(s), .sums_k = taps};
    for (ptrdiff_t v = 0; v < vectors; v += dot.vectors) {
        dot.vectors = gc_min(block_vectors, vectors - v);
        dot.plane = u->x + v * lanes * size;
        dot.bits = s->bits + v;
        for (ptrdiff_t k = 0, kb; k < channels; k += kb) {
            kb = gc_ceil_div(channels - k, gc_ceil_div(channels - k, s->kb));
            dot.grad = u->g + (k * channel_size(s) + v * lanes) * size;
            for (ptrdiff_t t = 0, tb; t < taps; t += tb) {
                tb = gc_ceil_div(taps - t, gc_ceil_div(taps - t, kernels->max_tb[kb - 1]));
                dot.taps = s->taps + t;
                dot.sums = u->sums + (k * taps + t) * size;
                dot.fetch = gc_ahead_take(&next, dot.vectors, &dot.fetch_bytes);
                kernels->tap_dot[kb - 1][tb - 1](&dot);
            }
        }
    }
}

static void sum_piece(const piece *u) {
    const gc_problem *p = &u->run->plan->problem;
    const grad_weight *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)u->run->plan->kernels->real_size;
    const ptrdiff_t steps = gc_ceil_div(p->batch, s->images);
    const ptrdiff_t first = gc_cut(steps, s->chunks, u->chunk),
                    last = gc_cut(steps, s->chunks, u->chunk + 1);
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1] * s->boxes[2];
    piece then = *u;
    then.group++;
    memset(u->sums, 0, (size_t)((u->k1 - u->k0) * taps_of(u) * size));
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) return;
    for (ptrdiff_t step = first; step < last; step++) {
        for (ptrdiff_t box = 0; box < boxes; box++) {
            const ptrdiff_t origin[3] = {box / (s->boxes[1] * s->boxes[2]) * s->planes.extent[0],
                                         box / s->boxes[2] % s->boxes[1] * s->planes.extent[1],
                                         box % s->boxes[2] * s->planes.extent[2]};
            for (ptrdiff_t slot = 0; slot < s->images; slot++) {
                const ptrdiff_t n = step * s->images + slot;
                if (n < p->batch) {
                    pack_inputs(u, n, slot, origin, boxes == 1 && step > first);
                    pack_gradients(u, n, slot, origin);
                } else {
                    clear_slot(u, slot);
                }
            }
            add_products(u, step + 1 < last ? ahead_of(u, step + 1)
                            : u->more       ? ahead_of(&then, 0)
                                            : (gc_ahead){0});
        }
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const grad_weight *s = plan->state;
    const size_t size = plan->kernels->real_size;
    piece u = {.run = run, .s = s, .x = scratch};
    u.g = u.x + gc_round_up(x_elements(plan, s) * size, 64);
    u.sums = u.g + gc_round_up(g_elements(plan, s) * size, 64);
    const size_t slack = (size_t)s->planes.slack;
    memset(u.x + (x_elements(plan, s) - slack) * size, 0, slack * size);
    memset(u.g + (g_elements(plan, s) - 2 * (size_t)plan->kernels->lanes) * size, 0,
           2 * (size_t)plan->kernels->lanes * size);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t c = unit % s->cslabs, k = unit / s->cslabs % s->kslabs;
        const ptrdiff_t rest = unit / s->cslabs / s->kslabs;
        u.chunk = rest % s->chunks;
        u.group = rest / s->chunks;
        u.k0 = gc_cut(p->out_per_group, s->kslabs, k);
        u.k1 = gc_cut(p->out_per_group, s->kslabs, k + 1);
        u.c0 = gc_cut(p->in_per_group, s->cslabs, c);
        u.c1 = gc_cut(p->in_per_group, s->cslabs, c + 1);
        u.more = unit + 1 < last && s->chunks * s->kslabs * s->cslabs == 1;
        sum_piece(&u);
        gc_weight_sums_put(run, s->chunks,
                           &(gc_weight_part){u.group, u.k0, u.k1, u.c0, u.c1, u.chunk}, u.sums);
    }
}

static void combine(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const grad_weight *s = run->plan->state;
    gc_weight_sums_combine(run, s->chunks, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const grad_weight *s = plan->state;
    snprintf(text, size, "%d output channels x %d taps; %td images a run, %td chunks of the batch",
             s->kb, plan->kernels->max_tb[s->kb - 1], s->images, s->chunks);
}

const gc_algorithm gc_grad_weight_planes = {
    .name = "grad_weight_planes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .work = work,
    .combine = combine,
    .describe = describe,
};
