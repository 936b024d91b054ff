/* What the plans of Winograd's method down columns (winograd_column.c) and their work (winograd_column_work.c,
 * winograd_column_windows.c) share. */
#ifndef GC_WINOGRAD_COLUMN_H
#define GC_WINOGRAD_COLUMN_H

#include "../plan.h"
#include "pack.h"
#include "tile_store.h"
#include "weights.h"

typedef struct gc_winograd_column {
    ptrdiff_t outputs; /* rows of a block */
    gc_axis axes[3];
    gc_planes planes;  /* a packed box of one group */
    gc_planes windows; /* one element of all of its windows: a row for each block of output rows */
    ptrdiff_t element; /* reals from an element of the windows to the next */
    ptrdiff_t boxes[3];
    int in_place;                   /* windows are read from rows as they lie, */
    int converts;                   /* those of a converted channel */
    ptrdiff_t from_row, from_depth; /* bytes between them */
    int plain; /* the transform stores results; otherwise they wait for their rows to be whole */
    double low, high;
    ptrdiff_t ntaps, *taps; /* of one element, in bytes */
    ptrdiff_t *direct_taps; /* of a packed box, in the order of the weights */
    gc_weights raw;
    int kb;
    ptrdiff_t kblocks, parts; /* of a group's output channels; of a box's vectors, a unit each */
    ptrdiff_t vectors;        /* of a depth of the largest box */
    gc_column_piece *pieces;  /* where results lie in the lanes of its vectors, */
    ptrdiff_t *first_piece;   /* beginning here */
} gc_winograd_column;

/* Reals of an output channel's prepared weights: U[element][tap], then the weights themselves, from which results that
 * are not finite are computed. */
static inline ptrdiff_t gc_winograd_column_per_k(const gc_winograd_column *s) {
    return GC_COLUMN_WINDOW * s->ntaps + s->raw.per_k;
}

/* The first shift of the kernel rows that read a phase of input rows. */
ptrdiff_t gc_winograd_column_start(const gc_winograd_column *s, ptrdiff_t phase);

/* Bytes of each part of a thread's scratch memory, in this order. */
typedef struct gc_winograd_column_sizes {
    size_t windows, planes, channel, products, rows;
} gc_winograd_column_sizes;

gc_winograd_column_sizes gc_winograd_column_scratch(const gc_plan *plan,
                                                    const gc_winograd_column *s);

/* A box of one image and group: where its input is, its windows and, once it is packed, its planes. */
typedef struct gc_winograd_column_box {
    const char *image;                /* of the group's first channel */
    ptrdiff_t origin[3];              /* of its results */
    char *windows, *planes, *channel; /* one that is converted */
    int packed;
} gc_winograd_column_box;

/* Makes zeros of what is read behind windows and planes, though no result comes of it. */
void gc_winograd_column_clear(const gc_plan *plan, const gc_winograd_column_box *box);
void gc_winograd_column_pack(const gc_plan *plan, gc_winograd_column_box *box);
void gc_winograd_column_transform(const gc_plan *plan, gc_winograd_column_box *box);

void gc_winograd_column_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
