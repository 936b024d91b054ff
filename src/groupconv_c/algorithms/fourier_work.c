/* The work of convolution by Fourier transforms: pack, transform, multiply, transform back, finish.
 *
 * The transforms mix all elements of a block and channels are summed up: an infinity or NaN would spread over the
 * block, and so would an overflow. Results that are not finite are replaced by direct sums over the same rows.
 */
#include <math.h>
#include <string.h>

#include "fourier.h"

/* Some blocks of one image and group. */
typedef struct box {
    const gc_run *run;
    const gc_fourier_state *s;
    char *planes, *in, *out, *data, *row, *tile, *raw, *spectra;
    ptrdiff_t n, g, first, count; /* blocks */
} box;

static void bind(box *b, const gc_plan *plan, char *scratch) {
    const gc_fourier_sizes z = gc_fourier_scratch(plan, b->s);
    b->planes = scratch;
    b->in = b->planes + z.planes;
    b->out = b->in + z.in;
    b->data = b->out + z.out;
    b->row = b->data + z.data;
    b->tile = b->row + z.row;
    b->raw = b->tile + z.tile;
    b->spectra = b->raw + z.raw;
}

void gc_fourier_weights(const gc_plan *plan, const char *raw, ptrdiff_t count, char *to) {
    const gc_problem *p = &plan->problem;
    const gc_fourier_state *s = plan->state;
    const ptrdiff_t lanes = plan->kernels->lanes, taps = p->kernel[2];
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, vector = lanes * size;
    char *data = to + s->spectra * size, *turned = data + s->tables.points * vector;
    gc_fourier a = gc_fourier_transform(&s->tables, data, to, p->in_per_group * 2 * lanes, lanes);
    a.scale = 0.25 / (double)s->tables.points; /* of both transforms forth and the one back */
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        const gc_turn turn = {
            .from = raw + c * taps * size,
            .to = turned,
            .from_step = s->raw.per_k,
            .to_step = lanes,
            .rows = count,
            .n = taps,
        };
        plan->kernels->turn(&turn);
        memset(data, 0, (size_t)(s->tables.points * vector));
        for (ptrdiff_t t = 0; t < taps; t++)
            memcpy(data + (s->tables.points - s->offset[t]) % s->tables.points * vector,
                   turned + t * vector, (size_t)vector);
        plan->kernels->fourier_forth(&a);
        a.spectrum = (char *)a.spectrum + 2 * vector;
    }
}

/* Clears what no output of the box reads: under a padding mode it would be elements of elsewhere in the row, which
 * must not reach a block's results by way of their rounding. */
static void clear_unread(const box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t left = p->out_size[2] - b->first * s->outputs;
    const ptrdiff_t read = gc_min(b->count * s->outputs, left) + s->tables.points - s->outputs;
    for (ptrdiff_t c = 0; c < p->in_per_group && read < s->planes.size[2]; c++)
        memset(b->planes + (c * s->planes.channel + read) * size, 0,
               (size_t)((s->planes.size[2] - read) * size));
}

static void transform_input(const box *b) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t origin[3] = {0, 0, b->first * s->outputs};
    const char *image = (const char *)b->run->arrays->input + b->n * p->input_strides[0] +
                        b->g * p->in_per_group * p->input_strides[1];
    gc_pack(plan, s->axes, &s->planes, image, p->input_strides + 1, p->in_per_group, origin, 0,
            b->planes);
    clear_unread(b);
    const ptrdiff_t channels = s->in_vectors * lanes;
    for (ptrdiff_t i = 0; i < b->count; i++)
        for (ptrdiff_t v = 0; v < s->in_vectors; v++) {
            const ptrdiff_t c = v * lanes;
            const gc_turn turn = {
                .from = b->planes + (c * s->planes.channel + i * s->outputs) * size,
                .to = b->data,
                .from_step = s->planes.channel,
                .to_step = lanes,
                .rows = gc_min(lanes, p->in_per_group - c),
                .n = s->tables.points,
            };
            plan->kernels->turn(&turn);
            const gc_fourier a = gc_fourier_transform(
                &s->tables, b->data, b->in + (i * 2 * channels + c) * size, s->bin, channels);
            plan->kernels->fourier_forth(&a);
        }
}

/* Spectra of the kernels of vector v of output channels: prepared, or made now. */
static const char *spectra_of(const box *b, ptrdiff_t v) {
    const gc_plan *plan = b->run->plan;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    if (b->run->weights)
        return (const char *)b->run->weights + (b->g * s->group + v * s->vector) * size;
    const ptrdiff_t count = gc_min(lanes, plan->problem.out_per_group - v * lanes);
    const ptrdiff_t row = b->g * plan->problem.out_per_group + v * lanes;
    gc_weights_copy(&s->raw, plan, b->run->arrays->weight, b->raw, row, row + count);
    gc_fourier_weights(plan, b->raw, count, b->spectra);
    return b->spectra;
}

/* The weights themselves of channel l of vector v, whose spectra were used last. */
static const char *weights_of(const box *b, ptrdiff_t v, ptrdiff_t l) {
    const gc_plan *plan = b->run->plan;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    if (b->run->weights == NULL) return b->raw + l * s->raw.per_k * size;
    const ptrdiff_t k = v * plan->kernels->lanes + l;
    return (const char *)b->run->weights +
           (b->g * s->group + s->out_vectors * s->vector + k * s->raw.per_k) * size;
}

