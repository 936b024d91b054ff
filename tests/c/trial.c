#include "trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static array draw_array(const gc_problem *p, const ptrdiff_t *size, layout only,
                        ptrdiff_t strides[MAX_RANK]) {
    const layout kind = only == LAYOUTS ? (layout)random_from(ROWS, REPEATED) : only;
    array a = array_create(p->dtype, 2 + p->ndim, size, kind, random_from(0, 3) > 0);
    array_fill(&a);
    memcpy(strides, a.strides, sizeof a.strides);
    return a;
}

trial trial_create(const gc_problem *problem, layout only) {
    trial t = {.problem = *problem};
    gc_problem *p = &t.problem;
    ptrdiff_t input[5], weight[5];
    shapes(p, input, weight, t.output_size);
    t.input = draw_array(p, input, only, p->input_strides);
    t.weight = draw_array(p, weight, only, p->weight_strides);
    ptrdiff_t unused[MAX_RANK];
    t.residual = draw_array(p, t.output_size, only, p->has_residual ? p->residual_strides : unused);
    const ptrdiff_t channels = p->groups * p->out_per_group;
    t.bias = array_create(p->dtype, 1, &channels, ROWS, 1);
    array_fill(&t.bias);
    t.with_bias = p->op != GC_GRAD_WEIGHT && random_from(0, 1);
    t.output_layout = only == LAYOUTS ? (layout)random_from(ROWS, BACKWARDS) : only;
    array strides = array_create(p->dtype, 2 + p->ndim, t.output_size, t.output_layout, 1);
    memcpy(p->output_strides, strides.strides, sizeof strides.strides);
    array_destroy(&strides);
    double *x = array_values(&t.input), *w = array_values(&t.weight);
    double *b = array_values(&t.bias), *r = array_values(&t.residual);
    t.expected = truth_create(p, x, w, t.with_bias ? b : NULL, p->has_residual ? r : NULL);
    free(x);
    free(w);
    free(b);
    free(r);
    return t;
}

void trial_destroy(trial *t) {
    array_destroy(&t->input);
    array_destroy(&t->weight);
    array_destroy(&t->residual);
    array_destroy(&t->bias);
    truth_destroy(&t->expected);
}

array trial_output(const trial *t, int at_end) {
    return array_create(t->problem.dtype, 2 + t->problem.ndim, t->output_size, t->output_layout,
                        at_end);
}

gc_arrays trial_arrays(const trial *t, const array *output, const void *prepared) {
    return (gc_arrays){.input = t->input.first,
                       .weight = prepared ? NULL : t->weight.first,
                       .prepared = prepared,
                       .bias = t->with_bias ? t->bias.first : NULL,
                       .residual = t->problem.has_residual ? t->residual.first : NULL,
                       .output = output->first};
}

/* How far a result may be off: sums of n terms have at most about n roundings, of which long ones
 * never come near; the transforms of Winograd and Fourier mix neighbours, so their bound is the image's
 * largest. Winograd's amplify up to 256 times (docs/accuracy.md), which its many terms never come near either.
 * Activations steepen by up to 3/2 (hardswish) and have a few roundings of their own. */
double trial_tolerance(const trial *t, const char *algorithm, ptrdiff_t i) {
    static const double storage[] = {0, 0, 0x1p-11, 0x1p-8},
                        smallest[] = {0x1p-149, 0x1p-1074, 0x1p-24, 0x1p-133};
    const gc_problem *p = &t->problem;
    const double unit = p->dtype == GC_F64 ? 0x1p-53 : 0x1p-24;
    const double sum = fmin((double)t->expected.terms + 4, 64) * t->expected.bounds[i];
    const int mixes = strstr(algorithm, "winograd") || strstr(algorithm, "fourier");
    const double arithmetic = unit * 1.5 * (mixes ? 128 * t->expected.largest : sum);
    const double value = fabs(t->expected.values[i]) + arithmetic;
    const double activation = p->activation == GC_IDENTITY ? 0 : 8 * unit * value;
    return arithmetic + activation + storage[p->dtype] * value + smallest[p->dtype];
}
