/* Included by a personality file on targets without its instruction set. */
#include "vector.h"

const gc_kernels *const GC_CAT(GC_CAT(gc_kernels_, GC_ISA_NAME), _f32) = NULL;
const gc_kernels *const GC_CAT(GC_CAT(gc_kernels_, GC_ISA_NAME), _f64) = NULL;
