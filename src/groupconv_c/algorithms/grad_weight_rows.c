/* The gradient by the weight from rows that are read where they lie: for few channels per group, as depthwise.
 *
 * A unit is one output channel and a chunk of the batch. Image by image, a tile of kernel positions is summed
 * up over all rows of the output gradient that it meets inside of the input; those at the upper and lower edge,
 * which only some kernel rows meet, are summed up for each of these alone. Sums are vectors until the end.
 * Chunks of the batch exist only where there would be too little to share out otherwise; their sums are combined
 * in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "algorithms.h"
#include "weight_sums.h"

enum {
    wanted_units = 16,   /* fewer: the batch is cut into chunks */
    block_vectors = 512, /* that are summed up in registers: long sums lose more bits */
    far_bytes = 32768,   /* of an image; with fewer the next but one is fetched */
    strip_bytes = 20480, /* of input that goes by column after column, from the first-level cache */
};

typedef struct grad_rows {
    ptrdiff_t taps_high, taps_wide; /* kernel positions of a tile, at most */
    ptrdiff_t chunks;
    ptrdiff_t lead; /* images that are fetched ahead */
} grad_rows;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size;
    if (p->op != GC_GRAD_WEIGHT) return "it computes weight gradients only";
    if (p->padding_mode != GC_ZEROS) return "it needs padding with zeros";
    if (p->stride[2] > 2) return "it needs stride 1 or 2 along rows";
    if (p->stride[2] == 2 && p->dilation[2] != 1 && p->kernel[2] > 1)
        return "it needs dilation 1 along rows of stride 2";
    if (!gc_stores_reals(plan) || (p->in_size[2] > 1 && p->input_strides[4] != size) ||
        (p->out_size[2] > 1 && p->weight_strides[4] != size))
        return "it needs contiguous rows of float32 or float64";
    for (int i = 0; i < 4; i++)
        if (p->input_strides[i] % size != 0 || p->weight_strides[i] % size != 0)
            return "it needs strides in whole elements";
    return NULL;
}

static void destroy(gc_plan *plan) {
    free(plan->state);
    plan->state = NULL;
}

static ptrdiff_t taps_of(const gc_problem *p) { return p->kernel[0] * p->kernel[1] * p->kernel[2]; }

/* Outputs along dimension d that read an element of the input at kernel position i: *first .. result - 1. */
static ptrdiff_t meet(const gc_problem *p, int d, ptrdiff_t i, ptrdiff_t *first) {
    const ptrdiff_t before = p->pad_before[d] - i * p->dilation[d];
    *first = gc_max(gc_ceil_div(gc_max(before, 0), p->stride[d]), 0);
    const ptrdiff_t last = gc_floor_div(p->in_size[d] - 1 + before, p->stride[d]) + 1;
    return gc_max(gc_min(last, p->out_size[d]), *first);
}

/* Vectors of columns that read nothing outside of the input. */
static ptrdiff_t vectors_inside(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes;
    ptrdiff_t first, last_first;
    meet(p, 2, 0, &first);
    const ptrdiff_t last = meet(p, 2, p->kernel[2] - 1, &last_first);
    return gc_max(last / lanes - gc_ceil_div(first, lanes), 0);
}

/* Whether the microkernel reads a row of input once for all rows of a tile, and skips those that do not exist: where
 * the rows that neighbouring outputs read are a stride of the tile's own rows apart. */
static int rolls(const gc_problem *p, ptrdiff_t high) {
    return p->stride[1] == p->stride[2] * p->dilation[1] && p->dilation[2] == 1 && high > 1;
}

