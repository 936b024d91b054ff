/* Depthwise convolution of one row per channel (1-D), stride 1, few kernel positions, read where it lies.
 *
 * The row is cut into tiles of 8 vectors, which the microkernel takes for 8 rows a vector apart. A tile that
 * reads outside of the input, or whose results are fewer, is computed from a copy with zeros around, or into
 * one: at most a few at either end. A unit is one image, one channel and some tiles of its row, while what
 * the next one reads and writes is fetched.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "tile_store.h"
#include "weights.h"

enum { most_taps = 32, long_row = 64 /* tiles: such rows are cut even where there are many */ };

typedef struct line {
    gc_weights weights;
    ptrdiff_t pad, weight_origin, weight_step;
    ptrdiff_t tile, tiles; /* outputs of a tile; tiles of a row */
    ptrdiff_t first, last; /* tiles inside: first..last-1 */
    ptrdiff_t parts;       /* units of a row */
    gc_columns *columns;   /* one per tile */
    int clamp, finished;   /* by the microkernel; afterwards */
    double low, high;
} line;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size, *i = p->input_strides;
    if (p->op == GC_GRAD_WEIGHT) return "it does not compute weight gradients";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    for (int d = 0; d < 2; d++)
        if (p->in_size[d] != 1 || p->out_size[d] != 1 || p->kernel[d] != 1 || p->pad_before[d] != 0)
            return "it works in one dimension";
    if (p->kernel[2] > most_taps) return "it needs a kernel of at most 32 positions";
    if (p->stride[2] != 1) return "it needs stride 1";
    if (p->padding_mode != GC_ZEROS) return "it needs padding with zeros";
    if ((p->in_size[2] > 1 && i[4] != size) || i[0] % size || i[1] % size ||
        !gc_output_is_contiguous(plan) || !gc_residual_is_rows(plan))
        return "it needs contiguous rows";
    if (!gc_stores_reals(plan) && p->has_residual)
        return "results of float16 and bfloat16 are rounded before it adds a residual";
    return gc_refuse_halves_in_place(plan);
}

static void destroy(gc_plan *plan) {
    line *s = plan->state;
    if (s == NULL) return;
    free(s->columns);
    free(s);
    plan->state = NULL;
}

static ptrdiff_t reach(const gc_problem *p) { return p->dilation[2] * (p->kernel[2] - 1); }

static gc_depthwise_rows_fn *microkernel(const gc_plan *plan) {
    const gc_in_place_kernels *k = plan->kernels->in_place[plan->problem.dtype];
    return k->line && plan->problem.dilation[2] == 1 ? k->line : k->rows[0][0];
}

/* Tiles whose results and operands all lie in the arrays. */
static void find_inside(const gc_problem *p, line *s) {
    const ptrdiff_t most =
        gc_min(p->out_size[2], p->in_size[2] + s->pad - reach(p)) / s->tile; /* end inside */
    s->first = gc_min(gc_ceil_div(gc_max(s->pad, 0), s->tile), s->tiles);
    s->last = gc_max(s->first, most);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    line *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    const int flip = p->op == GC_CONV_TRANSPOSE; /* the forward one of the mirrored kernel */
    gc_weights_create(&s->weights, plan);
    s->pad = flip ? reach(p) - p->pad_before[2] : p->pad_before[2];
    s->weight_step = flip ? -s->weights.w : s->weights.w;
    s->weight_origin = flip ? (p->kernel[2] - 1) * s->weights.w : 0;
    s->tile = GC_DEPTHWISE_ROWS * plan->kernels->lanes;
    s->tiles = gc_ceil_div(p->out_size[2], s->tile);
    find_inside(p, s);
    s->columns = calloc((size_t)s->tiles + 1, sizeof *s->columns);
    if (s->columns == NULL) return GC_ERROR_MEMORY;
    static const uint32_t unused[most_taps];
    for (ptrdiff_t i = 0; i < s->tiles; i++)
        s->columns[i] = (gc_columns){i * s->tile, unused, 1, plan->kernels->lanes};
    s->clamp = gc_activation_clamp(p->activation, &s->low, &s->high);
    s->finished = p->has_residual || !s->clamp;
    s->clamp = s->clamp && !s->finished && p->activation != GC_IDENTITY;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    s->parts = gc_max(gc_ceil_div(s->tiles, long_row),
                      gc_min(s->tiles, gc_ceil_div(GC_WANTED_UNITS, gc_max(channels, 1))));
    plan->units = s->tiles ? p->batch * channels * s->parts : 0;
    plan->scratch_size = (size_t)(2 * s->tile + reach(p)) * plan->kernels->real_size;
    gc_weights_plan(&s->weights, plan);
    const double inside = (double)(s->last - s->first), taps = (double)p->kernel[2];
    const double edges = (double)s->tiles - inside;
    const double per_tap = microkernel(plan) == plan->kernels->in_place[p->dtype]->line ? 3.8 : 6.3;
    const double sums = 2 * gc_vector_cycles(plan->kernels) * per_tap * taps;
    const double cycles = 40 + 15 * (double)s->parts + (double)s->tiles * (sums + 20) +
                          edges * (60 + (double)reach(p) / 8) +
                          (s->finished ? 25 * (double)s->tiles : 0);
    plan->seconds = (double)(p->batch * channels) * cycles * GC_CYCLE;
    return GC_OK;
}

/* One row, and where its channel's parts are. */
typedef struct row {
    const char *in, *residual;
    char *out;
    ptrdiff_t g, within;
} row;

