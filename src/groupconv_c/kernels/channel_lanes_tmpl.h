/* Microkernels whose lanes are output channels (contracts: channel_lanes_contracts.h).
 *
 * lane_run: a vector holds whole groups of few channels, depthwise among them; it slides along a row,
 * and a loaded column serves every output and tap that touches it. lane_tile: a vector holds channels
 * of one group; inputs are broadcast. Taps are added in one order, whatever the tile. */

GC_NOINLINE V OP(activate_one)(V x, gc_activation kind, real parameter) {
    return OP(activate)(x, kind, parameter);
}

/* The first n lanes of a vector of results: residual, activation, store. */
GC_INLINE void OP(lane_store)(real *to, V y, const real *residual, int n, const gc_lane_epilogue *e,
                              const int CLAMP) {
    if (residual) y += OP(load_mask)(residual, OP(mask)(gc_window_bits(0, n, LANES)));
    if (CLAMP)
        y = OP(min)(OP(set1)((real)e->high), OP(max)(OP(set1)((real)e->low), y));
    else
        y = OP(activate_one)(y, e->activation, (real)e->parameter);
    OP(store_first)(to, y, n);
}

/* One square: channels i .. of all positions. */
GC_INLINE void OP(turn_finish_square)(const gc_turn_finish *a, ptrdiff_t i, const int WHOLE) {
    const ptrdiff_t count = WHOLE ? LANES : gc_smaller(a->n - i, LANES);
    const ptrdiff_t rows = WHOLE ? LANES : a->rows;
    V x[LANES];
    OP(turn_load)((const real *)a->from + i, a->from_step, rows, count, x, WHOLE);
    real *to = (real *)a->to + i * a->to_step;
    const real *residual = (const real *)a->residual + i * a->residual_step;
    if (WHOLE) {
        const V high = OP(set1)((real)a->epilogue.high), low = OP(set1)((real)a->epilogue.low);
        GC_UNROLL(16)
        for (int c = 0; c < LANES; c++) {
            const V y = x[c] + OP(load)(residual);
            OP(store)(to, OP(min)(high, OP(max)(low, y)));
            GC_STEP(to, a->to_step);
            GC_STEP(residual, a->residual_step);
        }
        return;
    }
    for (ptrdiff_t c = 0; c < count; c++, to += a->to_step, residual += a->residual_step)
        if (a->epilogue.clamp)
            OP(lane_store)(to, x[c], residual, (int)rows, &a->epilogue, 1);
        else
            OP(lane_store)(to, x[c], residual, (int)rows, &a->epilogue, 0);
}

static void OP(turn_finish)(const gc_turn_finish *a) {
    ptrdiff_t i = 0;
    if (a->rows == LANES && a->epilogue.clamp)
        for (; i + LANES <= a->n; i += LANES) OP(turn_finish_square)(a, i, 1);
    for (; i < a->n; i += LANES) OP(turn_finish_square)(a, i, 0);
}

/* --- several groups to a vector --- */

static void OP(lane_pack)(const gc_lane_pack *a) {
    const V zero = OP(set1)(0);
    const ptrdiff_t step = a->step;
    for (ptrdiff_t v = 0; v < a->vectors; v++) {
        const ptrdiff_t channel = v * a->from_vector;
        const int whole = a->exist - channel >= LANES;
        const M m = OP(mask)(gc_window_bits(0, a->exist - channel, LANES));
        const real *from = (const real *)a->from + channel + a->first * a->step;
        const real *ahead = from + a->ahead;
        real *to = (real *)a->to + v * a->to_vector;
        ptrdiff_t u = 0;
        for (; u < a->first; u++, to += LANES) OP(store)(to, zero);
        for (; whole && u + 4 <= a->last; u += 4, to += 4 * LANES) {
            GC_UNROLL(4)
            for (int i = 0; i < 4; i++) {
                __builtin_prefetch(ahead);
                OP(store)(to + i * LANES, OP(load)(from));
                GC_STEP(from, step);
                GC_STEP(ahead, step);
            }
        }
        for (; u < a->last; u++, to += LANES, from += step) OP(store)(to, OP(load_mask)(from, m));
        for (; u < a->n; u++, to += LANES) OP(store)(to, zero);
    }
}

/* W taps of a kernel row from the column p on. With S the stride, output i and tap t read column S*i + t,
 * which is loaded once; S = 0: any stride, one tap. The column is held in a register, since the compiler
 * would rather load it once for each use. */
GC_INLINE void OP(lane_chunk)(const real *p, ptrdiff_t any_stride, const real *weight,
                              const int32_t *index, V *acc, const int W, const int S, const int P,
                              const int SPREAD) {
    V w[8];
    GC_UNROLL(8)
    for (int t = 0; t < W; t++) w[t] = OP(load)(weight + t * LANES);
    const OP(x) lanes = OP(index)(index);
    const int stride = S ? S : 1, columns = (P - 1) * stride + W;
    GC_UNROLL(40)
    for (int i = 0; i < columns; i++) {
        V x = OP(load)(p + (S ? i : i * any_stride) * LANES);
        x = SPREAD ? OP(spread)(x, lanes) : OP(hold)(x);
        GC_UNROLL(8)
        for (int t = 0; t < W; t++) {
            const int at = (i - t) / stride;
            if (i >= t && (i - t) % stride == 0 && at < P) acc[at] = OP(fma)(x, w[t], acc[at]);
        }
    }
}

