/* Output channels in the lanes, several whole groups to a vector: depthwise, and groups of few channels.
 *
 * A unit is one image, one block of output rows and one block of vectors of output channels. It goes down
 * a strip of columns: input rows are packed one after the other into rings of as many as the kernel spans,
 * padded, a vector to each column; each serves every kernel row that meets it. Several vectors go together, so that memory is read in longer pieces. Columns a dilation apart form
 * a strip of their own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "channel_lanes.h"
#include "lane_vectors.h"
#include "weights.h"

enum {
    ring_bytes = 28 * 1024,   /* of a strip: the first-level cache holds them beside the weights */
    block_bytes = 512 * 1024, /* of input rows that the strips read one after the other */
    least_bytes = 512,        /* of neighbouring channels read together where the rings allow it */
};

typedef struct runs {
    gc_channel_lanes_state common;
    gc_lane_vectors vectors;
    ptrdiff_t together, vector_blocks;    /* vectors of a unit */
    ptrdiff_t row_blocks;                 /* of one depth */
    ptrdiff_t classes, strips, p;         /* strips of a class; outputs at once */
    int which, shared;                    /* kernel of that width; it shares loads between taps */
    ptrdiff_t width;                      /* outputs of the widest strip */
    ptrdiff_t columns, ring, kernel_rows; /* packed columns of a row, rows of a ring */
    ptrdiff_t dilation;                   /* between packed columns */
    gc_lane_run_fn *kernel;
    gc_lane_epilogue epilogue;
} runs;

static const char *refuse(const gc_plan *plan) {
    if (plan->problem.op != GC_CONV) return "it computes forward convolutions only";
    return gc_lane_vectors_refuse(plan);
}

static void destroy(gc_plan *plan) {
    runs *s = plan->state;
    if (s == NULL) return;
    gc_lane_vectors_destroy(&s->vectors);
    free(s);
    plan->state = NULL;
}

/* Reals of one packed row. */
static ptrdiff_t row_reals(const gc_plan *plan, const runs *s) {
    return s->columns * plan->kernels->lanes;
}

/* Packed columns that `outputs` neighbours of a strip read, rounded up to whole tiles. */
static ptrdiff_t columns_of(const gc_problem *p, const runs *s, ptrdiff_t outputs) {
    const ptrdiff_t whole = gc_ceil_div(outputs, s->p) * s->p;
    return (whole - 1) * p->stride[2] + (p->kernel[2] - 1) * s->dilation + 1;
}

/* Outputs at once: more of them hide the latency of their sums, fewer waste less of a narrow row. */
static void choose_outputs(const gc_kernels *kernels, ptrdiff_t wide, ptrdiff_t stride, runs *s) {
    double best = 0;
    for (int i = 0; i < GC_LANE_RUN_WIDTHS && kernels->lane_run_columns[i]; i++) {
        const ptrdiff_t p = kernels->lane_run_columns[i];
        if (i > 0 && p * stride > GC_MAX_LANE_COLUMNS)
            break; /* strips would be too wide for the rings */
        const double cost = (double)(gc_ceil_div(wide, p) * p) * (1 + 1.2 / (double)p);
        if (i > 0 && cost >= best) continue;
        best = cost;
        s->p = p;
        s->which = i;
    }
}

