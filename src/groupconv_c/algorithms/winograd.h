/* What Winograd's plans (winograd.c) and their work (winograd_work.c) share. */
#ifndef GC_WINOGRAD_H
#define GC_WINOGRAD_H

#include "../plan.h"
#include "tile_store.h"
#include "weights.h"
#include "winograd_tiles.h"

/* One of the convolutions of stride 1 that a problem consists of: a transposed one of stride 2 has four, whose outputs
 * lie between each other; all others are one. Its kernel is `ntaps` weights of each channel in their places of a square,
 * the others of which are zeros, and so may be elements of the transformed kernel. */
enum { GC_WINOGRAD_PHASES = 4, GC_WINOGRAD_TAPS = 25 };
typedef struct gc_winograd_phase {
    ptrdiff_t first; /* of its weights among those of an output channel */
    int ntaps, place[GC_WINOGRAD_TAPS];
    uint64_t points; /* elements that are not always zero */
} gc_winograd_phase;

/* Weights of some output channels of one group: U[window][phase][row][channel], then the weights themselves, as
 * reals: what is not finite is computed from them. In reals. */
typedef struct gc_winograd_panel {
    ptrdiff_t rows;
    ptrdiff_t step; /* between elements of the window */
    ptrdiff_t raw;  /* where the weights themselves begin */
    ptrdiff_t size;
} gc_winograd_panel;

typedef struct gc_winograd {
    gc_winograd_tiles tiles;
    int up;   /* the stride of a transposed convolution, otherwise 1: up*up phases */
    int bare; /* nothing is left to be done to results */
    gc_winograd_phase phases[GC_WINOGRAD_PHASES];
    ptrdiff_t *taps;        /* one per input channel, for the products */
    ptrdiff_t *direct_taps; /* of a packed box, in the order of the weights */
    gc_weights raw;
    ptrdiff_t kslabs, in_step, out_step, out_row;
    ptrdiff_t joined;        /* slabs that are multiplied together, at most */
    gc_winograd_panel group; /* as prepared */
    gc_winograd_panel slab;  /* as transformed by a call for a slab of its own */
    int kb;
    double cycles_per_channel_pair;
} gc_winograd;

/* Bytes of each part of a thread's scratch memory, in this order. */
typedef struct gc_winograd_sizes {
    size_t planes, in, out, rows, tile, zipped, slab;
} gc_winograd_sizes;

gc_winograd_sizes gc_winograd_scratch(const gc_plan *plan, const gc_winograd *s);
/* Fills rows at..at+count-1 of a panel from output channels k..k+count-1 of group g. */
void gc_winograd_fill(const gc_plan *plan, const gc_winograd_panel *panel, const void *weight,
                      char *to, ptrdiff_t at, ptrdiff_t g, ptrdiff_t k, ptrdiff_t count);
void gc_winograd_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