static double predict(const gc_plan *plan, const grad_rows *s) {
    const gc_problem *p = &plan->problem;
    const double inside = (double)vectors_inside(plan);
    const double edges = (double)gc_ceil_div(p->out_size[2], plan->kernels->lanes) - inside;
    const double tiles =
        (double)(gc_ceil_div(p->kernel[1], s->taps_high) * gc_ceil_div(p->kernel[2], s->taps_wide));
    const double taps = (double)(p->kernel[1] * p->kernel[2]);
    const int rolled = rolls(p, s->taps_high);
    const double vector = taps * (p->stride[2] == 2 ? 1.0 : rolled ? 0.55 : 0.65) + tiles * 1.5;
    const double row = inside * vector + edges * (rolled ? 1.2 : 2) * vector + edges * 4 * tiles;
    const double calls = rolled ? 1 : 1 + 2 * (double)(s->taps_high - 1) + (p->pad_before[1] > 0);
    const double pair = (double)p->out_size[1] * row + tiles * calls * 90;
    const double pairs = (double)(p->batch * p->groups * p->in_per_group * p->out_per_group);
    return pairs * (double)(p->out_size[0] * p->kernel[0]) * pair * GC_CYCLE;
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    grad_rows *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    /* narrower where that makes room for several rows */
    const ptrdiff_t most = plan->kernels->max_row_dot;
    const ptrdiff_t wide = p->kernel[1] > 1 && 2 * p->kernel[2] > most ? most / GC_MAX_ROW_DOT_ROWS
                                                                       : GC_MAX_ROW_DOT_COLUMNS;
    s->taps_wide = gc_ceil_div(p->kernel[2], gc_ceil_div(p->kernel[2], wide));
    s->taps_high = gc_min(gc_min(most / s->taps_wide, GC_MAX_ROW_DOT_ROWS), p->kernel[1]);
    const ptrdiff_t alone = p->groups * p->out_per_group;
    s->chunks = gc_max(1, gc_min(gc_ceil_div(wanted_units, alone), p->batch));
    plan->units = alone * s->chunks;
    const size_t sums = (size_t)(p->in_per_group * taps_of(p)) * plan->kernels->real_size;
    plan->scratch_size = gc_round_up(sums * (size_t)plan->kernels->lanes, 64) + sums;
    gc_weight_sums_share(plan, s->chunks);
    const ptrdiff_t in = p->in_size[0] * p->in_size[1] * p->in_size[2] * p->in_per_group;
    const ptrdiff_t out = p->out_size[0] * p->out_size[1] * p->out_size[2];
    s->lead = (in + out) * plan->storage_size < far_bytes ? 2 : 1;
    plan->seconds = predict(plan, s);
    return GC_OK;
}

/* A pair of channels of one image. */
typedef struct pair {
    const gc_run *run;
    const char *in, *grad;
    char *sums; /* a vector for each kernel position */
    gc_ahead *ahead;
} pair;

/* Kernel positions: rows i .. i + high - 1, columns j .. j + wide - 1 of depth d. */
typedef struct tile {
    ptrdiff_t d, i, j, high, wide;
} tile;

/* Rows of the output gradient that a call of the microkernel sums up, at most. */
static ptrdiff_t rows_of_strip(const gc_plan *plan, int rolled) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t block = block_vectors / gc_ceil_div(p->out_size[2], plan->kernels->lanes);
    const ptrdiff_t strip = strip_bytes / (p->stride[1] * p->in_size[2] * plan->storage_size + 1);
    return gc_max(rolled && p->stride[2] == 1 ? gc_min(strip, block) : block, 1);
}

/* Rows first .. last - 1 of the output gradient, all of which meet the tile inside of the input unless it rolls. */
static void add_rows(const pair *u, const tile *t, ptrdiff_t depth, ptrdiff_t first,
                     ptrdiff_t last) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = plan->storage_size, s = p->stride[2];
    const ptrdiff_t *x = p->input_strides, *g = p->weight_strides;
    const ptrdiff_t in_depth = depth * p->stride[0] - p->pad_before[0] + t->d * p->dilation[0];
    const ptrdiff_t column = t->j * p->dilation[2] - p->pad_before[2];
    const ptrdiff_t reach = s == 2 ? (t->wide - 1) / 2 * 2 + lanes : (t->wide - 1) * p->dilation[2];
    gc_row_dot a = {
        .in_row = p->stride[1] * x[3] / size,
        .tap_row = p->dilation[1] * x[3] / size,
        .grad_row = g[3] / size,
        .dilation = p->dilation[2],
        .sums = u->sums + ((t->d * p->kernel[1] + t->i) * p->kernel[2] + t->j) * lanes * size,
        .sums_row = p->kernel[2] * lanes,
    };
    const int rolled = rolls(p, t->high);
    const ptrdiff_t most = block_vectors * lanes;
    const ptrdiff_t high = rows_of_strip(plan, rolled);
    for (ptrdiff_t y = first; y < last; y += a.rows)
        for (ptrdiff_t q = 0; q < p->out_size[2]; q += a.columns) {
            const ptrdiff_t row = y * p->stride[1] - p->pad_before[1] + t->i * p->dilation[1];
            a.rows = gc_min(high, last - y);
            a.above = rolled ? gc_ceil_div(gc_max(-row, 0), p->dilation[1]) : 0;
            a.below = rolled ? gc_floor_div(p->in_size[1] - 1 - row, p->dilation[1]) + 1
                             : a.rows + t->high - 1;
            a.columns = gc_min(most, p->out_size[2] - q);
            a.in = u->in + in_depth * x[2] + row * x[3] + (column + s * q) * size;
            a.grad = u->grad + depth * g[2] + y * g[3] + q * size;
            a.first = -(column + s * q);
            a.last = p->in_size[2] + a.first;
            const ptrdiff_t whole = a.columns / lanes, step = s * lanes;
            const ptrdiff_t end = gc_floor_div(a.last - reach - lanes, step) + 1;
            a.outside = gc_max(gc_min(whole, end), 0);
            a.inside = gc_min(gc_ceil_div(gc_max(a.first, 0), step), a.outside);
            a.fetch[0] = u->ahead->next[0];
            a.fetch[1] = u->ahead->next[1];
            a.fetch_first = u->ahead->left[0];
            a.fetch_bytes = gc_ahead_skip(u->ahead, a.rows * gc_ceil_div(a.columns, lanes));
            plan->kernels->row_dot[s - 1][t->high - 1][t->wide - 1](&a);
        }
}

