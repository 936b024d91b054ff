/* What Winograd's plans (winograd.c) and their work (winograd_work.c) share. */
#ifndef GC_WINOGRAD_H
#define GC_WINOGRAD_H

#include "../plan.h"
#include "pack.h"
#include "tile_store.h"
#include "weights.h"

enum { GC_WINOGRAD_WINDOW = 6 }; /* at most */

typedef struct gc_winograd {
    gc_winograd_kind kind;
    int which;
    gc_axis axes[3];
    gc_planes planes;
    ptrdiff_t boxes, tiles_high, tiles_wide;
    ptrdiff_t tile_vectors; /* of a full box, packed tightly */
    gc_run_lanes lanes;
    ptrdiff_t offsets[GC_WINOGRAD_WINDOW * GC_WINOGRAD_WINDOW];
    gc_tap *taps;   /* one per input channel, for the products */
    gc_weights raw; /* converted weights, behind the transformed ones */
    ptrdiff_t kslabs, in_step, out_step, out_row;
    int kb;
    double cycles_per_channel_pair;
} gc_winograd;

/* Bytes of each part of a thread's scratch memory, in this order. */
typedef struct gc_winograd_sizes {
    size_t planes, in, out, rows, tile, taps;
} gc_winograd_sizes;

gc_winograd_sizes gc_winograd_scratch(const gc_plan *plan, const gc_winograd *s);
/* Reals of all transformed weights. */
ptrdiff_t gc_winograd_weight_count(const gc_problem *p, const gc_winograd *s);
void gc_winograd_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
