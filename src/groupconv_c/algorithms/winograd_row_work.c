/* The work of Winograd's plans along rows: transform windows, multiply, transform back, store.
 *
 * The transforms mix the elements of a window: an infinity or NaN would spread over its tile, and so would an overflow.
 * Where results of some tiles of a row are not all finite, those that are not are replaced by direct sums over the
 * packed box.
 */
#include <math.h>
#include <string.h>

#include "winograd_row.h"

/* One box of one image, group and depth. */
typedef struct box {
    const gc_run *run;
    const gc_winograd_row *s;
    char *windows, *products, *results, *residual, *input;
    ptrdiff_t n, g, depth, first, rows; /* of the output */
    int packed;                         /* the input is in the packed box */
} box;

static void bind(box *b, char *scratch) {
    const gc_winograd_row_sizes z = gc_winograd_row_scratch(b->run->plan, b->s);
    b->windows = scratch;
    b->products = b->windows + z.windows;
    b->results = b->products + z.products;
    b->residual = b->results + z.results;
    b->input = b->residual + z.residual;
}

static void pack(box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_row *s = b->s;
    const gc_channel_source source = {
        .image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                 b->g * p->in_per_group * p->input_strides[1],
        .depth = b->depth * p->stride[0] - s->pad_before[0],
        .row = b->first - s->pad_before[1],
        .rows = b->rows + s->in_rows - s->rows,
    };
    gc_channel_box_pack(&s->box, plan, &source, b->input);
    b->packed = 1;
}

/* Rows first .. last - 1 of a depth, channels side by side. */
static void turn(const box *b, const char *depth, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides, wide = p->in_size[2], icg = p->in_per_group;
    const int joined = i[3] == wide * i[4];
    const ptrdiff_t rows = joined ? gc_max(last - first, 0) : 1;
    char *to = b->input;
    for (ptrdiff_t y = first; y < last; y += rows) {
        gc_channel_box_turn(plan, depth + y * i[3], i[1], icg, to, icg, rows * wide);
        to += rows * wide * icg * (ptrdiff_t)plan->kernels->real_size;
    }
}

/* The windows of rows of one depth; source NULL: of zeros. Its rows first .. last - 1 are there. */
static void transform_depth(const box *b, gc_winograd_row_input *a, const char *source,
                            ptrdiff_t row_bytes, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size,
                    rows = s->in_rows - s->rows + b->rows;
    const ptrdiff_t row_windows = s->tiles * s->tile * size;
    for (ptrdiff_t y = 0; y < rows; y++) {
        char *out = (char *)a->out + y * row_windows;
        if (source && y >= first && y < last) {
            gc_winograd_row_input row = *a;
            row.from = source + (y - first) * row_bytes;
            row.out = out;
            plan->kernels->winograd_row_input(&row);
        } else {
            for (int e = 0; e < GC_ROW_WINDOW; e++)
                memset(out + e * s->element * size, 0, (size_t)row_windows);
        }
    }
}

/* The transformed windows of the box. */
static void transform(box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    const ptrdiff_t rows = s->in_rows - s->rows + b->rows, top = b->first - s->pad_before[1];
    const char *image =
        (const char *)b->run->arrays->input + b->n * i[0] + b->g * p->in_per_group * i[1];
    gc_winograd_row_input a = {
        .out = b->windows,
        .first = -s->pad_before[2],
        .columns = p->in_size[2],
        .step = p->in_per_group,
        .tiles = s->tiles,
        .channels = p->in_per_group,
        .element = s->element,
        .tile = s->tile,
    };
    b->packed = 0;
    if (s->source == GC_ROW_PACKED) {
        pack(b);
        a.first = 0;
        a.columns = s->box.columns;
    }
    const ptrdiff_t first = gc_min(gc_max(-top, 0), rows);
    const ptrdiff_t last = gc_max(gc_min(p->in_size[1] - top, rows), first);
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const ptrdiff_t z = b->depth * p->stride[0] + d * p->dilation[0] - s->pad_before[0];
        const char *depth = z >= 0 && z < p->in_size[0] ? image + z * i[2] : NULL;
        if (s->source == GC_ROW_PACKED) {
            transform_depth(b, &a, b->input + d * s->box.slice * size, s->box.row * size, 0, rows);
        } else if (s->source == GC_ROW_TURNED) {
            if (depth) turn(b, depth, top + first, top + last);
            transform_depth(b, &a, depth ? b->input : NULL, p->in_size[2] * a.step * size, first,
                            last);
        } else {
            a.step = i[4] / size;
            transform_depth(b, &a, depth ? depth + (top + first) * i[3] : NULL, i[3], first, last);
        }
        a.out = (char *)a.out + s->in_rows * s->tiles * s->tile * size;
    }
}

