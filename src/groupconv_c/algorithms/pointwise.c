/* 1x1 convolution of stride 1 without padding: a product of matrices.
 *
 * A unit is one image, one group, one panel of positions, one slab of output channels. A panel is some
 * tiles of positions, each as wide as the microkernel's; the positions of a tile are copied side by side,
 * channel after channel, so that the microkernel reads memory straight on. Taps are the channels, and the
 * weights are read where they lie. A panel is wide: each output channel gets a long run of positions, which
 * memory takes far better than a few columns of every channel. The next panel's input is fetched meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "tile_store.h"
#include "weights.h"

enum {
    panel_bytes = 192 * 1024,   /* of a panel, in the second-level cache */
    large_bytes = 900 * 1024,   /* ... where the weights do not stay there beside it */
    weights_bytes = 768 * 1024, /* of weights that do */
    k_slab = 64,                /* output channels of a unit, but for many cores */
};

typedef struct pointwise {
    ptrdiff_t positions;                        /* of one image */
    ptrdiff_t in_step, out_step, residual_step; /* bytes between positions */
    ptrdiff_t tile, panel;                      /* positions; a panel is whole tiles */
    ptrdiff_t panels, kslabs;
    gc_weights weights;
    ptrdiff_t *taps;
    int kb, clamp, stored; /* stored: by the microkernel itself */
    double low, high;
} pointwise;

/* Whether the positions of a channel are one run, and the bytes between them. */
static int is_run(const ptrdiff_t strides[5], const ptrdiff_t size[3], ptrdiff_t *step) {
    ptrdiff_t next = 0;
    int any = 0;
    *step = 0;
    for (int i = 2; i >= 0; i--) {
        if (size[i] == 1) continue;
        if (!any)
            *step = next = strides[2 + i];
        else if (strides[2 + i] != next)
            return 0;
        any = 1;
        next *= size[i];
    }
    return 1;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    for (int i = 0; i < 3; i++)
        if (p->kernel[i] != 1 || p->stride[i] != 1 || p->pad_before[i] != 0 ||
            p->out_size[i] != p->in_size[i])
            return "it needs a kernel of 1, stride 1 and no padding";
    ptrdiff_t step;
    if (!is_run(p->input_strides, p->in_size, &step))
        return "it needs the positions of an input channel in one run";
    if (!is_run(p->output_strides, p->in_size, &step))
        return "it needs the positions of an output channel in one run";
    if (p->has_residual && !is_run(p->residual_strides, p->in_size, &step))
        return "it needs the positions of a residual channel in one run";
    return NULL;
}

static void destroy(gc_plan *plan) {
    pointwise *s = plan->state;
    if (s == NULL) return;
    free(s->taps);
    free(s);
    plan->state = NULL;
}

/* Whether a group's weights stay in the second-level cache beside a panel. */
static int few_weights(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    return p->in_per_group * p->out_per_group * (ptrdiff_t)plan->kernels->real_size <=
           weights_bytes;
}

