/* The gradient by the weights of 3x3 kernels by Winograd's method: F(4x4, 3x3) read backwards.
 *
 * A unit is one group, a slab of its output channels, a slab of its input channels and a chunk of the batch. Image by
 * image (several small ones together) and box by box, windows of the input and tiles of the output's gradient are taken to their 36 points; at each,
 * every tile adds the outer product of its inputs and its gradients, output channels in the lanes. The sums of all
 * tiles are taken back to kernels once. Transforms mix the elements of a tile: a unit whose kernels are not all finite
 * is summed up again as grad_weight_lanes does, which cuts the gradient into the same units.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "to_lanes.h"
#include "weight_sums.h"
#include "winograd_tiles.h"

enum {
    points = 36,
    least_positions = 144,   /* in whose sum the rounding of transforms stays small */
    box_bytes = 640 * 1024,  /* of windows and gradients at their points */
    row_bytes = 1152 * 1024, /* of a row of tiles: with the sums below 2 MiB */
};

typedef struct grad_winograd {
    gc_winograd_tiles tiles;
    gc_weight_slabs slabs;
    ptrdiff_t vectors; /* of output channels of the largest slab */
    int vb;
    ptrdiff_t images; /* of a box */
    ptrdiff_t *taps;  /* offsets of input channels */
    ptrdiff_t in_step, grad_step, sums_step;
    gc_plan direct; /* for units that are not finite */
} grad_winograd;

/* Bytes of each part of a thread's scratch memory, in this order; kernels, twice, take the place of inputs and
 * gradients that have been summed up. */
typedef struct sizes {
    size_t planes, sums, rows, row, in, grad, kernels;
} sizes;

static sizes scratch_sizes(const gc_plan *plan, const grad_winograd *s) {
    const size_t size = plan->kernels->real_size;
    const ptrdiff_t channels = s->vectors * plan->kernels->lanes;
    const ptrdiff_t taps = s->slabs.most_c * s->tiles.kind.taps * s->tiles.kind.taps;
    const ptrdiff_t columns = plan->problem.out_size[2];
    const size_t kernels = (size_t)(taps * channels) * size;
    return (sizes){
        .planes = gc_round_up(
            s->tiles.in_place ? 0 : gc_planes_elements(&s->tiles.planes, s->slabs.most_c) * size,
            64),
        .in = gc_round_up((size_t)(points * s->in_step) * size, 64),
        .grad = gc_round_up((size_t)(points * s->grad_step) * size, 64),
        .sums = gc_round_up((size_t)(points * s->sums_step) * size, 64),
        .kernels = gc_round_up(kernels, 64),
        .rows = gc_round_up(
            (size_t)(s->tiles.kind.outputs * columns * s->vb) * (size_t)plan->kernels->lanes * size,
            64),
        .row = gc_round_up((size_t)(s->tiles.kind.outputs * columns) * size, 64),
    };
}

static size_t scratch_size(const gc_plan *plan, const grad_winograd *s) {
    const sizes z = scratch_sizes(plan, s);
    const size_t products = z.in + z.grad;
    return z.planes + (products > 2 * z.kernels ? products : 2 * z.kernels) + z.sums + z.rows +
           z.row;
}

static const char *refuse(const gc_plan *plan) {
    if (plan->problem.op != GC_GRAD_WEIGHT) return "it computes weight gradients only";
    const char *why = gc_winograd_refuse(&plan->problem, 3);
    if (why) return why;
    const gc_problem *p = &plan->problem;
    if (p->out_size[1] * p->out_size[2] < least_positions)
        return "it needs at least 144 output positions";
    const gc_weight_slabs slabs = gc_weight_slabs_of(p);
    const ptrdiff_t row = gc_ceil_div(p->out_size[2], 4) * points * (slabs.most_c + slabs.most_k) *
                          (ptrdiff_t)plan->kernels->real_size;
    return row > row_bytes ? "a row of its tiles would take more than 1152 KiB" : NULL;
}

static void destroy(gc_plan *plan) {
    grad_winograd *s = plan->state;
    if (s == NULL) return;
    if (s->direct.algorithm) s->direct.algorithm->destroy(&s->direct);
    gc_winograd_tiles_destroy(&s->tiles);
    free(s->taps);
    free(s);
    plan->state = NULL;
}

