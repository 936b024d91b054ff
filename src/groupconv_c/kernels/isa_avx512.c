/* AVX-512 (F, VL, DQ, BW): 32 registers of 16 floats or 8 doubles. */
#include "isa.h"
#if GC_X86 && !defined(GC_NO_AVX512)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(                                                                \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,popcnt,bmi2"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,popcnt,bmi2,prefer-vector-width=512")
#include <immintrin.h>
#endif

#include "vector.h"

enum { f32_lanes = 16, f64_lanes = 8, vector_registers = 32 };

typedef __m512 f32_v;
typedef __m512d f64_v;
typedef __mmask16 f32_m;
typedef __mmask8 f64_m;

GC_INLINE f32_v f32_load(const float *p) { return _mm512_loadu_ps(p); }
GC_INLINE void f32_store(float *p, f32_v v) { _mm512_storeu_ps(p, v); }
GC_INLINE f32_v f32_set1(float s) { return _mm512_set1_ps(s); }
GC_INLINE f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return _mm512_fmadd_ps(a, b, c); }
GC_INLINE f32_v f32_min(f32_v a, f32_v b) { return _mm512_min_ps(a, b); }
GC_INLINE f32_v f32_max(f32_v a, f32_v b) { return _mm512_max_ps(a, b); }
GC_INLINE f32_m f32_mask(uint32_t bits) { return (f32_m)bits; }
GC_INLINE f32_v f32_load_mask(const float *p, f32_m m) { return _mm512_maskz_loadu_ps(m, p); }
GC_INLINE void f32_store_first(float *p, f32_v v, ptrdiff_t n) {
    _mm512_mask_storeu_ps(p, (f32_m)((1u << n) - 1), v);
}
typedef __mmask16 f32_packer;
GC_INLINE f32_packer f32_packing(gc_lanes l) { return (f32_packer)l.bits; }
GC_INLINE f32_v f32_packed(f32_v v, f32_packer p) { return _mm512_maskz_compress_ps(p, v); }
GC_INLINE void f32_store_lanes(float *p, f32_v v, gc_lanes l) {
    _mm512_mask_storeu_ps(p, (f32_m)((1u << l.count) - 1), f32_packed(v, f32_packing(l)));
}
GC_INLINE void f32_store_part(float *p, f32_v v, gc_lanes l) {
    _mm512_mask_storeu_ps(p, (f32_m)l.bits, v);
}
GC_INLINE f32_v f32_load_lanes(const float *p, gc_lanes l) {
    return _mm512_maskz_expand_ps((f32_m)l.bits,
                                  _mm512_maskz_loadu_ps((f32_m)((1u << l.count) - 1), p));
}
GC_INLINE f32_v f32_even(f32_v a, f32_v b) {
    const __m512i i = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, i, b);
}
GC_INLINE f32_v f32_odd(f32_v a, f32_v b) {
    const __m512i i = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, i, b);
}
GC_INLINE f32_v f32_even_mixed(f32_v a, f32_v b) { return f32_even(a, b); }
GC_INLINE f32_v f32_odd_mixed(f32_v a, f32_v b) { return f32_odd(a, b); }
GC_INLINE f32_v f32_unmix(f32_v v) { return v; }
GC_INLINE f32_v f32_zip_low(f32_v a, f32_v b) {
    const __m512i i = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, i, b);
}
GC_INLINE f32_v f32_zip_high(f32_v a, f32_v b) {
    const __m512i i =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, i, b);
}
GC_TURN_BY_ZIPS(f32)
GC_INLINE float f32_sum(f32_v v) { return _mm512_reduce_add_ps(v); }
GC_INLINE f32_v f16_reals(__m256i halves) { return _mm512_cvtph_ps(halves); }
GC_INLINE __m256i f16_halves(f32_v v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
GC_INLINE f32_v bf16_reals(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
GC_INLINE __m256i bf16_halves(f32_v v) {
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i r = _mm512_mask_mov_epi32(rounded, nan, quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}
#define GC_MASKS_HALVES
#define HALVES_IN_MEMORY(H)                                                                   \
    GC_INLINE f32_v H##_load(const uint16_t *p) { return H##_reals(_mm256_loadu_epi16(p)); }  \
    GC_INLINE f32_v H##_load_mask(const uint16_t *p, f32_m m) {                               \
        return H##_reals(_mm256_maskz_loadu_epi16(m, p));                                     \
    }                                                                                         \
    GC_INLINE f32_v H##_load_one(const uint16_t *p) {                                         \
        return H##_reals(_mm256_set1_epi16((int16_t)*p));                                     \
    }                                                                                         \
    GC_INLINE void H##_store(uint16_t *p, f32_v v) { _mm256_storeu_epi16(p, H##_halves(v)); } \
    GC_INLINE void H##_store_first(uint16_t *p, f32_v v, ptrdiff_t n) {                       \
        _mm256_mask_storeu_epi16(p, (f32_m)((1u << n) - 1), H##_halves(v));                   \
    }
HALVES_IN_MEMORY(f16)
HALVES_IN_MEMORY(bf16)
#undef HALVES_IN_MEMORY

GC_INLINE f64_v f64_load(const double *p) { return _mm512_loadu_pd(p); }
GC_INLINE void f64_store(double *p, f64_v v) { _mm512_storeu_pd(p, v); }
GC_INLINE f64_v f64_set1(double s) { return _mm512_set1_pd(s); }
GC_INLINE f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return _mm512_fmadd_pd(a, b, c); }
GC_INLINE f64_v f64_min(f64_v a, f64_v b) { return _mm512_min_pd(a, b); }
GC_INLINE f64_v f64_max(f64_v a, f64_v b) { return _mm512_max_pd(a, b); }
GC_INLINE f64_m f64_mask(uint32_t bits) { return (f64_m)bits; }
GC_INLINE f64_v f64_load_mask(const double *p, f64_m m) { return _mm512_maskz_loadu_pd(m, p); }
GC_INLINE void f64_store_first(double *p, f64_v v, ptrdiff_t n) {
    _mm512_mask_storeu_pd(p, (f64_m)((1u << n) - 1), v);
}
typedef __mmask8 f64_packer;
GC_INLINE f64_packer f64_packing(gc_lanes l) { return (f64_packer)l.bits; }
GC_INLINE f64_v f64_packed(f64_v v, f64_packer p) { return _mm512_maskz_compress_pd(p, v); }
GC_INLINE void f64_store_lanes(double *p, f64_v v, gc_lanes l) {
    _mm512_mask_storeu_pd(p, (f64_m)((1u << l.count) - 1), f64_packed(v, f64_packing(l)));
}
GC_INLINE void f64_store_part(double *p, f64_v v, gc_lanes l) {
    _mm512_mask_storeu_pd(p, (f64_m)l.bits, v);
}
GC_INLINE f64_v f64_load_lanes(const double *p, gc_lanes l) {
    return _mm512_maskz_expand_pd((f64_m)l.bits,
                                  _mm512_maskz_loadu_pd((f64_m)((1u << l.count) - 1), p));
}
GC_INLINE f64_v f64_even(f64_v a, f64_v b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
}
GC_INLINE f64_v f64_odd(f64_v a, f64_v b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
}
GC_INLINE f64_v f64_even_mixed(f64_v a, f64_v b) { return f64_even(a, b); }
GC_INLINE f64_v f64_odd_mixed(f64_v a, f64_v b) { return f64_odd(a, b); }
GC_INLINE f64_v f64_unmix(f64_v v) { return v; }
GC_INLINE f64_v f64_zip_low(f64_v a, f64_v b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
}
GC_INLINE f64_v f64_zip_high(f64_v a, f64_v b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
GC_TURN_BY_ZIPS(f64)
GC_INLINE double f64_sum(f64_v v) { return _mm512_reduce_add_pd(v); }

typedef __m512i f32_x;
typedef __m512i f64_x;
GC_INLINE f32_x f32_index(const int32_t *p) { return _mm512_loadu_si512(p); }
GC_INLINE f32_v f32_hold(f32_v v) {
    __asm__("" : "+v"(v));
    return v;
}
GC_INLINE f32_v f32_spread(f32_v v, f32_x i) { return _mm512_permutexvar_ps(i, v); }
GC_INLINE f64_x f64_index(const int32_t *p) {
    return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)p));
}
GC_INLINE f64_v f64_hold(f64_v v) {
    __asm__("" : "+v"(v));
    return v;
}
GC_INLINE f64_v f64_spread(f64_v v, f64_x i) { return _mm512_permutexvar_pd(i, v); }
#define GC_SHIFTS_VECTORS
#define GC_SPREADS_OPERANDS
#define GC_REPEATS_LANES
GC_INLINE f32_v f32_repeated(const float *p, int n) {
    double both;
    memcpy(&both, p, sizeof both);
    return n == 2 ? _mm512_castpd_ps(_mm512_set1_pd(both))
                  : _mm512_broadcast_f32x4(_mm_loadu_ps(p));
}
GC_INLINE f64_v f64_repeated(const double *p, int n) {
    return n == 2 ? _mm512_broadcast_f64x2(_mm_loadu_pd(p))
                  : _mm512_broadcast_f64x4(_mm256_loadu_pd(p));
}
GC_INLINE f32_v f32_keep(f32_v v, f32_m m) { return _mm512_maskz_mov_ps(m, v); }
GC_INLINE f64_v f64_keep(f64_v v, f64_m m) { return _mm512_maskz_mov_pd(m, v); }
GC_INLINE int f32_has_nan(f32_v v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0; }
GC_INLINE int f64_has_nan(f64_v v) { return _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) != 0; }
#define SHIFTED_F32(a, b, n) \
    _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(b), _mm512_castps_si512(a), n))
