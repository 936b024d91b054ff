/* Tiles of outputs and the windows they read, which convolutions and weight gradients by Winograd's method share. */
#ifndef GC_WINOGRAD_TILES_H
#define GC_WINOGRAD_TILES_H

#include "pack.h"

typedef struct gc_winograd_tiles {
    gc_winograd_kind kind;
    int which;
    gc_axis axes[3];           /* of the rows and columns that tiles cover */
    ptrdiff_t high, wide;      /* tiles */
    ptrdiff_t boxes, box_high; /* rows of tiles of a full box */
    ptrdiff_t vectors;         /* of a full box's tiles */
    gc_planes planes;          /* of a box, where it is packed */
    int in_place;              /* windows are read where the caller has them */
    gc_winograd_piece *pieces;
    ptrdiff_t parts; /* pieces of a vector */
} gc_winograd_tiles;

/* Some rows of tiles of one image: `image` is its first channel, `planes` are packed from it where windows are not
 * read in place. */
typedef struct gc_winograd_box {
    const char *image;
    char *planes;
    ptrdiff_t channels, origin, rows;
} gc_winograd_box;

/* Why the problem has no such tiles, or NULL. */
const char *gc_winograd_refuse(const gc_problem *p, int taps);
/* First the tiles, then how they are cut into boxes. */
gc_status gc_winograd_tiles_cover(gc_winograd_tiles *t, const gc_problem *p, int which);
gc_status gc_winograd_tiles_cut(gc_winograd_tiles *t, const gc_plan *plan, ptrdiff_t box_high);
void gc_winograd_tiles_destroy(gc_winograd_tiles *t);

/* `again`: the planes hold a box of the same origin. */
void gc_winograd_pack(const gc_winograd_tiles *t, const gc_plan *plan, const gc_winograd_box *box,
                      int again);
/* Element e of the window of channel c's tile goes to out[e*step + c*channel + tile]. */
void gc_winograd_windows(const gc_winograd_tiles *t, const gc_plan *plan,
                         const gc_winograd_box *box, ptrdiff_t step, ptrdiff_t channel, char *out);

/* A stride of a power of two would put every element of a window into one cache set. */
static inline ptrdiff_t gc_off_set(ptrdiff_t n) {
    return n % 1024 < 48 || n % 1024 > 976 ? n + 48 + 16 : n;
}

#endif
