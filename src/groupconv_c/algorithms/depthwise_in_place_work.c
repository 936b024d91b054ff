/* The work of plans of depthwise convolutions in place: a unit after the other, while what the next one reads
 * is fetched. */
#include "depthwise_in_place.h"

enum {
    most_fetched = 64 * 1024,
    near_fetched = 128 * 1024, /* input and output that stay near until they are needed */
    first_fetched = 32 * 1024, /* and in the first-level cache */
    least_fetched_out = 2048,  /* hardware foresees what is written to smaller channels */
    fetched_ahead = 4096,      /* of small channels: memory is further away than the next one */
    rows_ahead = 3 * 1024,     /* of rows in the order of memory */
    small_results = 64 * 1024, /* of maps that are computed in one call */
};

/* A unit. Channels can be tiny, so places count up and nothing is divided. */
typedef struct cursor {
    ptrdiff_t n, g, within, depth, band;
} cursor;

static cursor cursor_at(const gc_plan *plan, ptrdiff_t unit) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t slice = unit / s->bands, channel = slice / p->out_size[0];
    return (cursor){
        .n = channel / (p->groups * p->out_per_group),
        .g = channel / p->out_per_group % p->groups,
        .within = channel % p->out_per_group,
        .depth = slice % p->out_size[0],
        .band = unit % s->bands,
    };
}

static void advance(const gc_plan *plan, cursor *at) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    if (++at->band < s->bands) return;
    at->band = 0;
    if (++at->depth < p->out_size[0]) return;
    at->depth = 0;
    if (++at->within < p->out_per_group) return;
    at->within = 0;
    if (++at->g < p->groups) return;
    at->g = 0;
    at->n++;
}

/* Where the arrays have a unit's channel: its first input row, its depth of the output and the residual,
 * its weights and bias. */
typedef struct place {
    const char *in, *residual, *weight, *init;
    char *out;
} place;

static place place_of(const gc_run *run, const cursor *at) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t real = (ptrdiff_t)plan->kernels->real_size;
    const ptrdiff_t k = at->g * p->out_per_group + at->within;
    const ptrdiff_t *i = p->input_strides, *o = p->output_strides, *r = p->residual_strides;
    const char *residual = run->arrays->residual;
    return (place){
        .in = (const char *)run->arrays->input + at->n * i[0] + at->g * i[1],
        .residual = residual ? residual + at->n * r[0] + k * r[1] + at->depth * r[2] : NULL,
        .weight =
            gc_weights_at(&s->weights, plan, run, at->g, at->within) + s->weight_origin * real,
        .init = (const char *)run->bias + k * real,
        .out = (char *)run->arrays->output + at->n * o[0] + k * o[1] + at->depth * o[2],
    };
}

/* Bytes of an input slice, to be fetched while the unit before is computed: columns of vectors are an order
 * that hardware does not foresee. */
static ptrdiff_t fetched_bytes(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t bytes =
        (p->in_size[1] - 1) * p->input_strides[3] + p->in_size[2] * plan->storage_size;
    const int fits = s->bands == 1 && p->input_strides[3] > 0;
    return fits && bytes <= most_fetched ? bytes : 0;
}

/* Bytes of an output slice. */
static ptrdiff_t written_bytes(const gc_plan *plan) {
    return plan->problem.out_size[1] * plan->problem.output_strides[3];
}

/* Bytes of the fewest rows, `stride` apart, that reach rows_ahead: vectors of columns go down their own part of the rows. */
static ptrdiff_t whole_rows(ptrdiff_t stride) {
    return stride > 0 ? gc_ceil_div(rows_ahead, stride) * stride : 0;
}

/* What is asked for while a slice is computed, for each of its vectors of columns: of the next input slice, and of the
 * output slice where both stay near until then. */
