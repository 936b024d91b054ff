/* Inside of a plan, for the algorithms. */
#ifndef GC_PLAN_H
#define GC_PLAN_H

#include <stddef.h>

#include "groupconv.h"
#include "kernels/kernels.h"

/* What one call hands to the threads that work on it. */
typedef struct gc_run {
    const gc_plan *plan;
    const gc_arrays *arrays;
    const void *weights; /* as algorithm->prepare left them, or NULL: read arrays->weight */
    const void *bias;    /* groups * out_per_group reals */
    char *shared;        /* plan->shared_size bytes for all threads */
    char *scratch;       /* plan->scratch_size bytes for each thread */
} gc_run;

/* One way to compute. Work is cut into plan->units pieces that may run in any order on any thread:
 * each writes its own part of the output, with operations in an order that depends on the problem
 * alone. */
typedef struct gc_algorithm {
    const char *name;
    /* Why this algorithm cannot do plan->problem, or NULL when it can. */
    const char *(*refuse)(const gc_plan *plan);
    /* Fills plan->state, sizes, units and predicted seconds. */
    gc_status (*create)(gc_plan *plan);
    void (*destroy)(gc_plan *plan);
    /* Brings `units` pieces first..last-1 of plan->prepare_units into the prepared form. */
    void (*prepare)(const gc_plan *plan, const void *weight, void *prepared, ptrdiff_t first,
                    ptrdiff_t last);
    void (*work)(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);
    /* Combines the pieces where work left parts in run->shared; NULL: nothing to combine. */
    void (*combine)(const gc_run *run, ptrdiff_t first, ptrdiff_t last);
    /* Relative work of one unit. NULL: all alike. */
    double (*unit_cost)(const gc_plan *plan, ptrdiff_t unit);
    /* One line on tiling. */
    void (*describe)(const gc_plan *plan, char *text, size_t size);
} gc_algorithm;

struct gc_plan {
    gc_problem problem; /* three dimensions always: missing leading ones have size 1 */
    const gc_algorithm *algorithm;
    const gc_kernels *kernels;
    ptrdiff_t storage_size; /* bytes of a stored element */
    void *state;            /* the algorithm's own */
    ptrdiff_t units, combine_units, prepare_units;
    size_t prepared_size, shared_size, scratch_size;
    size_t prepared_key;
    int mends_border;       /* weights that are not finite ask for border.c */
    int prepares_in_work;   /* work reads arrays->weight where nothing is prepared */
    double seconds;         /* predicted, one thread */
    double prepare_seconds; /* predicted, of preparing the weights */
};

typedef struct gc_candidate {
    const gc_algorithm *algorithm;
    const char *refusal;
    double seconds;
} gc_candidate;

/* The ordered list; the last one accepts everything. */
extern const gc_algorithm *const gc_algorithms[];
extern const int gc_algorithm_count;

/* problem.c */
gc_status gc_problem_normalise(const gc_problem *from, gc_problem *to);
double gc_problem_macs(const gc_problem *p);
double gc_problem_bytes(const gc_problem *p);

/* Whether a call's arrays do not stay in caches from call to call. */
int gc_problem_is_far(const gc_problem *p);
ptrdiff_t gc_storage_size(gc_dtype dtype);
/* Cycles that a call spends on columns far apart in memory, as channels_last has them, for algorithms with
 * positions in the lanes. */
double gc_strided_cycles(const gc_plan *plan);
/* Whether arrays hold the arithmetic type itself, and not halves. */
static inline int gc_stores_reals(const gc_plan *plan) {
    return (size_t)plan->storage_size == plan->kernels->real_size;
}
/* Whether one channel of the output is one contiguous run; and of reals. */
int gc_output_is_contiguous(const gc_plan *plan);
int gc_output_is_rows(const gc_plan *plan);
int gc_residual_is_rows(const gc_plan *plan);
/* Whether the input is reals, all of them one after the other. */
int gc_input_is_contiguous(const gc_plan *plan);