static void choose_strips(const gc_plan *plan, runs *s) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t dilation = p->kernel[2] == 1 ? 1 : p->dilation[2];
    s->classes = 1;
    s->dilation = dilation;
    int kind = 0;
    if (p->stride[2] == 1) {
        kind = 1;
        s->classes = gc_min(dilation, gc_max(p->out_size[2], 1));
        s->dilation = 1;
    } else if (p->stride[2] == 2 && dilation == 1) {
        kind = 2;
    }
    const ptrdiff_t wide = gc_max(gc_ceil_div(p->out_size[2], s->classes), 1);
    choose_outputs(plan->kernels, wide, p->stride[2], s);
    s->kernel = plan->kernels->lane_run[s->which][kind][s->vectors.spread];
    s->shared = kind > 0;
    s->ring = (p->kernel[1] - 1) * p->dilation[1] + 1;
    const ptrdiff_t tiles = gc_ceil_div(wide, s->p), column = lanes * size;
    const ptrdiff_t rows = p->kernel[0] * s->ring;
    const ptrdiff_t wanted = gc_min(gc_ceil_div(least_bytes, lanes * size), s->vectors.n);
    for (s->strips = 1; s->strips < tiles; s->strips++) {
        s->width = gc_ceil_div(tiles, s->strips) * s->p;
        if (s->width <= GC_MAX_LANE_COLUMNS ||
            wanted * rows * columns_of(p, s, s->width) * column <= ring_bytes)
            break;
    }
    s->width = gc_ceil_div(tiles, s->strips) * s->p;
    s->strips = gc_ceil_div(wide, s->width);
    s->columns = columns_of(p, s, s->width);
    const ptrdiff_t most = gc_max(ring_bytes / (rows * s->columns * column), 1);
    s->vector_blocks = gc_ceil_div(s->vectors.n, gc_min(most, 2 * wanted));
    s->together = gc_ceil_div(s->vectors.n, s->vector_blocks);
}

static double predict(const gc_plan *plan, const runs *s) {
    const gc_problem *p = &plan->problem;
    const double taps = (double)p->kernel[2], P = (double)s->p, icg = (double)p->in_per_group;
    const double wide = (double)gc_ceil_div(gc_ceil_div(p->out_size[2], s->classes), s->p);
    const double tiles = (double)(s->classes * p->out_size[0] * p->out_size[1]) * wide;
    const double columns = s->shared ? P * (double)p->stride[2] + taps - 1 : P * taps;
    const double spreads = s->vectors.spread ? columns : 0;
    const double arithmetic = (P * taps + spreads) * gc_vector_cycles(plan->kernels);
    const double loads = (columns + taps) / 2;
    const double chunk = (arithmetic > loads ? arithmetic : loads) * 1.1 + 4;
    const double tile = chunk * (double)s->kernel_rows * icg + 2.5 * P + 15;
    const double passes = (double)(s->classes * s->strips);
    const double rows = (double)(p->out_size[0] * p->kernel[0]) *
                        (double)(p->out_size[1] * p->stride[1] + s->row_blocks * s->ring) * passes;
    const double pack = rows * ((double)s->columns * 3 + 20);
    const double calls = (double)(p->out_size[0] * p->out_size[1]) * passes * 30;
    const double spill = plan->kernels->registers < 32 ? 1.15 : 1;
    const double weights = gc_weights_cycles((double)s->vectors.bytes);
    const double vector = (tiles * tile * spill + pack + calls) * 0.9 + weights;
    return (double)p->batch * (double)s->vectors.n * vector * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    runs *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    s->common.way = &gc_channel_runs;
    const gc_status status = gc_lane_vectors_create(&s->vectors, plan);
    if (status != GC_OK) return status;
    choose_strips(plan, s);
    s->kernel_rows = p->kernel[0] * p->kernel[1];
    s->epilogue = gc_lane_epilogue_of(p);
    const ptrdiff_t in_row = p->in_size[2] * p->groups * p->in_per_group * size * p->stride[1];
    const ptrdiff_t block = gc_max(block_bytes / in_row, 2 * s->ring);
    s->row_blocks = gc_ceil_div(p->out_size[1], block);
    plan->units = p->batch * p->out_size[0] * s->row_blocks * s->vector_blocks;
    if (p->out_size[2] == 0) plan->units = 0;
    plan->scratch_size =
        (size_t)((s->together * p->kernel[0] * s->ring + 1) * row_reals(plan, s) * size) +
        (size_t)s->kernel_rows * (sizeof(void *) + sizeof(ptrdiff_t));
    gc_lane_vectors_plan(&s->vectors, plan);
    plan->seconds = predict(plan, s);
    return GC_OK;
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const runs *s = plan->state;
    gc_lane_vectors_prepare(&s->vectors, plan, weight, prepared, first, last);
}

