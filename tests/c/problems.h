/* Problems to test with: drawn at random around what algorithms distinguish, and larger named ones. */
#ifndef TEST_PROBLEMS_H
#define TEST_PROBLEMS_H

#include "groupconv.h"

/* A random problem without strides. */
gc_problem problem_draw(gc_op op, gc_dtype dtype);

/* Chooses an activation, from 0 on one after the other and over again. */
void problem_activate(int choice, gc_problem *p);

/* Lists, in problem_lists.c and problem_lists_depthwise.c. Problems of every width up to two of the longest vectors; 0 when `index` is behind the last. */
int problem_narrow(int index, gc_problem *p);

/* Depthwise problems around the edges of vectors and tiles, of every kernel of up to 8 columns: 0 when
 * `index` is behind the last. */
int problem_depthwise(int index, gc_problem *p);

/* Depthwise problems of square kernels of 3, 5 and 7, without and with depths, whose rows and depths may lie
 * outside of the input: 0 when `index` is behind the last. */
int problem_rolling(int index, gc_problem *p);

/* Depthwise problems and narrow groups of every type, around the edges of vectors of channels and tiles of rows:
 * 0 when `index` is behind the last. */
int problem_lanes(int index, gc_problem *p);

/* Groups of 4 and more channels by kernels of 3 columns, around the edges of vectors of channels: 0 when `index`
 * is behind the last. */
int problem_columns(int index, gc_problem *p);

/* Groups of 3 and more channels by kernels of 3 to 5 rows for each row of the stride, of every type, around the edges of
 * blocks of rows and of vectors of positions: 0 when `index` is behind the last. */
int problem_strided(int index, gc_problem *p);

/* Depthwise problems of one dimension and stride 1, around the edges of tiles of vectors: 0 when `index` is
 * behind the last. */
int problem_line(int index, gc_problem *p);

/* Depthwise transposed problems of one dimension with a stride: 0 when `index` is behind the last. */
int problem_spread(int index, gc_problem *p);

/* Problems of one dimension with long kernels, around the ends of blocks of a transform: 0 when `index` is behind
 * the last. */
int problem_long(int index, gc_problem *p);

/* Weight gradients of few channels per group, around the edges of vectors and of the input: 0 when `index` is
 * behind the last. */
int problem_rows(int index, gc_problem *p);

/* Problems with enough work for several threads: 0 when `index` is behind the last. */
int problem_larger(int index, gc_problem *p);

/* One line that states the problem. */
void problem_text(const gc_problem *p, char *text, size_t size);

double problem_macs(const gc_problem *p);

#endif
