/* The windows of Winograd's method down columns: from a box's rows, where they lie or packed. */
#include <string.h>

#include "winograd_column.h"

void gc_winograd_column_clear(const gc_plan *plan, const gc_winograd_column_box *b) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t reach = (GC_MAX_VB + 1) * lanes;
    for (ptrdiff_t e = 1; e <= GC_COLUMN_WINDOW; e++) {
        const ptrdiff_t reals = lanes + (e == GC_COLUMN_WINDOW ? reach : 0);
        memset(b->windows + (e * s->element - lanes) * size, 0, (size_t)(reals * size));
    }
    gc_planes_clear_slack(&s->planes, plan->problem.in_per_group, plan->kernels, b->planes);
}

void gc_winograd_column_pack(const gc_plan *plan, gc_winograd_column_box *b) {
    const gc_winograd_column *s = plan->state;
    if (b->packed) return;
    gc_pack(plan, s->axes, &s->planes, b->image, plan->problem.input_strides + 1,
            plan->problem.in_per_group, b->origin, 0, b->planes);
    b->packed = 1;
}

static void zero_windows(const gc_winograd_column *s, char *to, ptrdiff_t size) {
    const ptrdiff_t reals = s->windows.slice + s->windows.size[2] - s->windows.pitch;
    for (int e = 0; e < GC_COLUMN_WINDOW; e++)
        memset(to + e * s->element * size, 0, (size_t)(reals * size));
}

/* Windows of one channel from its rows. */
static void transform_in_place(const gc_plan *plan, const gc_winograd_column_box *b,
                               gc_winograd_column_input a, const char *channel, char *to) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const gc_axis *d = &s->axes[0], *h = &s->axes[1], *w = &s->axes[2];
    a.from_row = h->in_step * s->from_row;
    a.first = gc_min(gc_max(-w->min_shift, 0), a.n);
    a.last = gc_min(a.n, w->in_size - w->min_shift);
    for (ptrdiff_t plane = 0; plane < s->windows.nplanes; plane++) {
        const ptrdiff_t phase = plane % h->nphases, deep_phase = d->phases[plane / h->nphases];
        const char *rows = channel + h->phases[phase] * s->from_row;
        a.top = b->origin[1] + gc_winograd_column_start(s, phase);
        a.height = gc_ceil_div(gc_max(h->in_size - h->phases[phase], 0), h->in_step);
        for (ptrdiff_t i = 0; i < s->windows.size[0]; i++) {
            const ptrdiff_t z = (b->origin[0] + d->min_shift + i) * d->in_step + deep_phase;
            a.out = to + (plane * s->windows.plane + i * s->windows.slice) * size;
            if (z < 0 || z >= d->in_size || a.first >= a.last) {
                zero_windows(s, a.out, size);
                continue;
            }
            a.from = rows + z * s->from_depth + (w->min_shift + a.first) * size;
            plan->kernels->winograd_column_input(&a);
        }
    }
}

static void transform_packed(const gc_plan *plan, gc_winograd_column_input a, const char *channel,
                             char *to) {
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    a.from_row = s->planes.pitch * size;
    a.height = s->planes.size[1];
    a.last = a.n;
    for (ptrdiff_t plane = 0; plane < s->planes.nplanes; plane++) {
        const ptrdiff_t phase = plane / s->axes[2].nphases % s->axes[1].nphases;
        a.top = gc_winograd_column_start(s, phase) - s->axes[1].min_shift;
        for (ptrdiff_t i = 0; i < s->planes.size[0]; i++) {
            a.from = channel + (plane * s->planes.plane + i * s->planes.slice) * size;
            a.out = to + (plane * s->windows.plane + i * s->windows.slice) * size;
            plan->kernels->winograd_column_input(&a);
        }
    }
}

/* A channel of halves, whose depths are contiguous rows. */
static void convert(const gc_plan *plan, const char *from, char *to) {
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t *i = p->input_strides, rows = p->in_size[1] * p->in_size[2];
    for (ptrdiff_t z = 0; z < p->in_size[0]; z++)
        plan->kernels->load(to + z * s->from_depth, from + z * i[2], i[4], rows, p->dtype);
}

void gc_winograd_column_transform(const gc_plan *plan, gc_winograd_column_box *b) {
    const gc_problem *p = &plan->problem;
    const gc_winograd_column *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const gc_winograd_column_input a = {
        .n = s->windows.size[2],
        .step = s->outputs,
        .blocks = s->windows.size[1],
        .pitch = s->windows.pitch,
        .element = s->element,
        .ahead = gc_store_ahead(),
    };
    b->packed = 0;
    if (!s->in_place) gc_winograd_column_pack(plan, b);
    for (ptrdiff_t c = 0; c < p->in_per_group; c++) {
        char *to = b->windows + c * s->windows.channel * size;
        const char *from = b->image + c * p->input_strides[1];
        if (s->converts) convert(plan, from, b->channel);
        if (s->in_place)
            transform_in_place(plan, b, a, s->converts ? b->channel : from, to);
        else
            transform_packed(plan, a, b->planes + c * s->planes.channel * size, to);
    }
}