static void ask_ahead(const gc_plan *plan, gc_rolling *a) {
    const gc_in_place *s = plan->state;
    const ptrdiff_t in = fetched_bytes(plan), out = written_bytes(plan);
    const int waits = gc_waits_to_store();
    const int near = in + out <= (waits ? near_fetched : first_fetched);
    const int late = out >= least_fetched_out && (waits || gc_problem_is_far(&plan->problem));
    a->in_ahead = waits ? whole_rows(plan->problem.input_strides[3]) : 0;
    a->out_ahead = waits ? whole_rows(plan->problem.output_strides[3]) : 0;
    a->fetch_bytes = in > 0 ? in / s->ncolumns + 1 : 0;
    a->fetch_out_bytes = in > 0 && near && late ? out / s->ncolumns + 1 : 0;
}

/* The last input slice that a unit reads. */
static const char *last_slice(const gc_run *run, const cursor *at) {
    const gc_problem *p = &run->plan->problem;
    const gc_in_place *s = run->plan->state;
    const ptrdiff_t z = at->depth * p->stride[0] + (p->kernel[0] - 1) * p->dilation[0] - s->pad[0];
    return place_of(run, at).in + gc_max(gc_min(z, p->in_size[0] - 1), 0) * p->input_strides[2];
}

/* The rest of the activation, for a unit's results where they are. */
static void activate(const gc_run *run, const cursor *at, char *slice) {
    const gc_problem *p = &run->plan->problem;
    const gc_in_place *s = run->plan->state;
    const ptrdiff_t size = run->plan->storage_size, rows = p->out_size[1];
    const ptrdiff_t first = gc_cut(rows, s->bands, at->band),
                    last = gc_cut(rows, s->bands, at->band + 1);
    char *const results = slice + first * p->out_size[2] * size;
    const gc_finish f = {
        .from = results,
        .to = results,
        .to_stride = size,
        .n = (last - first) * p->out_size[2],
        .dtype = p->dtype,
        .activation = p->activation,
        .parameter = p->activation_parameter,
    };
    run->plan->kernels->finish(&f);
}

/* The kernel's depths over the input's; whether all of them lie in it. */
static int list_slabs(const gc_plan *plan, const cursor *at, gc_depthwise_slab *slabs) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    int all = 1;
    for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
        const ptrdiff_t z = at->depth * p->stride[0] + d * p->dilation[0] - s->pad[0];
        const int there = z >= 0 && z < p->in_size[0];
        slabs[d] = (gc_depthwise_slab){
            .in = there ? z * p->input_strides[2] / plan->storage_size : 0,
            .weight = d * s->weight_step[0],
            .there = there,
        };
        all &= there;
    }
    return all;
}

static void bind_rolling(const gc_run *run, const cursor *at, const gc_in_place_class *c,
                         gc_rolling *a) {
    const gc_problem *p = &run->plan->problem;
    const gc_in_place *s = run->plan->state;
    const place here = place_of(run, at);
    /* of a kernel without depths; with them, slabs tell */
    const ptrdiff_t z = p->kernel[0] > 1 ? 0 : at->depth * p->stride[0] - s->pad[0];
    const int there = p->kernel[0] > 1 || (z >= 0 && z < p->in_size[0]);
    a->in = here.in + (there ? z : 0) * p->input_strides[2] + c->down * p->input_strides[3] -
            s->pad[2] * run->plan->storage_size;
    a->weight = here.weight;
    a->init = here.init;
    a->out = here.out + c->first * p->output_strides[3];
    a->residual = here.residual ? here.residual + c->first * p->residual_strides[3] : NULL;
    a->above = c->above;
    a->height = there ? c->height : 0;
    a->out_height = c->out_height;
    a->whole = c->whole;
}

static gc_rolling rolling_of(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t step = gc_in_place_row_step(plan), size = plan->storage_size;
    gc_rolling a = {
        .in_row = step * p->input_strides[3] / size,
        .out_row = step * p->output_strides[3] / size,
        .residual_row = step * p->residual_strides[3] / size,
        .weight_row = s->weight_step[1],
        .weight_column = s->weight_step[2],
        .ncolumns = s->ncolumns,
        .columns = s->columns,
        .nslabs = p->kernel[0],
        .dilation = p->dilation[2],
        .clamp = p->activation != GC_IDENTITY && !s->activate,
        .low = s->low,
        .high = s->high,
    };
    ask_ahead(plan, &a);
    return a;
}

