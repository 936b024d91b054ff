/* Direct convolution: a sum over taps of shifted planes.
 *
 * A unit is one image, one group, one box of output positions, one block of output channels. The
 * box's input is packed once per thread for the channel blocks that follow each other; then the
 * tap-sum microkernel runs over the flattened positions. Forward and transposed convolution of every
 * stride, dilation and padding differ only in geometry.
 */
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "pack.h"
#include "tile_store.h"
#include "weights.h"

enum {
    box_bytes = 640 * 1024, /* planes of a box, in the second-level cache beside the weights */
    least_rows = 4,         /* of a box that is cut for many cores */
    usual_kb = 4,           /* output channels of a block */
};

typedef struct direct_pass {
    const gc_axis_pass *axis[3];
    ptrdiff_t *taps;         /* in bytes */
    ptrdiff_t ntaps, weight; /* the first tap's weight */
    gc_run_lanes lanes;
} direct_pass;

typedef struct direct {
    gc_axis axes[3];
    gc_planes planes;
    ptrdiff_t boxes[3]; /* number of boxes along each dimension */
    ptrdiff_t npasses;
    direct_pass *passes;
    gc_weights weights;
    ptrdiff_t ordered; /* weights in an order of their own so far */
    int kb;
    ptrdiff_t kblocks;
    int activate, lanes_stored; /* after the microkernel, which clamps only; it stores by lanes */
    int zipped;                 /* pairs of passes go to their rows without another copy */
    double low, high;
} direct;

static const char *refuse(const gc_plan *plan) {
    return plan->problem.op == GC_GRAD_WEIGHT ? "it does not compute weight gradients" : NULL;
}

static gc_status create_pass(const gc_plan *plan, direct *s, direct_pass *pass, ptrdiff_t index) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t i[3] = {index / (s->axes[1].npasses * s->axes[2].npasses),
                            index / s->axes[2].npasses % s->axes[1].npasses,
                            index % s->axes[2].npasses};
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    ptrdiff_t per_channel = 1;
    for (int d = 0; d < 3; d++) {
        pass->axis[d] = &s->axes[d].passes[i[d]];
        per_channel *= pass->axis[d]->ntaps;
    }
    pass->ntaps = per_channel * p->in_per_group;
    pass->weight = s->ordered;
    pass->taps = malloc((size_t)(pass->ntaps + 1) * sizeof *pass->taps);
    if (pass->taps == NULL) return GC_ERROR_MEMORY;
    ptrdiff_t *tap = pass->taps;
    for (ptrdiff_t c = 0; c < p->in_per_group; c++)
        for (ptrdiff_t d = 0; d < pass->axis[0]->ntaps; d++)
            for (ptrdiff_t h = 0; h < pass->axis[1]->ntaps; h++)
                for (ptrdiff_t w = 0; w < pass->axis[2]->ntaps; w++) {
                    const gc_axis_tap *td = &pass->axis[0]->taps[d], *th = &pass->axis[1]->taps[h],
                                      *tw = &pass->axis[2]->taps[w];
                    *tap++ = size * (c * s->planes.channel +
                                     gc_planes_tap(&s->planes, s->axes, td, th, tw));
                    if (s->weights.order) { /* straight on: pass after pass, tap after tap */
                        const ptrdiff_t *b = p->weight_strides;
                        s->weights.order[s->ordered++] = c * s->weights.c_bytes +
                                                         td->kernel * b[2] + th->kernel * b[3] +
                                                         tw->kernel * b[4];
                    }
                }
    return gc_run_lanes_create(&pass->lanes, gc_min(s->planes.extent[1], pass->axis[1]->count),
                               s->planes.pitch, gc_min(s->planes.extent[2], pass->axis[2]->count),
                               plan->kernels->lanes);
}

static void destroy(gc_plan *plan) {
    direct *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    for (ptrdiff_t i = 0; s->passes && i < s->npasses; i++) {
        free(s->passes[i].taps);
        gc_run_lanes_destroy(&s->passes[i].lanes);
    }
    free(s->passes);
    gc_weights_destroy(&s->weights);
    free(s);
    plan->state = NULL;
}