/* A block of output channels of a box. */
typedef struct block {
    box *b;
    gc_channel_results place;
    ptrdiff_t first, vectors; /* vectors of the group */
    int last;                 /* lanes of the last one */
    const gc_row_products *products;
    ptrdiff_t element; /* reals between elements of its products */
    const char *weights, *init;
} block;

/* Positions first .. last - 1 of the box's tiles. */
static void multiply(const block *o, ptrdiff_t first, ptrdiff_t last) {
    const box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t weights = gc_winograd_row_taps(plan, s) * o->vectors * lanes;
    gc_lane_products a = {
        .taps = s->taps,
        .ntaps = s->ntaps,
        .channels = plan->problem.in_per_group,
        .step = s->tile,
    };
    for (ptrdiff_t e = 0; e < GC_ROW_WINDOW; e++) {
        a.weight = o->weights + e * weights * size;
        a.in = b->windows + (e * s->element + first * s->tile) * size;
        a.out = b->products + e * o->element * size;
        for (ptrdiff_t i = first; i < last; i += o->products->tile->positions) {
            o->products->tile->sum(&a);
            a.in = (const char *)a.in + o->products->tile->positions * s->tile * size;
            a.out = (char *)a.out + o->products->tile->positions * o->vectors * lanes * size;
        }
    }
}

/* Replaces the lanes of one result of one vector that are not finite. */
static void sum_directly(const block *o, ptrdiff_t row, ptrdiff_t column, ptrdiff_t v,
                         char *result) {
    const box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t group = b->g * gc_winograd_row_group(plan, s);
    const ptrdiff_t raw = s->vectors * gc_winograd_row_transformed(plan, s) +
                          (o->first + v) * gc_winograd_row_raw(plan, s);
    double sums[GC_MAX_LANES];
    gc_lane_tile a = {
        .run[0] = {.in = b->input + (row * s->box.row + column * s->box.pitch) * size,
                   .out = sums,
                   .count = 1},
        .channel = 1,
        .taps = s->direct_taps,
        .ntaps = s->ntaps * GC_ROW_TAPS,
        .channels = plan->problem.in_per_group,
        .weight = (const char *)b->run->weights + (group + raw * lanes) * size,
        .init = o->init + v * lanes * size,
        .last = v == o->vectors - 1 ? o->last : (int)lanes,
        .epilogue = {.clamp = 1, .low = -INFINITY, .high = INFINITY},
    };
    plan->kernels->lane_tile[0][0][0](&a);
    for (ptrdiff_t l = 0; l < a.last; l++)
        if (!isfinite(gc_read_real(result, l, size)))
            memcpy(result + l * size, (const char *)sums + l * size, (size_t)size);
}

/* Results of some tiles of a row again, those that are not finite directly: as `a` would have them. */
static void mend(const block *o, const gc_winograd_row_output *a, ptrdiff_t row, ptrdiff_t column) {
    box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const int waits = !b->s->plain;
    gc_winograd_row_output bare = *a;
    if (!waits) bare.out = b->results;
    bare.out_step = o->vectors * lanes;
    bare.residual = NULL;
    bare.epilogue = (gc_lane_epilogue){.clamp = 1, .low = -INFINITY, .high = INFINITY};
    plan->kernels->winograd_row_output(&bare);
    if (!b->packed) pack(b);
    gc_finish f = {
        .from = bare.out,
        .to = a->out,
        .residual = a->residual,
        .to_stride = size,
        .residual_stride = size,
        .n = (o->vectors - 1) * lanes + a->last,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t j = 0; j < a->count; j++) {
        for (ptrdiff_t v = 0; v < o->vectors; v++)
            sum_directly(o, row, column + j, v, (char *)f.from + v * lanes * size);
        if (!waits || o->place.turned) plan->kernels->finish(&f);
        f.from = (const char *)f.from + bare.out_step * size;
        f.to = (char *)f.to + a->out_step * size;
        if (f.residual) f.residual = (const char *)f.residual + a->residual_step * size;
    }
}

