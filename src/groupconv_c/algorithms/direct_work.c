/* The work of plans of direct convolutions: pack a box, sum tiles over its taps, store them. */
#include "direct.h"

/* One unit in work: what all its tiles share. */
typedef struct block {
    const gc_run *run;
    const gc_direct_state *s;
    const char *planes;
    char *tile;
    const char *weights; /* of the block's first channel */
    ptrdiff_t n, k;      /* image; first output channel, counted over all groups */
    int kb;
    ptrdiff_t part;
    ptrdiff_t origin[3];
    gc_stream *ahead;        /* the input of the next group */
    ptrdiff_t residual_next; /* bytes from the block's residual to the next one's */
} block;

/* Rows of one depth of a pass: where they go, how many there are, and which vectors are the unit's. */
typedef struct slice {
    const gc_direct_pass *pass;
    gc_target target;
    const char *planes;
    ptrdiff_t rows, columns, flat, vectors, first, last;
} slice;

static slice slice_of(const block *b, const gc_direct_pass *pass, ptrdiff_t depth, ptrdiff_t rows,
                      ptrdiff_t columns) {
    const gc_plan *plan = b->run->plan;
    const gc_problem *p = &plan->problem;
    const gc_direct_state *s = b->s;
    const gc_axis_pass *const *a = pass->axis;
    const ptrdiff_t at[3] = {a[0]->first + (b->origin[0] + depth) * a[0]->step,
                             a[1]->first + b->origin[1] * a[1]->step,
                             a[2]->first + b->origin[2] * a[2]->step};
    const ptrdiff_t *o = p->output_strides, *r = p->residual_strides;
    const ptrdiff_t flat = (rows - 1) * s->planes.pitch + columns;
    slice c = {
        .pass = pass,
        .planes = b->planes + depth * s->planes.slice * (ptrdiff_t)plan->kernels->real_size,
        .rows = rows,
        .columns = columns,
        .flat = flat,
        .vectors = gc_ceil_div(flat, plan->kernels->lanes),
    };
    c.target = (gc_target){
        .base = (char *)b->run->arrays->output + b->n * o[0] + b->k * o[1] + at[0] * o[2] +
                at[1] * o[3] + at[2] * o[4],
        .channel = o[1],
        .row = o[3] * a[1]->step,
        .column = o[4] * a[2]->step,
        .residual_channel = r[1],
        .residual_row = r[3] * a[1]->step,
        .residual_column = r[4] * a[2]->step,
    };
    if (p->has_residual)
        c.target.residual = (const char *)b->run->arrays->residual + b->n * r[0] + b->k * r[1] +
                            at[0] * r[2] + at[1] * r[3] + at[2] * r[4];
    return c;
}

static gc_tap_sum sum_of(const block *b, const gc_direct_pass *pass) {
    return (gc_tap_sum){
        .weight = b->weights + pass->weight * (ptrdiff_t)b->run->plan->kernels->real_size,
        .taps = pass->taps,
        .ntaps = pass->ntaps,
        .weight_k = b->s->weights.k,
        .init = (const char *)b->run->bias + b->k * (ptrdiff_t)b->run->plan->kernels->real_size,
        .low = b->s->low,
        .high = b->s->high,
    };
}

/* A tile's part of what is fetched ahead. */
static void fetch_meanwhile(gc_stream *ahead, gc_tap_sum *sum) {
    sum->fetch = ahead->step ? ahead->next : NULL;
    sum->fetch_step = gc_ceil_div(ahead->step, gc_max(sum->ntaps, 1));
    ahead->next += ahead->step;
}

/* Stored results before vector v. */
static ptrdiff_t stored_before(const slice *c, ptrdiff_t v) {
    return v < c->vectors ? c->pass->lanes.start[v] : c->rows * c->columns;
}

