/* Output channels in the lanes, several whole groups to a vector, square kernels of two dimensions: read where
 * they lie, column after column (lane_roll_tmpl.h).
 *
 * A unit is one image, one tile of output rows and one block of vectors of output channels. Rows a dilation
 * apart form tiles of their own, and so do columns. A tile's columns go in blocks, all vectors of a block before
 * the next, so that memory is read in its order and what vectors share of pages and lines is near.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "algorithms.h"
#include "channel_lanes.h"
#include "lane_vectors.h"
#include "weights.h"

enum {
    block_bytes = 384 * 1024, /* of input that a tile and the next one read */
    near_bytes = 12 * 1024,   /* of input under a block of columns */
    page_bytes = 4096,
    colliding_columns = 8, /* four of them or more to a set are too many */
};

typedef struct rolls {
    gc_channel_lanes_state common;
    gc_lane_vectors vectors;
    gc_lane_roll_kernels kernels;
    ptrdiff_t vector_blocks;
    ptrdiff_t rows, columns; /* classes: those a dilation apart */
    ptrdiff_t dilation;      /* of columns as the kernel meets them */
    ptrdiff_t tiles;         /* of one class of rows */
    ptrdiff_t block_columns; /* of outputs of one class, whose vectors follow each other */
    gc_lane_epilogue epilogue;
} rolls;

static int is_spread(const gc_problem *p) { return p->in_per_group != 1 || p->out_per_group != 1; }

/* Whether a microkernel meets every column though the kernel's are two apart. */
static int rolls_dilated(const gc_problem *p) {
    return p->dilation[2] == 2 && p->kernel[1] == 3 && !is_spread(p);
}

/* Columns whose addresses have the last twelve bits in common share a set of the first-level cache, and loads
 * wait for stores that they have nothing to do with. Kernels of 3 x 3 lose more by it than by a copy. */
static int collides(const gc_problem *p) {
    const ptrdiff_t column = (rolls_dilated(p) ? 1 : p->dilation[2]) * p->input_strides[4];
    return p->kernel[1] == 3 && !is_spread(p) && p->out_size[2] > colliding_columns &&
           column * colliding_columns % (4 * page_bytes) == 0;
}

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    const char *reason = gc_lane_vectors_refuse(plan);
    if (reason) return reason;
    const ptrdiff_t kernel = p->kernel[1], stride = p->stride[1];
    if (p->in_size[0] != 1 || p->out_size[0] != 1 || p->kernel[0] != 1 || p->pad_before[0] != 0 ||
        kernel != p->kernel[2] || (kernel != 3 && (is_spread(p) || (kernel != 5 && kernel != 7))) ||
        stride != p->stride[2] || stride > 2)
        return "it needs square kernels and stride 1 or 2";
    if (stride == 2 && (p->dilation[1] != 1 || p->dilation[2] != 1))
        return "it needs dilation 1 where the stride is 2";
    if (collides(p)) return "columns would collide in the cache";
    return NULL;
}

static void destroy(gc_plan *plan) {
    rolls *s = plan->state;
    if (s == NULL) return;
    gc_lane_vectors_destroy(&s->vectors);
    free(s);
    plan->state = NULL;
}

static double predict(const gc_plan *plan, const rolls *s) {
    const gc_problem *p = &plan->problem;
    const double K = (double)p->kernel[1], B = (double)s->kernels.rows;
    const double channels = s->vectors.spread ? (double)p->in_per_group : 1;
    const double window = (B - 1) * (double)p->stride[1] + K;
    const double sums = K * K * channels * B * gc_vector_cycles(plan->kernels);
    const double column =
        sums * 1.1 + window * (1 + (s->vectors.spread ? channels / 2 : 0)) + 3 * B;
    const double tile = (double)p->out_size[2] * column + 40;
    const double tiles = (double)(s->rows * s->tiles);
    const double weights = gc_weights_cycles((double)s->vectors.bytes);
    return (double)p->batch * (double)s->vectors.n * (tiles * tile + weights) * GC_CYCLE;
}

/* Each block meets again the columns that its first outputs share with the last one's: a quarter or a seventh of its
 * sums, for kernels of 7 x 7 more than memory gives back. */
