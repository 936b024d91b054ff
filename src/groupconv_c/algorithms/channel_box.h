/* Input with its channels side by side at each position: a box of rows, padded and packed by one thread. */
#ifndef GC_CHANNEL_BOX_H
#define GC_CHANNEL_BOX_H

#include "geometry.h"

/* Positions of a vector of channels that are converted together. */
enum { GC_CONVERTED_POSITIONS = 128 };

typedef struct gc_channel_box {
    gc_axis axes[3];          /* sizes and padding mode only */
    int planes;               /* positions of a channel are side by side, not channels */
    ptrdiff_t channel;        /* reals between channels */
    ptrdiff_t pitch, columns; /* reals of a position; positions of a row */
    ptrdiff_t row, slice;     /* reals */
    struct {
        ptrdiff_t end, source; /* the column after its last; where its first is read, or -1 */
    } *pieces;                 /* of a padded row, whose sources follow each other */
    ptrdiff_t npieces;
} gc_channel_box;

/* Where a box is read: rows of the input before padding, each kernel[0] times. */
typedef struct gc_channel_source {
    const char *image; /* of the group's first channel */
    ptrdiff_t channels, depth, row, rows;
} gc_channel_source;

/* Where an axis of padded input ends for `count` outputs. */
static inline ptrdiff_t gc_channel_box_reach(const gc_problem *p, int axis, ptrdiff_t count) {
    return (count - 1) * p->stride[axis] + (p->kernel[axis] - 1) * p->dilation[axis] + 1;
}

/* Sizes and padding mode of the axes; the columns of a padded row. */
void gc_channel_box_start(gc_channel_box *box, const gc_problem *p);
/* Cuts a padded row into pieces that are copied, or zero. */
gc_status gc_channel_box_create(gc_channel_box *box, const gc_problem *p);
void gc_channel_box_destroy(gc_channel_box *box);
void gc_channel_box_pack(const gc_channel_box *box, const gc_plan *plan,
                         const gc_channel_source *source, char *to);

/* Whether positions follow each other where channels should, which fill vectors well enough: then squares of vectors are
 * turned. */
static inline int gc_channel_box_turns(const gc_plan *plan, const ptrdiff_t *strides,
                                       ptrdiff_t channels) {
    const ptrdiff_t size = plan->storage_size;
    return strides[4] == size && strides[1] % size == 0 && channels >= plan->kernels->lanes / 2;
}

/* `positions` that follow each other, of channels `stride` bytes apart, turned: channels side by side as reals, `pitch`
 * to a position. */
void gc_channel_box_turn(const gc_plan *plan, const char *from, ptrdiff_t stride,
                         ptrdiff_t channels, char *to, ptrdiff_t pitch, ptrdiff_t positions);

#endif
