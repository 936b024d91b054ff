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
    char *windows, *products, *results, *input;
    ptrdiff_t n, g, depth; /* of the output */
    ptrdiff_t first, rows; /* output rows of a box */
    int packed;            /* their input is in the packed box */
} box;

static void bind(box *b, char *scratch) {
    const gc_winograd_row_sizes z = gc_winograd_row_scratch(b->run->plan, b->s);
    b->windows = scratch;
    b->products = b->windows + z.windows + z.spill;
    memset(b->windows + z.windows, 0, z.spill);
    b->results = b->products + z.products;
    b->input = b->results + z.results;
}

/* Input channels of the box's groups. */
static ptrdiff_t channels_in(const box *b) {
    const gc_problem *p = &b->run->plan->problem;
    return gc_min(b->s->in, p->groups * p->in_per_group - b->g * b->s->in);
}

static ptrdiff_t window_rows(const box *b) { return b->rows + b->s->in_rows - b->s->rows; }

/* Rows of the box from `first` on. */
static void pack(const box *b, ptrdiff_t first) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_row *s = b->s;
    const gc_channel_source source = {
        .image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                 b->g * s->in * p->input_strides[1],
        .channels = channels_in(b),
        .depth = b->depth * p->stride[0] - s->pad_before[0],
        .row = b->first + first - s->pad_before[1],
        .rows = window_rows(b) - first,
    };
    gc_channel_box_pack(&s->box, plan, &source,
                        b->input + first * s->box.row * (ptrdiff_t)plan->kernels->real_size);
}

/* Some rows of a depth, channels side by side. */
static void turn(const box *b, const char *from, ptrdiff_t rows) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides, wide = p->in_size[2], pitch = b->s->in;
    const ptrdiff_t bytes = wide * pitch * (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t joined = i[3] == wide * i[4] ? gc_max(rows, 1) : 1;
    for (ptrdiff_t y = 0; y < rows; y += joined)
        gc_channel_box_turn(plan, from + y * i[3], i[1], channels_in(b), b->input + y * bytes,
                            pitch, joined * wide);
}

/* Rows of windows of one depth, from `begin` on; zeros but for first .. last - 1, the first of which is at `source`. */
static void transform_depth(const box *b, gc_winograd_row_input a, const char *source,
                            ptrdiff_t row_bytes, ptrdiff_t begin, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = b->run->plan;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t bytes = s->tiles * s->tile * (ptrdiff_t)plan->kernels->real_size;
    a.out = (char *)a.out + begin * bytes;
    for (ptrdiff_t y = begin; y < window_rows(b); y++, a.out = (char *)a.out + bytes) {
        if (y < first || y >= last) {
            memset(a.out, 0, (size_t)bytes);
            continue;
        }
        a.from = source + (y - first) * row_bytes;
        plan->kernels->winograd_row_input(&a);
    }
}

/* Where the windows of the kernel's first depth are. */
static ptrdiff_t first_place(const box *b) {
    return b->s->turns ? b->depth % b->run->plan->problem.kernel[0] : 0;
}

