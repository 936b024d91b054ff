/* Normal form of a problem, and sums over it. */
#include <string.h>

#include "plan.h"

ptrdiff_t gc_storage_size(gc_dtype dtype) {
    switch (dtype) {
        case GC_F32:
            return 4;
        case GC_F64:
            return 8;
        case GC_F16:
        case GC_BF16:
            return 2;
    }
    return 0;
}

static gc_status check(const gc_problem *p) {
    if (p->ndim < 1 || p->ndim > GC_MAX_DIMS) {
        gc_set_error("ndim is %d; it must be 1, 2 or 3", p->ndim);
        return GC_ERROR_PROBLEM;
    }
    if (gc_storage_size(p->dtype) == 0) {
        gc_set_error("dtype %d is unknown", (int)p->dtype);
        return GC_ERROR_PROBLEM;
    }
    if (p->batch < 0 || p->groups < 1 || p->in_per_group < 1 || p->out_per_group < 1) {
        gc_set_error(
            "batch %td, groups %td, channels per group %td -> %td: batch must not be negative, "
            "the others at least 1",
            p->batch, p->groups, p->in_per_group, p->out_per_group);
        return GC_ERROR_PROBLEM;
    }
    for (int i = 0; i < p->ndim; i++) {
        if (p->in_size[i] < 1 || p->kernel[i] < 1 || p->stride[i] < 1 || p->dilation[i] < 1 ||
            p->out_size[i] < 0) {
            gc_set_error(
                "dimension %d: input %td, kernel %td, stride %td, dilation %td must be at "
                "least 1 and output %td not negative",
                i, p->in_size[i], p->kernel[i], p->stride[i], p->dilation[i], p->out_size[i]);
            return GC_ERROR_PROBLEM;
        }
        const ptrdiff_t n = p->in_size[i];
        const ptrdiff_t last = (p->out_size[i] - 1) * p->stride[i] +
                               (p->kernel[i] - 1) * p->dilation[i] - p->pad_before[i];
        const ptrdiff_t reach = gc_max(p->pad_before[i], last - (n - 1));
        if (p->op != GC_CONV_TRANSPOSE && p->out_size[i] > 0 &&
            ((p->padding_mode == GC_REFLECT && reach >= n) ||
             (p->padding_mode == GC_CIRCULAR && reach > n))) {
            gc_set_error(
                "dimension %d: padding of %td is too large for size %td and this padding mode", i,
                reach, n);
            return GC_ERROR_PROBLEM;
        }
    }
    if (p->op == GC_CONV_TRANSPOSE && p->padding_mode != GC_ZEROS) {
        gc_set_error("a transposed convolution has no padding mode but zeros");
        return GC_ERROR_PROBLEM;
    }
    if (p->op == GC_GRAD_WEIGHT && (p->has_residual || p->activation != GC_IDENTITY)) {
        gc_set_error("a weight gradient has neither residual nor activation");
        return GC_ERROR_PROBLEM;
    }
    return GC_OK;
}

static void shift_strides(ptrdiff_t to[5], const ptrdiff_t from[5], int ndim) {
    const int missing = GC_MAX_DIMS - ndim;
    to[0] = from[0];
    to[1] = from[1];
    for (int i = 0; i < missing; i++) to[2 + i] = 0;
    for (int i = 0; i < ndim; i++) to[2 + missing + i] = from[2 + i];
}

gc_status gc_problem_normalise(const gc_problem *from, gc_problem *to) {
    const gc_status status = check(from);
    if (status != GC_OK) return status;
    *to = *from;
    const int missing = GC_MAX_DIMS - from->ndim;
    for (int i = 0; i < GC_MAX_DIMS; i++) {
        const int j = i - missing;
        to->in_size[i] = j < 0 ? 1 : from->in_size[j];
        to->kernel[i] = j < 0 ? 1 : from->kernel[j];
        to->out_size[i] = j < 0 ? 1 : from->out_size[j];
        to->stride[i] = j < 0 ? 1 : from->stride[j];
        to->dilation[i] = j < 0 ? 1 : from->dilation[j];
        to->pad_before[i] = j < 0 ? 0 : from->pad_before[j];
    }
    shift_strides(to->input_strides, from->input_strides, from->ndim);
    shift_strides(to->weight_strides, from->weight_strides, from->ndim);
    shift_strides(to->output_strides, from->output_strides, from->ndim);
    shift_strides(to->residual_strides, from->residual_strides, from->ndim);
    if (!to->has_residual) memset(to->residual_strides, 0, sizeof to->residual_strides);
    to->ndim = GC_MAX_DIMS;
    return GC_OK;
}