/* vb vectors from vector v on, stored by the microkernel. */
static void store_tile(const block *b, const slice *c, ptrdiff_t v, ptrdiff_t vb, gc_tap_sum *sum) {
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t stored = stored_before(c, c->last); /* behind, another thread may be at work */
    const gc_run_lanes *all = &c->pass->lanes;
    const ptrdiff_t start = stored_before(c, v), end = stored_before(c, v + vb);
    gc_lanes cut[GC_MAX_VB];
    sum->lanes = all->lanes + v;
    if (end + lanes > stored) {
        for (ptrdiff_t i = 0; i < vb; i++)
            cut[i] = gc_run_lanes_cut(all, v + i, c->flat, stored, (int)lanes);
        sum->lanes = cut;
    }
    sum->out = c->target.base + start * size;
    sum->residual = c->target.residual ? c->target.residual + start * size : NULL;
    kernels->tap_sum[b->kb - 1][vb - 1](sum);
}

/* The rest of the activation, for stored results where they are. */
static void activate(const block *b, const slice *c) {
    const gc_plan *plan = b->run->plan;
    const ptrdiff_t first = stored_before(c, c->first);
    gc_finish f = {
        .to_stride = plan->storage_size,
        .n = stored_before(c, c->last) - first,
        .dtype = plan->problem.dtype,
        .activation = plan->problem.activation,
        .parameter = plan->problem.activation_parameter,
    };
    for (int k = 0; k < b->kb; k++) {
        f.to = c->target.base + k * c->target.channel + first * plan->storage_size;
        f.from = f.to;
        plan->kernels->finish(&f);
    }
}

/* Bytes from the residual that a tile reads to the one that is asked for: what the next block reads there, or,
 * since large blocks would be out of near caches by then, what the tile after the next one does. */
static ptrdiff_t residual_ahead(const block *b, const slice *c) {
    enum { near_bytes = 56 * 1024 };
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, vector = kernels->lanes * size;
    return b->kb * c->rows * c->columns * size <= near_bytes
               ? b->residual_next
               : 2 * kernels->max_vb[b->kb - 1] * vector;
}

static void run_slice(const block *b, const slice *c) {
    const gc_direct_state *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    gc_tap_sum sum = sum_of(b, c->pass);
    if (s->lanes_stored) {
        sum.out_k = c->target.channel / size;
        sum.residual_k = c->target.residual_channel / size;
        sum.residual_next = residual_ahead(b, c);
        sum.far = s->far;
        sum.clamp = plan->problem.activation != GC_IDENTITY && !s->activate;
    }
    for (ptrdiff_t v = c->first, vb; v < c->last; v += vb) {
        vb = gc_even_tile(c->last, v, kernels->max_vb[b->kb - 1]);
        sum.plane = c->planes + v * lanes * size;
        fetch_meanwhile(b->ahead, &sum);
        if (s->lanes_stored) {
            store_tile(b, c, v, vb, &sum);
            continue;
        }
        sum.out = b->tile;
        sum.out_k = vb * lanes;
        kernels->tap_sum[b->kb - 1][vb - 1](&sum);
        gc_tile_finish(plan, &c->target, b->tile, sum.out_k, b->kb, v * lanes,
                       gc_min(vb * lanes, c->flat - v * lanes), s->planes.pitch, c->columns);
    }
    if (s->lanes_stored && s->activate) activate(b, c);
}

/* Flat positions first .. last - 1 of both passes, from their tiles straight to their rows. */
static void zip_tile(const block *b, const slice *c, ptrdiff_t first, ptrdiff_t last,
                     ptrdiff_t width) {
    const gc_kernels *kernels = b->run->plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, pitch = b->s->planes.pitch;
    const ptrdiff_t tile = GC_MAX_KB * GC_MAX_VB * kernels->lanes * size;
    const ptrdiff_t tile_k = gc_round_up((size_t)(last - first), (size_t)kernels->lanes);
    for (ptrdiff_t at = first, next; at < last; at = next) {
        const ptrdiff_t row = at / pitch, column = at - row * pitch;
        next = gc_min((row + 1) * pitch, last);
        const ptrdiff_t n = gc_min(2 * (next - at), width - 2 * column);
        const char *even = b->tile + (at - first) * size;
        char *to = c->target.base + row * c->target.row + 2 * column * size;
        for (int k = 0; k < b->kb && n > 0; k++, even += tile_k * size, to += c->target.channel)
            kernels->zip(to, even, even + tile, n);
    }
}

