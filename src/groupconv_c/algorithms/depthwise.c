/* Depthwise convolution: one input channel per group, any multiplier.
 *
 * Two ways:
 *   rolling  3x3 of stride 1 over plain rows: a whole channel in one call, nothing copied
 *   packed   everything else: the channel is packed into phase planes, then tiles of 8 rows
 * One row of outputs (1-D) is folded: neighbouring vectors are its "rows", and kernel positions one
 * vector apart its "kernel rows", so that a loaded vector still serves several outputs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms.h"
#include "pack.h"
#include "tile_store.h"
#include "weights.h"

enum { tile_rows = GC_DEPTHWISE_ROWS, most_chunk_rows = 8 };

typedef struct depthwise {
    int rolling; /* or packed */
    int fold;
    gc_axis axes[3];
    gc_planes planes; /* packed */
    gc_weights weights;
    gc_depthwise_chunk *chunks;
    ptrdiff_t nchunks;
    ptrdiff_t *columns; /* offset of each kernel column */
    uint32_t *bits;     /* rolling: lanes read and stored, see gc_rolling */
    ptrdiff_t vectors;  /* of columns */
    ptrdiff_t rows;     /* output rows as the tiles see them (folded: vectors) */
    ptrdiff_t classes;  /* rows a dilation apart form a class; its rows share loads */
    ptrdiff_t tiles;    /* of rows, of one depth slice */
    int clamp, plain;
    double low, high;
} depthwise;

static const char *refuse(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    if (p->op != GC_CONV) return "it computes forward convolutions only";
    if (p->in_per_group != 1) return "it needs one input channel per group";
    return NULL;
}

static void destroy(gc_plan *plan) {
    depthwise *s = plan->state;
    if (s == NULL) return;
    for (int i = 0; i < 3; i++) gc_axis_destroy(&s->axes[i]);
    free(s->chunks);
    free(s->columns);
    free(s->bits);
    free(s);
    plan->state = NULL;
}

/* Rows can be read in place when they are contiguous reals, stride 1, with zeros around them. */
static int rows_in_place(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    if (plan->storage_size != size || p->padding_mode != GC_ZEROS) return 0;
    if (p->in_size[2] > 1 && p->input_strides[4] != size) return 0;
    for (int i = 0; i < 5; i++)
        if (p->input_strides[i] % size) return 0;
    return p->stride[0] == 1 && p->stride[1] == 1 && p->stride[2] == 1;
}

static void add_chunk(depthwise *s, ptrdiff_t plane, ptrdiff_t weight, ptrdiff_t weight_row, int rows,
                      ptrdiff_t first, ptrdiff_t last) {
    s->chunks[s->nchunks++] = (gc_depthwise_chunk){plane, weight, weight_row, first, last, rows};
}

/* Kernel rows that lie `distance` shifts apart in one phase, in chunks. */
static void chunk_rows(depthwise *s, const gc_axis_tap *d, ptrdiff_t distance) {
    const gc_axis_pass *h = &s->axes[1].passes[0];
    for (ptrdiff_t t = 0; t < h->ntaps; t++) {
        int seen = 0;
        for (ptrdiff_t u = 0; u < t; u++) seen |= h->taps[u].slot == h->taps[t].slot;
        if (seen) continue;
        for (ptrdiff_t u = t; u < h->ntaps;) { /* one phase: taps of one slot, shifts in order */
            const gc_axis_tap *first = &h->taps[u];
            ptrdiff_t next_kernel = first->kernel, last = u;
            int rows = 1;
            for (ptrdiff_t v = u + 1; v < h->ntaps && rows < most_chunk_rows; v++) {
                if (h->taps[v].slot != first->slot) continue;
                if (h->taps[v].shift != first->shift + rows * distance) break;
                if (rows == 1) next_kernel = h->taps[v].kernel;
                last = v;
                rows++;
            }
            const ptrdiff_t row_weight = (next_kernel - first->kernel) * s->weights.h;
            const gc_axis_tap origin = {0, 0, s->axes[2].min_shift};
            add_chunk(s, gc_planes_tap(&s->planes, s->axes, d, first, &origin),
                      gc_weights_tap(&s->weights, 0, d->kernel, first->kernel, 0), row_weight, rows, 0,
                      s->axes[2].passes[0].ntaps);
            for (u = last + 1; u < h->ntaps && h->taps[u].slot != first->slot;) u++;
        }
    }
}

