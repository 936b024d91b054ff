/* groupconv.h: the C API of groupconv, usable without Python.
 *
 * A problem states one convolution, without data. A plan is a problem with everything that follows
 * from it decided: algorithm, instruction set, tiling, tables. Plans are immutable: several threads
 * may run one plan at once. Sizes and strides are ptrdiff_t; strides count bytes and may be
 * negative or zero (outputs: no overlap).
 *
 *     gc_plan *plan;
 *     if (gc_plan_create(&problem, "auto", &plan) == GC_OK) {
 *         gc_arrays arrays = {.input = x, .weight = w, .output = y};
 *         gc_plan_run(plan, &arrays, NULL, 2);
 *         gc_plan_destroy(plan);
 *     }
 */
#ifndef GROUPCONV_H
#define GROUPCONV_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GC_MAX_DIMS 3

typedef enum gc_status {
    GC_OK = 0,
    GC_ERROR_PROBLEM,   /* the problem contradicts itself (gc_last_error says how) */
    GC_ERROR_ALGORITHM, /* the named algorithm does not exist or cannot do this problem */
    GC_ERROR_ISA,       /* GROUPCONV_ISA names an instruction set unknown or unsupported here */
    GC_ERROR_MEMORY
} gc_status;

/* GC_CONV           out[n,k,o] = bias[k] + sum over c,r of w[k,c,r] x[n,c, o*stride + r*dilation - pad]
 * GC_CONV_TRANSPOSE out[n,k,o] = bias[k] + sum over c,r of w[c,k,r] x[n,c,i] where
 *                   i*stride = o + pad - r*dilation; also the gradient of GC_CONV by its input
 * GC_GRAD_WEIGHT    out[k,c,r] = sum over n,o of g[n,k,o] x[n,c, o*stride + r*dilation - pad];
 *                   gc_arrays.weight holds g, problem.weight_strides are its strides */
typedef enum gc_op { GC_CONV, GC_CONV_TRANSPOSE, GC_GRAD_WEIGHT } gc_op;

typedef enum gc_dtype { GC_F32, GC_F64, GC_F16, GC_BF16 } gc_dtype;

typedef enum gc_padding_mode { GC_ZEROS, GC_REFLECT, GC_REPLICATE, GC_CIRCULAR } gc_padding_mode;

typedef enum gc_activation {
    GC_IDENTITY,
    GC_RELU,
    GC_RELU6,
    GC_LEAKY_RELU, /* parameter: slope below zero */
    GC_SIGMOID,
    GC_TANH,
    GC_SILU,
    GC_HARDSIGMOID,
    GC_HARDSWISH,
    GC_GELU
} gc_activation;

typedef struct gc_problem {
    gc_op op;
    gc_dtype dtype;
    gc_padding_mode padding_mode;
    gc_activation activation;
    double activation_parameter;
    int has_residual;
    int weights_ahead; /* gc_arrays.prepared is given, so that preparing weights costs a call nothing */
    int ndim;
    ptrdiff_t batch, groups;
    ptrdiff_t in_per_group, out_per_group;
    ptrdiff_t in_size[GC_MAX_DIMS], kernel[GC_MAX_DIMS], out_size[GC_MAX_DIMS];
    ptrdiff_t stride[GC_MAX_DIMS], dilation[GC_MAX_DIMS];
    ptrdiff_t pad_before[GC_MAX_DIMS];
    /* bytes; two leading entries: (batch, channel) or (out, in) of a weight, then ndim entries */
    ptrdiff_t input_strides[2 + GC_MAX_DIMS], weight_strides[2 + GC_MAX_DIMS];
    ptrdiff_t output_strides[2 + GC_MAX_DIMS], residual_strides[2 + GC_MAX_DIMS];
} gc_problem;

typedef struct gc_arrays {
    const void *input;
    /* May be NULL when `prepared` is given; those of a transposed convolution only if they are finite. */
    const void *weight;
    const void *prepared; /* what gc_plan_prepare wrote, or NULL */
    const void *bias;     /* groups * out_per_group contiguous elements, or NULL for zeros */
    const void *residual; /* added before the activation; NULL unless problem.has_residual */
    void *output;
} gc_arrays;

typedef struct gc_plan gc_plan;

/* `algorithm`: NULL or "auto" for the one with the smallest predicted time, a name, or the beginning of
 * names ("winograd" for "winograd_4x4" and its like). */
gc_status gc_plan_create(const gc_problem *problem, const char *algorithm, gc_plan **plan);
void gc_plan_destroy(gc_plan *plan);

const char *gc_plan_algorithm(const gc_plan *plan);
const char *gc_plan_isa(const gc_plan *plan);
double gc_plan_macs(const gc_plan *plan);
/* Threads worth using of those offered: small problems stay serial. */
int gc_plan_threads(const gc_plan *plan, int offered);
size_t gc_plan_workspace_size(const gc_plan *plan, int threads);
/* Predicted seconds on one thread, with preparing the weights unless problem.weights_ahead. */
double gc_plan_predicted_seconds(const gc_plan *plan);
/* Largest over mean work per thread. */
double gc_plan_balance(const gc_plan *plan, int threads);
/* Writes a text of several lines, cut to `size` with its final zero; returns the length it wants. */
size_t gc_plan_describe(const gc_plan *plan, char *text, size_t size);

/* Weights in the form the plan's algorithm reads, made once, ahead of calls. The key is equal for
 * plans that can share one prepared weight; size 0: the algorithm reads weights in place. */
size_t gc_plan_prepared_size(const gc_plan *plan);
size_t gc_plan_prepared_key(const gc_plan *plan);
gc_status gc_plan_prepare(const gc_plan *plan, const void *weight, void *prepared, int threads);

/* Computes. `workspace`: gc_plan_workspace_size(plan, threads) bytes aligned to 64, or NULL to have
 * it allocated for the call. Nothing is written but the output and the workspace. */
gc_status gc_plan_run(const gc_plan *plan, const gc_arrays *arrays, void *workspace, int threads);

/* The text of this thread's latest error, never NULL. */
const char *gc_last_error(void);

/* Instruction sets, weakest first. Built: compiled in. Detected: also supported by CPU and OS. */
int gc_isa_count(void);
const char *gc_isa_name(int index);
int gc_isa_built(int index);
int gc_isa_detected(int index);
/* The one in use: the strongest detected, or the one GROUPCONV_ISA names. */
gc_status gc_isa_in_use(int *index);

int gc_openmp(void);
const char *gc_version(void);

#ifdef __cplusplus
}
#endif

#endif