/* Sums of elements times 0: NaN unless all are finite. Four sums do not wait for each other. */
#define TIMES_ZERO(name, real)                                      \
    static real name(const real *from, ptrdiff_t n) {               \
        real sums[4] = {0};                                         \
        ptrdiff_t i = 0;                                            \
        for (; i + 4 <= n; i += 4)                                  \
            for (int j = 0; j < 4; j++) sums[j] += 0 * from[i + j]; \
        for (; i < n; i++) sums[0] += 0 * from[i];                  \
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);           \
    }
TIMES_ZERO(times_zero_f32, float)
TIMES_ZERO(times_zero_f64, double)
#undef TIMES_ZERO

/* Padding counts as zeros where kernel row i of depth d meets only that, in rows first .. last - 1 of the output
 * gradient: a gradient that is not finite makes NaN of them. */
static void add_padding(const pair *u, ptrdiff_t d, ptrdiff_t i, ptrdiff_t depth, ptrdiff_t first,
                        ptrdiff_t last) {
    const gc_plan *plan = u->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t lanes = plan->kernels->lanes, size = plan->storage_size;
    double nothing = 0;
    for (ptrdiff_t y = first; y < last; y++) {
        const char *row = u->grad + depth * p->weight_strides[2] + y * p->weight_strides[3];
        nothing += size == 4 ? times_zero_f32((const float *)row, p->out_size[2])
                             : times_zero_f64((const double *)row, p->out_size[2]);
    }
    if (nothing == 0) return;
    char *to = u->sums + (d * p->kernel[1] + i) * p->kernel[2] * lanes * size;
    for (ptrdiff_t j = 0; j < p->kernel[2]; j++, to += lanes * size)
        if (size == 4)
            *(float *)to = (float)nothing;
        else
            *(double *)to = nothing;
}

/* What kernel depth d meets beyond the input, depth by depth and row by row. */
static void add_all_padding(const pair *u, ptrdiff_t d) {
    const gc_problem *p = &u->run->plan->problem;
    ptrdiff_t first_depth, first;
    const ptrdiff_t last_depth = meet(p, 0, d, &first_depth);
    for (ptrdiff_t depth = 0; depth < p->out_size[0]; depth++)
        for (ptrdiff_t i = 0; i < p->kernel[1]; i++) {
            ptrdiff_t last = meet(p, 1, i, &first);
            if (depth < first_depth || depth >= last_depth) last = first = 0;
            add_padding(u, d, i, depth, 0, gc_min(first, p->out_size[1]));
            add_padding(u, d, i, depth, last, p->out_size[1]);
        }
}

static void add_tile(const pair *u, const tile *t, ptrdiff_t depth) {
    const gc_problem *p = &u->run->plan->problem;
    ptrdiff_t first = 0, last = p->out_size[1], from;
    if (rolls(p, t->high)) {
        add_rows(u, t, depth, first, last);
        return;
    }
    for (ptrdiff_t i = t->i; i < t->i + t->high; i++) {
        const ptrdiff_t to = meet(p, 1, i, &from);
        first = gc_max(first, from);
        last = gc_min(last, to);
    }
    last = gc_max(first, last);
    if (first < last) add_rows(u, t, depth, first, last);
    for (ptrdiff_t i = t->i; i < t->i + t->high; i++) {
        const tile one = {t->d, i, t->j, 1, t->wide};
        const ptrdiff_t to = meet(p, 1, i, &from);
        if (from < gc_min(first, to)) add_rows(u, &one, depth, from, gc_min(first, to));
        if (gc_max(last, from) < to) add_rows(u, &one, depth, gc_max(last, from), to);
    }
}