/* One row of outputs: columns of the folded kernel are its positions within one vector. */
static void chunk_fold(depthwise *s, int lanes) {
    const ptrdiff_t taps = s->axes[2].passes[0].ntaps;
    const int unit = s->axes[2].in_step == 1 && s->axes[2].span == taps - 1;
    if (!unit || taps <= lanes) {
        add_chunk(s, 0, 0, 0, 1, 0, taps);
        return;
    }
    for (ptrdiff_t row = 0; row * lanes < taps; row += most_chunk_rows) {
        const ptrdiff_t left = taps - row * lanes, full = left / lanes, extra = left % lanes;
        const int rows = (int)gc_min(full, most_chunk_rows);
        const ptrdiff_t plane = row * lanes, weight = row * lanes * s->weights.w;
        const ptrdiff_t step = lanes * s->weights.w;
        if (full >= most_chunk_rows) {
            add_chunk(s, plane, weight, step, rows, 0, lanes);
            continue;
        }
        if (extra) add_chunk(s, plane, weight, step, rows + 1, 0, extra);
        if (rows) add_chunk(s, plane, weight, step, rows, extra, lanes);
    }
}

static gc_status create_columns(const gc_plan *plan, depthwise *s) {
    const gc_problem *p = &plan->problem;
    const gc_axis *w = &s->axes[2];
    const ptrdiff_t taps = w->passes[0].ntaps, lanes = plan->kernels->lanes;
    s->vectors = s->fold ? 1 : gc_ceil_div(p->out_size[2], lanes);
    s->columns = malloc((size_t)taps * sizeof *s->columns);
    s->bits = calloc((size_t)(4 * s->vectors + 1), sizeof *s->bits);
    if (s->columns == NULL || s->bits == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t t = 0; t < taps; t++) {
        const gc_axis_tap *tap = &w->passes[0].taps[t];
        s->columns[t] = tap->slot * s->planes.plane + tap->shift - w->min_shift;
    }
    for (ptrdiff_t v = 0; s->rolling && v < s->vectors; v++) {
        for (ptrdiff_t i = 0; i < lanes; i++) {
            const ptrdiff_t column = v * lanes + i;
            for (ptrdiff_t t = 0; t < 3; t++) {
                const ptrdiff_t source = column + t - p->pad_before[2];
                if (source >= 0 && source < p->in_size[2]) s->bits[4 * v + t] |= 1u << i;
            }
            if (column < p->out_size[2]) s->bits[4 * v + 3] |= 1u << i;
        }
    }
    return GC_OK;
}

static int can_roll(const gc_plan *plan, const depthwise *s) {
    const gc_problem *p = &plan->problem;
    const int kernel3x3 = p->kernel[0] == 1 && p->kernel[1] == 3 && p->kernel[2] == 3;
    const int flat = p->in_size[0] == 1 && p->out_size[0] == 1 && p->pad_before[0] == 0;
    return kernel3x3 && flat && rows_in_place(plan) && s->plain && p->dilation[1] == 1 &&
           p->dilation[2] == 1;
}

static double predict(const gc_plan *plan, const depthwise *s) {
    const gc_problem *p = &plan->problem;
    const double channels = (double)(p->batch * p->groups * p->out_per_group);
    const double taps = (double)(p->kernel[0] * p->kernel[1] * p->kernel[2]);
    const double vectors = s->fold ? (double)s->rows
                                   : (double)(p->out_size[0] * p->out_size[1] * s->vectors);
    const double loads = s->fold && taps <= plan->kernels->lanes ? taps : taps / 3;
    double cycles = vectors * (0.5 * taps + 0.2 * loads + 2) + 30;
    if (!s->rolling) cycles += (double)gc_planes_elements(&s->planes, 1) * 0.25;
    if (!s->plain) cycles += vectors * 10;
    return channels * cycles * GC_CYCLE;
}

static size_t planes_bytes(const gc_plan *plan, const depthwise *s) {
    return gc_round_up(gc_planes_elements(&s->planes, 1) * plan->kernels->real_size, 64);
}