/* Rows of tiles of a box: as many as stay in the near caches, in boxes of like height. */
static ptrdiff_t choose_box(const gc_plan *plan, const grad_winograd *s) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t high = gc_max(s->tiles.high, 1);
    const ptrdiff_t row =
        gc_max(s->tiles.wide, 1) * points * (s->slabs.most_c + s->vectors * lanes) * size;
    return gc_ceil_div(high, gc_ceil_div(high, gc_max(box_bytes / row, 1)));
}

/* Small images that are multiplied together. */
static ptrdiff_t choose_images(const gc_plan *plan, const grad_winograd *s) {
    const ptrdiff_t lanes = plan->kernels->lanes, tiles = s->tiles.high * s->tiles.wide;
    const ptrdiff_t image = points * (s->slabs.most_c * s->tiles.vectors + s->vectors * tiles) *
                            lanes * (ptrdiff_t)plan->kernels->real_size;
    return s->tiles.boxes > 1 ? 1 : gc_max(box_bytes / gc_max(image, 1), 1);
}

static double predict(const gc_plan *plan, const grad_winograd *s) {
    const gc_problem *p = &plan->problem;
    const double tiles = (double)(s->tiles.high * s->tiles.wide);
    const double in = (double)p->in_per_group, vectors = (double)(s->slabs.k * s->vectors);
    const double calls = points * in * vectors / plan->kernels->max_lane_dot_tb[s->vb - 1] / s->vb;
    const double boxes = (double)s->tiles.boxes / (double)choose_images(plan, s);
    const double products = points * tiles * in * vectors * 0.58 + boxes * calls * 40;
    const double windows =
        (double)(s->slabs.k * s->tiles.vectors * s->tiles.boxes) * in * points * 5.5;
    const double gradients = (double)s->slabs.c * vectors * tiles * (16 * 4 + points * 8);
    return (double)(p->batch * p->groups) * (products + windows + gradients) * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    grad_winograd *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->slabs = gc_weight_slabs_of(p);
    s->vectors = gc_ceil_div(s->slabs.most_k, lanes);
    s->vb = (int)gc_min(s->vectors, GC_MAX_LANE_DOT_VB);
    gc_status status = gc_winograd_tiles_cover(&s->tiles, p, GC_WINOGRAD_43);
    if (status == GC_OK) status = gc_winograd_tiles_cut(&s->tiles, plan, choose_box(plan, s));
    if (status != GC_OK) return status;
    s->images = gc_max(gc_min(choose_images(plan, s), p->batch / s->slabs.chunks), 1);
    const ptrdiff_t channel = s->images * s->tiles.vectors * lanes;
    const ptrdiff_t tiles = s->images * s->tiles.box_high * s->tiles.wide;
    s->in_step = gc_off_set(s->slabs.most_c * channel);
    s->grad_step = gc_off_set(tiles * s->vectors * lanes);
    s->sums_step = gc_off_set(s->slabs.most_c * s->vectors * lanes);
    s->taps = malloc((size_t)gc_max(s->slabs.most_c, 1) * sizeof *s->taps);
    if (s->taps == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t c = 0; c < s->slabs.most_c; c++) s->taps[c] = c * channel;
    s->direct = (gc_plan){
        .problem = *p,
        .algorithm = &gc_grad_weight_lanes,
        .kernels = plan->kernels,
        .storage_size = plan->storage_size,
    };
    status = gc_grad_weight_lanes.create(&s->direct);
    if (status != GC_OK) return status;
    plan->units = gc_weight_units(p, &s->slabs);
    plan->scratch_size = scratch_size(plan, s);
    if (plan->scratch_size < s->direct.scratch_size) plan->scratch_size = s->direct.scratch_size;
    gc_weight_sums_share(plan, s->slabs.chunks);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* The piece of the gradient that a unit sums up. */
typedef struct piece {
    const gc_run *run;
    const grad_winograd *s;
    char *in, *grad, *sums, *kernels, *turned, *rows, *row;
    gc_weight_part part;
    ptrdiff_t n, images; /* of the box */
    gc_winograd_box box;
} piece;

static void bind(piece *u, char *scratch) {
    const sizes z = scratch_sizes(u->run->plan, u->s);
    u->box.planes = scratch;
    u->sums = u->box.planes + z.planes;
    u->rows = u->sums + z.sums;
    u->row = u->rows + z.rows;
    u->in = u->kernels = u->row + z.row;
    u->grad = u->in + z.in;
    u->turned = u->kernels + z.kernels;
}

static ptrdiff_t vectors_at(const piece *u, ptrdiff_t v) {
    const ptrdiff_t vectors = gc_ceil_div(u->part.k1 - u->part.k0, u->run->plan->kernels->lanes);
    return gc_min(u->s->vb, vectors - v);
}

/* Of one image of the box. */
static ptrdiff_t tiles_of(const piece *u) { return u->box.rows * u->s->tiles.wide; }

/* Gradients at one point: vectors of `vb` for every tile, block of vectors after block. In reals. */
static ptrdiff_t gradients_at(const piece *u, ptrdiff_t v, ptrdiff_t tile, ptrdiff_t vb) {
    return (v * u->images * tiles_of(u) + tile * vb) * u->run->plan->kernels->lanes;
}

/* Row `row` of the tiles of the box's image i, vectors v .. v + vb - 1: turned, and taken to their points. */
static void transform_row(const piece *u, ptrdiff_t i, ptrdiff_t row, ptrdiff_t v, ptrdiff_t vb) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const grad_winograd *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t *b = p->weight_strides, wide = p->out_size[2], m = s->tiles.kind.outputs;
    const ptrdiff_t y = (u->box.origin + row) * m, high = gc_min(m, p->out_size[1] - y);
    const int joined = b[3] == wide * b[4]; /* rows follow each other */
    const ptrdiff_t runs = joined ? 1 : high, each = joined ? high * wide : wide;
    const ptrdiff_t k = v * lanes, channels = gc_min(vb * lanes, u->part.k1 - u->part.k0 - k);
    const char *from = (const char *)u->run->arrays->weight + (u->n + i) * b[0] +
                       (u->part.group * p->out_per_group + u->part.k0 + k) * b[1] + y * b[3];
    for (ptrdiff_t j = 0; j < runs; j++)
        gc_to_lanes(plan, b, from + j * b[3], channels, vb, each,
                    u->rows + j * each * vb * lanes * size, u->row);
    gc_winograd_gradients a = {
        .row = wide * vb * lanes,
        .step = vb * lanes,
        .rows = high,
        .columns = wide,
        .out_step = s->grad_step,
    };
    const ptrdiff_t tile = i * tiles_of(u) + row * s->tiles.wide;
    for (ptrdiff_t j = 0; j < vb; j++) {
        a.from = u->rows + j * lanes * size;
        a.out = u->grad + (gradients_at(u, v, tile, vb) + j * lanes) * size;
        plan->kernels->winograd_gradients(&a);
    }
}