/* Outputs j .. j + count - 1 of the run; count <= P. */
GC_INLINE void OP(lane_outputs)(const gc_lane_run *a, ptrdiff_t j, ptrdiff_t count, const int S,
                                const int P, const int SPREAD) {
    const int stored = a->stored;
    const V init = OP(load_mask)(a->init, OP(mask)(gc_window_bits(0, stored, LANES)));
    V acc[GC_MAX_LANE_COLUMNS];
    GC_UNROLL(16)
    for (int i = 0; i < P; i++) acc[i] = init;
    const real *w = a->weight;
    const ptrdiff_t start = j * a->stride * LANES;
#define LANE_CHUNK(W)                                                            \
    OP(lane_chunk)(p, a->stride, w, a->index + c * LANES, acc, W, S, P, SPREAD); \
    p += W * (S ? LANES : a->dilation * LANES);                                  \
    w += W * LANES;                                                              \
    taps -= W
    const void *const *row = a->rows, *const *const end = row + a->nrows;
    if (S && !SPREAD && a->taps == 3) /* by far the most, without sums that move */
        for (; row < end; row++, w += 3 * LANES) {
            const real *p = (const real *)*row + start;
            GC_STEP(p, 0);
            OP(lane_chunk)(p, 1, w, a->index, acc, 3, S, P, 0);
        }
    for (; row < end; row++)
        for (int c = 0; c < (SPREAD ? a->channels : 1); c++) {
            const real *p = (const real *)*row + start;
            ptrdiff_t taps = a->taps;
            if (S && !SPREAD) {
                while (taps >= 7) {
                    LANE_CHUNK(7);
                }
                if (taps >= 5) {
                    LANE_CHUNK(5);
                }
            }
            while (S && taps >= 3) {
                LANE_CHUNK(3);
            }
            while (taps > 0) {
                LANE_CHUNK(1);
            }
        }
#undef LANE_CHUNK
    real *out = (real *)a->out + j * a->out_step;
    const ptrdiff_t residual_step = a->residual ? a->residual_step : 0;
    const real *residual = a->residual ? (const real *)a->residual + j * residual_step : NULL;
    if (a->epilogue.clamp && count >= P && stored == LANES && !residual) {
        const V high = OP(set1)((real)a->epilogue.high), low = OP(set1)((real)a->epilogue.low);
        const ptrdiff_t step = a->out_step;
        GC_UNROLL(16)
        for (int i = 0; i < P; i++) {
            OP(store)(out, OP(min)(high, OP(max)(low, acc[i])));
            GC_STEP(out, step);
        }
        return;
    }
    if (a->epilogue.clamp) {
        GC_UNROLL(16)
        for (int i = 0; i < P; i++) {
            if (i >= count) break;
            OP(lane_store)(out, acc[i], residual, stored, &a->epilogue, 1);
            out += a->out_step;
            if (residual) residual += residual_step;
        }
        return;
    }
    V results[GC_MAX_LANE_COLUMNS];
    GC_UNROLL(16)
    for (int i = 0; i < P; i++) results[i] = acc[i];
    for (ptrdiff_t i = 0; i < count; i++) {
        OP(lane_store)(out, results[i], residual, stored, &a->epilogue, 0);
        out += a->out_step;
        if (residual) residual += residual_step;
    }
}

/* With 16 registers, 8 accumulators leave room for 7 taps and a column. */
#define LANE_RUN_MAX (vector_registers >= 32 ? 16 : 8)
#define LANE_RUN(P, S, SPREAD)                                                                    \
    GC_NOINLINE void GC_CAT(OP(lane_run_), GC_CAT(P, GC_CAT(S, SPREAD)))(const gc_lane_run *a) {  \
        for (ptrdiff_t j = 0; j < a->n; j += P)                                                   \
            if (P <= LANE_RUN_MAX) OP(lane_outputs)(a, j, gc_smaller(a->n - j, P), S, P, SPREAD); \
    }
#define LANE_RUN_ROW(P) \
    LANE_RUN(P, 0, 0)   \
    LANE_RUN(P, 0, 1) LANE_RUN(P, 1, 0) LANE_RUN(P, 1, 1) LANE_RUN(P, 2, 0) LANE_RUN(P, 2, 1)
LANE_RUN_ROW(7)
LANE_RUN_ROW(8)
LANE_RUN_ROW(14)
LANE_RUN_ROW(16)
#undef LANE_RUN_ROW
#define LANE_RUN_ENTRIES(P)                           \
    {                                                 \
        {OP(lane_run_##P##00), OP(lane_run_##P##01)}, \
        {OP(lane_run_##P##10), OP(lane_run_##P##11)}, \
        {OP(lane_run_##P##20), OP(lane_run_##P##21)}, \
    }

/* --- one group, inputs broadcast --- */

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