/* dispatch.c */
gc_status gc_kernels_for(gc_dtype dtype, const gc_kernels **kernels);
/* The kernels of half as many lanes that give the same bits, or NULL: short rows would leave the others idle. */
const gc_kernels *gc_half_kernels(const gc_kernels *kernels);
/* Whether the processor works on half a vector at a time, as AMD's Zen 4 does on 512 bits. */
int gc_takes_halves(const gc_kernels *kernels);
/* Cycles of a multiply-add of whole vectors where many are under way, next to what else predictions count. */
double gc_vector_cycles(const gc_kernels *kernels);
/* Whether rows that are read and written one after another are left to the hardware: asking for them, too, takes
 * up to half as long again on AMD's Zen 4. */
int gc_leaves_rows(void);
/* Whether stores, and first of all those that cross lines, wait for lines that the first-level cache does not have, as on
 * Intel's processors: asking for what is written pays even where it is in a near cache. */
int gc_waits_to_store(void);
/* How many bytes before lines are written in their order they are asked for. */
static inline ptrdiff_t gc_store_ahead(void) { return gc_waits_to_store() ? 256 : 0; }

/* border.c: whether a transposed convolution's weights are finite; if not, what must follow its work. */
int gc_border_weights_finite(const gc_plan *plan, const void *weight, int threads);
void gc_border_mend(gc_run *run, int threads);

/* algorithms/reference.c: computes one output of one image and channel again if it is NaN. */
void gc_reference_mend(const gc_run *run, ptrdiff_t n, ptrdiff_t k, const ptrdiff_t o[3]);

/* error.c */
void gc_set_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* parallel.c: runs work(context, thread, first, last) over 0..units-1 in contiguous ranges. */
typedef void gc_range_fn(void *context, int thread, ptrdiff_t first, ptrdiff_t last);
void gc_parallel(int threads, ptrdiff_t units, gc_range_fn *work, void *context);

/* Units of one image that share out evenly on many cores, and the multiply-adds below which a plan need not
 * have so many. */
enum { GC_WANTED_UNITS = 128, GC_MANY_MACS = 16000000 };

/* The fewest pieces of `total` things, at least `least`, of which `others` times as many share out evenly on 8,
 * 16 and 64 threads; `least` for a plan that need not. */
ptrdiff_t gc_even_pieces(const gc_plan *plan, ptrdiff_t others, ptrdiff_t total, ptrdiff_t least);

static inline ptrdiff_t gc_min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t gc_max(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t gc_ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }
/* Quotient rounded down, remainder never negative (b > 0). */
static inline ptrdiff_t gc_floor_div(ptrdiff_t a, ptrdiff_t b) {
    return a / b - (a % b != 0 && a < 0);
}
/* Functions that ask for memory and do nothing else: compilers leave out calls of them. */
#define GC_ASKS static inline __attribute__((always_inline))
/* Asks for memory that is read soon. */
GC_ASKS void gc_prefetch(const char *from, ptrdiff_t bytes) {
    for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}
/* Memory that is read later, asked for a little at a time: what is asked for at once waits in a short queue,
 * and what is needed now behind it. */
typedef struct gc_stream {
    const char *next;
    ptrdiff_t step; /* bytes at a time */
} gc_stream;
GC_ASKS void gc_stream_on(gc_stream *stream) {
    gc_prefetch(stream->next, stream->step);
    stream->next += stream->step;
}
/* The input of `channels` channels in `steps` steps; nothing where they do not follow each other or are more
 * than half of a second-level cache. */
gc_stream gc_stream_input(const gc_plan *plan, const char *image, ptrdiff_t channels,
                          ptrdiff_t steps);
/* Element i of reals of `size` bytes. */
static inline double gc_read_real(const void *from, ptrdiff_t i, ptrdiff_t size) {
    return size == 4 ? ((const float *)from)[i] : ((const double *)from)[i];
}
static inline size_t gc_round_up(size_t size, size_t to) { return (size + to - 1) / to * to; }
/* Where piece i of `parts` equal pieces of 0..total begins. */
static inline ptrdiff_t gc_cut(ptrdiff_t total, ptrdiff_t parts, ptrdiff_t i) {
    const ptrdiff_t base = total / parts, extra = total % parts;
    return i * base + gc_min(i, extra);
}

#endif