static void work_rolling(const gc_run *run, gc_depthwise_slab *slabs, ptrdiff_t first,
                         ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_in_place *s = plan->state;
    const ptrdiff_t step = gc_in_place_row_step(plan);
    const int deep = plan->problem.kernel[0] > 1;
    gc_rolling a = rolling_of(plan);
    const ptrdiff_t fetch = a.fetch_bytes, fetch_out = a.fetch_out_bytes;
    a.slabs = deep ? slabs : NULL;
    cursor at = cursor_at(plan, first);
    const char *slice = last_slice(run, &at);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const cursor now = at;
        const char *const read = slice;
        if (unit + 1 < last) {
            advance(plan, &at);
            slice = last_slice(run, &at);
        }
        a.fetch = slice;
        a.fetch_bytes = slice != read ? fetch : 0;
        if (deep) list_slabs(plan, &now, slabs);
        const place next = place_of(run, &at);
        a.fetch_out = next.out;
        a.residual_next = next.residual - place_of(run, &now).residual;
        a.fetch_out_bytes = fetch_out;
        for (ptrdiff_t c = 0; c < step; c++) {
            bind_rolling(run, &now, &s->classes[now.band * step + c], &a);
            if (a.out_height > 0) s->roll(&a);
            a.fetch_bytes = a.fetch_out_bytes = 0;
        }
        if (s->activate) activate(run, &now, place_of(run, &now).out);
    }
}

static void next_channel(const gc_plan *plan, ptrdiff_t weight_step, gc_rolling *a) {
    const gc_problem *p = &plan->problem;
    a->in = (const char *)a->in + p->input_strides[1];
    a->out = (char *)a->out + p->output_strides[1];
    if (a->residual) a->residual = (const char *)a->residual + p->residual_strides[1];
    a->weight = (const char *)a->weight + weight_step;
    a->init = (const char *)a->init + plan->kernels->real_size;
}

/* Units that are whole channels, tiny ones among them: nothing but pointers moves from one to the next. */
static void work_channels(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_in_place *s = plan->state;
    const ptrdiff_t fetch = fetched_bytes(plan), groups = plan->problem.groups;
    const ptrdiff_t ahead = gc_ceil_div(fetched_ahead, gc_max(fetch, 1)); /* channels */
    const ptrdiff_t weight_step = gc_weights_group_step(&s->weights, plan);
    gc_rolling a = rolling_of(plan);
    while (first < last) {
        cursor at = cursor_at(plan, first);
        const ptrdiff_t end = gc_min(last, first + groups - at.g); /* of the image */
        bind_rolling(run, &at, s->classes, &a);
        for (; first < end; first++, at.g++) {
            char *const out = a.out;
            const ptrdiff_t next = first + ahead < end ? ahead : 0;
            a.fetch = (const char *)a.in + next * plan->problem.input_strides[1];
            a.fetch_out = out + next * plan->problem.output_strides[1];
            a.residual_next = next * plan->problem.residual_strides[1];
            s->roll(&a);
            if (s->activate) activate(run, &at, out);
            next_channel(plan, weight_step, &a);
        }
    }
}