/* One strip of one unit. */
typedef struct strip {
    const gc_run *run;
    const runs *s;
    char *rings, *zeros;
    ptrdiff_t row_bytes;
    const void **rows;
    ptrdiff_t *slots; /* of the kernel's rows: bytes from a ring's begin, or -1: zeros */
    ptrdiff_t n, depth, first_vector, last_vector;
    ptrdiff_t first, n_out; /* first output column, number of outputs `classes` apart */
    ptrdiff_t packed;       /* input rows below this one are in the rings */
} strip;

static ptrdiff_t source_depth(const strip *t, ptrdiff_t d) {
    const gc_problem *p = &t->run->plan->problem;
    const ptrdiff_t z = t->depth * p->stride[0] + d * p->dilation[0] - p->pad_before[0];
    return z < p->in_size[0] ? z : -1;
}

/* The slot of input row y that kernel depth d reads, in bytes from a ring's begin. */
static ptrdiff_t slot(const strip *t, ptrdiff_t d, ptrdiff_t y) {
    return (d * t->s->ring + y % t->s->ring) * t->row_bytes;
}

static ptrdiff_t ring_size(const strip *t) {
    return t->run->plan->problem.kernel[0] * t->s->ring * t->row_bytes;
}

/* Input row y for every vector. */
static void pack_row(const strip *t, ptrdiff_t d, ptrdiff_t y) {
    const gc_plan *plan = t->run->plan;
    const gc_problem *p = &plan->problem;
    const runs *s = t->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    const ptrdiff_t start = t->first * p->stride[2] - p->pad_before[2];
    const ptrdiff_t apart = p->stride[2] == 1 && p->kernel[2] > 1 ? p->dilation[2] : 1;
    const ptrdiff_t n = columns_of(p, s, t->n_out), left = p->in_size[2] - start;
    const ptrdiff_t in_vector = s->vectors.groups * p->in_per_group;
    gc_lane_pack a = {
        .from = (const char *)t->run->arrays->input + t->n * i[0] +
                t->first_vector * in_vector * size + source_depth(t, d) * i[2] + y * i[3] +
                start * i[4],
        .to = t->rings + slot(t, d, y),
        .vectors = t->last_vector - t->first_vector,
        .from_vector = in_vector,
        .to_vector = ring_size(t) / size,
        .exist = p->groups * p->in_per_group - t->first_vector * in_vector,
        .step = apart * i[4] / size,
        .first = start < 0 ? gc_min(gc_ceil_div(-start, apart), n) : 0,
        .n = n,
        .ahead = p->stride[1] * i[3] / size,
    };
    a.last = left > 0 ? gc_max(gc_min(gc_ceil_div(left, apart), n), a.first) : a.first;
    plan->kernels->lane_pack(&a);
}

/* Has the rows that output row `row` reads in the rings and says where they are. */
static void take_rows(strip *t, ptrdiff_t row) {
    const gc_problem *p = &t->run->plan->problem;
    const ptrdiff_t top = row * p->stride[1] - p->pad_before[1];
    const ptrdiff_t from = gc_max(gc_max(t->packed, top), 0),
                    end = gc_min(top + t->s->ring, p->in_size[1]);
    ptrdiff_t *to = t->slots;
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const int inside = source_depth(t, d) >= 0;
        for (ptrdiff_t y = from; inside && y < end; y++) pack_row(t, d, y);
        for (ptrdiff_t h = 0; h < p->kernel[1]; h++) {
            const ptrdiff_t y = top + h * p->dilation[1];
            *to++ = inside && y >= 0 && y < p->in_size[1] ? slot(t, d, y) : -1;
        }
    }
    t->packed = gc_max(t->packed, end);
}

static void aim_rows(const strip *t, ptrdiff_t v) {
    const char *ring = t->rings + (v - t->first_vector) * ring_size(t);
    for (ptrdiff_t i = 0; i < t->s->kernel_rows; i++)
        t->rows[i] = t->slots[i] < 0 ? t->zeros : ring + t->slots[i];
}