static ptrdiff_t columns_of_a_block(const gc_plan *plan, const rolls *s, ptrdiff_t vectors) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t K = p->kernel[1], stride = p->stride[1];
    const ptrdiff_t n = gc_max(gc_ceil_div(p->out_size[2], s->columns), 1);
    if (K > 5) return n;
    const ptrdiff_t again = (K - 1) / stride * (rolls_dilated(p) ? 2 : 1);
    const ptrdiff_t window = (s->kernels.rows - 1) * stride + K;
    const ptrdiff_t near = near_bytes / (window * stride * vectors * lanes * size);
    const ptrdiff_t least = gc_max(near, again * (K == 3 && !s->vectors.spread ? 4 : 7));
    return gc_ceil_div(n, gc_max(n / least, 1));
}

static ptrdiff_t rows_of(const gc_plan *plan, ptrdiff_t class) {
    const rolls *s = plan->state;
    return gc_ceil_div(plan->problem.out_size[1] - class, s->rows);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    rolls *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->common.way = &gc_channel_rolls;
    const gc_status status = gc_lane_vectors_create(&s->vectors, plan);
    if (status != GC_OK) return status;
    s->kernels =
        plan->kernels->lane_roll[(p->kernel[1] - 3) / 2][p->stride[1] - 1][s->vectors.spread];
    s->epilogue = gc_lane_epilogue_of(p);
    if (!s->epilogue.clamp) {
        s->epilogue.low = -INFINITY;
        s->epilogue.high = INFINITY;
    }
    s->rows = gc_min(p->dilation[1], gc_max(p->out_size[1], 1));
    if (rolls_dilated(p)) s->kernels = plan->kernels->lane_roll_dilated;
    s->dilation = rolls_dilated(p) ? 1 : p->dilation[2];
    s->columns = gc_min(s->dilation, gc_max(p->out_size[2], 1));
    s->tiles = gc_ceil_div(gc_ceil_div(p->out_size[1], s->rows), s->kernels.rows);
    const ptrdiff_t window = (2 * s->kernels.rows - 1) * p->stride[1] + p->kernel[1];
    const ptrdiff_t bytes = window * p->in_size[2] * lanes * size;
    const ptrdiff_t cached = gc_ceil_div(s->vectors.n, gc_max(block_bytes / gc_max(bytes, 1), 1));
    s->vector_blocks = gc_even_pieces(plan, s->rows * s->tiles, s->vectors.n, cached);
    s->block_columns = columns_of_a_block(plan, s, gc_ceil_div(s->vectors.n, s->vector_blocks));
    plan->units = p->batch * s->rows * s->vector_blocks * s->tiles;
    if (p->out_size[2] == 0) plan->units = 0;
    gc_lane_vectors_plan(&s->vectors, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const rolls *s = plan->state;
    gc_lane_vectors_prepare(&s->vectors, plan, weight, prepared, first, last);
}

typedef struct tile {
    ptrdiff_t n, first_row, rows; /* of outputs, s->rows apart */
    ptrdiff_t first_vector, last_vector;
} tile;

/* The first of the rows or columns of a window, `apart` from each other, that exist, and the end of them;
 * the window's first one is `begin`. */
typedef struct range {
    ptrdiff_t first, last;
} range;
static range existing(ptrdiff_t begin, ptrdiff_t apart, ptrdiff_t size, ptrdiff_t n) {
    const ptrdiff_t first = begin < 0 ? gc_min(gc_ceil_div(-begin, apart), n) : 0;
    const ptrdiff_t last = begin < size ? gc_min(gc_ceil_div(size - begin, apart), n) : 0;
    return (range){first, gc_max(first, last)};
}

/* One block of columns of a tile; `a` says what all vectors have in common. */
static void run_block(const gc_run *run, gc_lane_roll a, const tile *t) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const rolls *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t in_vector = s->vectors.groups * p->in_per_group,
                    out_vector = s->vectors.groups * p->out_per_group;
    const char *in = a.in, *residual = a.residual;
    char *out = a.out;
    for (ptrdiff_t v = t->first_vector; v < t->last_vector; v++) {
        const ptrdiff_t c = v * in_vector, k = v * out_vector;
        a.in = in + c * size;
        a.weight = (const char *)run->weights + v * s->vectors.bytes;
        a.padding = !gc_lane_vectors_finite(&s->vectors, run, v);
        a.init = (const char *)run->bias + k * size;
        a.exist = (int)gc_min(p->groups * p->in_per_group - c, lanes);
        a.stored = (int)gc_min(p->groups * p->out_per_group - k, out_vector);
        a.out = out + k * size;
        a.residual = residual ? residual + k * size : NULL;
        const int whole = a.exist == lanes && a.stored == lanes;
        (t->rows == 1 ? s->kernels.one : whole ? s->kernels.whole : s->kernels.part)(&a);
    }
}