static row row_at(const gc_run *run, ptrdiff_t n, ptrdiff_t g, ptrdiff_t within) {
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t k = g * p->out_per_group + within;
    const char *residual = run->arrays->residual;
    return (row){
        .in = (const char *)run->arrays->input + n * i[0] + g * i[1],
        .residual = residual ? residual + n * r[0] + k * r[1] : NULL,
        .out = (char *)run->arrays->output + n * o[0] + k * o[1],
        .g = g,
        .within = within,
    };
}

/* A tile at an end of the row: operands copied with zeros around, results through a copy. */
static void run_edge(const gc_plan *plan, const row *at, gc_depthwise_rows *a, ptrdiff_t tile,
                     char *scratch) {
    const gc_problem *p = &plan->problem;
    const line *s = plan->state;
    const ptrdiff_t size = plan->storage_size, wide = s->tile + reach(p);
    const ptrdiff_t origin = tile * s->tile - s->pad; /* input column of the copy's begin */
    const ptrdiff_t from = gc_min(gc_max(-origin, 0), wide);
    const ptrdiff_t to = gc_max(from, gc_min(p->in_size[2] - origin, wide));
    char *const results = scratch + wide * size;
    memset(scratch, 0, (size_t)(from * size));
    memcpy(scratch + from * size, at->in + (origin + from) * size, (size_t)((to - from) * size));
    memset(scratch + to * size, 0, (size_t)((wide - to) * size));
    a->in = scratch;
    a->out = results;
    a->columns = s->columns; /* its own: the first tile's */
    a->ncolumns = 1;
    microkernel(plan)(a);
    const ptrdiff_t n = gc_min(s->tile, p->out_size[2] - tile * s->tile);
    memcpy(at->out + tile * s->tile * size, results, (size_t)(n * size));
}

static void run_inside(const gc_plan *plan, const row *at, gc_depthwise_rows *a, ptrdiff_t first,
                       ptrdiff_t last) {
    const line *s = plan->state;
    a->in = at->in - s->pad * plan->storage_size;
    a->out = at->out;
    a->columns = s->columns + first;
    a->ncolumns = last - first;
    microkernel(plan)(a);
}

/* What follows the sum, over the results where they are. */
static void finish(const gc_plan *plan, const row *at, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &plan->problem;
    const line *s = plan->state;
    const ptrdiff_t size = plan->storage_size, begin = first * s->tile;
    const gc_finish f = {
        .from = at->out + begin * size,
        .to = at->out + begin * size,
        .to_stride = size,
        .residual = at->residual ? at->residual + begin * size : NULL,
        .residual_stride = size,
        .n = gc_min(last * s->tile, p->out_size[2]) - begin,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    plan->kernels->finish(&f);
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const line *s = plan->state;
    const ptrdiff_t lanes = plan->kernels->lanes, size = plan->storage_size;
    const ptrdiff_t real = (ptrdiff_t)plan->kernels->real_size;
    static const gc_depthwise_slab slab = {0};
    gc_depthwise_rows a = {
        .in_row = lanes,
        .nslabs = 1,
        .slabs = &slab,
        .weight_column = s->weight_step,
        .dilation = p->dilation[2],
        .taps = (int)p->kernel[2],
        .out_row = lanes,
        .nrows = GC_DEPTHWISE_ROWS,
        .whole = GC_DEPTHWISE_ROWS,
        .clamp = s->clamp,
        .low = s->low,
        .high = s->high,
    };
    const int asks = !gc_leaves_rows();
    ptrdiff_t part = first % s->parts, k = first / s->parts;
    ptrdiff_t within = k % p->out_per_group, g = k / p->out_per_group % p->groups;
    ptrdiff_t n = k / p->out_per_group / p->groups;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const row at = row_at(run, n, g, within);
        const ptrdiff_t begin = gc_cut(s->tiles, s->parts, part),
                        end = gc_cut(s->tiles, s->parts, part + 1);
        if (++part == s->parts) part = 0, within++;
        if (within == p->out_per_group) within = 0, g++;
        if (g == p->groups) g = 0, n++;
        a.weight = gc_weights_at(&s->weights, plan, run, at.g, at.within) + s->weight_origin * real;
        a.init = (const char *)run->bias + (at.g * p->out_per_group + at.within) * real;
        a.fetch_bytes = 0;
        const ptrdiff_t in = gc_min(gc_max(begin, s->first), end);
        const ptrdiff_t out = gc_max(in, gc_min(end, s->last));
        for (ptrdiff_t i = begin; i < in; i++) run_edge(plan, &at, &a, i, scratch);
        if (in < out) {
            if (asks && unit + 1 < last) {
                const row next = row_at(run, n, g, within);
                const ptrdiff_t from = gc_cut(s->tiles, s->parts, part) * s->tile * size;
                a.fetch = next.in + from;
                a.fetch_out = next.out + from;
                a.fetch_bytes = (end - begin) * s->tile * size / (out - in);
            }
            run_inside(plan, &at, &a, in, out);
            a.fetch_bytes = 0;
        }
        for (ptrdiff_t i = out; i < end; i++) run_edge(plan, &at, &a, i, scratch);
        if (s->finished) finish(plan, &at, begin, end);
    }
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const line *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const line *s = plan->state;
    snprintf(text, size, "tiles of %d vectors of a row in place, %d lanes; %td of %td at the ends",
             GC_DEPTHWISE_ROWS, plan->kernels->lanes, s->tiles - (s->last - s->first), s->tiles);
}

const gc_algorithm gc_depthwise_line = {
    .name = "depthwise_line",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .describe = describe,
};
