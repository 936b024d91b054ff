/* AVX2 with FMA and F16C: 16 registers of 8 floats or 4 doubles. */
#include "isa.h"
#if GC_X86
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt")
#include <immintrin.h>
#endif

#include "left_pack.h"
#include "vector.h"

enum { f32_lanes = 8, f64_lanes = 4, vector_registers = 16 };

typedef __m256 f32_v;
typedef __m256d f64_v;
typedef __m256i f32_m;
typedef __m256i f64_m;

GC_INLINE f32_v f32_load(const float *p) { return _mm256_loadu_ps(p); }
GC_INLINE void f32_store(float *p, f32_v v) { _mm256_storeu_ps(p, v); }
GC_INLINE f32_v f32_set1(float s) { return _mm256_set1_ps(s); }
GC_INLINE f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return _mm256_fmadd_ps(a, b, c); }
GC_INLINE f32_v f32_min(f32_v a, f32_v b) { return _mm256_min_ps(a, b); }
GC_INLINE f32_v f32_max(f32_v a, f32_v b) { return _mm256_max_ps(a, b); }
GC_INLINE f32_m f32_mask(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lane), lane);
}
GC_INLINE f32_v f32_load_mask(const float *p, f32_m m) { return _mm256_maskload_ps(p, m); }
/* By halves: stores under a mask take some fifteen cycles on processors of AMD. */
GC_INLINE void f32_store_first(float *p, f32_v v, ptrdiff_t n) {
    if (n >= f32_lanes) {
        f32_store(p, v);
        return;
    }
    __m128 x = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, x);
        x = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, x);
        x = _mm_movehl_ps(x, x);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, x);
}
typedef __m256i f32_packer;
GC_INLINE f32_packer f32_packing(gc_lanes l) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)gc_left_pack[l.bits]));
}
GC_INLINE f32_v f32_packed(f32_v v, f32_packer p) { return _mm256_permutevar8x32_ps(v, p); }
GC_INLINE void f32_store_lanes(float *p, f32_v v, gc_lanes l) {
    if (l.count < f32_lanes) v = f32_packed(v, f32_packing(l));
    f32_store_first(p, v, l.spill ? f32_lanes : l.count);
}
GC_INLINE f32_v f32_load_lanes(const float *p, gc_lanes l) {
    if (l.count == f32_lanes) return f32_load(p);
    const f32_v v = l.spill ? f32_load(p) : f32_load_mask(p, f32_mask((1u << l.count) - 1));
    const __m128i index = _mm_loadl_epi64((const __m128i *)gc_right_spread[l.bits]);
    return _mm256_permutevar8x32_ps(v, _mm256_cvtepu8_epi32(index));
}
GC_INLINE f32_v f32_even_mixed(f32_v a, f32_v b) { return _mm256_shuffle_ps(a, b, 0x88); }
GC_INLINE f32_v f32_odd_mixed(f32_v a, f32_v b) { return _mm256_shuffle_ps(a, b, 0xdd); }
GC_INLINE f32_v f32_unmix(f32_v v) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
GC_INLINE f32_v f32_even(f32_v a, f32_v b) { return f32_unmix(f32_even_mixed(a, b)); }
GC_INLINE f32_v f32_odd(f32_v a, f32_v b) { return f32_unmix(f32_odd_mixed(a, b)); }
GC_INLINE f32_v f32_zip_low(f32_v a, f32_v b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
GC_INLINE f32_v f32_zip_high(f32_v a, f32_v b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
GC_INLINE void f32_turn_square(f32_v *x) {
    f32_v y[8];
    GC_UNROLL(2)
    for (int i = 0; i < 8; i += 4) { /* squares of 4 in the halves */
        const f32_v a = _mm256_unpacklo_ps(x[i], x[i + 1]), b = _mm256_unpackhi_ps(x[i], x[i + 1]);
        const f32_v c = _mm256_unpacklo_ps(x[i + 2], x[i + 3]),
                    d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm256_shuffle_ps(a, c, 0x44);
        y[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        y[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        y[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    GC_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(y[i], y[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(y[i], y[i + 4], 0x31);
    }
}
GC_INLINE float f32_sum(f32_v v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
GC_INLINE f32_v f16_load(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
GC_INLINE void f16_store(uint16_t *p, f32_v v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
GC_INLINE f32_v bf16_load(const uint16_t *p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
GC_INLINE void bf16_store(uint16_t *p, f32_v v) {
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i r = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(packed));
}

GC_INLINE f64_v f64_load(const double *p) { return _mm256_loadu_pd(p); }
GC_INLINE void f64_store(double *p, f64_v v) { _mm256_storeu_pd(p, v); }
GC_INLINE f64_v f64_set1(double s) { return _mm256_set1_pd(s); }
GC_INLINE f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return _mm256_fmadd_pd(a, b, c); }
GC_INLINE f64_v f64_min(f64_v a, f64_v b) { return _mm256_min_pd(a, b); }
GC_INLINE f64_v f64_max(f64_v a, f64_v b) { return _mm256_max_pd(a, b); }
GC_INLINE f64_m f64_mask(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
    return _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x((int)bits), lane), lane);
}
GC_INLINE f64_v f64_load_mask(const double *p, f64_m m) { return _mm256_maskload_pd(p, m); }
GC_INLINE void f64_store_first(double *p, f64_v v, ptrdiff_t n) {
    f32_store_first((float *)p, _mm256_castpd_ps(v), 2 * n);
}
/* A double moves as a pair of floats: lane bits abcd become aabbccdd. */
GC_INLINE uint32_t f64_pair_bits(uint32_t bits) {
    bits = (bits | (bits << 2)) & 0x33u;
    bits = (bits | (bits << 1)) & 0x55u;
    return bits * 3u;
}
GC_INLINE gc_lanes f64_pairs(gc_lanes l) {
    return (gc_lanes){f64_pair_bits(l.bits), (uint16_t)(2 * l.count), l.spill};
}
typedef __m256i f64_packer;
GC_INLINE f64_packer f64_packing(gc_lanes l) { return f32_packing(f64_pairs(l)); }
GC_INLINE f64_v f64_packed(f64_v v, f64_packer p) {
    return _mm256_castps_pd(f32_packed(_mm256_castpd_ps(v), p));
}
GC_INLINE void f64_store_lanes(double *p, f64_v v, gc_lanes l) {
    f32_store_lanes((float *)p, _mm256_castpd_ps(v), f64_pairs(l));
}
GC_INLINE f64_v f64_load_lanes(const double *p, gc_lanes l) {
    if (l.count == f64_lanes) return f64_load(p);
    return _mm256_castps_pd(f32_load_lanes((const float *)p, f64_pairs(l)));
}
GC_INLINE f64_v f64_even_mixed(f64_v a, f64_v b) { return _mm256_unpacklo_pd(a, b); }
GC_INLINE f64_v f64_odd_mixed(f64_v a, f64_v b) { return _mm256_unpackhi_pd(a, b); }
GC_INLINE f64_v f64_unmix(f64_v v) { return _mm256_permute4x64_pd(v, 0xd8); }
GC_INLINE f64_v f64_even(f64_v a, f64_v b) { return f64_unmix(f64_even_mixed(a, b)); }
GC_INLINE f64_v f64_odd(f64_v a, f64_v b) { return f64_unmix(f64_odd_mixed(a, b)); }
GC_INLINE f64_v f64_zip_low(f64_v a, f64_v b) {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
}
GC_INLINE f64_v f64_zip_high(f64_v a, f64_v b) {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
}
GC_INLINE void f64_turn_square(f64_v *x) {
    const f64_v a = _mm256_unpacklo_pd(x[0], x[1]), b = _mm256_unpackhi_pd(x[0], x[1]);
    const f64_v c = _mm256_unpacklo_pd(x[2], x[3]), d = _mm256_unpackhi_pd(x[2], x[3]);
    x[0] = _mm256_permute2f128_pd(a, c, 0x20);
    x[1] = _mm256_permute2f128_pd(b, d, 0x20);
    x[2] = _mm256_permute2f128_pd(a, c, 0x31);
    x[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
GC_INLINE double f64_sum(f64_v v) {
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}

GC_STORE_PART(f32, float)
GC_STORE_PART(f64, double)

typedef __m256i f32_x;
typedef __m256i f64_x;
GC_INLINE f32_x f32_index(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
GC_INLINE f32_v f32_hold(f32_v v) {
    __asm__("" : "+x"(v));
    return v;
}
GC_INLINE f32_v f32_spread(f32_v v, f32_x i) { return _mm256_permutevar8x32_ps(v, i); }
/* A double moves as a pair of floats: 2i and 2i + 1. */
GC_INLINE f64_x f64_index(const int32_t *p) {
    const __m256i wide = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)p));
    const __m256i low = _mm256_slli_epi64(wide, 1);
    const __m256i high = _mm256_slli_epi64(_mm256_add_epi64(low, _mm256_set1_epi64x(1)), 32);
    return _mm256_or_si256(low, high);
}
GC_INLINE f64_v f64_hold(f64_v v) {
    __asm__("" : "+x"(v));
    return v;
}
GC_INLINE f64_v f64_spread(f64_v v, f64_x i) {
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), i));
}

#define GC_REPEATS_LANES
GC_INLINE f32_v f32_repeated(const float *p, int n) {
    double both;
    memcpy(&both, p, sizeof both);
    return n == 2 ? _mm256_castpd_ps(_mm256_set1_pd(both)) : _mm256_broadcast_ps((const __m128 *)p);
}
GC_INLINE f64_v f64_repeated(const double *p, int n) {
    return n == 2 ? _mm256_broadcast_pd((const __m128d *)p) : _mm256_loadu_pd(p);
}

#define GC_ISA_NAME avx2
#include "instantiate.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define GC_ISA_NAME avx2
#include "not_built.h"
#endif