static double predict(const gc_plan *plan, const direct *s, double cycles_per_tap) {
    const gc_problem *p = &plan->problem;
    const double boxes = (double)(s->boxes[0] * s->boxes[1] * s->boxes[2]);
    double tap_cycles = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i++) tap_cycles += (double)s->passes[i].ntaps;
    tap_cycles *= cycles_per_tap * (double)s->planes.extent[0];
    const double results =
        (double)(s->planes.extent[0] * s->planes.extent[1] * s->planes.extent[2]) *
        (double)(s->npasses * p->out_per_group);
    /* whole rows come from pairs of passes; more passes than two leave single results apart */
    const double apart = s->axes[2].npasses > 2 ? 5 : 0.8;
    const double store = results * (s->lanes_stored ? 1.5 / plan->kernels->lanes : apart) +
                         60 * (double)(s->npasses * s->planes.extent[0]) + 150;
    const double elements = (double)gc_planes_elements(&s->planes, p->in_per_group);
    const int plain = p->input_strides[4] == plan->storage_size;
    const double pack = elements * (plain ? 0.25 : 1.5);
    const double weights = gc_weights_cycles((double)p->out_per_group * (double)s->weights.per_k *
                                             (double)plan->kernels->real_size);
    const double cycles = boxes * (tap_cycles + store + pack) * 1.1 + weights;
    return ((double)(p->batch * p->groups) * cycles + gc_strided_cycles(plan)) * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    direct *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    gc_planes_choose(&s->planes, s->axes, p->in_per_group, box_bytes, plan->kernels, s->boxes);
    const ptrdiff_t units = p->groups * s->boxes[0] * s->boxes[1] * s->boxes[2] *
                            gc_ceil_div(p->out_per_group, usual_kb);
    if (units < GC_WANTED_UNITS && gc_problem_macs(p) > (double)(p->batch * GC_MANY_MACS))
        gc_planes_cut_rows(&s->planes, s->axes, gc_ceil_div(GC_WANTED_UNITS, units), least_rows,
                           s->boxes);
    gc_weights_create(&s->weights, plan);
    if (p->op == GC_CONV_TRANSPOSE) { /* a channel's weights lie far apart, a pass's in between */
        const gc_status status = gc_weights_reorder(&s->weights);
        if (status != GC_OK) return status;
    }
    s->npasses = s->axes[0].npasses * s->axes[1].npasses * s->axes[2].npasses;
    s->passes = calloc((size_t)s->npasses, sizeof *s->passes);
    if (s->passes == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t i = 0; i < s->npasses; i++) {
        const gc_status status = create_pass(plan, s, &s->passes[i], i);
        if (status != GC_OK) return status;
    }
    double cycles_per_tap;
    s->kb =
        gc_choose_kb(plan->kernels, p->out_per_group, s->passes[0].lanes.vectors, &cycles_per_tap);
    s->kblocks = gc_ceil_div(p->out_per_group, s->kb);
    s->activate = !gc_activation_clamp(p->activation, &s->low, &s->high);
    s->lanes_stored = s->npasses == 1 && s->axes[2].passes[0].step == 1 &&
                      gc_output_is_rows(plan) && gc_residual_is_rows(plan);
    s->zipped = s->axes[2].npasses == 2 && gc_output_is_rows(plan) && !p->has_residual &&
                p->activation == GC_IDENTITY;
    plan->units = p->batch * p->groups * s->boxes[0] * s->boxes[1] * s->boxes[2] * s->kblocks;
    for (int i = 0; i < 3; i++)
        if (p->out_size[i] == 0) plan->units = 0;
    const size_t tile = (size_t)(GC_MAX_KB * GC_MAX_VB * plan->kernels->lanes);
    plan->scratch_size =
        (gc_planes_elements(&s->planes, p->in_per_group) + 4 * tile) * plan->kernels->real_size +
        64;
    plan->prepared_size = gc_weights_prepared_size(&s->weights, plan);
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_key = plan->prepared_size ? GC_KEY_CONVERTED : 0;
    if (s->weights.order)
        plan->prepared_key =
            (size_t)(GC_KEY_PASSES + 256 * (s->axes[0].npasses +
                                            256 * (s->axes[1].npasses + 256 * s->axes[2].npasses)));
    plan->seconds = predict(plan, s, cycles_per_tap);
    plan->prepare_seconds = gc_prepare_seconds(plan, 1.2);
    return GC_OK;
}