/* As few panels as fit, of whole tiles, and a last one nearly as large as the others for many cores. */
static void choose_panel(const gc_plan *plan, pointwise *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t vectors = gc_max(1, gc_ceil_div(s->positions, lanes));
    const ptrdiff_t bytes = few_weights(plan) ? panel_bytes : large_bytes;
    const ptrdiff_t fit = gc_max(1, bytes / (lanes * gc_max(p->in_per_group, 1) * size));
    const ptrdiff_t tile = gc_even_tile(vectors, 0, plan->kernels->max_vb[s->kb - 1]);
    const ptrdiff_t least = gc_ceil_div(vectors, fit), most = least == 1 ? 1 : 3 * least;
    ptrdiff_t panel = 0, wasted = 0;
    for (ptrdiff_t panels = least; panels <= most; panels++) {
        const ptrdiff_t each = gc_ceil_div(gc_ceil_div(vectors, panels), tile) * tile;
        const ptrdiff_t waste = panels * each - vectors;
        if (panels == least || waste < wasted) {
            panel = each;
            wasted = waste;
        }
        if (25 * wasted <= vectors) break;
    }
    s->tile = tile * lanes;
    s->panel = panel * lanes;
    s->panels = gc_ceil_div(gc_max(s->positions, 1), s->panel);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_kernels *kernels = plan->kernels;
    pointwise *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    double cycles;
    s->positions = p->in_size[0] * p->in_size[1] * p->in_size[2];
    is_run(p->input_strides, p->in_size, &s->in_step);
    is_run(p->output_strides, p->in_size, &s->out_step);
    is_run(p->residual_strides, p->in_size, &s->residual_step);
    s->kb =
        gc_choose_kb(kernels, p->out_per_group, gc_ceil_div(s->positions, kernels->lanes), &cycles);
    choose_panel(plan, s);
    s->kslabs = gc_even_pieces(plan, p->groups * s->panels, p->out_per_group,
                               gc_max(1, p->out_per_group / k_slab));
    s->clamp = gc_activation_clamp(p->activation, &s->low, &s->high);
    s->stored = s->clamp && gc_output_is_rows(plan) && gc_residual_is_rows(plan);
    gc_weights_create(&s->weights, plan);
    s->taps = malloc((size_t)p->in_per_group * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        s->taps[c] = c * s->tile * (ptrdiff_t)kernels->real_size;
    plan->units = s->positions ? p->batch * p->groups * s->panels * s->kslabs : 0;
    const size_t tile = (size_t)(GC_MAX_KB * GC_MAX_VB * kernels->lanes);
    plan->scratch_size = ((size_t)(p->in_per_group * s->panel) + tile) * kernels->real_size;
    gc_weights_plan(&s->weights, plan);
    const double vectors = (double)gc_ceil_div(s->positions, kernels->lanes);
    const int plain = s->in_step == plan->storage_size;
    const double copies = (double)p->in_per_group * vectors * (plain ? 6 : 25);
    const double stores = (double)p->out_per_group * vectors * (s->stored ? 2.5 : 12);
    const double weights = gc_weights_cycles((double)p->out_per_group * (double)p->in_per_group *
                                             (double)kernels->real_size);
    const double each = cycles * (double)p->in_per_group + copies + stores + weights;
    plan->seconds = ((double)(p->batch * p->groups) * each + gc_strided_cycles(plan)) * GC_CYCLE;
    return GC_OK;
}

/* One panel of one image and group. */
typedef struct place {
    ptrdiff_t n, g, first; /* first position */
} place;

static place place_of(const gc_plan *plan, ptrdiff_t index) {
    const pointwise *s = plan->state;
    const ptrdiff_t groups = plan->problem.groups;
    return (place){
        .n = index / s->panels / groups,
        .g = index / s->panels % groups,
        .first = index % s->panels * s->panel,
    };
}

static const char *input_at(const gc_run *run, const place *at) {
    const gc_problem *p = &run->plan->problem;
    const pointwise *s = run->plan->state;
    return (const char *)run->arrays->input + at->n * p->input_strides[0] +
           at->g * p->in_per_group * p->input_strides[1] + at->first * s->in_step;
}

/* A panel of every input channel, tile after tile; zeros behind the last position. */
static void copy_panel(const gc_run *run, const place *at, char *to) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const pointwise *s = plan->state;
    gc_rows rows = {
        .from = input_at(run, at),
        .pitch = s->tile,
        .rows = p->in_per_group,
        .n = s->tile,
        .from_row = p->input_strides[1],
        .stride = s->in_step,
        .ahead = gc_store_ahead(),
        .dtype = p->dtype,
    };
    const ptrdiff_t count = gc_min(s->panel, s->positions - at->first);
    for (ptrdiff_t i = 0; i < count; i += s->tile) {
        rows.to[0] = to;
        rows.last = gc_min(s->tile, count - i);
        plan->kernels->pack_rows(&rows);
        to += p->in_per_group * s->tile * (ptrdiff_t)plan->kernels->real_size;
        rows.from = (const char *)rows.from + s->tile * s->in_step;
    }
}

/* What is fetched while tiles are computed: in turns, rows of the next panel's input and weights of the next
 * output channels, a part of a row or a block with each tile. */
typedef struct fetch {
    const char *next, *weights;
    ptrdiff_t step, bytes, rows,
        at; /* input: between rows, of a row, rows left, bytes of this row gone */
    ptrdiff_t part, weights_left;
    int cold, turn; /* cold: weights are not in the second-level cache yet, or not any more */
} fetch;

static void fetch_input(const gc_run *run, ptrdiff_t index, ptrdiff_t end, fetch *f) {
    const gc_problem *p = &run->plan->problem;
    const pointwise *s = run->plan->state;
    f->rows = 0;
    if (index >= end || s->in_step != run->plan->storage_size) return;
    const place at = place_of(run->plan, index);
    const ptrdiff_t tiles = s->panel / s->tile * gc_ceil_div(p->out_per_group, s->kb);
    f->next = input_at(run, &at);
    f->step = p->input_strides[1];
    f->bytes = gc_min(s->panel, s->positions - at.first) * s->in_step;
    f->rows = p->in_per_group;
    f->at = 0;
    if (f->step == f->bytes) {
        f->bytes *= f->rows;
        f->rows = 1;
    }
    f->part = gc_ceil_div(f->rows * f->bytes, gc_max(tiles - (f->cold) * tiles / 2, 1));
}

/* One tile's part. */
static void fetch_some(fetch *f, ptrdiff_t weights_part, gc_tap_sum *sum) {
    sum->fetch = NULL;
    f->turn = !f->turn;
    if (f->weights_left > 0 && (f->turn || f->rows == 0)) {
        const ptrdiff_t part =
            gc_min(f->rows == 0 ? weights_part : 2 * weights_part, f->weights_left);
        sum->fetch = f->weights;
        sum->fetch_step = gc_ceil_div(part, sum->ntaps);
        f->weights += part;
        f->weights_left -= part;
    } else if (f->rows > 0) {
        const ptrdiff_t part = gc_min(f->part, f->bytes - f->at);
        sum->fetch = f->next + f->at;
        sum->fetch_step = gc_ceil_div(part, sum->ntaps);
        f->at += part;
        if (f->at < f->bytes) return;
        f->at = 0;
        f->next += f->step;
        f->rows--;
    }
}

