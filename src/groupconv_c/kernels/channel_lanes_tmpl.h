/* Microkernels whose lanes are output channels (contracts: channel_lanes_contracts.h): their stores, and those of several
 * groups to a vector. Those of one group are in lane_tile_tmpl.h, those that roll along a row in lane_roll_tmpl.h.
 *
 * lane_run: a vector holds whole groups of few channels, depthwise among them; it slides along a row,
 * and a loaded column serves every output and tap that touches it. Taps are added in one order, whatever the tile. */

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
