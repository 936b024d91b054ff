/* Which source positions an output position reads, dimension by dimension.
 *
 * Outputs of one "pass" lie at first + i*step for i < count. Output i and axis tap t read the source
 * position in_step*(i + t.shift) + phases[t.slot]. A forward convolution is one pass with step 1 and
 * in_step = stride; a transposed one has a pass for each residue of the output by the stride, with
 * in_step 1 and only the taps that meet it.
 */
#ifndef GC_GEOMETRY_H
#define GC_GEOMETRY_H

#include "../plan.h"

typedef struct gc_axis_tap {
    ptrdiff_t kernel; /* index in the kernel */
    ptrdiff_t slot;   /* index in the axis's phases */
    ptrdiff_t shift;
} gc_axis_tap;

typedef struct gc_axis_pass {
    ptrdiff_t first, step, count;
    ptrdiff_t ntaps;
    gc_axis_tap *taps;
} gc_axis_pass;

typedef struct gc_axis {
    ptrdiff_t in_size, in_step;
    gc_padding_mode mode;
    ptrdiff_t count;            /* the largest of the passes' */
    ptrdiff_t min_shift, span;  /* shifts lie in min_shift .. min_shift + span */
    ptrdiff_t nphases, *phases; /* residues by in_step that some tap reads */
    ptrdiff_t npasses;
    gc_axis_pass *passes;
} gc_axis;

gc_status gc_axis_create(gc_axis *axis, const gc_problem *p, int dim);
void gc_axis_destroy(gc_axis *axis);

/* Source position of any integer under a padding mode; -1: a zero. */
ptrdiff_t gc_axis_source(const gc_axis *axis, ptrdiff_t position);

#endif