static void run_strip(strip *t, ptrdiff_t first_row, ptrdiff_t last_row) {
    const gc_run *run = t->run;
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const runs *s = t->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t in_vector = s->vectors.groups * p->out_per_group;
    gc_lane_run a = {
        .rows = t->rows,
        .nrows = s->kernel_rows,
        .index = s->vectors.index,
        .taps = p->kernel[2],
        .stride = p->stride[2],
        .dilation = s->dilation,
        .channels = (int)p->in_per_group,
        .n = t->n_out,
        .out_step = s->classes * o[4] / size,
        .residual_step = s->classes * r[4] / size,
        .epilogue = s->epilogue,
    };
    t->packed = 0;
    for (ptrdiff_t row = first_row; row < last_row; row++) {
        char *out = (char *)run->arrays->output + t->n * o[0] + t->depth * o[2] + row * o[3] +
                    t->first * o[4];
        const char *residual = (const char *)run->arrays->residual;
        if (p->has_residual)
            residual += t->n * r[0] + t->depth * r[2] + row * r[3] + t->first * r[4];
        take_rows(t, row);
        for (ptrdiff_t v = t->first_vector; v < t->last_vector; v++) {
            const ptrdiff_t k = v * in_vector;
            aim_rows(t, v);
            a.weight = (const char *)run->weights + v * s->vectors.bytes;
            a.init = (const char *)run->bias + k * size;
            a.stored = (int)gc_min(in_vector, p->groups * p->out_per_group - k);
            a.out = out + k * size;
            a.residual = p->has_residual ? residual + k * size : NULL;
            s->kernel(&a);
        }
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const runs *s = plan->state;
    strip t = {.run = run, .s = s, .zeros = scratch};
    t.row_bytes = row_reals(plan, s) * (ptrdiff_t)plan->kernels->real_size;
    t.rings = t.zeros + t.row_bytes;
    t.rows = (const void **)(t.rings + s->together * p->kernel[0] * s->ring * t.row_bytes);
    t.slots = (ptrdiff_t *)(t.rows + s->kernel_rows);
    memset(t.zeros, 0, (size_t)t.row_bytes);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t part = unit / s->vector_blocks, block = part % s->row_blocks;
        const ptrdiff_t first_row = gc_cut(p->out_size[1], s->row_blocks, block);
        const ptrdiff_t last_row = gc_cut(p->out_size[1], s->row_blocks, block + 1);
        t.first_vector = gc_cut(s->vectors.n, s->vector_blocks, unit % s->vector_blocks);
        t.last_vector = gc_cut(s->vectors.n, s->vector_blocks, unit % s->vector_blocks + 1);
        t.depth = part / s->row_blocks % p->out_size[0];
        t.n = part / s->row_blocks / p->out_size[0];
        for (ptrdiff_t q = 0; q < s->classes; q++) {
            const ptrdiff_t wide = gc_ceil_div(p->out_size[2] - q, s->classes);
            for (ptrdiff_t j = 0; j < wide; j += s->width) {
                t.first = q + j * s->classes;
                t.n_out = gc_min(s->width, wide - j);
                run_strip(&t, first_row, last_row);
            }
        }
    }
}

static double unit_cost(const gc_plan *plan, ptrdiff_t unit) {
    const runs *s = plan->state;
    const ptrdiff_t v = unit % s->vector_blocks, block = unit / s->vector_blocks % s->row_blocks;
    const ptrdiff_t rows = plan->problem.out_size[1];
    return (double)((gc_cut(s->vectors.n, s->vector_blocks, v + 1) -
                     gc_cut(s->vectors.n, s->vector_blocks, v)) *
                    (gc_cut(rows, s->row_blocks, block + 1) - gc_cut(rows, s->row_blocks, block)));
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const runs *s = plan->state;
    snprintf(text, size,
             "%td groups to a vector of %d lanes, %td columns at once; strips of %td columns, %td "
             "vectors",
             s->vectors.groups, plan->kernels->lanes, s->p, s->width, s->together);
}

const gc_algorithm gc_channel_runs = {
    .name = "channel_lanes",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .unit_cost = unit_cost,
    .describe = describe,
};