/* The result that position `i` of the box's tiles begins with, counted over the depth's results. */
static ptrdiff_t result_of(const box *b, ptrdiff_t i) {
    const ptrdiff_t wide = b->run->plan->problem.out_size[2];
    return (b->first + i / b->s->tiles) * wide + i % b->s->tiles * GC_ROW_OUTPUTS;
}

/* Results of positions first .. last - 1, from their products. */
static void finish(const block *o, ptrdiff_t first, ptrdiff_t last) {
    box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t begin = result_of(b, first), end = result_of(b, last);
    const int residual = p->has_residual && (s->plain || o->place.turned);
    if (residual && !s->plain) gc_channel_results_fetch(&o->place, begin, end, b->residual);
    gc_winograd_row_output a = {
        .init = o->init,
        .element = o->element,
        .out_step = s->plain ? p->output_strides[4] / size : o->vectors * lanes,
        .residual_step = s->plain ? p->residual_strides[4] / size : o->vectors * lanes,
        .vectors = (int)o->vectors,
        .last = o->last,
        .epilogue = s->epilogue,
    };
    if (!s->plain && !o->place.turned)
        a.epilogue = (gc_lane_epilogue){.clamp = 1, .low = -INFINITY, .high = INFINITY};
    for (ptrdiff_t i = first, n; i < last; i += n) {
        const ptrdiff_t row = i / s->tiles, t = i % s->tiles, column = t * GC_ROW_OUTPUTS;
        const ptrdiff_t waits = (result_of(b, i) - begin) * o->place.step;
        n = gc_min(s->tiles - t, last - i);
        a.in = b->products + (i - first) * o->vectors * lanes * size;
        a.count = gc_min(n * GC_ROW_OUTPUTS, p->out_size[2] - column);
        a.out = s->plain ? gc_channel_results_output(&o->place, b->first + row, column)
                         : b->results + waits;
        if (residual)
            a.residual = s->plain ? gc_channel_results_residual(&o->place, b->first + row, column)
                                  : b->residual + waits;
        if (plan->kernels->winograd_row_output(&a)) mend(o, &a, row, column);
    }
    if (!s->plain) gc_channel_results_store(&o->place, begin, end, b->results);
}

static void run_block(box *b, ptrdiff_t index) {
    const gc_winograd_row *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t first = gc_cut(s->vectors, s->blocks, index);
    const ptrdiff_t vectors = gc_cut(s->vectors, s->blocks, index + 1) - first;
    const ptrdiff_t channels = gc_min(vectors * lanes, p->out_per_group - first * lanes);
    const ptrdiff_t k = b->g * p->out_per_group + first * lanes;
    const ptrdiff_t weights = b->g * gc_winograd_row_group(plan, s) +
                              first * gc_winograd_row_transformed(plan, s) * lanes;
    const block o = {
        .b = b,
        .place = {.run = b->run,
                  .n = b->n,
                  .depth = b->depth,
                  .k = k,
                  .channels = channels,
                  .wide = p->out_size[2],
                  .joined = s->joined,
                  .step = vectors * lanes * size,
                  .turned = !s->plain && gc_channel_results_turn(plan, channels)},
        .first = first,
        .vectors = vectors,
        .last = (int)(channels - (vectors - 1) * lanes),
        .products = &s->products[vectors - 1],
        .element = s->products[vectors - 1].held * vectors * lanes,
        .weights = (const char *)b->run->weights + weights * size,
        .init = (const char *)b->run->bias + k * size,
    };
    const ptrdiff_t positions = b->rows * s->tiles;
    for (ptrdiff_t i = 0, end; i < positions; i = end) {
        end = gc_min(i + o.products->held, positions);
        multiply(&o, i, end);
        finish(&o, i, end);
    }
}

void gc_winograd_row_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_problem *p = &run->plan->problem;
    const gc_winograd_row *s = run->plan->state;
    box b = {.run = run, .s = s};
    bind(&b, scratch);
    memset(b.windows, 0, (size_t)(b.products - b.windows)); /* behind a box, too, is read */
    ptrdiff_t ready = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t place = unit / s->blocks, slice = place / s->boxes;
        if (place != ready) {
            b.first = gc_cut(p->out_size[1], s->boxes, place % s->boxes);
            b.rows = gc_cut(p->out_size[1], s->boxes, place % s->boxes + 1) - b.first;
            b.depth = slice % p->out_size[0];
            b.g = slice / p->out_size[0] % p->groups;
            b.n = slice / p->out_size[0] / p->groups;
            transform(&b);
            ready = place;
        }
        run_block(&b, unit % s->blocks);
    }
}
