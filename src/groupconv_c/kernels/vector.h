/* What every personality file shares: names of operations and unrolling.
 *
 * A personality file defines, for R in {f32, f64}, the type R_v (a vector), R_m (a lane mask) and
 *   R_load(p) R_store(p, v) R_set1(s) R_fma(a, b, c) = a*b + c      R_min(a, b) R_max(a, b): b if NaN
 *   R_mask(bits) R_load_mask(p, m) (zeros elsewhere)
 *   R_store_first(p, v, n): the first n lanes; nothing else is touched
 *   R_store_lanes(p, v, lanes) R_load_lanes(p, lanes): chosen lanes side by side in memory
 *   R_store_part(p, v, lanes): chosen lanes, which are neighbours, as far behind p as they lie in the vector
 *   R_packing(lanes), R_packed(v, packing): chosen lanes side by side in a vector, the rest of which is anything
 *   R_even(a, b) R_odd(a, b): lanes 0, 2, ... or 1, 3, ... of a followed by b
 *   R_even_mixed(a, b) R_odd_mixed(a, b): the same lanes in an order of the instruction set's own, which
 *     R_unmix(v) puts right
 *   R_zip_low(a, b) R_zip_high(a, b): lanes of a and b in turn, the lower or higher half
 *   R_turn_square(x): lane i of vector j of x[lanes] and lane j of vector i change places
 *   R_sum(v): of all lanes, in an order of the instruction set's own
 *   R_index(p) lane numbers from int32_t p[lanes]; R_spread(v, index): lane i is lane index[i] of v
 *   R_hold(v): v, in a register
 *   R_shifted(a, b, n): from lane n of a followed by b on, n < lanes, and R_keep(v, m): those lanes of v and zeros,
 *     and R_has_nan(v), if it defines GC_SHIFTS_VECTORS
 *   R_repeated(p, n): p[0] .. p[n - 1] again and again, n = 2 or 4, if it defines GC_REPEATS_LANES
 *   GC_SPREADS_OPERANDS, if an instruction spreads an operand in memory over a vector
 *   H_load(p) H_store(p, v) for H in {f16, bf16}: a vector of floats, in memory uint16_t; and H_load_mask(p, m),
 *     H_store_first(p, v, n), H_load_one(p): *p in all lanes, if it defines GC_MASKS_HALVES
 * and then includes instantiate_tmpl.h once for each R.
 */
#ifndef GC_VECTOR_H
#define GC_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "half.h"
#include "kernels.h"

#define GC_CAT_(a, b) a##b
#define GC_CAT(a, b) GC_CAT_(a, b)
#define GC_STRING_(x) #x
#define GC_STRING(x) GC_STRING_(x)
#define GC_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define GC_UNROLL(n) GC_PRAGMA(clang loop unroll_count(n))
#else
#define GC_UNROLL(n) GC_PRAGMA(GCC unroll n)
#endif
#define GC_INLINE static inline __attribute__((always_inline, unused))
#define GC_NOINLINE static __attribute__((noinline))

/* A pointer that steps along: compilers would rather keep one for each step of an unrolled loop. */
#define GC_STEP(pointer, by)         \
    do {                             \
        (pointer) += (by);           \
        __asm__("" : "+r"(pointer)); \
    } while (0)

/* Asks for memory that is read soon. A little at a time: what is asked for at once waits in a short queue,
 * and what is needed now behind it. */
GC_INLINE void gc_fetch(const char *from, ptrdiff_t bytes) {
    ptrdiff_t i = 0;
    for (; i + 256 <= bytes; i += 256) {
        __builtin_prefetch(from + i);
        __builtin_prefetch(from + i + 64);
        __builtin_prefetch(from + i + 128);
        __builtin_prefetch(from + i + 192);
    }
    for (; i < bytes; i += 64) __builtin_prefetch(from + i);
}

GC_INLINE ptrdiff_t gc_smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
GC_INLINE ptrdiff_t gc_larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* R_turn_square by shuffling log2(lanes) times: vectors i and i + lanes/2 become vectors 2i and 2i + 1. */
#define GC_TURN_BY_ZIPS(R)                                               \
    GC_INLINE void R##_turn_square(R##_v *x) {                           \
        R##_v y[R##_lanes];                                              \
        GC_UNROLL(4)                                                     \
        for (int step = 1; step < R##_lanes; step *= 2) {                \
            GC_UNROLL(8)                                                 \
            for (int i = 0; i < R##_lanes / 2; i++) {                    \
                y[2 * i] = R##_zip_low(x[i], x[i + R##_lanes / 2]);      \
                y[2 * i + 1] = R##_zip_high(x[i], x[i + R##_lanes / 2]); \
            }                                                            \
            GC_UNROLL(16)                                                \
            for (int i = 0; i < R##_lanes; i++) x[i] = y[i];             \
        }                                                                \
    }

/* R_store_part by way of R_store_lanes. */
#define GC_STORE_PART(R, real)                                    \
    GC_INLINE void R##_store_part(real *p, R##_v v, gc_lanes l) { \
        R##_store_lanes(p + __builtin_ctz(l.bits), v, l);         \
    }

/* Bits of the lanes first <= i < last, both cut to 0..lanes. */
GC_INLINE uint32_t gc_window_bits(ptrdiff_t first, ptrdiff_t last, int lanes) {
    if (last > lanes) last = lanes;
    if (first < 0) first = 0;
    if (first >= last) return 0;
    return (uint32_t)(((1ull << last) - 1) & ~((1ull << first) - 1));
}

#endif
