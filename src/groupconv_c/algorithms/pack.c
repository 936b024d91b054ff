#include "pack.h"

#include <stdlib.h>
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
        const ptrdiff_t right = gc_max(0, w->count + w->min_shift + w->span - w->in_size);
        p->pitch -= gc_min(gc_min(left, right), w->span); /* never below the extent */
    }
    p->slice = p->size[1] * p->pitch;
    p->plane = p->size[0] * p->slice + p->size[2] - p->pitch;
    p->channel = p->nplanes * p->plane;
    p->slack = reach;
}

void gc_planes_choose(gc_planes *planes, const gc_axis axes[3], ptrdiff_t channels, size_t bytes,
                      const gc_kernels *kernels, ptrdiff_t boxes[3]) {
    const ptrdiff_t reach = (GC_MAX_VB + 1) * kernels->lanes;
    ptrdiff_t extent[3];
    for (int i = 0; i < 3; i++) extent[i] = gc_max(axes[i].count, 1);
    gc_planes_layout(planes, axes, extent, reach);
    for (int i = 0; i < 3; i++) {
        ptrdiff_t parts = 1;
        const ptrdiff_t count = extent[i], least = i == 2 ? gc_min(count, 8 * kernels->lanes) : 1;
        while (gc_planes_elements(planes, channels) * kernels->real_size > bytes &&
               extent[i] > least) {
            parts++;
            extent[i] = gc_max(gc_ceil_div(count, parts), least);
            gc_planes_layout(planes, axes, extent, reach);
        }
        boxes[i] = gc_ceil_div(count, extent[i]);
        extent[i] = gc_ceil_div(count, boxes[i]);
        gc_planes_layout(planes, axes, extent, reach);
    }
}

size_t gc_planes_elements(const gc_planes *p, ptrdiff_t channels) {
    return (size_t)(channels * p->channel + p->slack);
}

ptrdiff_t gc_planes_slices(const gc_planes *p, const gc_axis axes[3], ptrdiff_t channels) {
    return channels * axes[0].nphases * p->size[0] * axes[1].nphases;
}

int gc_axis_splits(const gc_axis *axis) {
    const ptrdiff_t step = axis->in_step;
    return (step == 2 || step == 4) && axis->nphases == step;
}

void gc_planes_clear_slack(const gc_planes *p, ptrdiff_t channels, const gc_kernels *kernels,
                           void *to) {
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size;
    memset((char *)to + channels * p->channel * size, 0, (size_t)(p->slack * size));
}

ptrdiff_t gc_planes_tap(const gc_planes *p, const gc_axis axes[3], const gc_axis_tap *d,
                        const gc_axis_tap *h, const gc_axis_tap *w) {
    const ptrdiff_t index = (d->slot * axes[1].nphases + h->slot) * axes[2].nphases + w->slot;
    return index * p->plane + (d->shift - axes[0].min_shift) * p->slice +
           (h->shift - axes[1].min_shift) * p->pitch + (w->shift - axes[2].min_shift);
}

ptrdiff_t *gc_planes_taps(const gc_planes *planes, const gc_axis axes[3], ptrdiff_t channels,
                          ptrdiff_t channel) {
    const gc_axis_pass *d = axes[0].passes, *h = axes[1].passes, *w = axes[2].passes;
    ptrdiff_t *const taps =
        malloc((size_t)(channels * d->ntaps * h->ntaps * w->ntaps + 1) * sizeof *taps);
    ptrdiff_t *tap = taps;
    for (ptrdiff_t c = 0; taps && c < channels; c++)
        for (ptrdiff_t i = 0; i < d->ntaps; i++)
            for (ptrdiff_t j = 0; j < h->ntaps; j++)
                for (ptrdiff_t k = 0; k < w->ntaps; k++)
                    *tap++ = c * channel +
                             gc_planes_tap(planes, axes, &d->taps[i], &h->taps[j], &w->taps[k]);
    return taps;
}

typedef struct packer {
    const gc_plan *plan;
    const gc_planes *planes;
    const gc_axis *h, *w;
    ptrdiff_t start_h, start_w; /* source row, column of element 0, in units of in_step */
    ptrdiff_t row, column;      /* bytes between source rows, columns */
    int again;                  /* rows of zeros are there already */
} packer;

/* Elements first..last-1 of n of this phase, from `start` on, lie inside the source. */
static void inside(const gc_axis *axis, ptrdiff_t start, ptrdiff_t n, ptrdiff_t phase,
                   ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t step = axis->in_step, origin = start * step + phase;
    *first = gc_min(n, gc_ceil_div(gc_max(0, -origin), step));
    *last = gc_max(*first, gc_min(n, gc_ceil_div(gc_max(0, axis->in_size - origin), step)));
}

/* Elements first..last-1 of a row where the padding mode repeats what lies inside. */
static void fill_edge(const packer *p, char *to, const char *row, ptrdiff_t phase, ptrdiff_t first,
                      ptrdiff_t last) {
    const gc_kernels *k = p->plan->kernels;
    for (ptrdiff_t j = first; j < last; j++) {
        const ptrdiff_t source = gc_axis_source(p->w, (p->start_w + j) * p->w->in_step + phase);
        k->load(to + j * (ptrdiff_t)k->real_size, row + source * p->column, p->column, 1,
                p->plan->problem.dtype);
    }
}