static void transform_gradients(const piece *u) {
    for (ptrdiff_t v = 0, vb; (vb = vectors_at(u, v)) > 0; v += vb)
        for (ptrdiff_t i = 0; i < u->images; i++)
            for (ptrdiff_t row = 0; row < u->box.rows; row++) transform_row(u, i, row, v, vb);
}

/* `again`: planes of the same origin were packed before. */
static void transform_inputs(piece *u, int again) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_tiles *t = &u->s->tiles;
    const ptrdiff_t image = t->vectors * plan->kernels->lanes;
    u->box.channels = u->part.c1 - u->part.c0;
    for (ptrdiff_t i = 0; i < u->images; i++) {
        u->box.image = (const char *)u->run->arrays->input + (u->n + i) * p->input_strides[0] +
                       (u->part.group * p->in_per_group + u->part.c0) * p->input_strides[1];
        if (!t->in_place) gc_winograd_pack(t, plan, &u->box, again || i > 0);
        gc_winograd_windows(t, plan, &u->box, u->s->in_step, u->s->images * image,
                            u->in + i * image * (ptrdiff_t)plan->kernels->real_size);
    }
}

/* Every input channel by every vector of gradients, at one point. */
static void add_products(const piece *u, ptrdiff_t point) {
    const gc_kernels *kernels = u->run->plan->kernels;
    const grad_winograd *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t channels = u->part.c1 - u->part.c0;
    gc_lane_dot a = {
        .plane = u->in + point * s->in_step * size,
        .rows = u->images,
        .columns = tiles_of(u),
        .pitch = s->tiles.vectors * lanes,
        .sums_t = s->vectors * lanes,
    };
    for (ptrdiff_t v = 0, vb; (vb = vectors_at(u, v)) > 0; v += vb) {
        a.grad = u->grad + (point * s->grad_step + gradients_at(u, v, 0, vb)) * size;
        for (ptrdiff_t c = 0, tb; c < channels; c += tb) {
            tb = gc_ceil_div(channels - c,
                             gc_ceil_div(channels - c, kernels->max_lane_dot_tb[vb - 1]));
            a.taps = s->taps + c;
            a.sums = u->sums + (point * s->sums_step + c * a.sums_t + v * lanes) * size;
            kernels->lane_dot[tb - 1][vb - 1](&a);
        }
    }
}