static gc_status create(gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const int lanes = plan->kernels->lanes;
    depthwise *s = plan->state = calloc(1, sizeof *s);
    if (s == NULL) return GC_ERROR_MEMORY;
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&s->axes[i], p, i);
        if (status != GC_OK) return status;
    }
    s->fold = p->out_size[0] == 1 && p->out_size[1] == 1 && p->kernel[0] == 1 && p->kernel[1] == 1;
    s->clamp = gc_activation_clamp(p->activation, &s->low, &s->high);
    s->plain = s->clamp && gc_output_is_rows(plan) && gc_residual_is_rows(plan);
    s->rolling = can_roll(plan, s);
    gc_weights_create(&s->weights, plan);
    const ptrdiff_t counts[3] = {gc_max(s->axes[0].count, 1), gc_max(s->axes[1].count, 1),
                                 gc_max(s->axes[2].count, 1)};
    /* tiles may reach over the last row and column of a plane */
    const ptrdiff_t wide = counts[2] + s->axes[2].span + lanes;
    const ptrdiff_t below = tile_rows * gc_max(p->dilation[1], 1) + most_chunk_rows;
    gc_planes_layout(&s->planes, s->axes, counts,
                     s->fold ? (tile_rows + most_chunk_rows + 1) * lanes : below * wide + lanes);
    s->rows = s->fold ? gc_ceil_div(p->out_size[2], lanes) : p->out_size[1];
    s->classes = s->fold || p->stride[1] > 1 ? 1 : gc_min(p->dilation[1], gc_max(s->rows, 1));
    if (p->kernel[1] == 1) s->classes = 1;
    s->tiles = s->classes * gc_ceil_div(gc_ceil_div(gc_max(s->rows, 1), s->classes), tile_rows);
    const size_t most = (size_t)(p->kernel[0] * (p->kernel[1] + 1) +
                                 2 * (p->kernel[2] / (lanes * most_chunk_rows) + 2));
    s->chunks = calloc(most, sizeof *s->chunks);
    if (s->chunks == NULL) return GC_ERROR_MEMORY;
    if (s->fold)
        chunk_fold(s, lanes);
    else
        for (ptrdiff_t d = 0; d < s->axes[0].passes[0].ntaps; d++)
            chunk_rows(s, &s->axes[0].passes[0].taps[d], s->classes);
    const gc_status status = create_columns(plan, s);
    if (status != GC_OK) return status;
    const ptrdiff_t per_channel = s->rolling ? 1 : p->out_size[0] * s->tiles;
    plan->units = p->batch * p->groups * p->out_per_group * per_channel;
    if (p->out_size[0] * p->out_size[1] * p->out_size[2] == 0) plan->units = 0;
    if (!s->rolling)
        plan->scratch_size = planes_bytes(plan, s) +
                             (size_t)(tile_rows * lanes) * plan->kernels->real_size;
    plan->prepared_size = gc_weights_prepared_size(&s->weights, plan);
    plan->prepare_units = p->groups * p->out_per_group;
    plan->prepared_key = plan->prepared_size ? GC_KEY_CONVERTED : 0;
    plan->seconds = predict(plan, s);
    return GC_OK;
}

typedef struct channel {
    const gc_run *run;
    const depthwise *s;
    char *planes, *tile;
    ptrdiff_t n, g, k; /* image, group, output channel counted over all groups */
} channel;

typedef struct tile {
    ptrdiff_t depth, row, nrows; /* first row in output rows; nrows rows, `classes` apart */
} tile;

static gc_target target_of(const channel *c, const tile *t) {
    const gc_problem *p = &c->run->plan->problem;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t lanes = c->run->plan->kernels->lanes;
    const ptrdiff_t row = c->s->fold ? 0 : t->row, column = c->s->fold ? t->row * lanes : 0;
    gc_target target = {
        .base = (char *)c->run->arrays->output + c->n * o[0] + c->k * o[1] + t->depth * o[2] +
                row * o[3] + column * o[4],
        .row = c->s->fold ? lanes * o[4] : c->s->classes * o[3],
        .column = o[4],
        .residual_row = c->s->fold ? lanes * r[4] : c->s->classes * r[3],
        .residual_column = r[4],
    };
    if (p->has_residual)
        target.residual = (const char *)c->run->arrays->residual + c->n * r[0] + c->k * r[1] +
                          t->depth * r[2] + row * r[3] + column * r[4];
    return target;
}

static void finish_tile(const channel *c, const gc_target *target, const gc_depthwise *a, ptrdiff_t v) {
    const gc_plan *plan = c->run->plan;
    const ptrdiff_t lanes = plan->kernels->lanes;
    gc_target at = *target;
    for (int j = 0; j < a->nrows; j++) {
        const uint32_t bits = j == a->nrows - 1 ? a->last_bits : a->store_bits;
        at.base = target->base + j * target->row + v * lanes * target->column;
        if (target->residual)
            at.residual = target->residual + j * target->residual_row +
                          v * lanes * target->residual_column;
        gc_tile_finish(plan, &at, c->tile + j * lanes * (ptrdiff_t)plan->kernels->real_size, 0, 1, 0,
                       __builtin_popcount(bits), lanes, lanes);
    }
}

