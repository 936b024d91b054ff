/* Every algorithm on one problem. */
#ifndef TEST_PLANS_H
#define TEST_PLANS_H

#include "arrays.h"
#include "groupconv.h"

enum { MAX_ALGORITHMS = 32, ALGORITHM_NAME = 32 };

/* The names that can do a problem; "auto" is the first. */
int algorithms_for(const gc_problem *p, char names[MAX_ALGORITHMS][ALGORITHM_NAME]);

/* Draws data for a problem (all arrays in layout `only`, or LAYOUTS: in any) and checks what every algorithm that takes it
 * computes. */
void check_problem(const gc_problem *problem, layout only, const char *isa);

/* How often each algorithm has run since the last call, as text. */
void runs_text(char *text, size_t size);

#endif
