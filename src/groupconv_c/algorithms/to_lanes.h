/* Planes that become channels side by side. */
#ifndef GC_TO_LANES_H
#define GC_TO_LANES_H

#include "../plan.h"

/* n positions of `channels` channels from `from` on, of an array of these strides: position i becomes the `vb` vectors
 * at to[i*vb*lanes ..], zeros behind the last channel. `row` is room for n reals. */
void gc_to_lanes(const gc_plan *plan, const ptrdiff_t strides[5], const char *from,
                 ptrdiff_t channels, ptrdiff_t vb, ptrdiff_t n, char *to, char *row);

#endif