static void multiply(const box *b, const char *spectra) {
    const gc_plan *plan = b->run->plan;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    gc_fourier_sum a = {
        .weight = spectra,
        .bins = s->tables.half + 1,
        .channels = plan->problem.in_per_group,
        .x_bin = s->bin,
        .x_block = s->in_vectors * 2 * lanes,
        .x_imaginary = s->in_vectors * lanes,
        .y_bin = s->most * 2 * lanes,
    };
    for (ptrdiff_t i = 0, n; i < b->count; i += n) {
        n = gc_ceil_div(b->count - i, gc_ceil_div(b->count - i, GC_MAX_FOURIER_BLOCKS));
        a.x = b->in + i * a.x_block * size;
        a.y = b->out + i * 2 * lanes * size;
        plan->kernels->fourier_sum[n - 1](&a);
    }
}

static int all_finite(const char *row, ptrdiff_t n, ptrdiff_t size) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) sum += 0 * gc_read_real(row, i, size);
    return sum == 0;
}

/* Replaces what is not finite of the first n results of a block by plain tap sums. */
static void redo_directly(const box *b, ptrdiff_t block, ptrdiff_t n, const char *weight,
                          const char *bias, char *row) {
    const gc_plan *plan = b->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    gc_tap_sum sum = {
        .weight = weight,
        .taps = b->s->taps,
        .ntaps = b->s->raw.per_k,
        .init = bias,
        .out = b->tile,
    };
    for (ptrdiff_t i = 0; i < n; i += lanes) {
        sum.plane = b->planes + (block * b->s->outputs + i) * size;
        plan->kernels->tap_sum[0][0](&sum);
        for (ptrdiff_t l = 0; l < gc_min(lanes, n - i); l++)
            if (!isfinite(gc_read_real(row, i + l, size)))
                memcpy(row + (i + l) * size, b->tile + l * size, (size_t)size);
    }
}

/* Rows of one block of a vector of output channels: checked, and to their places. */
static void finish_rows(const box *b, ptrdiff_t block, ptrdiff_t v) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t first = (b->first + block) * s->outputs;
    const ptrdiff_t n = gc_min(s->outputs, p->out_size[2] - first);
    const char *residual = p->has_residual ? b->run->arrays->residual : NULL;
    gc_finish f = {
        .to_stride = o[4],
        .residual_stride = r[4],
        .n = n,
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    for (ptrdiff_t l = 0; l < lanes && v * lanes + l < p->out_per_group; l++) {
        const ptrdiff_t k = b->g * p->out_per_group + v * lanes + l;
        char *row = b->row + l * (s->outputs + lanes) * size;
        if (!all_finite(row, n, size))
            redo_directly(b, block, n, weights_of(b, v, l), (const char *)b->run->bias + k * size,
                          row);
        f.from = row;
        f.to = (char *)b->run->arrays->output + b->n * o[0] + k * o[1] + first * o[4];
        if (residual) f.residual = residual + b->n * r[0] + k * r[1] + first * r[4];
        plan->kernels->finish(&f);
    }
}

/* A bias is what its frequency, 0, adds to every element. */
static void add_bias(const box *b, ptrdiff_t v, char *spectrum) {
    const gc_plan *plan = b->run->plan;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t out = plan->problem.out_per_group, at = b->g * out + v * lanes;
    for (ptrdiff_t l = 0; l < gc_min(lanes, out - v * lanes); l++)
        if (size == 4)
            ((float *)spectrum)[l] += ((const float *)b->run->bias)[at + l];
        else
            ((double *)spectrum)[l] += ((const double *)b->run->bias)[at + l];
}

static void run_vector(const box *b, ptrdiff_t v) {
    const gc_plan *plan = b->run->plan;
    const gc_fourier_state *s = b->s;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    multiply(b, spectra_of(b, v));
    for (ptrdiff_t i = 0; i < b->count; i++) {
        char *spectrum = b->out + i * 2 * lanes * size;
        add_bias(b, v, spectrum);
        const gc_fourier a =
            gc_fourier_transform(&s->tables, b->data, spectrum, s->most * 2 * lanes, lanes);
        plan->kernels->fourier_back(&a);
        for (ptrdiff_t at = 0; at < s->outputs; at += lanes) {
            const gc_turn turn = {
                .from = b->data + at * lanes * size,
                .to = b->row + at * size,
                .from_step = lanes,
                .to_step = s->outputs + lanes,
                .rows = lanes, /* of the whole block: those behind its outputs are not read */
                .n = lanes,
            };
            plan->kernels->turn(&turn);
        }
        finish_rows(b, i, v);
    }
}

void gc_fourier_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_fourier_state *s = plan->state;
    box b = {.run = run, .s = s};
    bind(&b, plan, scratch);
    gc_planes_clear_slack(&s->planes, p->in_per_group, plan->kernels, b.planes);
    ptrdiff_t ready = -1;
    for (ptrdiff_t unit = first, n; unit < last; unit += n) {
        const ptrdiff_t i = unit % s->kslabs, place = unit / s->kslabs, at = place % s->boxes;
        const ptrdiff_t whole = i > 0 ? 0 : gc_min((last - unit) / s->kslabs, s->boxes - at);
        const ptrdiff_t joined = gc_min(whole, s->most / s->together);
        n = joined > 1 ? joined * s->kslabs : 1;
        if (place != ready) {
            b.first = at * s->together;
            b.count = gc_min(gc_max(joined, 1) * s->together, s->blocks - b.first);
            b.g = place / s->boxes % p->groups;
            b.n = place / s->boxes / p->groups;
            transform_input(&b);
            ready = joined > 1 ? -1 : place;
        }
        const ptrdiff_t from = gc_cut(s->out_vectors, s->kslabs, i);
        const ptrdiff_t to = joined > 1 ? s->out_vectors : gc_cut(s->out_vectors, s->kslabs, i + 1);
        for (ptrdiff_t v = from; v < to; v++) run_vector(&b, v);
    }
}
