/* A problem with its data, and the result it must have. */
#ifndef TEST_TRIAL_H
#define TEST_TRIAL_H

#include "arrays.h"
#include "oracle.h"

typedef struct trial {
    gc_problem problem;
    array input, weight, residual, bias;
    int with_bias;
    layout output_layout;
    ptrdiff_t output_size[MAX_RANK];
    truth expected;
} trial;

/* Draws layouts (of all arrays `only` that one, or LAYOUTS: any) and numbers, and fills the problem's strides. */
trial trial_create(const gc_problem *problem, layout only);
void trial_destroy(trial *t);

/* An output of the trial's layout, all NaN; at_end as in array_create. */
array trial_output(const trial *t, int at_end);
/* What to run a plan of t->problem with; `prepared` in place of the weight where it is given. */
gc_arrays trial_arrays(const trial *t, const array *output, const void *prepared);
/* How far element i, as computed by an algorithm, may be off. */
double trial_tolerance(const trial *t, const char *algorithm, ptrdiff_t i);

#endif
