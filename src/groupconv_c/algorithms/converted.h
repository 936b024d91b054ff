/* What algorithms share that convert halves to float32 some groups at a time. */
#ifndef GC_CONVERTED_H
#define GC_CONVERTED_H

#include "../plan.h"

/* Elements of one channel. */
static inline ptrdiff_t gc_converted_elements(const ptrdiff_t size[3]) {
    return size[0] * size[1] * size[2];
}

/* float32 that one group reads and writes. */
static inline ptrdiff_t gc_converted_bytes(const gc_problem *p) {
    return (p->in_per_group * gc_converted_elements(p->in_size) +
            p->out_per_group * gc_converted_elements(p->out_size)) *
           (ptrdiff_t)sizeof(float);
}

/* The problem of `groups` groups of one image in float32, without residual and activation; strides are missing. */
static inline gc_problem gc_converted_problem(const gc_problem *p, ptrdiff_t groups) {
    gc_problem q = *p;
    q.dtype = GC_F32;
    q.batch = 1;
    q.groups = groups;
    q.has_residual = 0;
    q.activation = GC_IDENTITY;
    return q;
}

#endif