/* One unit in work: what all its tiles share. */
typedef struct block {
    const gc_run *run;
    const direct *s;
    const char *planes;
    char *tile;
    const char *weights; /* of the block's first channel */
    ptrdiff_t n, k;      /* image; first output channel, counted over all groups */
    int kb;
    ptrdiff_t origin[3];
    gc_stream *ahead; /* the input of the next group */
} block;

/* Rows of one depth of a pass: where they go and how many there are. */
typedef struct slice {
    const direct_pass *pass;
    gc_target target;
    const char *planes;
    ptrdiff_t rows, columns, flat, vectors;
} slice;

static slice slice_of(const block *b, const direct_pass *pass, ptrdiff_t depth, ptrdiff_t rows,
                      ptrdiff_t columns) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const direct *s = b->s;
    const gc_axis_pass *const *a = pass->axis;
    const ptrdiff_t at[3] = {a[0]->first + (b->origin[0] + depth) * a[0]->step,
                             a[1]->first + b->origin[1] * a[1]->step,
                             a[2]->first + b->origin[2] * a[2]->step};
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t flat = (rows - 1) * s->planes.pitch + columns;
    slice c = {
        .pass = pass,
        .planes = b->planes + depth * s->planes.slice * (ptrdiff_t)plan->kernels->real_size,
        .rows = rows,
        .columns = columns,
        .flat = flat,
        .vectors = gc_ceil_div(flat, plan->kernels->lanes),
    };
    c.target = (gc_target){
        .base = (char *)b->run->arrays->output + b->n * o[0] + b->k * o[1] + at[0] * o[2] +
                at[1] * o[3] + at[2] * o[4],
        .channel = o[1],
        .row = o[3] * a[1]->step,
        .column = o[4] * a[2]->step,
        .residual_channel = r[1],
        .residual_row = r[3] * a[1]->step,
        .residual_column = r[4] * a[2]->step,
    };
    if (p->has_residual)
        c.target.residual = (const char *)b->run->arrays->residual + b->n * r[0] + b->k * r[1] +
                            at[0] * r[2] + at[1] * r[3] + at[2] * r[4];
    return c;
}

static gc_tap_sum sum_of(const block *b, const direct_pass *pass) {
    return (gc_tap_sum){
        .weight = b->weights + pass->weight * (ptrdiff_t)b->run->plan->kernels->real_size,
        .taps = pass->taps,
        .ntaps = pass->ntaps,
        .weight_k = b->s->weights.k,
        .init = (const char *)b->run->bias + b->k * (ptrdiff_t)b->run->plan->kernels->real_size,
        .low = b->s->low,
        .high = b->s->high,
    };
}

/* vb vectors from vector v on, stored by the microkernel. */
static void store_tile(const block *b, const slice *c, ptrdiff_t v, ptrdiff_t vb, gc_tap_sum *sum) {
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t stored = c->rows * c->columns;
    const gc_run_lanes *all = &c->pass->lanes;
    const ptrdiff_t start = all->start[v], end = v + vb < c->vectors ? all->start[v + vb] : stored;
    gc_lanes cut[GC_MAX_VB];
    sum->lanes = all->lanes + v;
    if (end + lanes > stored) {
        for (ptrdiff_t i = 0; i < vb; i++)
            cut[i] = gc_run_lanes_cut(all, v + i, c->flat, stored, (int)lanes);
        sum->lanes = cut;
    }
    sum->out = c->target.base + start * size;
    sum->residual = c->target.residual ? c->target.residual + start * size : NULL;
    kernels->tap_sum[b->kb - 1][vb - 1](sum);
}

/* The rest of the activation, for stored rows where they are. */
static void activate(const block *b, const slice *c) {
    const gc_plan *plan = b->run->plan;
    gc_finish f = {
        .to_stride = plan->storage_size,
        .n = c->rows * c->columns,
        .dtype = plan->problem.dtype,
        .activation = plan->problem.activation,
        .parameter = plan->problem.activation_parameter,
    };
    for (int k = 0; k < b->kb; k++) {
        f.to = c->target.base + k * c->target.channel;
        f.from = f.to;
        plan->kernels->finish(&f);
    }
}

