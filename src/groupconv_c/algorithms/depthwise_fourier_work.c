/* The work of depthwise convolution by Fourier transforms of rows. A row with results that are not finite, over which
 * an infinity, a NaN or an overflow has spread, is summed up again directly where it is not; all rows are where a weight
 * is not finite, since rows of padding are not multiplied. */
#include <math.h>
#include <string.h>

#include "depthwise_fourier.h"
#include "to_lanes.h"

/* Rows of one image, of one vector of channels and one block of columns. */
typedef struct box {
    const gc_run *run;
    const gc_fourier_depthwise *s;
    char *in, *out, *data, *rows, *planes, *tile;
    ptrdiff_t n, channel, channels;
    ptrdiff_t column, columns; /* of results */
    ptrdiff_t row, high;       /* of results */
    ptrdiff_t in_row, in_high; /* of inputs */
    int finite;                /* are the kernels */
} box;

static void bind(box *b, const gc_plan *plan, char *scratch) {
    const gc_fourier_depthwise_sizes z = gc_fourier_depthwise_scratch(plan, b->s);
    b->in = scratch;
    b->out = b->in + z.in;
    b->data = b->out + z.out;
    b->rows = b->data + z.data;
    b->planes = b->rows + z.rows;
    b->tile = b->planes + z.planes;
}

/* Between rows of results that wait for their channels' turn. In reals. */
static ptrdiff_t row_step(const box *b) {
    return b->s->tables.points + b->run->plan->kernels->lanes;
}

static void transform_row(const box *b, ptrdiff_t y) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_depthwise *s = b->s;
    const ptrdiff_t lanes = plan->kernels->lanes, *x = p->input_strides;
    const ptrdiff_t vector = lanes * (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t left = b->column - p->pad_before[2], points = s->tables.points;
    /* elements of the input; blocks of padding alone have none */
    const ptrdiff_t first = gc_min(gc_max(0, -left), points);
    const ptrdiff_t last = gc_max(gc_min(points, p->in_size[2] - left), first);
    const char *from = (const char *)b->run->arrays->input + b->n * x[0] + b->channel * x[1] +
                       y * x[3] + (left + first) * x[4];
    char *row = b->rows + lanes * row_step(b) * (ptrdiff_t)plan->kernels->real_size;
    memset(b->data, 0, (size_t)(first * vector));
    memset(b->data + last * vector, 0, (size_t)((points - last) * vector));
    if (first < last)
        gc_to_lanes(plan, x, from, b->channels, 1, last - first, b->data + first * vector, row);
    const gc_fourier a = gc_fourier_transform(
        &s->tables, b->data, b->in + (y - b->in_row) * 2 * vector, s->in_high * 2 * lanes, lanes);
    plan->kernels->fourier_forth(&a);
}

/* Where the spectra of the box's kernels are. */
static const char *spectra_of(const box *b) {
    const gc_plan *plan = b->run->plan;
    return (const char *)b->run->weights +
           b->channel / plan->kernels->lanes * b->s->vector * (ptrdiff_t)plan->kernels->real_size;
}

static void start_box(box *b, ptrdiff_t place) {
    const gc_problem *p = &b->run->plan->problem;
    const gc_fourier_depthwise *s = b->s;
    const ptrdiff_t lanes = b->run->plan->kernels->lanes;
    const ptrdiff_t block = place / s->boxes % s->columns, rest = place / s->boxes / s->columns;
    b->n = rest / s->vectors;
    b->channel = rest % s->vectors * lanes;
    b->channels = gc_min(lanes, p->groups - b->channel);
    b->column = block * s->outputs;
    b->columns = gc_min(s->outputs, p->out_size[2] - b->column);
    b->row = place % s->boxes * s->high;
    b->high = gc_min(s->high, p->out_size[1] - b->row);
    b->in_row = gc_max(b->row - p->pad_before[1], 0);
    b->in_high = gc_max(
        gc_min(b->row - p->pad_before[1] + b->high + p->kernel[1] - 1, p->in_size[1]) - b->in_row,
        0);
    /* a row's first frequency is its sum */
    b->finite = b->run->plan->kernels->finite(spectra_of(b), 2 * s->kernel);
    for (ptrdiff_t y = 0; y < b->in_high; y++) transform_row(b, b->in_row + y);
}

/* A bias is what its frequency, 0, adds to every element. */
static void add_bias(const box *b, char *spectrum) {
    const int is_float = b->run->plan->kernels->real_size == sizeof(float);
    for (ptrdiff_t l = 0; l < b->channels; l++)
        if (is_float)
            ((float *)spectrum)[l] += ((const float *)b->run->bias)[b->channel + l];
        else
            ((double *)spectrum)[l] += ((const double *)b->run->bias)[b->channel + l];
}