/* One class of columns of a tile, block after block; each asks for what the next one begins with. */
static void run_columns(const gc_run *run, const gc_lane_roll *a, const tile *t) {
    const gc_plan *plan = run->plan;
    const rolls *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, stride = plan->problem.stride[2];
    for (ptrdiff_t begin = 0; begin < a->n; begin += s->block_columns) {
        const ptrdiff_t in = begin * stride * a->column, out = begin * a->out_step,
                        residual = begin * a->residual_step;
        gc_lane_roll block = *a;
        block.n = gc_min(s->block_columns, a->n - begin);
        block.first = gc_max(a->first - begin * stride, 0);
        block.last = a->last - begin * stride;
        block.in = (const char *)a->in + in * size;
        block.out = (char *)a->out + out * size;
        if (a->residual) block.residual = (const char *)a->residual + residual * size;
        const int last = begin + block.n == a->n; /* the next block is the next tile's first */
        block.ahead = last ? a->ahead - in : block.n * stride * a->column;
        block.residual_ahead = last ? a->residual_ahead - residual : block.n * a->residual_step;
        run_block(run, block, t);
    }
}

static void run_tile(const gc_run *run, const tile *t) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const rolls *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t top = t->first_row * p->stride[1] - p->pad_before[1];
    const range rows =
        existing(top, p->dilation[1], p->in_size[1], (t->rows - 1) * p->stride[1] + p->kernel[1]);
    gc_lane_roll a = {
        .row = p->dilation[1] * i[3] / size,
        .column = s->dilation * i[4] / size,
        .present = (uint32_t)((1u << rows.last) - (1u << rows.first)),
        .rows = (int)t->rows,
        .index = s->vectors.index,
        .channels = (int)p->in_per_group,
        .out_row = s->rows * o[3] / size,
        .out_step = s->columns * o[4] / size,
        .residual_row = s->rows * r[3] / size,
        .residual_step = s->columns * r[4] / size,
        .epilogue = s->epilogue,
    };
    a.ahead = t->rows * p->stride[1] * a.row;
    a.residual_ahead = t->rows * a.residual_row;
    a.out_ahead = gc_waits_to_store() ? plan->kernels->lanes : 0; /* the next channels' */
    const char *in = (const char *)run->arrays->input + t->n * i[0] + top * i[3];
    char *out = (char *)run->arrays->output + t->n * o[0] + t->first_row * o[3];
    const char *residual = run->arrays->residual;
    if (residual) residual += t->n * r[0] + t->first_row * r[3];
    for (ptrdiff_t q = 0; q < s->columns; q++) {
        const ptrdiff_t left = q * p->stride[2] - p->pad_before[2];
        a.n = gc_ceil_div(p->out_size[2] - q, s->columns);
        const ptrdiff_t reach = (p->kernel[2] - 1) * (p->dilation[2] / s->dilation);
        const range columns =
            existing(left, s->dilation, p->in_size[2], (a.n - 1) * p->stride[2] + reach + 1);
        a.first = columns.first;
        a.last = columns.last;
        a.in = in + left * i[4];
        a.out = out + q * o[4];
        a.residual = residual ? residual + q * r[4] : NULL;
        run_columns(run, &a, t);
    }
}

static tile tile_of(const gc_plan *plan, ptrdiff_t unit) {
    const rolls *s = plan->state;
    const ptrdiff_t block = unit / s->tiles, v = block % s->vector_blocks;
    const ptrdiff_t class = block / s->vector_blocks % s->rows;
    const ptrdiff_t row = unit % s->tiles * s->kernels.rows;
    return (tile){
        .n = block / s->vector_blocks / s->rows,
        .first_row = class + row * s->rows,
        .rows = gc_min(rows_of(plan, class) - row, s->kernels.rows),
        .first_vector = gc_cut(s->vectors.n, s->vector_blocks, v),
        .last_vector = gc_cut(s->vectors.n, s->vector_blocks, v + 1),
    };
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    (void)scratch;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const tile t = tile_of(run->plan, unit);
        if (t.rows > 0) run_tile(run, &t);
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const tile t = tile_of(plan, unit);
    return (double)(gc_max(t.rows, 0) * (t.last_vector - t.first_vector));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const rolls *s = plan->state;
    snprintf(
        text, size,
        "%td groups to a vector of %d lanes, in place; tiles of %d rows, %td columns, %td vectors",
        s->vectors.groups, plan->kernels->lanes, s->kernels.rows, s->block_columns,
        gc_ceil_div(s->vectors.n, s->vector_blocks));
}

const gc_algorithm gc_channel_rolls = {
    .name = "channel_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