static void run_slice(const block *b, const slice *c) {
    const direct *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    gc_tap_sum sum = sum_of(b, c->pass);
    if (s->lanes_stored) {
        sum.out_k = c->target.channel / size;
        sum.residual_k = c->target.residual_channel / size;
        sum.clamp = plan->problem.activation != GC_IDENTITY && !s->activate;
    }
    for (ptrdiff_t v = 0, vb; v < c->vectors; v += vb) {
        vb = gc_even_tile(c->vectors, v, kernels->max_vb[b->kb - 1]);
        sum.plane = c->planes + v * lanes * size;
        gc_stream_on(b->ahead);
        if (s->lanes_stored) {
            store_tile(b, c, v, vb, &sum);
            continue;
        }
        sum.out = b->tile;
        sum.out_k = vb * lanes;
        kernels->tap_sum[b->kb - 1][vb - 1](&sum);
        gc_tile_finish(plan, &c->target, b->tile, sum.out_k, b->kb, v * lanes,
                       gc_min(vb * lanes, c->flat - v * lanes), s->planes.pitch, c->columns);
    }
    if (s->lanes_stored && s->activate) activate(b, c);
}

/* Flat positions first .. last - 1 of both passes, from their tiles straight to their rows. */
static void zip_tile(const block *b, const slice *c, ptrdiff_t first, ptrdiff_t last,
                     ptrdiff_t width) {
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, pitch = b->s->planes.pitch;
    const ptrdiff_t tile = GC_MAX_KB * GC_MAX_VB * kernels->lanes * size;
    const ptrdiff_t tile_k = gc_round_up((size_t)(last - first), (size_t)kernels->lanes);
    for (ptrdiff_t at = first, next; at < last; at = next) {
        const ptrdiff_t row = at / pitch, column = at - row * pitch;
        next = gc_min((row + 1) * pitch, last);
        const ptrdiff_t n = gc_min(2 * (next - at), width - 2 * column);
        const char *even = b->tile + (at - first) * size;
        char *to = c->target.base + row * c->target.row + 2 * column * size;
        for (int k = 0; k < b->kb && n > 0; k++, even += tile_k * size, to += c->target.channel)
            kernels->zip(to, even, even + tile, n);
    }
}

/* Both passes of stride 2 along the width: their tiles are interleaved, so that whole rows are stored. */
static void run_slice_pair(const block *b, const slice *c) {
    const direct *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t width = gc_min(2 * c->columns, plan->problem.out_size[2] - 2 * b->origin[2]);
    const ptrdiff_t tile = GC_MAX_KB * GC_MAX_VB * lanes * size;
    char *const joined = b->tile + 2 * tile;
    gc_target target = c->target;
    target.column = plan->problem.output_strides[4];
    target.residual_column = plan->problem.residual_strides[4];
    gc_tap_sum sum = sum_of(b, c->pass);
    for (ptrdiff_t v = 0, vb; v < c->vectors; v += vb) {
        vb = gc_even_tile(c->vectors, v, kernels->max_vb[b->kb - 1]);
        sum.plane = c->planes + v * lanes * size;
        sum.out_k = vb * lanes;
        gc_stream_on(b->ahead);
        for (int i = 0; i < 2; i++) {
            sum.weight = b->weights + c->pass[i].weight * size;
            sum.taps = c->pass[i].taps;
            sum.ntaps = c->pass[i].ntaps;
            sum.out = b->tile + i * tile;
            kernels->tap_sum[b->kb - 1][vb - 1](&sum);
        }
        if (s->zipped) {
            zip_tile(b, c, v * lanes, gc_min((v + vb) * lanes, c->flat), width);
            continue;
        }
        for (ptrdiff_t u = 0; u < b->kb * vb; u++)
            kernels->zip(joined + 2 * u * lanes * size, b->tile + u * lanes * size,
                         b->tile + tile + u * lanes * size, 2 * lanes);
        gc_tile_finish(plan, &target, joined, 2 * vb * lanes, b->kb, 2 * v * lanes,
                       2 * gc_min(vb * lanes, c->flat - v * lanes), 2 * s->planes.pitch, width);
    }
}