static void run_tile(const channel *c, const tile *t) {
    const gc_plan *plan = c->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_kernels *kernels = plan->kernels;
    const depthwise *s = c->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const gc_target target = target_of(c, t);
    const ptrdiff_t first = s->fold ? t->row * lanes
                                    : t->depth * s->planes.slice + t->row * s->planes.pitch;
    gc_depthwise a = {
        .chunks = s->chunks,
        .nchunks = s->nchunks,
        .pitch = s->fold ? lanes : s->planes.pitch * s->classes,
        .columns = s->columns,
        .weight = gc_weights_at(&s->weights, plan, c->run, c->g, c->k - c->g * p->out_per_group),
        .weight_column = s->weights.w,
        .init = (const char *)c->run->bias + c->k * size,
        .out_row = s->plain ? target.row / size : lanes,
        .residual_row = target.residual_row / size,
        .nrows = (int)t->nrows,
        .clamp = s->plain && p->activation != GC_IDENTITY,
        .low = s->low,
        .high = s->high,
    };
    const uint32_t all = (uint32_t)((1ull << lanes) - 1);
    for (ptrdiff_t v = 0; v < s->vectors; v++) {
        const ptrdiff_t left = p->out_size[2] - (s->fold ? t->row + t->nrows - 1 : v) * lanes;
        a.last_bits = left >= lanes ? all : (1u << left) - 1;
        a.store_bits = s->fold ? all : a.last_bits;
        a.plane = c->planes + (first + v * lanes) * size;
        a.out = s->plain ? (void *)(target.base + v * lanes * size) : c->tile;
        if (s->plain && target.residual) a.residual = target.residual + v * lanes * size;
        (t->nrows > 4 ? kernels->depthwise_8 : kernels->depthwise_4)(&a);
        if (!s->plain) finish_tile(c, &target, &a, v);
    }
}

static void work_packed(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const depthwise *s = plan->state;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    const ptrdiff_t per_channel = p->out_size[0] * s->tiles, per_class = s->tiles / s->classes;
    channel c = {.run = run, .s = s, .planes = scratch};
    c.tile = c.planes + planes_bytes(plan, s);
    ptrdiff_t packed = -1;
    gc_planes_clear_slack(&s->planes, 1, plan->kernels, c.planes);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t plane = unit / per_channel, part = unit % per_channel;
        c.n = plane / channels;
        c.k = plane % channels;
        c.g = c.k / p->out_per_group;
        if (packed != c.n * p->groups + c.g) {
            const ptrdiff_t origin[3] = {0, 0, 0};
            const char *in = (const char *)run->arrays->input + c.n * p->input_strides[0] +
                             c.g * p->input_strides[1];
            gc_pack(plan, s->axes, &s->planes, in, p->input_strides + 1, 1, origin, c.planes);
            packed = c.n * p->groups + c.g;
        }
        const ptrdiff_t class = part % s->tiles / per_class, block = part % per_class;
        const ptrdiff_t in_class = gc_ceil_div(s->rows - class, s->classes);
        const tile t = {part / s->tiles, class + block * tile_rows * s->classes,
                        gc_min(tile_rows, in_class - block * tile_rows)};
        if (t.nrows > 0) run_tile(&c, &t);
    }
}

/* Whole channels, one call each. Channels can be tiny, so what changes is advanced, not recomputed. */
static void work_rolling(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const depthwise *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    gc_rolling a = {
        .in_row = i[3] / size,
        .out_row = o[3] / size,
        .residual_row = r[3] / size,
        .weight_row = s->weights.h,
        .weight_column = s->weights.w,
        .height = p->in_size[1],
        .out_height = p->out_size[1],
        .above = p->pad_before[1],
        .left = p->pad_before[2],
        .vectors = s->vectors,
        .bits = s->bits,
        .clamp = p->activation != GC_IDENTITY,
        .low = s->low,
        .high = s->high,
    };
    ptrdiff_t n = first / channels, k = first % channels;
    ptrdiff_t g = k / p->out_per_group, within = k % p->out_per_group;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        a.in = (const char *)run->arrays->input + n * i[0] + g * i[1];
        a.out = (char *)run->arrays->output + n * o[0] + k * o[1];
        if (p->has_residual) a.residual = (const char *)run->arrays->residual + n * r[0] + k * r[1];
        a.weight = gc_weights_at(&s->weights, plan, run, g, within);
        a.init = (const char *)run->bias + k * size;
        plan->kernels->rolling3x3(&a);
        if (++within == p->out_per_group) {
            within = 0;
            g++;
        }
        if (++k == channels) {
            k = g = 0;
            n++;
        }
    }
}

static void work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const depthwise *s = run->plan->state;
    if (s->rolling)
        work_rolling(run, first, last);
    else
        work_packed(run, scratch, first, last);
}

static void prepare(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last) {
    const depthwise *s = plan->state;
    gc_weights_prepare(&s->weights, plan, weight, prepared, first, last);
}

static void describe(const gc_plan *plan, char *text, size_t size) {
    const depthwise *s = plan->state;
    snprintf(text, size, "%s, %d lanes",
             s->rolling ? "columns of vectors rolling over rows in place"
             : s->fold  ? "tiles of 8 vectors of a packed row"
                        : "tiles of 8 rows, packed",
             plan->kernels->lanes);
}

const gc_algorithm gc_depthwise_rows = {
    .name = "depthwise",
    .refuse = refuse,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .work = work,
    .describe = describe,
};