/* One row under a padding mode other than zeros. */
static void pack_mapped_row(const packer *p, char *to, const char *row, ptrdiff_t phase) {
    const gc_kernels *k = p->plan->kernels;
    const ptrdiff_t n = p->planes->size[2], step = p->w->in_step;
    ptrdiff_t first, last;
    inside(p->w, p->start_w, n, phase, &first, &last);
    fill_edge(p, to, row, phase, 0, first);
    if (first < last)
        k->load(to + first * (ptrdiff_t)k->real_size,
                row + ((p->start_w + first) * step + phase) * p->column, p->column * step,
                last - first, p->plan->problem.dtype);
    fill_edge(p, to, row, phase, last, n);
}

static void pack_mapped_slice(const packer *p, char *to, const char *slice, ptrdiff_t phase_h) {
    const ptrdiff_t size = (ptrdiff_t)p->plan->kernels->real_size;
    for (ptrdiff_t j = 0; j < p->planes->size[1]; j++) {
        const ptrdiff_t source = gc_axis_source(p->h, (p->start_h + j) * p->h->in_step + phase_h);
        for (ptrdiff_t s = 0; s < p->w->nphases; s++)
            pack_mapped_row(p, to + (s * p->planes->plane + j * p->planes->pitch) * size,
                            slice + source * p->row, p->w->phases[s]);
    }
}

static void zero_rows(const packer *p, char *to, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t size = (ptrdiff_t)p->plan->kernels->real_size;
    const ptrdiff_t reals = (last - first - 1) * p->planes->pitch + p->planes->size[2];
    for (ptrdiff_t s = 0; s < p->w->nphases && first < last && !p->again; s++)
        memset(to + (s * p->planes->plane + first * p->planes->pitch) * size, 0,
               (size_t)(reals * size));
}

/* All rows of one phase of one depth slice, with zeros around the source. */
static void pack_slice(const packer *p, char *to, const char *slice, ptrdiff_t phase_h) {
    const gc_kernels *k = p->plan->kernels;
    const gc_planes *planes = p->planes;
    const gc_axis *h = p->h, *w = p->w;
    const ptrdiff_t size = (ptrdiff_t)k->real_size, step = w->in_step;
    ptrdiff_t top, bottom;
    inside(h, p->start_h, planes->size[1], phase_h, &top, &bottom);
    zero_rows(p, to, 0, top);
    gc_rows rows = {.pitch = planes->pitch,
                    .rows = bottom - top,
                    .n = planes->size[2],
                    .from_row = h->in_step * p->row,
                    .stride = step * p->column,
                    .ahead = gc_store_ahead(),
                    .dtype = p->plan->problem.dtype};
    const char *from = slice + ((p->start_h + top) * h->in_step + phase_h) * p->row;
    to += top * planes->pitch * size;
    const int plain = p->plan->storage_size == size && p->column == size;
    if (plain && gc_axis_splits(w)) {
        for (ptrdiff_t s = 0; s < step; s++) rows.to[w->phases[s]] = to + s * planes->plane * size;
        rows.from = from + p->start_w * step * size;
        rows.first = -p->start_w * step;
        rows.last = rows.first + w->in_size;
        (step == 2 ? k->pack_rows_by_2 : k->pack_rows_by_4)(&rows);
    } else {
        for (ptrdiff_t s = 0; s < w->nphases; s++) {
            inside(w, p->start_w, rows.n, w->phases[s], &rows.first, &rows.last);
            rows.to[0] = to + s * planes->plane * size;
            rows.from = from + ((p->start_w + rows.first) * step + w->phases[s]) * p->column;
            k->pack_rows(&rows);
        }
    }
    zero_rows(p, to - top * planes->pitch * size, bottom, planes->size[1]);
}

void gc_pack(const gc_plan *plan, const gc_axis axes[3], const gc_planes *planes, const char *image,
             const ptrdiff_t strides[4], ptrdiff_t channels, const ptrdiff_t origin[3], int again,
             void *to_) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    char *const to = to_;
    const gc_axis *const d = &axes[0], *const h = &axes[1], *const w = &axes[2];
    const packer p = {
        plan,       planes,     h,    w, origin[1] + h->min_shift, origin[2] + w->min_shift,
        strides[2], strides[3], again};
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t a = 0; a < d->nphases; a++)
            for (ptrdiff_t i = 0; i < planes->size[0]; i++) {
                const ptrdiff_t source =
                    gc_axis_source(d, (origin[0] + d->min_shift + i) * d->in_step + d->phases[a]);
                const char *slice = image + c * strides[0] + gc_max(source, 0) * strides[1];
                for (ptrdiff_t b = 0; b < h->nphases; b++) {
                    const ptrdiff_t plane = (a * h->nphases + b) * w->nphases;
                    char *here =
                        to +
                        (c * planes->channel + plane * planes->plane + i * planes->slice) * size;
                    if (source < 0)
                        zero_rows(&p, here, 0, planes->size[1]);
                    else if (w->mode == GC_ZEROS)
                        pack_slice(&p, here, slice, h->phases[b]);
                    else
                        pack_mapped_slice(&p, here, slice, h->phases[b]);
                }
            }
}
