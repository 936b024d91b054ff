#include "pack.h"

#include <string.h>

void gc_planes_layout(gc_planes *p, const gc_axis axes[3], const ptrdiff_t extent[3],
                      ptrdiff_t reach) {
    p->nplanes = 1;
    for (int i = 0; i < 3; i++) {
        p->extent[i] = extent[i];
        p->size[i] = extent[i] + axes[i].span;
        p->nplanes *= axes[i].nphases;
    }
    const gc_axis *w = &axes[2];
    p->pitch = p->size[2];
    if (w->mode == GC_ZEROS && w->in_step == 1 && extent[2] == w->count) {
        /* the zeros behind a row serve as the zeros before the next one */
        const ptrdiff_t left = gc_max(0, -w->min_shift);
        const ptrdiff_t right =
            gc_max(0, w->count + w->min_shift + w->span - w->in_size);
        p->pitch -= gc_min(gc_min(left, right), w->span); /* never below the extent */
    }
    p->slice = p->size[1] * p->pitch;
    p->plane = p->size[0] * p->slice + p->size[2] - p->pitch;
    p->channel = p->nplanes * p->plane;
    p->slack = reach;
}

size_t gc_planes_elements(const gc_planes *p, ptrdiff_t channels) {
    return (size_t)(channels * p->channel + p->slack);
}

ptrdiff_t gc_planes_tap(const gc_planes *p, const gc_axis axes[3], const gc_axis_tap *d,
                        const gc_axis_tap *h, const gc_axis_tap *w) {
    const ptrdiff_t index = (d->slot * axes[1].nphases + h->slot) * axes[2].nphases + w->slot;
    return index * p->plane + (d->shift - axes[0].min_shift) * p->slice +
           (h->shift - axes[1].min_shift) * p->pitch + (w->shift - axes[2].min_shift);
}

typedef struct row_packer {
    const gc_plan *plan;
    const gc_axis *axis;
    ptrdiff_t n;      /* elements of a row */
    ptrdiff_t start;  /* source index of element 0, in units of in_step */
    ptrdiff_t stride; /* bytes between source elements */
} row_packer;

/* Elements first..last-1 of a row of this phase lie inside the source. */
static void inside(const row_packer *p, ptrdiff_t phase, ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t step = p->axis->in_step;
    *first = gc_max(0, gc_ceil_div(gc_max(0, -(p->start * step + phase)), step));
    *last = gc_min(p->n, gc_ceil_div(gc_max(0, p->axis->in_size - phase - p->start * step), step));
    if (*first > *last) *first = *last = gc_min(*first, p->n);
}

static void fill_edge(const row_packer *p, char *to, const char *row, ptrdiff_t phase, ptrdiff_t first,
                      ptrdiff_t last) {
    const gc_kernels *k = p->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)k->real_size;
    if (p->axis->mode == GC_ZEROS) {
        if (size == 4)
            for (ptrdiff_t j = first; j < last; j++) ((float *)to)[j] = 0;
        else
            for (ptrdiff_t j = first; j < last; j++) ((double *)to)[j] = 0;
        return;
    }
    for (ptrdiff_t j = first; j < last; j++) {
        const ptrdiff_t source = gc_axis_source(p->axis, (p->start + j) * p->axis->in_step + phase);
        k->load(to + j * size, row + source * p->stride, p->stride, 1, p->plan->problem.dtype);
    }
}

static void load_inside(const row_packer *p, char *to, const char *row, ptrdiff_t phase,
                        ptrdiff_t first, ptrdiff_t last) {
    const gc_kernels *k = p->plan->kernels;
    const ptrdiff_t step = p->axis->in_step;
    if (first < last)
        k->load(to + first * (ptrdiff_t)k->real_size,
                row + ((p->start + first) * step + phase) * p->stride, p->stride * step,
                last - first, p->plan->problem.dtype);
}

static void pack_row(const row_packer *p, char *to, const char *row, ptrdiff_t phase) {
    ptrdiff_t first, last;
    inside(p, phase, &first, &last);
    fill_edge(p, to, row, phase, 0, first);
    load_inside(p, to, row, phase, first, last);
    fill_edge(p, to, row, phase, last, p->n);
}

/* Both phases of stride 2 from one reading of a contiguous row. */
static void pack_row_pair(const row_packer *p, char *to0, char *to1, const char *row) {
    const gc_kernels *k = p->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)k->real_size;
    ptrdiff_t first0, last0, first1, last1;
    inside(p, 0, &first0, &last0);
    inside(p, 1, &first1, &last1);
    const ptrdiff_t first = gc_max(first0, first1), last = gc_max(first, gc_min(last0, last1));
    fill_edge(p, to0, row, 0, 0, first0);
    fill_edge(p, to1, row, 1, 0, first1);
    k->deinterleave(to0 + first * size, to1 + first * size,
                    row + 2 * (p->start + first) * p->stride, last - first);
    /* what only one of the two has, then the edges */
    load_inside(p, to0, row, 0, first0, gc_min(first, last0));
    load_inside(p, to1, row, 1, first1, gc_min(first, last1));
    load_inside(p, to0, row, 0, gc_max(last, first0), last0);
    load_inside(p, to1, row, 1, gc_max(last, first1), last1);
    fill_edge(p, to0, row, 0, last0, p->n);
    fill_edge(p, to1, row, 1, last1, p->n);
}

void gc_pack(const gc_plan *plan, const gc_axis axes[3], const gc_planes *planes, const char *image,
             const ptrdiff_t strides[4], ptrdiff_t channels, const ptrdiff_t origin[3], void *to_) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    char *const to = to_;
    const gc_axis *const d = &axes[0], *const h = &axes[1], *const w = &axes[2];
    const row_packer p = {plan, w, planes->size[2], origin[2] + w->min_shift, strides[3]};
    const int pair = w->in_step == 2 && w->nphases == 2 && strides[3] == size &&
                     plan->storage_size == size;
    for (ptrdiff_t c = 0; c < channels; c++) {
        for (ptrdiff_t a = 0; a < d->nphases; a++) {
            for (ptrdiff_t i = 0; i < planes->size[0]; i++) {
                const ptrdiff_t sd =
                    gc_axis_source(d, (origin[0] + d->min_shift + i) * d->in_step + d->phases[a]);
                for (ptrdiff_t b = 0; b < h->nphases; b++) {
                    char *base = to + (c * planes->channel +
                                       (a * h->nphases + b) * w->nphases * planes->plane +
                                       i * planes->slice) * size;
                    for (ptrdiff_t j = 0; j < planes->size[1]; j++, base += planes->pitch * size) {
                        const ptrdiff_t sh = gc_axis_source(
                            h, (origin[1] + h->min_shift + j) * h->in_step + h->phases[b]);
                        if (sd < 0 || sh < 0) {
                            for (ptrdiff_t s = 0; s < w->nphases; s++)
                                memset(base + s * planes->plane * size, 0,
                                       (size_t)(planes->size[2] * size));
                            continue;
                        }
                        const char *row = image + c * strides[0] + sd * strides[1] + sh * strides[2];
                        if (pair) {
                            char *other = base + planes->plane * size;
                            const int swapped = w->phases[0] == 1;
                            pack_row_pair(&p, swapped ? other : base, swapped ? base : other, row);
                        } else {
                            for (ptrdiff_t s = 0; s < w->nphases; s++)
                                pack_row(&p, base + s * planes->plane * size, row, w->phases[s]);
                        }
                    }
                }
            }
        }
    }
    memset(to + channels * planes->channel * size, 0, (size_t)(planes->slack * size));
}