/* Both passes of stride 2 along the width: their tiles are interleaved, so that whole rows are stored. */
static void run_slice_pair(const block *b, const slice *c) {
    const gc_direct_state *s = b->s;
    const gc_plan *plan = b->run->plan;
    const gc_kernels *kernels = plan->kernels;
    const ptrdiff_t size = (ptrdiff_t)kernels->real_size, lanes = kernels->lanes;
    const ptrdiff_t width = gc_min(2 * c->columns, plan->problem.out_size[2] - 2 * b->origin[2]);
    const ptrdiff_t tile = GC_MAX_KB * GC_MAX_VB * lanes * size;
    char *const joined = b->tile + 2 * tile;
    gc_target target = c->target;
    target.column = plan->problem.output_strides[4];
    target.residual_column = plan->problem.residual_strides[4];
    gc_tap_sum sum = sum_of(b, c->pass);
    for (ptrdiff_t v = c->first, vb; v < c->last; v += vb) {
        vb = gc_even_tile(c->last, v, kernels->max_vb[b->kb - 1]);
        sum.plane = c->planes + v * lanes * size;
        sum.out_k = vb * lanes;
        for (int i = 0; i < 2; i++) {
            sum.weight = b->weights + c->pass[i].weight * size;
            sum.taps = c->pass[i].taps;
            sum.ntaps = c->pass[i].ntaps;
            sum.out = b->tile + i * tile;
            fetch_meanwhile(b->ahead, &sum);
            kernels->tap_sum[b->kb - 1][vb - 1](&sum);
        }
        if (s->zipped) {
            zip_tile(b, c, v * lanes, gc_min((v + vb) * lanes, c->flat), width);
            continue;
        }
        for (ptrdiff_t u = 0; u < b->kb * vb; u++)
            kernels->zip(joined + 2 * u * lanes * size, b->tile + u * lanes * size,
                         b->tile + tile + u * lanes * size, 2 * lanes);
        gc_tile_finish(plan, &target, joined, 2 * vb * lanes, b->kb, 2 * v * lanes,
                       2 * gc_min(vb * lanes, c->flat - v * lanes), 2 * s->planes.pitch, width);
    }
}

/* Positions of a pass in the block's box; 0: there are none. */
static int size_of(const block *b, const gc_direct_pass *pass, ptrdiff_t size[3]) {
    for (int d = 0; d < 3; d++) {
        size[d] = gc_min(b->s->planes.extent[d], pass->axis[d]->count - b->origin[d]);
        if (size[d] <= 0) return 0;
    }
    return 1;
}

/* Vectors of all slices of the box, which follow each other pass by pass. */
static ptrdiff_t vectors_of(const block *b) {
    ptrdiff_t sum = 0, size[3];
    for (ptrdiff_t i = 0; i < b->s->npasses; i += gc_direct_joined(b->s)) {
        const gc_direct_pass *pass = &b->s->passes[i];
        if (size_of(b, pass, size)) sum += size[0] * slice_of(b, pass, 0, size[1], size[2]).vectors;
    }
    return sum;
}

static void run_block(const block *b) {
    const gc_direct_state *s = b->s;
    const ptrdiff_t joined = gc_direct_joined(s), all = vectors_of(b);
    ptrdiff_t first = gc_cut(all, s->parts, b->part), last = gc_cut(all, s->parts, b->part + 1);
    for (ptrdiff_t i = 0; i < s->npasses; i += joined) {
        const gc_direct_pass *pass = &s->passes[i];
        ptrdiff_t size[3];
        if (!size_of(b, pass, size)) continue;
        for (ptrdiff_t depth = 0; depth < size[0]; depth++) {
            slice c = slice_of(b, pass, depth, size[1], size[2]);
            c.first = gc_max(gc_min(first, c.vectors), 0);
            c.last = gc_max(gc_min(last, c.vectors), 0);
            first -= c.vectors;
            last -= c.vectors;
            if (c.first < c.last) (joined == 2 ? run_slice_pair : run_slice)(b, &c);
        }
    }
}

/* Groups are counted over all images. */
static const char *image_of(const gc_run *run, ptrdiff_t group) {
    const gc_problem *p = &run->plan->problem;
    return (const char *)run->arrays->input + group / p->groups * p->input_strides[0] +
           group % p->groups * p->in_per_group * p->input_strides[1];
}

