/* What a problem's result is, by definition, in double precision. */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include "groupconv.h"

typedef struct truth {
    ptrdiff_t count;
    double *values;  /* the result in C order */
    double *bounds;  /* sums of the magnitudes of all terms */
    double largest;  /* of the bounds */
    ptrdiff_t terms; /* at most so many in one sum */
} truth;

/* Sizes of the input, weight (or gradient) and result of a problem: 2 + ndim of each. */
void shapes(const gc_problem *p, ptrdiff_t input[5], ptrdiff_t weight[5], ptrdiff_t output[5]);

/* Arrays in C order; bias and residual may be NULL. */
truth truth_create(const gc_problem *p, const double *input, const double *weight,
                   const double *bias, const double *residual);
void truth_destroy(truth *t);

#endif
