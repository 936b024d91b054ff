/* Microkernels with output channels of one group in the lanes (contracts: channel_lanes_contracts.h).
 *
 * Inputs are broadcast: lane_tile reads two runs of neighbouring positions, lane_places some positions wherever they are.
 * Taps are added in one order, whatever the tile. */

enum { OP(lane_tile_ahead) = 8192 /* bytes of weights that are on their way from far caches */ };

GC_INLINE void OP(lane_tile_store)(const gc_lane_tile *a, const V *results, int r, int vb,
                                   const int CLAMP, const int G) {
    real *out = a->run[r].out;
    const real *residual = a->run[r].residual;
    const int first = a->run[r].first, end = first + a->run[r].count;
    GC_UNROLL(8)
    for (int i = 0; i < G; i++) {
        if (i < first || i >= end) continue;
        for (int v = 0; v < vb; v++)
            OP(lane_store)(out + v * LANES, results[i * vb + v],
                           residual ? residual + v * LANES : NULL, v == vb - 1 ? a->last : LANES,
                           &a->epilogue, CLAMP);
        out += a->out_step;
        if (residual) residual += a->residual_step;
    }
}

GC_INLINE void OP(lane_tile_start)(const gc_lane_tile *a, V *acc, const int POSITIONS,
                                   const int VB) {
    V init[GC_MAX_LANE_VB];
    const M last = OP(mask)(gc_window_bits(0, a->last, LANES));
    GC_UNROLL(3)
    for (int v = 0; v < VB; v++) {
        const real *from = (const real *)a->init + v * LANES;
        init[v] = v == VB - 1 ? OP(load_mask)(from, last) : OP(load)(from);
    }
    GC_UNROLL(16)
    for (int i = 0; i < POSITIONS; i++) GC_UNROLL(3)
    for (int v = 0; v < VB; v++) acc[i * VB + v] = init[v];
}

/* All G positions of a run in whole vectors: the residual first, since loads would wait for stores whose addresses
 * have the last bits in common. */
GC_INLINE void OP(lane_tile_add_whole)(const gc_lane_tile *a, V *results, int r, int vb,
                                       const int G) {
    const real *residual = a->run[r].residual;
    GC_UNROLL(8)
    for (int i = 0; i < G; i++) {
        GC_UNROLL(3)
        for (int v = 0; v < vb; v++) results[i * vb + v] += OP(load)(residual + v * LANES);
        residual += a->residual_step;
    }
}

GC_INLINE void OP(lane_tile_store_whole)(const gc_lane_tile *a, const V *results, int r, int vb,
                                         const int G) {
    const V high = OP(set1)((real)a->epilogue.high), low = OP(set1)((real)a->epilogue.low);
    real *out = a->run[r].out;
    GC_UNROLL(8)
    for (int i = 0; i < G; i++) {
        GC_UNROLL(3)
        for (int v = 0; v < vb; v++)
            OP(store)(out + v * LANES, OP(min)(high, OP(max)(low, results[i * vb + v])));
        out += a->out_step;
    }
}

GC_INLINE void OP(lane_tile_end)(const gc_lane_tile *a, V *acc, const int RUNS, const int G,
                                 const int VB) {
    int whole = a->epilogue.clamp && a->last == LANES;
    for (int r = 0; r < RUNS; r++) whole = whole && a->run[r].count == G;
    if (whole) {
        if (a->run[0].residual) {
            GC_UNROLL(2)
            for (int r = 0; r < RUNS; r++) OP(lane_tile_add_whole)(a, acc + r * G * VB, r, VB, G);
        }
        GC_UNROLL(2)
        for (int r = 0; r < RUNS; r++) OP(lane_tile_store_whole)(a, acc + r * G * VB, r, VB, G);
        return;
    }
    V results[2][GC_MAX_LANE_POSITIONS * GC_MAX_LANE_VB];
    GC_UNROLL(2)
    for (int r = 0; r < RUNS; r++) GC_UNROLL(24)
    for (int i = 0; i < G * VB; i++) results[r][i] = acc[r * G * VB + i];
    for (int r = 0; r < RUNS; r++) {
        if (a->epilogue.clamp)
            OP(lane_tile_store)(a, results[r], r, VB, 1, G);
        else
            OP(lane_tile_store)(a, results[r], r, VB, 0, G);
    }
}

/* An input channel's weights; what will be needed later is asked for, a cache line at a time. */
GC_INLINE void OP(lane_tile_weights)(const real *w, V *weight, const int VB) {
    GC_UNROLL(3)
    for (int v = 0; v < VB; v++) {
        weight[v] = OP(load)(w + v * LANES);
        if (v * LANES * sizeof(real) % 64 == 0)
            __builtin_prefetch((const char *)(w + v * LANES) + OP(lane_tile_ahead));
    }
}

/* One step of the list with each input channel: what is asked for at once gets lost. */
GC_INLINE void OP(lane_soon_on)(gc_lane_soon soon[2], const int VB) {
    GC_UNROLL(3)
    for (int i = 0; i < VB * LANES * (int)sizeof(real); i += 64) {
        if (soon->written)
            __builtin_prefetch(soon->at + i, 1);
        else
            __builtin_prefetch(soon->at + i);
    }
    soon->at += soon->step;
    if (--soon->left > 0) return;
    soon[0] = soon[1];
    soon[1].left = 0;
}

