/* Scalar conversions between float and the 16-bit storage types; round to nearest, ties to even. */
#ifndef GC_HALF_H
#define GC_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t gc_float_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float gc_bits_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float gc_from_bf16(uint16_t h) { return gc_bits_float((uint32_t)h << 16); }

static inline uint16_t gc_to_bf16(float x) {
    uint32_t u = gc_float_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u); /* stay NaN */
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float gc_from_f16(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) /* infinity, NaN */
        return gc_bits_float(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x0400u) return gc_bits_float(sign | ((magnitude << 13) + (112u << 23)));
    /* subnormal: the integer times 2^-24, exact in float */
    return gc_bits_float(sign | gc_float_bits((float)magnitude * 0x1p-24f));
}

static inline uint16_t gc_to_f16(float x) {
    const uint32_t u = gc_float_bits(x), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds beyond 65504 */
    if (magnitude < 0x38800000u) {
        /* subnormal result: adding 0.5 leaves the bits rounded at 2^-24, the ulp there */
        const float shifted = gc_bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (gc_float_bits(shifted) - gc_float_bits(0.5f)));
    }
    return (uint16_t)(sign |
                      ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13));
}

#endif