/* Output channels k .. k + kb - 1 of the group at the panel's positions. */
static void run_block(const gc_run *run, const place *at, ptrdiff_t k, int kb, const char *panel,
                      char *tile, fetch *next) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_kernels *kernels = plan->kernels;
    const pointwise *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t n = at->n, first = at->first;
    const ptrdiff_t count = gc_min(s->panel, s->positions - first);
    const ptrdiff_t vectors = gc_ceil_div(count, lanes), channel = at->g * p->out_per_group + k;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t to = s->out_step, added = s->residual_step;
    gc_target target = {
        .base = (char *)run->arrays->output + n * o[0] + channel * o[1] + first * to,
        .channel = o[1],
        .column = to,
        .residual_channel = r[1],
        .residual_column = added,
    };
    if (p->has_residual)
        target.residual =
            (const char *)run->arrays->residual + n * r[0] + channel * r[1] + first * added;
    gc_tap_sum sum = {
        .weight = gc_weights_at(&s->weights, plan, run, at->g, k),
        .taps = s->taps,
        .ntaps = p->in_per_group,
        .weight_k = s->weights.k,
        .init = (const char *)run->bias + channel * size,
        .clamp = s->stored && p->activation != GC_IDENTITY,
        .far = s->stored,
        .low = s->low,
        .high = s->high,
    };
    const ptrdiff_t per_tile = s->tile / lanes;
    const ptrdiff_t block = kb * s->weights.k * size,
                    weights_part = gc_ceil_div(block * per_tile, vectors);
    next->weights = (const char *)sum.weight + block;
    next->weights_left = next->cold && k + kb < p->out_per_group ? block : 0;
    for (ptrdiff_t v = 0; v < vectors;) {
        /* blocks of fewer channels than planned have wider tiles; memory's tiles stay what they are */
        const int vb = (int)gc_min(vectors - v, per_tile);
        const ptrdiff_t left = count - v * lanes;
        gc_lanes lanes_of[GC_MAX_VB];
        fetch_some(next, weights_part, &sum);
        sum.plane = panel + v * lanes * p->in_per_group * size;
        if (s->stored) {
            sum.out = target.base + v * lanes * size;
            sum.out_k = target.channel / size;
            sum.residual = target.residual ? target.residual + v * lanes * size : NULL;
            sum.residual_k = target.residual_channel / size;
            sum.residual_next = kb * target.residual_channel;
            sum.lanes = NULL;
            if (left < vb * lanes) {
                for (int i = 0; i < vb; i++) {
                    const ptrdiff_t valid = gc_max(0, gc_min(lanes, left - i * lanes));
                    lanes_of[i] = (gc_lanes){(uint32_t)((1ull << valid) - 1), (uint16_t)valid, 0};
                }
                sum.lanes = lanes_of;
            }
            kernels->tap_sum[kb - 1][vb - 1](&sum);
        } else {
            sum.out = tile;
            sum.out_k = vb * lanes;
            kernels->tap_sum[kb - 1][vb - 1](&sum);
            gc_tile_finish(plan, &target, tile, sum.out_k, kb, v * lanes, gc_min(vb * lanes, left),
                           count, count);
        }
        v += vb;
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const pointwise *s = plan->state;
    char *const tile =
        (char *)scratch + p->in_per_group * s->panel * (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t end_place = gc_ceil_div(last, s->kslabs);
    ptrdiff_t copied = -1;
    place at = {0};
    fetch next = {0};
    for (ptrdiff_t unit = first, slabs; unit < last; unit += slabs) {
        const ptrdiff_t slab = unit % s->kslabs, index = unit / s->kslabs;
        slabs = gc_min(s->kslabs - slab, last - unit);
        if (index != copied) {
            at = place_of(plan, index);
            copy_panel(run, &at, scratch);
            next.cold = copied < 0 || at.first == 0 || !few_weights(plan);
            fetch_input(run, index + 1, end_place, &next);
        }
        copied = index;
        const ptrdiff_t end = gc_cut(p->out_per_group, s->kslabs, slab + slabs);
        ptrdiff_t k = gc_cut(p->out_per_group, s->kslabs, slab);
        while (k < end) {
            const int kb = gc_even_tile(end, k, s->kb);
            run_block(run, &at, k, kb, scratch, tile, &next);
            k += kb;
        }
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const pointwise *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const pointwise *s = plan->state;
    const ptrdiff_t k = plan->problem.out_per_group, slab = unit % s->kslabs;
    const ptrdiff_t first = unit / s->kslabs % s->panels * s->panel;
    return (double)(gc_min(s->panel, s->positions - first) *
                    (gc_cut(k, s->kslabs, slab + 1) - gc_cut(k, s->kslabs, slab)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const pointwise *s = plan->state;
    snprintf(text, size, "up to %d output channels x %td positions; panels of %td positions", s->kb,
             s->tile, s->panel);
}

const gc_algorithm gc_pointwise = {
    .name = "pointwise",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
