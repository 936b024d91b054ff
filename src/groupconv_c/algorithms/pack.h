/* The pack step: a box of one group's input, padded, as flat planes of reals.
 *
 * The box belongs to output positions origin .. origin + extent of every pass (in units of i, see
 * geometry.h). For each channel and each combination of phases there is one plane of depth x rows x
 * pitch; element (d, h, w) of the plane of phases (a, b, c) is the source at
 * in_step*(origin + min_shift + d) + a, and so on.
 */
#ifndef GC_PACK_H
#define GC_PACK_H

#include "geometry.h"

typedef struct gc_planes {
    ptrdiff_t extent[3]; /* largest box, in output positions */
    ptrdiff_t size[3];   /* elements of a plane: extent + span */
    ptrdiff_t pitch;     /* of rows; may be below size[2] when rows share their zeros */
    ptrdiff_t slice;     /* of depth slices: size[1] * pitch */
    ptrdiff_t plane;     /* of planes */
    ptrdiff_t nplanes;   /* of one channel: product of the phases */
    ptrdiff_t channel;   /* of channels: nplanes * plane */
    ptrdiff_t slack;     /* readable elements behind the last plane */
} gc_planes;

/* Layout for a box; `reach`: elements that a kernel may read past the last position. */
void gc_planes_layout(gc_planes *planes, const gc_axis axes[3], const ptrdiff_t extent[3],
                      ptrdiff_t reach);
/* Layout of the largest box whose `channels` channels fit `bytes`, and the number of boxes along each
 * dimension. Outer dimensions are cut first; inner ones only when the outer ones are down to 1, so that
 * the rows of a box are one run per depth slice. */
void gc_planes_choose(gc_planes *planes, const gc_axis axes[3], ptrdiff_t channels, size_t bytes,
                      const gc_kernels *kernels, ptrdiff_t boxes[3]);
/* Elements for `channels` channels. */
size_t gc_planes_elements(const gc_planes *planes, ptrdiff_t channels);
/* Depth slices that packing `channels` channels goes through, each with all its rows of one phase. */
ptrdiff_t gc_planes_slices(const gc_planes *planes, const gc_axis axes[3], ptrdiff_t channels);
/* Cycles that an element takes of halves `stride` apart: one by one, every second one by vectors. */
static inline double gc_planes_apart_cycles(const gc_planes *planes, ptrdiff_t stride) {
    return stride == 2 ? 0.3 + 25 / (double)planes->pitch : 2.6;
}
/* Whether rows of contiguous reals along this axis go to their phases a vector of each at a time. */
int gc_axis_splits(const gc_axis *axis);
/* Makes the slack zeros: it is read, though nothing of it is stored, and must not hold subnormals. */
void gc_planes_clear_slack(const gc_planes *planes, ptrdiff_t channels, const gc_kernels *kernels,
                           void *to);
/* Offset of a tap's plane and shift from the start of its channel. */
ptrdiff_t gc_planes_tap(const gc_planes *planes, const gc_axis axes[3], const gc_axis_tap *d,
                        const gc_axis_tap *h, const gc_axis_tap *w);
/* Offsets of all taps of `channels` channels that lie `channel` elements apart, in the kernel's order, for
 * axes of one pass; the caller frees them. NULL: no memory. */
ptrdiff_t *gc_planes_taps(const gc_planes *planes, const gc_axis axes[3], ptrdiff_t channels,
                          ptrdiff_t channel);
/* `image` points at the first channel of the group; strides in bytes: channel, then d, h, w.
 * `again`: the planes hold a box of the same origin, whose rows of zeros are still there. */
void gc_pack(const gc_plan *plan, const gc_axis axes[3], const gc_planes *planes, const char *image,
             const ptrdiff_t strides[4], ptrdiff_t channels, const ptrdiff_t origin[3], int again,
             void *to);

#endif