static void sum_piece(piece *u) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const grad_winograd *s = u->s;
    const ptrdiff_t first = gc_cut(p->batch, s->slabs.chunks, u->part.chunk),
                    last = gc_cut(p->batch, s->slabs.chunks, u->part.chunk + 1);
    memset(u->sums, 0, (size_t)(points * s->sums_step) * plan->kernels->real_size);
    if (p->out_size[1] * p->out_size[2] == 0) return;
    for (u->n = first; u->n < last; u->n += u->images) {
        u->images = gc_min(s->images, last - u->n);
        for (ptrdiff_t box = 0; box < s->tiles.boxes; box++) {
            u->box.origin = box * s->tiles.box_high;
            u->box.rows = gc_min(s->tiles.box_high, s->tiles.high - u->box.origin);
            transform_inputs(u, s->tiles.boxes == 1 && u->n > first);
            transform_gradients(u);
            for (ptrdiff_t point = 0; point < points; point++) add_products(u, point);
        }
    }
}

/* From sums at the points to kernels[tap][output channel]; whether one is not finite. */
static int transform_back(const piece *u) {
    const gc_kernels *kernels = u->run->plan->kernels;
    const grad_winograd *s = u->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, row = s->vectors * kernels->lanes;
    int bad = 0;
    for (ptrdiff_t c = 0; c < u->part.c1 - u->part.c0; c++)
        bad |= kernels->winograd_kernels(&(gc_winograd_kernels){
            .in = u->sums + c * row * size,
            .out = u->kernels + c * s->tiles.kind.taps * s->tiles.kind.taps * row * size,
            .in_step = s->sums_step,
            .out_step = row,
            .vectors = gc_ceil_div(u->part.k1 - u->part.k0, kernels->lanes),
        });
    return bad;
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const grad_winograd *s = plan->state;
    piece u = {.run = run, .s = s};
    bind(&u, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        u.part = gc_weight_part_of(&plan->problem, &s->slabs, unit);
        sum_piece(&u);
        if (transform_back(&u)) {
            gc_run direct = *run;
            direct.plan = &s->direct;
            gc_grad_weight_lanes.work(&direct, scratch, unit, unit + 1);
            continue;
        }
        gc_weight_sums_put_lanes(run, s->slabs.chunks, &u.part, u.kernels,
                                 s->vectors * plan->kernels->lanes, u.turned);
    }
}

static void combine(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const grad_winograd *s = run->plan->state;
    gc_weight_sums_combine(run, s->slabs.chunks, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const grad_winograd *s = plan->state;
    snprintf(text, size,
             "F(4x4, 3x3), %td boxes of %td tiles, %td images together; %td chunks of the batch",
             s->tiles.boxes, s->tiles.box_high * s->tiles.wide, s->images, s->slabs.chunks);
}

const gc_algorithm gc_grad_weight_winograd = {
    .name = "grad_weight_winograd",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .work = work,
    .combine = combine,
    .describe = describe,
};