static void add_pair(const pair *u) {
    const gc_problem *p = &u->run->plan->problem;
    const grad_rows *s = u->run->plan->state;
    const ptrdiff_t high = gc_ceil_div(p->kernel[1], s->taps_high);
    const ptrdiff_t wide = gc_ceil_div(p->kernel[2], s->taps_wide);
    if (p->out_size[2] == 0) return;
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        add_all_padding(u, d);
        ptrdiff_t first;
        const ptrdiff_t last = meet(p, 0, d, &first);
        for (ptrdiff_t depth = first; depth < last; depth++)
            for (ptrdiff_t a = 0; a < high; a++)
                for (ptrdiff_t b = 0; b < wide; b++) {
                    tile t = {d, gc_cut(p->kernel[1], high, a), gc_cut(p->kernel[2], wide, b), 0,
                              0};
                    t.high = gc_cut(p->kernel[1], high, a + 1) - t.i;
                    t.wide = gc_cut(p->kernel[2], wide, b + 1) - t.j;
                    add_tile(u, &t, depth);
                }
    }
}

/* Vectors of sums to sums: in the order of the lanes. */
static void add_lanes(const gc_plan *plan, const char *from, char *to, ptrdiff_t n) {
    const ptrdiff_t lanes = plan->kernels->lanes;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (plan->kernels->real_size == sizeof(float)) {
            const float *x = (const float *)from + i * lanes;
            float sum = 0;
            for (ptrdiff_t l = 0; l < lanes; l++) sum += x[l];
            ((float *)to)[i] = sum;
        } else {
            const double *x = (const double *)from + i * lanes;
            double sum = 0;
            for (ptrdiff_t l = 0; l < lanes; l++) sum += x[l];
            ((double *)to)[i] = sum;
        }
    }
}

/* The planes that are summed up `lead` images after image n of output channel `row`, or those of the next channel:
 * further ahead where an image takes no longer than memory does to answer. */
static gc_ahead ahead_of(const gc_run *run, ptrdiff_t row, ptrdiff_t n, ptrdiff_t images,
                         int more) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const grad_rows *s = plan->state;
    const ptrdiff_t tiles =
        gc_ceil_div(p->kernel[1], s->taps_high) * gc_ceil_div(p->kernel[2], s->taps_wide);
    /* measured on such a processor: with stride 1 asking saves a fifth, with stride 2 it costs as much */
    if (p->stride[2] == 2 && gc_leaves_rows()) return (gc_ahead){0};
    n += s->lead;
    if (n >= images) {
        if (!more || n - images >= images) return (gc_ahead){0};
        n -= images;
        row++;
    }
    return gc_ahead_planes(plan, run->arrays, n, row / p->out_per_group * p->in_per_group,
                           p->in_per_group, row, 1, tiles * p->kernel[0] * p->in_per_group);
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const grad_rows *s = plan->state;
    const ptrdiff_t size = plan->storage_size, n = p->in_per_group * taps_of(p);
    const ptrdiff_t vector = plan->kernels->lanes * size;
    char *sums = (char *)scratch + gc_round_up((size_t)(n * vector), 64);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t row = unit / s->chunks, chunk = unit % s->chunks;
        const ptrdiff_t group = row / p->out_per_group, k = row % p->out_per_group;
        const ptrdiff_t image = gc_cut(p->batch, s->chunks, chunk),
                        end = gc_cut(p->batch, s->chunks, chunk + 1);
        memset(scratch, 0, (size_t)(n * vector));
        for (ptrdiff_t i = image; i < end; i++) {
            gc_ahead ahead = ahead_of(run, row, i, end, unit + 1 < last && s->chunks == 1);
            for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
                const pair u = {
                    .run = run,
                    .in = (const char *)run->arrays->input + i * p->input_strides[0] +
                          (group * p->in_per_group + c) * p->input_strides[1],
                    .grad = (const char *)run->arrays->weight + i * p->weight_strides[0] +
                            row * p->weight_strides[1],
                    .sums = (char *)scratch + c * taps_of(p) * vector,
                    .ahead = &ahead,
                };
                add_pair(&u);
            }
        }
        add_lanes(plan, scratch, sums, n);
        gc_weight_sums_put(run, s->chunks,
                           &(gc_weight_part){group, k, k + 1, 0, p->in_per_group, chunk}, sums);
    }
}

static void combine(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const grad_rows *s = run->plan->state;
    gc_weight_sums_combine(run, s->chunks, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const grad_rows *s = plan->state;
    snprintf(text, size, "%td x %td kernel positions of one channel; %td chunks of the batch",
             s->taps_high, s->taps_wide, s->chunks);
}

const gc_algorithm gc_grad_weight_rows = {
    .name = "grad_weight_rows",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .work = work,
    .combine = combine,
    .describe = describe,
};
