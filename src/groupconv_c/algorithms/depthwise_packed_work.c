/* The work of plans of packed depthwise convolutions: pack a channel, compute its tiles, take their results to
 * their places. */
#include "depthwise_packed.h"
#include "scatter.h"
#include "tile_store.h"

/* What the tiles of one channel share. */
typedef struct channel {
    const gc_run *run;
    const gc_packed_depthwise *s;
    const char *planes, *weight, *init, *residual;
    char *results, *out;
} channel;

/* Takes the results of all passes along a folded row to their places; then what follows the sum. */
static void scatter_row(const channel *c, const gc_packed_tile *t) {
    const gc_plan *plan = c->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_packed_depthwise *s = c->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t passes = s->axes[2].npasses, first = t->row * lanes;
    for (ptrdiff_t i = 0; i < passes; i++)
        gc_scatter(c->out + (first * passes + i) * size, passes,
                   c->results + i * s->tile_rows * lanes * size,
                   gc_min(t->nrows * lanes, s->axes[2].passes[i].count - first), size);
    if (c->residual == NULL && p->activation == GC_IDENTITY) return;
    const ptrdiff_t at = first * passes * size;
    const gc_finish f = {
        .from = c->out + at,
        .to = c->out + at,
        .to_stride = size,
        .residual = c->residual ? c->residual + at : NULL,
        .residual_stride = size,
        .n = gc_min(t->nrows * lanes * passes, p->out_size[2] - first * passes),
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    plan->kernels->finish(&f);
}

/* Takes the results of all passes along the width to their places. */
static void finish_vector(const channel *c, const gc_packed_tile *t, ptrdiff_t v) {
    const gc_plan *plan = c->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_packed_depthwise *s = c->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t passes = s->axes[2].npasses, apart = s->tile_rows * lanes;
    const ptrdiff_t to = p->output_strides[4], added = p->residual_strides[4];
    char *const row = c->results + passes * apart * size;
    gc_finish f = {
        .to_stride = to,
        .residual_stride = added,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t j = 0; j < t->nrows; j++) {
        const ptrdiff_t column = (s->fold ? t->row + j : v) * lanes * passes;
        const char *from = c->results + j * lanes * size;
        f.from = passes > 1 ? row : from;
        if (passes == 2)
            plan->kernels->zip(row, from, from + apart * size, 2 * lanes);
        else
            for (ptrdiff_t i = 0; i < passes && passes > 1; i++)
                gc_scatter(row + i * size, passes, from + i * apart * size, lanes, size);
        f.n = gc_min(lanes * passes, p->out_size[2] - column);
        f.to = c->out + t->out + j * t->out_row + v * lanes * passes * to;
        if (c->residual)
            f.residual =
                c->residual + t->residual + j * t->residual_row + v * lanes * passes * added;
        plan->kernels->finish(&f);
    }
}

static void run_tile(const channel *c, const gc_packed_tile *t, gc_depthwise *a) {
    const gc_kernels *kernels = c->run->plan->kernels;
    const gc_packed_depthwise *s = c->s;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const gc_packed_pass *pass = &s->passes[t->pass];
    a->nrows = t->nrows;
    a->stored = t->stored;
    a->last = t->last;
    a->plane = c->planes + t->plane;
    if (s->plain) {
        a->out = c->out + t->out;
        a->out_row = t->out_row / size;
        a->residual = c->residual ? c->residual + t->residual : NULL;
        a->residual_row = t->residual_row / size;
        a->vectors = s->vectors;
        a->chunks = pass->chunks;
        a->nchunks = pass->nchunks;
        a->columns = pass->columns;
        a->weight_column = pass->weight_column;
        kernels->depthwise_packed(a);
        return;
    }
    for (ptrdiff_t v = 0; v < s->vectors; v++) {
        for (ptrdiff_t i = 0; i < s->axes[2].npasses; i++, pass++) {
            a->chunks = pass->chunks;
            a->nchunks = pass->nchunks;
            a->columns = pass->columns;
            a->weight_column = pass->weight_column;
            a->out = c->results + i * s->tile_rows * lanes * size;
            kernels->depthwise_packed(a);
        }
        pass -= s->axes[2].npasses;
        a->plane = (const char *)a->plane + lanes * size;
        if (s->scattered)
            scatter_row(c, t);
        else
            finish_vector(c, t, v);
    }
}

/* An input channel, counted over all images, to be fetched while those before it are computed. */
static gc_stream stream_input(const gc_run *run, ptrdiff_t plane, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_packed_depthwise *s = plan->state;
    const ptrdiff_t tiles = s->tiles * p->out_per_group;
    if (plane * tiles >= last) return (gc_stream){0};
    return gc_stream_input(plan,
                           (const char *)run->arrays->input +
                               plane / p->groups * p->input_strides[0] +
                               plane % p->groups * p->input_strides[1],
                           1, tiles);
}

/* The same of an output channel, which is written. */
static gc_stream stream_output(const gc_run *run, ptrdiff_t row, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_packed_depthwise *s = plan->state;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    if (!gc_output_is_rows(plan) || row * s->tiles >= last) return (gc_stream){0};
    const ptrdiff_t bytes = p->out_size[0] * p->out_size[1] * p->out_size[2] * plan->storage_size;
    return (gc_stream){(const char *)run->arrays->output + row / channels * p->output_strides[0] +
                           row % channels * p->output_strides[1],
                       gc_ceil_div(bytes, s->tiles)};
}

void gc_packed_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_packed_depthwise *s = plan->state;
    const ptrdiff_t channels = p->groups * p->out_per_group,
                    size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t origin[3] = {0, 0, 0};
    char *const planes = scratch;
    channel c = {
        .run = run, .s = s, .planes = planes, .results = planes + gc_packed_planes_bytes(plan, s)};
    gc_depthwise a = {
        .pitch = s->fold ? plan->kernels->lanes : s->planes.pitch * s->classes,
        .vectors = 1,
        .out_row = plan->kernels->lanes,
        .clamp = s->plain && p->activation != GC_IDENTITY,
        .low = s->low,
        .high = s->high,
    };
    ptrdiff_t packed = -1;
    gc_stream in = {0}, out = {0};
    gc_planes_clear_slack(&s->planes, 1, plan->kernels, planes);
    for (ptrdiff_t unit = first; unit < last;) {
        const ptrdiff_t row = unit / s->tiles, n = row / channels, k = row % channels;
        const ptrdiff_t g = k / p->out_per_group;
        if (packed != n * p->groups + g) {
            const char *from = (const char *)run->arrays->input + n * i[0] + g * i[1];
            gc_pack(plan, s->axes, &s->planes, from, i + 1, 1, origin, packed >= 0, planes);
            packed = n * p->groups + g;
            in = stream_input(run, packed + 1, last);
        }
        out = stream_output(run, row + 1, last);
        c.out = (char *)run->arrays->output + n * o[0] + k * o[1];
        if (p->has_residual) c.residual = (const char *)run->arrays->residual + n * r[0] + k * r[1];
        a.weight = gc_weights_at(&s->weights, plan, run, g, k - g * p->out_per_group);
        a.init = (const char *)run->bias + k * size;
        const ptrdiff_t end = gc_min(last, (row + 1) * s->tiles);
        for (; unit < end; unit++) {
            gc_stream_on(&in);
            gc_stream_on(&out);
            run_tile(&c, &s->places[unit - row * s->tiles], &a);
        }
    }
}
