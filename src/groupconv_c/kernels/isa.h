/* Which instruction sets exist: one line each, weakest first. */
#ifndef GC_ISA_H
#define GC_ISA_H

#include "kernels.h"

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(GC_BASELINE_ONLY)
#define GC_X86 1
#else
#define GC_X86 0
#endif

#define GC_FOR_EACH_ISA(X) X(baseline) X(avx2) X(avx512)

/* Kernel tables for float and double; NULL where the file was not built for its instruction set, or left out:
 * GC_NO_AVX512 spares the longest compilation a machine where it would not run, GC_BASELINE_ONLY two of three
 * where the building is tried and not the kernels. */
#define GC_DECLARE_ISA(name)                                \
    extern const gc_kernels *const gc_kernels_##name##_f32; \
    extern const gc_kernels *const gc_kernels_##name##_f64;
GC_FOR_EACH_ISA(GC_DECLARE_ISA)
#undef GC_DECLARE_ISA

#endif
