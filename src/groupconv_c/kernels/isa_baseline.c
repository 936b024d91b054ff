/* What every CPU of the target has, through the compiler's vector extension: 16-byte vectors
 * (SSE2 on x86-64, NEON on aarch64). A fused multiply-add is used where the target always has it. */
#include "isa.h"
#include "vector.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { f32_lanes = 4, f64_lanes = 2, vector_registers = 16 };

#define GC_GENERIC_VECTOR(R, real, integer, n)                                                         \
    typedef real R##_v __attribute__((vector_size(16)));                                               \
    typedef real R##_u __attribute__((vector_size(16), aligned(sizeof(real)), may_alias));             \
    typedef integer R##_i __attribute__((vector_size(16)));                                            \
    typedef uint32_t R##_m;                                                                            \
    GC_INLINE R##_v R##_load(const real *p) { return *(const R##_u *)p; }                              \
    GC_INLINE void R##_store(real *p, R##_v v) { *(R##_u *)p = v; }                                    \
    GC_INLINE R##_v R##_select(R##_i m, R##_v a, R##_v b) {                                            \
        return (R##_v)(((R##_i)a & m) | ((R##_i)b & ~m));                                              \
    }                                                                                                  \
    GC_INLINE R##_v R##_min(R##_v a, R##_v b) { return R##_select(a < b, a, b); }                      \
    GC_INLINE R##_v R##_max(R##_v a, R##_v b) { return R##_select(a > b, a, b); }                      \
    GC_INLINE R##_m R##_mask(uint32_t bits) { return bits; }                                           \
    /* Not inlined: there are so many calls, at edges only, that compiling them would take minutes. */ \
    GC_NOINLINE R##_v R##_load_some(const real *p, R##_m m) {                                          \
        R##_v v = {0};                                                                                 \
        for (int i = 0; i < n; i++)                                                                    \
            if (m >> i & 1) v[i] = p[i];                                                               \
        return v;                                                                                      \
    }                                                                                                  \
    GC_INLINE R##_v R##_load_mask(const real *p, R##_m m) {                                            \
        return m == (1u << n) - 1 ? R##_load(p) : R##_load_some(p, m);                                 \
    }                                                                                                  \
    GC_INLINE void R##_store_first(real *p, R##_v v, ptrdiff_t count) {                                \
        if (count >= n) {                                                                              \
            R##_store(p, v);                                                                           \
            return;                                                                                    \
        }                                                                                              \
        for (int i = 0; i < n; i++)                                                                    \
            if (i < count) p[i] = v[i];                                                                \
    }                                                                                                  \
    typedef uint32_t R##_packer;                                                                       \
    GC_INLINE R##_packer R##_packing(gc_lanes l) { return l.bits; }                                    \
    GC_INLINE R##_v R##_packed(R##_v v, R##_packer p) {                                                \
        R##_v to = {0};                                                                                \
        int at = 0;                                                                                    \
        for (int i = 0; i < n; i++)                                                                    \
            if (p >> i & 1) to[at++] = v[i];                                                           \
        return to;                                                                                     \
    }                                                                                                  \
    GC_INLINE void R##_store_lanes(real *p, R##_v v, gc_lanes l) {                                     \
        if (l.count == n) {                                                                            \
            R##_store(p, v);                                                                           \
            return;                                                                                    \
        }                                                                                              \
        for (int i = 0; i < n; i++)                                                                    \
            if (l.bits >> i & 1) *p++ = v[i];                                                          \
    }                                                                                                  \
    GC_INLINE R##_v R##_load_lanes(const real *p, gc_lanes l) {                                        \
        R##_v v = {0};                                                                                 \
        if (l.count == n) return R##_load(p);                                                          \
        for (int i = 0; i < n; i++)                                                                    \
            if (l.bits >> i & 1) v[i] = *p++;                                                          \
        return v;                                                                                      \
    }

GC_GENERIC_VECTOR(f32, float, int32_t, f32_lanes)
GC_GENERIC_VECTOR(f64, double, int64_t, f64_lanes)
GC_STORE_PART(f32, float)
GC_STORE_PART(f64, double)