/* The box's rows of windows from `begin` on, of the kernel's depths from `deep` on. */
static void transform(const box *b, ptrdiff_t begin, ptrdiff_t deep) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, *i = p->input_strides;
    const ptrdiff_t top = b->first - s->pad_before[1], rows = window_rows(b);
    const char *image = (const char *)b->run->arrays->input + b->n * i[0] + b->g * s->in * i[1];
    const int packed = s->source == GC_ROW_PACKED, in_place = s->source == GC_ROW_IN_PLACE;
    const ptrdiff_t depth_bytes = s->in_rows * s->tiles * s->tile * size;
    gc_winograd_row_input a = {
        .first = packed ? 0 : -s->pad_before[2],
        .columns = packed ? s->box.columns : p->in_size[2],
        .step = in_place ? i[4] / size : s->in,
        .tiles = s->tiles,
        .channels = channels_in(b),
        .element = s->element,
        .tile = s->tile,
        .order = s->share > 1 ? s->order : NULL,
    };
    if (packed) pack(b, begin);
    const ptrdiff_t first = gc_min(gc_max(-top, begin), rows);
    const ptrdiff_t last = gc_max(gc_min(p->in_size[1] - top, rows), first);
    for (ptrdiff_t d = deep; d < p->kernel[0]; d++) {
        a.out = b->windows + (first_place(b) + d) % p->kernel[0] * depth_bytes;
        const ptrdiff_t z = b->depth * p->stride[0] + d * p->dilation[0] - s->pad_before[0];
        const int there = z >= 0 && z < p->in_size[0];
        const char *row = there ? image + z * i[2] + (top + first) * i[3] : NULL;
        if (packed) {
            const char *rows_there = b->input + (d * s->box.slice + begin * s->box.row) * size;
            transform_depth(b, a, rows_there, s->box.row * size, begin, begin, rows);
        } else if (in_place || !there) {
            transform_depth(b, a, row, i[3], begin, first, there ? last : first);
        } else {
            turn(b, row, last - first);
            transform_depth(b, a, b->input, p->in_size[2] * s->in * size, begin, first, last);
        }
    }
}

/* Goes on to a box. Windows that are there stay: all of them, for another block of output channels; those of rows at the
 * end of the box before, which move to the beginning; those of all depths but the last. */
static void go_to(box *b, const gc_winograd_row_place *to) {
    const gc_winograd_row *s = b->s;
    const ptrdiff_t deep = b->run->plan->problem.kernel[0];
    const ptrdiff_t row = s->tiles * s->tile * (ptrdiff_t)b->run->plan->kernels->real_size;
    const int same_groups = to->n == b->n && to->g == b->g;
    const int same_rows = to->first == b->first && to->last - to->first == b->rows;
    ptrdiff_t rows = 0, depths = 0; /* that stay */
    if (same_groups && to->depth == b->depth) {
        if (same_rows) return;
        rows = gc_max(b->first + window_rows(b) - to->first, 0);
        for (ptrdiff_t d = 0; d < deep && rows > 0; d++) {
            char *windows = b->windows + d * s->in_rows * row;
            memmove(windows, windows + (to->first - b->first) * row, (size_t)(rows * row));
        }
    } else if (same_groups && same_rows && s->turns && to->depth == b->depth + 1) {
        depths = deep - 1;
    }
    b->n = to->n;
    b->g = to->g;
    b->depth = to->depth;
    b->first = to->first;
    b->rows = to->last - to->first;
    b->packed = s->source == GC_ROW_PACKED && rows == 0;
    transform(b, rows, depths);
}