static double product(const ptrdiff_t size[3]) {
    return (double)size[0] * (double)size[1] * (double)size[2];
}

double gc_problem_macs(const gc_problem *p) {
    const double per_position =
        (double)p->groups * (double)p->in_per_group * (double)p->out_per_group * product(p->kernel);
    const double positions = product(p->op == GC_CONV_TRANSPOSE ? p->in_size : p->out_size);
    return (double)p->batch * positions * per_position;
}

/* Bytes that must move at least: each array once. */
double gc_problem_bytes(const gc_problem *p) {
    const double in =
        (double)p->batch * (double)p->groups * (double)p->in_per_group * product(p->in_size);
    const double out =
        (double)p->batch * (double)p->groups * (double)p->out_per_group * product(p->out_size);
    const double weight =
        (double)p->groups * (double)p->in_per_group * (double)p->out_per_group * product(p->kernel);
    return (in + out * (p->has_residual ? 2 : 1) + weight) * (double)gc_storage_size(p->dtype);
}

int gc_problem_is_far(const gc_problem *p) { return gc_problem_bytes(p) > 8 * 1024 * 1024; }

/* Cycles of an element that comes from a cache line of its own; lines that hold channels of one group only are still
 * there for the next channel, more often. */
static double strided_cycles(ptrdiff_t stride, ptrdiff_t group_bytes) {
    enum { line = 64 };
    if (stride < line && stride > -line) return 0;
    return group_bytes >= 2 * line ? 3 : 6;
}

double gc_strided_cycles(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = plan->storage_size;
    double cycles = 0;
    if (p->in_size[2] > 1)
        cycles += (double)(p->batch * p->groups * p->in_per_group) * product(p->in_size) *
                  strided_cycles(p->input_strides[4], p->in_per_group * size);
    if (p->out_size[2] > 1)
        cycles += (double)(p->batch * p->groups * p->out_per_group) * product(p->out_size) *
                  strided_cycles(p->output_strides[4], p->out_per_group * size);
    return cycles;
}

gc_stream gc_stream_input(const gc_plan *plan, const char *image, ptrdiff_t channels,
                          ptrdiff_t steps) {
    enum { most_bytes = 256 * 1024 };
    const gc_problem *p = &plan->problem;
    const ptrdiff_t channel = p->in_size[0] * p->in_size[1] * p->in_size[2] * plan->storage_size;
    const ptrdiff_t bytes = channels * channel;
    if (bytes > most_bytes || (channels > 1 && p->input_strides[1] != channel))
        return (gc_stream){image, 0};
    return (gc_stream){image, gc_ceil_div(bytes, gc_max(steps, 1))};
}

static int is_rows(const ptrdiff_t strides[5], const ptrdiff_t size[3], ptrdiff_t item) {
    return (size[2] == 1 || strides[4] == item) && (size[1] == 1 || strides[3] == item * size[2]) &&
           (size[0] == 1 || strides[2] == item * size[2] * size[1]);
}

int gc_input_is_contiguous(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t *i = p->input_strides, channels = p->groups * p->in_per_group;
    const ptrdiff_t map = p->in_size[0] * p->in_size[1] * p->in_size[2] * plan->storage_size;
    return gc_stores_reals(plan) && is_rows(i, p->in_size, plan->storage_size) &&
           (channels == 1 || i[1] == map) && (p->batch == 1 || i[0] == channels * map);
}

int gc_output_is_contiguous(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    return p->output_strides[1] % plan->storage_size == 0 &&
           is_rows(p->output_strides, p->out_size, plan->storage_size);
}

int gc_output_is_rows(const gc_plan *plan) {
    return gc_stores_reals(plan) && gc_output_is_contiguous(plan);
}

int gc_residual_is_rows(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    return !p->has_residual || (p->residual_strides[1] % plan->storage_size == 0 &&
                                is_rows(p->residual_strides, p->out_size, plan->storage_size));
}