GC_INLINE void OP(lane_tile_channel)(const real *x0, const real *x1, ptrdiff_t step, const real *w,
                                     const char *later, V *acc, const int G, const int RUNS,
                                     const int VB) {
    V weight[GC_MAX_LANE_VB];
    OP(lane_tile_weights)(w, weight, VB);
    __builtin_prefetch(later);
    GC_UNROLL(2)
    for (int r = 0; r < RUNS; r++) {
        GC_UNROLL(8)
        for (int i = 0; i < G; i++) {
            const V x = OP(set1)((r ? x1 : x0)[i * step]);
            GC_UNROLL(2)
            for (int v = 0; v < VB; v++) {
                V *sum = &acc[(r * G + i) * VB + v];
                *sum = OP(fma)(x, weight[v], *sum);
            }
        }
    }
    __builtin_prefetch(x1 + (3 * G - 1) * step); /* the end of the next tile */
}

GC_INLINE void OP(lane_tile_body)(const int G, const int RUNS, const int VB,
                                  const gc_lane_tile *a) {
    V acc[2 * GC_MAX_LANE_POSITIONS * GC_MAX_LANE_RUN_VB];
    OP(lane_tile_start)(a, acc, RUNS * G, VB);
    const ptrdiff_t step = a->step, channel = a->channel, *const end = a->taps + a->ntaps;
    const real *w = a->weight;
    gc_lane_soon soon[2] = {a->soon[0], a->soon[1]};
    const char *later = a->later ? a->later : (const char *)w;
    const ptrdiff_t later_step = a->later ? a->later_step : 0;
    for (const ptrdiff_t *tap = a->taps; tap < end; tap++) {
        const real *x0 = (const real *)a->run[0].in + *tap;
        const real *x1 = (const real *)a->run[RUNS - 1].in + *tap;
        ptrdiff_t c = a->channels;
        for (; c > 0 && soon->left > 0; c--, w += VB * LANES, x0 += channel, x1 += channel) {
            OP(lane_soon_on)(soon, VB);
            OP(lane_tile_channel)(x0, x1, step, w, later, acc, G, RUNS, VB);
            GC_STEP(later, later_step);
        }
        for (; c > 0; c--, w += VB * LANES, x0 += channel, x1 += channel) {
            OP(lane_tile_channel)(x0, x1, step, w, later, acc, G, RUNS, VB);
            GC_STEP(later, later_step);
        }
    }
    OP(lane_tile_end)(a, acc, RUNS, G, VB);
}

GC_INLINE void OP(lane_places_body)(const int P, const int VB, const gc_lane_tile *a) {
    V acc[GC_MAX_LANE_PLACES * GC_MAX_LANE_VB];
    OP(lane_tile_start)(a, acc, P, VB);
    const char *in[GC_MAX_LANE_PLACES];
    GC_UNROLL(8)
    for (int i = 0; i < P; i++) in[i] = a->place[i];
    const ptrdiff_t size = sizeof(real), channel = a->channel * size;
    const ptrdiff_t *const end = a->taps + a->ntaps;
    const real *w = a->weight;
    for (const ptrdiff_t *tap = a->taps; tap < end; tap++) {
        ptrdiff_t at = *tap * size;
        for (ptrdiff_t c = a->channels; c > 0; c--, at += channel, w += VB * LANES) {
            V weight[GC_MAX_LANE_VB];
            OP(lane_tile_weights)(w, weight, VB);
            GC_UNROLL(8)
            for (int i = 0; i < P; i++) {
                const V x = OP(set1)(*(const real *)(in[i] + at));
                GC_UNROLL(3)
                for (int v = 0; v < VB; v++)
                    acc[i * VB + v] = OP(fma)(x, weight[v], acc[i * VB + v]);
            }
        }
    }
    OP(lane_tile_end)(a, acc, 1, P, VB);
}

/* The most positions of each of two runs whose accumulators, weights and one input fit the registers. */
#define LANE_TILE_MAX(VB)                                               \
    ((vector_registers - 1 - (VB)) / (2 * (VB)) < GC_MAX_LANE_POSITIONS \
         ? (vector_registers - 1 - (VB)) / (2 * (VB))                   \
         : GC_MAX_LANE_POSITIONS)
#define LANE_TILE(G, VB, RUNS)                                                                    \
    GC_NOINLINE void GC_CAT(OP(lane_tile_), GC_CAT(G, GC_CAT(VB, RUNS)))(const gc_lane_tile *a) { \
        if (G <= LANE_TILE_MAX(VB)) OP(lane_tile_body)(G, RUNS, VB, a);                           \
    }
#define LANE_TILE_ROW(G) LANE_TILE(G, 1, 1) LANE_TILE(G, 1, 2) LANE_TILE(G, 2, 1) LANE_TILE(G, 2, 2)
LANE_TILE_ROW(1)
LANE_TILE_ROW(2)
LANE_TILE_ROW(3)
LANE_TILE_ROW(4)
LANE_TILE_ROW(5)
LANE_TILE_ROW(6)
LANE_TILE_ROW(7)
LANE_TILE_ROW(8)
#define LANE_TILE_ENTRIES(G)                            \
    {                                                   \
        {OP(lane_tile_##G##11), OP(lane_tile_##G##12)}, \
        {OP(lane_tile_##G##21), OP(lane_tile_##G##22)}, \
    }

/* Positions that fill 12 accumulators, at addresses of their own: general registers do not suffice for more. */
#define LANE_PLACES(VB) (vector_registers >= 32 ? 0 : (VB) == 1 ? 8 : 12 / (VB))
#define LANE_PLACES_KERNEL(VB)                                             \
    GC_NOINLINE void GC_CAT(OP(lane_places_), VB)(const gc_lane_tile *a) { \
        if (LANE_PLACES(VB)) OP(lane_places_body)(LANE_PLACES(VB), VB, a); \
    }
LANE_PLACES_KERNEL(1)
LANE_PLACES_KERNEL(2)
LANE_PLACES_KERNEL(3)