#define SHIFTED_F64(a, b, n) \
    _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(b), _mm512_castpd_si512(a), n))
GC_INLINE f32_v f32_shifted(f32_v a, f32_v b, int n) {
    switch (n) { /* the instruction takes a constant */
        case 1:
            return SHIFTED_F32(a, b, 1);
        case 2:
            return SHIFTED_F32(a, b, 2);
        case 3:
            return SHIFTED_F32(a, b, 3);
        case 4:
            return SHIFTED_F32(a, b, 4);
        case 5:
            return SHIFTED_F32(a, b, 5);
        case 6:
            return SHIFTED_F32(a, b, 6);
        case 7:
            return SHIFTED_F32(a, b, 7);
        case 8:
            return SHIFTED_F32(a, b, 8);
        case 9:
            return SHIFTED_F32(a, b, 9);
        case 10:
            return SHIFTED_F32(a, b, 10);
        case 11:
            return SHIFTED_F32(a, b, 11);
        case 12:
            return SHIFTED_F32(a, b, 12);
        case 13:
            return SHIFTED_F32(a, b, 13);
        case 14:
            return SHIFTED_F32(a, b, 14);
        case 15:
            return SHIFTED_F32(a, b, 15);
        default:
            return a;
    }
}
GC_INLINE f64_v f64_shifted(f64_v a, f64_v b, int n) {
    switch (n) { /* the instruction takes a constant */
        case 1:
            return SHIFTED_F64(a, b, 1);
        case 2:
            return SHIFTED_F64(a, b, 2);
        case 3:
            return SHIFTED_F64(a, b, 3);
        case 4:
            return SHIFTED_F64(a, b, 4);
        case 5:
            return SHIFTED_F64(a, b, 5);
        case 6:
            return SHIFTED_F64(a, b, 6);
        case 7:
            return SHIFTED_F64(a, b, 7);
        default:
            return a;
    }
}
#undef SHIFTED_F32
#undef SHIFTED_F64

#define GC_ISA_NAME avx512
#include "instantiate.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define GC_ISA_NAME avx512
#include "not_built.h"
#endif