#if defined(__aarch64__)
GC_INLINE f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return vfmaq_f32(c, a, b); }
GC_INLINE f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return vfmaq_f64(c, a, b); }
#else
GC_INLINE f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return a * b + c; }
GC_INLINE f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return a * b + c; }
#endif
GC_INLINE f32_v f32_set1(float s) { return (f32_v){s, s, s, s}; }
GC_INLINE f64_v f64_set1(double s) { return (f64_v){s, s}; }
GC_INLINE f32_v f32_even(f32_v a, f32_v b) { return (f32_v){a[0], a[2], b[0], b[2]}; }
GC_INLINE f32_v f32_odd(f32_v a, f32_v b) { return (f32_v){a[1], a[3], b[1], b[3]}; }
GC_INLINE f32_v f32_zip_low(f32_v a, f32_v b) { return (f32_v){a[0], b[0], a[1], b[1]}; }
GC_INLINE f32_v f32_zip_high(f32_v a, f32_v b) { return (f32_v){a[2], b[2], a[3], b[3]}; }
GC_INLINE f64_v f64_zip_low(f64_v a, f64_v b) { return (f64_v){a[0], b[0]}; }
GC_INLINE f64_v f64_zip_high(f64_v a, f64_v b) { return (f64_v){a[1], b[1]}; }
GC_TURN_BY_ZIPS(f32)
GC_TURN_BY_ZIPS(f64)
GC_INLINE float f32_sum(f32_v v) { return (v[0] + v[2]) + (v[1] + v[3]); }
GC_INLINE double f64_sum(f64_v v) { return v[0] + v[1]; }
GC_INLINE f64_v f64_even(f64_v a, f64_v b) { return (f64_v){a[0], b[0]}; }
GC_INLINE f64_v f64_odd(f64_v a, f64_v b) { return (f64_v){a[1], b[1]}; }
GC_INLINE f32_v f32_even_mixed(f32_v a, f32_v b) { return f32_even(a, b); }
GC_INLINE f32_v f32_odd_mixed(f32_v a, f32_v b) { return f32_odd(a, b); }
GC_INLINE f32_v f32_unmix(f32_v v) { return v; }
GC_INLINE f64_v f64_even_mixed(f64_v a, f64_v b) { return f64_even(a, b); }
GC_INLINE f64_v f64_odd_mixed(f64_v a, f64_v b) { return f64_odd(a, b); }
GC_INLINE f64_v f64_unmix(f64_v v) { return v; }

#define GC_GENERIC_SPREAD(R, real, n)                         \
    typedef const int32_t *R##_x;                             \
    GC_INLINE R##_v R##_hold(R##_v v) { return v; }           \
    GC_INLINE R##_x R##_index(const int32_t *p) { return p; } \
    GC_INLINE R##_v R##_spread(R##_v v, R##_x index) {        \
        real from[n];                                         \
        R##_v to = {0};                                       \
        R##_store(from, v);                                   \
        for (int i = 0; i < n; i++) to[i] = from[index[i]];   \
        return to;                                            \
    }

GC_GENERIC_SPREAD(f32, float, f32_lanes)
GC_GENERIC_SPREAD(f64, double, f64_lanes)

#define GC_GENERIC_HALF(type)                                                            \
    GC_INLINE f32_v type##_load(const uint16_t *p) {                                     \
        return (f32_v){gc_from_##type(p[0]), gc_from_##type(p[1]), gc_from_##type(p[2]), \
                       gc_from_##type(p[3])};                                            \
    }                                                                                    \
    GC_INLINE void type##_store(uint16_t *p, f32_v v) {                                  \
        for (int i = 0; i < f32_lanes; i++) p[i] = gc_to_##type(v[i]);                   \
    }

GC_GENERIC_HALF(f16)
GC_GENERIC_HALF(bf16)

#define GC_ISA_NAME baseline
#include "instantiate.h"