/* A block of output channels of a box. */
typedef struct block {
    box *b;
    gc_channel_results results;
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
        .taps = s->taps + first_place(b) * s->ntaps,
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

/* One result of vector v, as a sum of products of the input channels from c on. */
static void sum_directly(const block *o, ptrdiff_t row, ptrdiff_t column, ptrdiff_t v, ptrdiff_t c,
                         void *sum) {
    const box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_winograd_row *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t group = b->g * gc_winograd_row_group(plan, s);
    const ptrdiff_t raw = s->vectors * gc_winograd_row_transformed(plan, s) +
                          (o->first + v) * gc_winograd_row_raw(plan, s);
    gc_lane_tile a = {
        .run[0] = {.in = b->input + (row * s->box.row + column * s->box.pitch + c) * size,
                   .out = sum,
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
}

/* Replaces the lanes of a result that are not finite. Each group that shares the vector is summed up by itself, in all
 * lanes, of which its own are taken. */
static void mend_result(const block *o, ptrdiff_t row, ptrdiff_t column, ptrdiff_t v,
                        char *result) {
    const gc_winograd_row *s = o->b->s;
    const gc_plan *plan = o->b->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t count = v == o->vectors - 1 ? o->last : lanes, own = lanes / s->share;
    double sums[GC_MAX_LANES];
    for (ptrdiff_t l = 0, end; l < count; l = end) {
        end = gc_min(l + own, count);
        sum_directly(o, row, column, v, l / own * plan->problem.in_per_group, sums);
        for (; l < end; l++)
            if (!isfinite(gc_read_real(result, l, size)))
                memcpy(result + l * size, (const char *)sums + l * size, (size_t)size);
    }
}

/* Results of some tiles of a row again, those that are not finite directly: as `a` would have them. */
static void mend(const block *o, const gc_winograd_row_output *a, ptrdiff_t row, ptrdiff_t column) {
    box *b = o->b;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const int waits = !b->s->plain, finishes = !waits || !gc_channel_results_late(&o->results);
    gc_winograd_row_output bare = *a;
    if (!waits) bare.out = b->results;
    bare.out_step = o->vectors * lanes;
    bare.residual = NULL;
    bare.epilogue = (gc_lane_epilogue){.clamp = 1, .low = -INFINITY, .high = INFINITY};
    plan->kernels->winograd_row_output(&bare);
    if (!b->packed) pack(b, 0);
    b->packed = 1;
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
            mend_result(o, row, column + j, v, (char *)f.from + v * lanes * size);
        if (finishes) plan->kernels->finish(&f);
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
    gc_winograd_row_output a = {
        .init = o->init,
        .element = o->element,
        .out_step = s->plain ? p->output_strides[4] / size : o->vectors * lanes,
        .residual_step = p->residual_strides[4] / size,
        .vectors = (int)o->vectors,
        .last = o->last,
        .order = s->share > 1 ? s->order : NULL,
        .back = s->share > 1 ? s->back : NULL,
        .epilogue = s->epilogue,
    };
    if (!s->plain) a.epilogue = gc_channel_results_before(&o->results);
    for (ptrdiff_t i = first, n; i < last; i += n) {
        const ptrdiff_t row = i / s->tiles, t = i % s->tiles, column = t * GC_ROW_OUTPUTS;
        const ptrdiff_t waits = (result_of(b, i) - begin) * o->results.step;
        n = gc_min(s->tiles - t, last - i);
        a.in = b->products + (i - first) * o->vectors * lanes * size;
        a.count = gc_min(n * GC_ROW_OUTPUTS, p->out_size[2] - column);
        a.out = s->plain ? gc_channel_results_output(&o->results, b->first + row, column)
                         : b->results + waits;
        if (s->plain) a.residual = gc_channel_results_residual(&o->results, b->first + row, column);
        if (plan->kernels->winograd_row_output(&a)) mend(o, &a, row, column);
    }
    if (!s->plain) gc_channel_results_store(&o->results, begin, end, b->results);
}

static void run_block(box *b, ptrdiff_t index) {
    const gc_winograd_row *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t first = gc_cut(s->vectors, s->blocks, index);
    const ptrdiff_t vectors = gc_cut(s->vectors, s->blocks, index + 1) - first;
    const ptrdiff_t channels =
        gc_min(vectors * lanes, gc_winograd_row_out(plan, s, b->g) - first * lanes);
    const ptrdiff_t k = b->g * s->out + first * lanes;
    const ptrdiff_t weights = b->g * gc_winograd_row_group(plan, s) +
                              first * gc_winograd_row_transformed(plan, s) * lanes;
    const block o = {
        .b = b,
        .results = {.run = b->run,
                    .n = b->n,
                    .depth = b->depth,
                    .k = k,
                    .channels = channels,
                    .wide = p->out_size[2],
                    .joined = s->joined,
                    .step = vectors * lanes * size,
                    .turned = !s->plain && gc_channel_results_turn(plan, channels),
                    .epilogue = s->epilogue},
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
    const gc_winograd_row *s = run->plan->state;
    box b = {.run = run, .s = s, .n = -1};
    bind(&b, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const gc_winograd_row_place to = gc_winograd_row_at(run->plan, s, unit / s->blocks);
        go_to(&b, &to);
        run_block(&b, unit % s->blocks);
    }
}
