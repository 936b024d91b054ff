/* Output gradients with channels in the lanes. */
#ifndef GC_GRAD_LANES_H
#define GC_GRAD_LANES_H

#include "../plan.h"

/* n positions of `channels` channels of the output's gradient from `from` on: position i becomes the `vb` vectors at
 * to[i*vb*lanes ..], zeros behind the last channel. `row` is room for n reals. */
void gc_grad_lanes(const gc_plan *plan, const char *from, ptrdiff_t channels, ptrdiff_t vb,
                   ptrdiff_t n, char *to, char *row);

#endif
