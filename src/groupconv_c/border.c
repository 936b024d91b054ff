/* The border of a transposed convolution, whose outputs some kernel positions do not reach.
 *
 * Algorithms multiply the weights of such positions with zeros, so that one that is infinite or NaN gives NaN
 * where the formula has no product at all. Only where weights are not finite, these outputs are computed again,
 * term by term.
 */
#include <stdint.h>
#include <string.h>

#include "plan.h"

enum { worth_a_thread = 256 * 1024 /* bytes of weights */ };

/* Elements of 64 bits together: without its sign, an element whose exponent is all ones carries into it. */
typedef struct pattern {
    uint64_t unsigned_bits, exponent_step, signs;
} pattern;

static pattern pattern_of(gc_dtype dtype) {
    switch (dtype) {
        case GC_F64:
            return (pattern){0x7fffffffffffffff, 0x0010000000000000, 0x8000000000000000};
        case GC_F32:
            return (pattern){0x7fffffff7fffffff, 0x0080000000800000, 0x8000000080000000};
        case GC_F16:
            return (pattern){0x7fff7fff7fff7fff, 0x0400040004000400, 0x8000800080008000};
        case GC_BF16:
            return (pattern){0x7fff7fff7fff7fff, 0x0080008000800080, 0x8000800080008000};
    }
    return (pattern){0, 0, 0};
}

static int all_finite(const char *from, ptrdiff_t bytes, const pattern *p) {
    uint64_t seen = 0;
    for (; bytes > 0; from += 8, bytes -= 8) {
        uint64_t word = 0;
        memcpy(&word, from, bytes < 8 ? (size_t)bytes : 8);
        seen |= (word & p->unsigned_bits) + p->exponent_step;
    }
    return !(seen & p->signs);
}

typedef struct scan {
    const gc_plan *plan;
    const char *weight;
    ptrdiff_t sizes[4]; /* of what an input channel has */
    int dense, finite;
} scan;

static void scan_range(void *context, int thread, ptrdiff_t first, ptrdiff_t last) {
    scan *s = context;
    (void)thread;
    const ptrdiff_t *b = s->plan->problem.weight_strides, *n = s->sizes;
    const ptrdiff_t size = s->plan->storage_size;
    const pattern p = pattern_of(s->plan->problem.dtype);
    int finite = 1;
    for (ptrdiff_t c = first; c < last; c++) {
        const char *w = s->weight + c * b[0];
        if (s->dense) {
            finite &= all_finite(w, n[0] * n[1] * n[2] * n[3] * size, &p);
            continue;
        }
        for (ptrdiff_t k = 0; k < n[0]; k++)
            for (ptrdiff_t d = 0; d < n[1]; d++)
                for (ptrdiff_t h = 0; h < n[2]; h++)
                    for (ptrdiff_t i = 0; i < n[3]; i++)
                        finite &=
                            all_finite(w + k * b[1] + d * b[2] + h * b[3] + i * b[4], size, &p);
    }
    if (!finite) __atomic_store_n(&s->finite, 0, __ATOMIC_RELAXED);
}

int gc_border_weights_finite(const gc_plan *plan, const void *weight, int threads) {
    const gc_problem *p = &plan->problem;
    scan s = {
        .plan = plan,
        .weight = weight,
        .sizes = {p->out_per_group, p->kernel[0], p->kernel[1], p->kernel[2]},
        .dense = 1,
        .finite = 1,
    };
    ptrdiff_t next = plan->storage_size;
    for (int i = 3; i >= 0; i--) {
        if (s.sizes[i] != 1 && p->weight_strides[1 + i] != next) s.dense = 0;
        next *= s.sizes[i];
    }
    const ptrdiff_t channels = p->groups * p->in_per_group, most = channels * next / worth_a_thread;
    gc_parallel((int)gc_max(gc_min(threads, most), 1), channels, scan_range, &s);
    return s.finite;
}

/* Whether some position of the kernel's axis would read outside of the input. */
static int reads_outside(const gc_problem *p, int axis, ptrdiff_t o) {
    const ptrdiff_t last = o + p->pad_before[axis];
    return last - (p->kernel[axis] - 1) * p->dilation[axis] < 0 ||
           last > (p->in_size[axis] - 1) * p->stride[axis];
}

static void mend_range(void *context, int thread, ptrdiff_t first, ptrdiff_t last) {
    const gc_run *run = context;
    const gc_problem *p = &run->plan->problem;
    const ptrdiff_t channels = p->groups * p->out_per_group;
    (void)thread;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        ptrdiff_t o[3];
        for (o[0] = 0; o[0] < p->out_size[0]; o[0]++)
            for (o[1] = 0; o[1] < p->out_size[1]; o[1]++)
                for (o[2] = 0; o[2] < p->out_size[2]; o[2]++)
                    if (reads_outside(p, 0, o[0]) || reads_outside(p, 1, o[1]) ||
                        reads_outside(p, 2, o[2]))
                        gc_reference_mend(run, unit / channels, unit % channels, o);
    }
}

void gc_border_mend(gc_run *run, int threads) {
    const gc_problem *p = &run->plan->problem;
    gc_parallel(threads, p->batch * p->groups * p->out_per_group, mend_range, run);
}