static void run_block(const block *b) {
    const direct *s = b->s;
    const int pairs = s->axes[2].npasses == 2;
    for (ptrdiff_t i = 0; i < s->npasses; i += pairs ? 2 : 1) {
        const direct_pass *pass = &s->passes[i];
        ptrdiff_t size[3];
        int empty = 0;
        for (int d = 0; d < 3; d++) {
            size[d] = gc_min(s->planes.extent[d], pass->axis[d]->count - b->origin[d]);
            if (size[d] <= 0) empty = 1;
        }
        for (ptrdiff_t depth = 0; !empty && depth < size[0]; depth++) {
            const slice c = slice_of(b, pass, depth, size[1], size[2]);
            (pairs ? run_slice_pair : run_slice)(b, &c);
        }
    }
}

static const char *image_of(const gc_run *run, ptrdiff_t place) {
    const gc_problem *p = &run->plan->problem;
    const direct *s = run->plan->state;
    const ptrdiff_t group = place / (s->boxes[0] * s->boxes[1] * s->boxes[2]);
    return (const char *)run->arrays->input + group / p->groups * p->input_strides[0] +
           group % p->groups * p->in_per_group * p->input_strides[1];
}

/* The next place's input, to be fetched while this one's tiles are computed. */
static gc_stream stream_ahead(const gc_run *run, ptrdiff_t place) {
    const gc_plan *plan = run->plan;
    const direct *s = plan->state;
    ptrdiff_t tiles = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i += s->axes[2].npasses == 2 ? 2 : 1)
        tiles += gc_ceil_div(s->passes[i].lanes.vectors, plan->kernels->max_vb[s->kb - 1]);
    return gc_stream_input(plan, image_of(run, place), plan->problem.in_per_group,
                           tiles * s->planes.extent[0] * s->kblocks);
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const direct *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const size_t plane_bytes =
        gc_round_up(gc_planes_elements(&s->planes, p->in_per_group) * (size_t)size, 64);
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1] * s->boxes[2];
    ptrdiff_t packed = -1;
    gc_stream ahead = {0};
    gc_planes_clear_slack(&s->planes, p->in_per_group, plan->kernels, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t kblock = unit % s->kblocks, place = unit / s->kblocks;
        const ptrdiff_t box = place % boxes, g = place / boxes % p->groups;
        block b = {.run = run, .s = s, .planes = scratch, .ahead = &ahead};
        b.tile = (char *)scratch + plane_bytes;
        b.n = place / boxes / p->groups;
        b.origin[0] = box / (s->boxes[1] * s->boxes[2]) * s->planes.extent[0];
        b.origin[1] = box / s->boxes[2] % s->boxes[1] * s->planes.extent[1];
        b.origin[2] = box % s->boxes[2] * s->planes.extent[2];
        if (place != packed) {
            gc_pack(plan, s->axes, &s->planes, image_of(run, place), p->input_strides + 1,
                    p->in_per_group, b.origin, packed >= 0 && packed % boxes == box, scratch);
            packed = place;
            ahead = boxes == 1 && (place + 1) * s->kblocks < last ? stream_ahead(run, place + 1)
                                                                  : (gc_stream){0};
        }
        const ptrdiff_t k = gc_cut(p->out_per_group, s->kblocks, kblock);
        b.kb = (int)(gc_cut(p->out_per_group, s->kblocks, kblock + 1) - k);
        b.k = g * p->out_per_group + k;
        b.weights = gc_weights_at(&s->weights, plan, run, g, k);
        run_block(&b);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const direct *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const direct *s = plan->state;
    const ptrdiff_t kblock = unit % s->kblocks;
    return (double)(gc_cut(plan->problem.out_per_group, s->kblocks, kblock + 1) -
                    gc_cut(plan->problem.out_per_group, s->kblocks, kblock));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const direct *s = plan->state;
    snprintf(text, size,
             "up to %d output channels x %d vectors of %d lanes; boxes of %td x %td x %td", s->kb,
             plan->kernels->max_vb[s->kb - 1], plan->kernels->lanes, s->planes.extent[0],
             s->planes.extent[1], s->planes.extent[2]);
}

const gc_algorithm gc_direct = {
    .name = "direct",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