/* Whether a group's planes are read where they lie. Vectors reach behind the last position: there, the next groups'
 * input must be. */
static int reads_in_place(const gc_plan *plan, ptrdiff_t group) {
    const gc_problem *p = &plan->problem;
    const gc_direct_state *s = plan->state;
    const ptrdiff_t behind = p->batch * p->groups - 1 - group;
    return s->in_place && behind * p->in_per_group * s->planes.channel >= plan->kernels->lanes;
}

/* A group's input, to be fetched while the tiles of `boxes` boxes are computed. */
static gc_stream stream_ahead(const gc_run *run, ptrdiff_t group, ptrdiff_t boxes) {
    const gc_plan *plan = run->plan;
    const gc_direct_state *s = plan->state;
    ptrdiff_t tiles = 0;
    for (ptrdiff_t i = 0; i < s->npasses; i++)
        tiles += gc_ceil_div(s->passes[i].lanes.vectors, plan->kernels->max_vb[s->kb - 1]);
    return gc_stream_input(plan, image_of(run, group), plan->problem.in_per_group,
                           tiles * s->planes.extent[0] * s->kblocks * boxes);
}

/* A block of channels over a box: image, origin, first output channel over all groups, how many. */
static void place_block(const gc_plan *plan, ptrdiff_t whole, block *b) {
    const gc_problem *p = &plan->problem;
    const gc_direct_state *s = plan->state;
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1] * s->boxes[2], place = whole / s->kblocks;
    const ptrdiff_t kblock = whole % s->kblocks, box = place % boxes, group = place / boxes;
    const ptrdiff_t k = gc_cut(p->out_per_group, s->kblocks, kblock);
    b->n = group / p->groups;
    b->k = group % p->groups * p->out_per_group + k;
    b->kb = (int)(gc_cut(p->out_per_group, s->kblocks, kblock + 1) - k);
    b->origin[0] = box / (s->boxes[1] * s->boxes[2]) * s->planes.extent[0];
    b->origin[1] = box / s->boxes[2] % s->boxes[1] * s->planes.extent[1];
    b->origin[2] = box % s->boxes[2] * s->planes.extent[2];
}

static ptrdiff_t residual_offset(const gc_problem *p, const block *b) {
    const ptrdiff_t *r = p->residual_strides;
    return b->n * r[0] + b->k * r[1] + b->origin[0] * r[2] + b->origin[1] * r[3] +
           b->origin[2] * r[4];
}

void gc_direct_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_direct_state *s = plan->state;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    const size_t plane_bytes =
        gc_round_up(gc_planes_elements(&s->planes, p->in_per_group) * (size_t)size, 64);
    const ptrdiff_t boxes = s->boxes[0] * s->boxes[1] * s->boxes[2];
    ptrdiff_t packed = -1, seen = -1; /* place, group */
    gc_stream ahead = {0};
    gc_planes_clear_slack(&s->planes, p->in_per_group, plan->kernels, scratch);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t whole = unit / s->parts, place = whole / s->kblocks;
        const ptrdiff_t box = place % boxes, group = place / boxes;
        block b = {.run = run, .s = s, .planes = scratch, .ahead = &ahead}, next;
        b.tile = (char *)scratch + plane_bytes;
        b.part = unit % s->parts;
        place_block(plan, whole, &b);
        const int in_place = reads_in_place(plan, group);
        if (in_place) b.planes = image_of(run, group);
        if (place != packed && !in_place) {
            gc_pack(plan, s->axes, &s->planes, image_of(run, group), p->input_strides + 1,
                    p->in_per_group, b.origin, packed >= 0 && packed % boxes == box, scratch);
            packed = place;
        }
        if (group != seen) {
            const int more = (group + 1) * boxes * s->kblocks * s->parts < last;
            ahead = more ? stream_ahead(run, group + 1, boxes - box) : (gc_stream){0};
            seen = group;
        }
        b.weights = gc_weights_at(&s->weights, plan, run, group % p->groups,
                                  b.k - group % p->groups * p->out_per_group);
        if (p->has_residual && s->parts == 1 && unit + 1 < last) {
            place_block(plan, whole + 1, &next);
            b.residual_next = residual_offset(p, &next) - residual_offset(p, &b);
        }
        run_block(&b);
    }
}
