/* Weights with output channels in the lanes. */
#ifndef GC_CHANNEL_WEIGHTS_H
#define GC_CHANNEL_WEIGHTS_H

#include "../plan.h"

/* The `channels` output channels from k on, counted over all groups, as one vector: W[piece of input channels][kernel
 * position][channel of the piece][lane], vectors `step` bytes apart; lanes without a channel are zero. Kernel positions of a transposed convolution go
 * from the last to the first. */
void gc_channel_weights_copy(const gc_plan *plan, const void *weight, ptrdiff_t k,
                             ptrdiff_t channels, ptrdiff_t piece, char *to, ptrdiff_t step);

#endif
