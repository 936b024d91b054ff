/* What contracts of several families use: the largest tiles, and lanes that are results. */
#ifndef GC_CONTRACT_TYPES_H
#define GC_CONTRACT_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "../groupconv.h"

enum { GC_MAX_KB = 8, GC_MAX_VB = 8, GC_MAX_LANES = 16, GC_DEPTHWISE_ROWS = 8 };
enum { GC_STORAGE_TYPES = GC_BF16 + 1 };

/* Lanes of one output vector that are results; the others fell into the gaps between rows. */
typedef struct gc_lanes {
    uint32_t bits;
    uint16_t count;
    uint16_t spill; /* whole vectors may be loaded and stored: what lies behind is stored later */
} gc_lanes;

#endif