/* Small maps: as many whole channels in a call as leave their results in the cache for the activation. */
static void work_small(const gc_run *run, ptrdiff_t first, ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t size = plan->storage_size, map = written_bytes(plan);
    const ptrdiff_t ahead = gc_ceil_div(fetched_ahead, map); /* channels */
    gc_small_maps a = {
        .in_channel = p->input_strides[1] / size,
        .out_channel = p->output_strides[1] / size,
        .residual_channel = p->residual_strides[1] / size,
        .weight_channel =
            gc_weights_group_step(&s->weights, plan) / (ptrdiff_t)plan->kernels->real_size,
        .weight_row = s->weight_step[1],
        .weight_column = s->weight_step[2],
        .height = p->out_size[1],
        .width = p->out_size[2],
        .fetch = ahead * p->input_strides[1],
        .fetch_out = gc_waits_to_store() ? ahead * p->output_strides[1] : 0,
        .low = s->low,
        .high = s->high,
    };
    while (first < last) {
        cursor at = cursor_at(plan, first);
        const place here = place_of(run, &at);
        const ptrdiff_t channels = gc_min(p->groups - at.g, gc_ceil_div(small_results, map));
        a.nchannels = gc_min(last - first, channels);
        a.in = here.in;
        a.residual = here.residual;
        a.weight = here.weight;
        a.init = here.init;
        a.out = here.out;
        s->small(&a);
        for (ptrdiff_t i = 0; s->activate && i < a.nchannels; i++)
            activate(run, &at, here.out + i * p->output_strides[1]);
        first += a.nchannels;
    }
}

static void work_tiles(const gc_run *run, gc_depthwise_slab *slabs, ptrdiff_t first,
                       ptrdiff_t last) {
    const gc_plan *plan = run->plan;
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    const ptrdiff_t size = plan->storage_size, fetch = fetched_bytes(plan);
    const ptrdiff_t step = gc_in_place_row_step(plan);
    gc_depthwise_rows a = {
        .in_row = step * p->input_strides[3] / size,
        .out_row = step * p->output_strides[3] / size,
        .residual_row = step * p->residual_strides[3] / size,
        .columns = s->columns,
        .ncolumns = s->ncolumns,
        .slabs = slabs,
        .nslabs = p->kernel[0],
        .weight_row = s->weight_step[1],
        .weight_column = s->weight_step[2],
        .dilation = p->dilation[2],
        .taps = (int)p->kernel[2],
        .clamp = p->activation != GC_IDENTITY && !s->activate,
        .low = s->low,
        .high = s->high,
    };
    cursor at = cursor_at(plan, first);
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const place here = place_of(run, &at);
        const ptrdiff_t begin = s->band_tile[at.band], end = s->band_tile[at.band + 1];
        const int all = list_slabs(plan, &at, slabs);
        const cursor now = at;
        advance(plan, &at);
        const char *const next = (const char *)run->arrays->input + at.n * p->input_strides[0] +
                                 at.g * p->input_strides[1];
        const ptrdiff_t ahead = unit + 1 < last && next != here.in ? fetch / (end - begin) + 1 : 0;
        a.fetch_bytes = ahead ? ahead / s->ncolumns + 1 : 0;
        a.weight = here.weight;
        a.init = here.init;
        for (ptrdiff_t i = begin; i < end; i++) {
            const gc_in_place_tile *t = &s->tiles[i];
            a.fetch = next + (i - begin) * ahead;
            for (ptrdiff_t d = 0; d < p->kernel[0]; d++) {
                slabs[d].first = t->first;
                slabs[d].last = slabs[d].there ? t->last : t->first;
            }
            a.edge = t->edge || !all;
            a.in = here.in + (t->in - s->pad[2]) * size;
            a.out = here.out + t->out * size;
            a.residual = here.residual ? here.residual + t->residual * size : NULL;
            a.nrows = t->nrows;
            a.whole = t->whole;
            s->kernels[t->few](&a);
        }
        if (s->activate) activate(run, &now, here.out);
    }
}

void gc_in_place_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last) {
    const gc_in_place *s = run->plan->state;
    gc_depthwise_slab one, *const slabs = run->plan->problem.kernel[0] > 1 ? scratch : &one;
    if (first == last) return;
    if (s->small)
        work_small(run, first, last);
    else if (s->channelwise)
        work_channels(run, first, last);
    else if (s->roll)
        work_rolling(run, slabs, first, last);
    else
        work_tiles(run, slabs, first, last);
}