/* Replaces what is not finite, or all where weights are not, in row y of the box's results of one channel by plain tap
 * sums. */
static void redo_directly(const box *b, ptrdiff_t y, ptrdiff_t l, char *row) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_depthwise *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t channel = b->channel + l, origin[3] = {0, b->row, b->column};
    const char *image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                        channel * p->input_strides[1];
    gc_tap_sum sum = {
        .weight = (const char *)b->run->weights +
                  (s->vectors * s->vector + channel * s->raw.per_k) * size,
        .taps = s->taps,
        .ntaps = s->raw.per_k,
        .init = (const char *)b->run->bias + channel * size,
        .out = b->tile,
    };
    gc_pack(plan, s->axes, &s->planes, image, p->input_strides + 1, 1, origin, 0, b->planes);
    for (ptrdiff_t i = 0; i < b->columns; i += lanes) {
        sum.plane = b->planes + (y * s->planes.pitch + i) * size;
        plan->kernels->tap_sum[0][0](&sum);
        for (ptrdiff_t j = 0; j < gc_min(lanes, b->columns - i); j++)
            if (!b->finite || !isfinite(gc_read_real(row, i + j, size)))
                memcpy(row + (i + j) * size, b->tile + j * size, (size_t)size);
    }
}

/* Row y of the box: transformed back, turned, checked, and to its places. */
static void finish_row(const box *b, ptrdiff_t y) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_depthwise *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides, step = row_step(b);
    char *spectrum = b->out + y * 2 * lanes * size;
    add_bias(b, spectrum);
    const gc_fourier a =
        gc_fourier_transform(&s->tables, b->data, spectrum, s->high * 2 * lanes, lanes);
    plan->kernels->fourier_back(&a);
    for (ptrdiff_t i = 0; i < b->columns; i += lanes)
        plan->kernels->turn(&(gc_turn){
            .from = b->data + i * lanes * size,
            .to = b->rows + i * size,
            .from_step = lanes,
            .to_step = step,
            .rows = lanes,
            .n = lanes,
        });
    const int finite = b->finite && plan->kernels->finite(b->data, b->columns);
    const ptrdiff_t at = (b->row + y) * o[3] + b->column * o[4];
    const char *residual = p->has_residual ? b->run->arrays->residual : NULL;
    gc_finish f = {
        .to_stride = o[4],
        .residual_stride = r[4],
        .n = b->columns,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t l = 0; l < b->channels; l++) {
        char *row = b->rows + l * step * size;
        if (!finite) redo_directly(b, y, l, row);
        const ptrdiff_t channel = b->channel + l;
        f.from = row;
        f.to = (char *)b->run->arrays->output + b->n * o[0] + channel * o[1] + at;
        if (residual)
            f.residual =
                residual + b->n * r[0] + channel * r[1] + (b->row + y) * r[3] + b->column * r[4];
        plan->kernels->finish(&f);
    }
}

/* Rows first .. last - 1 of the box. */
static void run_slab(const box *b, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_depthwise *s = b->s;
    const ptrdiff_t lanes = plan->kernels->lanes;
    plan->kernels->fourier_rows(&(gc_fourier_rows){
        .weight = spectra_of(b),
        .x = b->in,
        .y = b->out + first * 2 * lanes * (ptrdiff_t)plan->kernels->real_size,
        .bins = s->tables.half + 1,
        .taps = p->kernel[1],
        .w_bin = s->kernel * 2 * lanes,
        .x_bin = s->in_high * 2 * lanes,
        .y_bin = s->high * 2 * lanes,
        .rows = last - first,
        .height = b->in_high,
        .shift = b->row - p->pad_before[1] - b->in_row + first,
    });
    for (ptrdiff_t y = first; y < last; y++) finish_row(b, y);
}

void gc_fourier_depthwise_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_fourier_depthwise *s = plan->state;
    box b = {.run = run, .s = s};
    bind(&b, plan, scratch);
    gc_planes_clear_slack(&s->planes, 1, plan->kernels, b.planes);
    ptrdiff_t ready = -1;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t i = unit % s->slabs, place = unit / s->slabs;
        if (place != ready) start_box(&b, place);
        ready = place;
        run_slab(&b, gc_cut(b.high, s->slabs, i), gc_cut(b.high, s->slabs, i + 1));
    }
}
