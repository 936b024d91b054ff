#include "winograd_tiles.h"

#include <stdlib.h>

static const gc_winograd_kind kinds[GC_WINOGRAD_KINDS] = {{4, 3, 6}, {2, 5, 6}, {2, 3, 4}};

const char *gc_winograd_refuse(const gc_problem *p, int taps) {
    if (p->kernel[0] != 1 || p->in_size[0] != 1 || p->out_size[0] != 1 || p->pad_before[0] != 0)
        return "it works in two dimensions";
    if (p->kernel[1] != taps || p->kernel[2] != taps)
        return taps == 3 ? "it needs a kernel of 3x3" : "it needs a kernel of 5x5";
    for (int i = 1; i < 3; i++)
        if (p->stride[i] != 1 || p->dilation[i] != 1) return "it needs stride 1 and dilation 1";
    return NULL;
}

/* Tiles are whole: they may cover more than the output. */
gc_status gc_winograd_tiles_cover(gc_winograd_tiles *t, const gc_problem *p, int which) {
    t->which = which;
    t->kind = kinds[which];
    gc_problem whole = *p;
    whole.op = GC_CONV;
    for (int i = 1; i < 3; i++) {
        /* a transposed convolution of stride 1 is the forward one of the mirrored kernel */
        if (p->op == GC_CONV_TRANSPOSE) whole.pad_before[i] = p->kernel[i] - 1 - p->pad_before[i];
        whole.out_size[i] = gc_round_up((size_t)p->out_size[i], (size_t)t->kind.outputs);
    }
    for (int i = 0; i < 3; i++) {
        const gc_status status = gc_axis_create(&t->axes[i], &whole, i);
        if (status != GC_OK) return status;
    }
    t->high = whole.out_size[1] / t->kind.outputs;
    t->wide = whole.out_size[2] / t->kind.outputs;
    return GC_OK;
}

static int reads_in_place(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    return p->padding_mode == GC_ZEROS && p->input_strides[4] == plan->storage_size &&
           gc_stores_reals(plan);
}

/* Lanes first .. last - 1 of a vector whose lane 0 is column `column` of a row of `width`, `shift` columns on. */
static uint32_t lanes_inside(ptrdiff_t first, ptrdiff_t last, ptrdiff_t column, ptrdiff_t width,
                             ptrdiff_t shift) {
    uint32_t bits = 0;
    for (ptrdiff_t l = first; l < last; l++)
        if (column + shift + l >= 0 && column + shift + l < width) bits |= 1u << l;
    return bits;
}

/* Where the vectors of tiles lie in rows: a row of tiles is wide * m columns. */
static gc_status create_pieces(const gc_plan *plan, gc_winograd_tiles *t) {
    const ptrdiff_t lanes = plan->kernels->lanes, m = t->kind.outputs;
    const ptrdiff_t wide = gc_max(t->wide * m, 1), vectors = t->vectors * m;
    const ptrdiff_t width = t->in_place ? plan->problem.in_size[2] : t->planes.size[2];
    const ptrdiff_t before = t->in_place ? t->axes[2].min_shift : 0;
    t->parts = 1;
    for (ptrdiff_t v = 0; v < vectors; v++)
        t->parts = gc_max(t->parts, gc_ceil_div(v * lanes % wide + lanes, wide));
    t->pieces = calloc((size_t)gc_max(vectors * t->parts, 1), sizeof *t->pieces);
    if (t->pieces == NULL) return GC_ERROR_MEMORY;
    for (ptrdiff_t v = 0; v < vectors; v++) {
        gc_winograd_piece *piece = t->pieces + v * t->parts;
        for (ptrdiff_t l = 0, last; l < lanes; l = last, piece++) {
            const ptrdiff_t at = v * lanes + l;
            last = gc_min(l + wide - at % wide, lanes);
            piece->row = at / wide * m;
            piece->column = at % wide - l + before;
            for (ptrdiff_t h = 0; h < GC_WINOGRAD_SHIFTS; h++)
                piece->bits[h] = lanes_inside(l, last, piece->column, width, h * m);
            piece->more = last < lanes;
        }
    }
    return GC_OK;
}

gc_status gc_winograd_tiles_cut(gc_winograd_tiles *t, const gc_plan *plan, ptrdiff_t box_high) {
    const ptrdiff_t m = t->kind.outputs, lanes = plan->kernels->lanes, wide = gc_max(t->wide, 1);
    const ptrdiff_t extent[3] = {1, box_high * m, wide * m};
    t->box_high = box_high;
    t->boxes = gc_ceil_div(gc_max(t->high, 1), box_high);
    t->vectors = gc_ceil_div(box_high * wide, lanes);
    gc_planes_layout(&t->planes, t->axes, extent, (GC_MAX_VB + 1) * lanes);
    t->in_place = reads_in_place(plan);
    return create_pieces(plan, t);
}

void gc_winograd_tiles_destroy(gc_winograd_tiles *t) {
    for (int i = 0; i < 3; i++) gc_axis_destroy(&t->axes[i]);
    free(t->pieces);
}

void gc_winograd_pack(const gc_winograd_tiles *t, const gc_plan *plan, const gc_winograd_box *box,
                      int again) {
    const ptrdiff_t origin[3] = {0, box->origin * t->kind.outputs, 0};
    gc_pack(plan, t->axes, &t->planes, box->image, plan->problem.input_strides + 1, box->channels,
            origin, again, box->planes);
}

void gc_winograd_windows(const gc_winograd_tiles *t, const gc_plan *plan,
                         const gc_winograd_box *box, ptrdiff_t step, ptrdiff_t channel, char *out) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    const ptrdiff_t plane = t->in_place ? p->input_strides[1] : t->planes.channel * size;
    gc_winograd_input a = {
        .source = t->in_place ? box->image : box->planes,
        .row_step = t->in_place ? p->input_strides[3] : t->planes.pitch * size,
        .first = t->in_place ? box->origin * t->kind.outputs + t->axes[1].min_shift : 0,
        .height = t->in_place ? p->in_size[1] : t->planes.size[1],
        .pieces = t->pieces,
        .parts = t->parts,
        .vectors = gc_ceil_div(box->rows * t->wide, lanes),
        .out_step = step,
        .out = out,
    };
    for (ptrdiff_t c = 0; c < box->channels; c++) {
        plan->kernels->winograd_input[t->which](&a);
        a.source += plane;
        a.out = (char *)a.out + channel * size;
    }
}
