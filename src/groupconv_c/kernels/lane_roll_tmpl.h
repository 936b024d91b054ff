/* Microkernels for several groups to a vector that roll along a row (contract: gc_lane_roll in
 * channel_lanes_contracts.h).
 *
 * Column after column of the input is loaded once, for all the rows that the tile's outputs read, and
 * added to every output that it touches: those that begin with this column, with the one before it, and
 * so on. Then the oldest are complete, and the others move up by one. */

enum { OP(roll_window) = 2 * (GC_ROLL_ROWS - 1) + GC_ROLL_KERNEL };

/* Rows `present` of a column. What the next tile begins with is asked for meanwhile. */
GC_INLINE void OP(roll_load)(const gc_lane_roll *a, const real *p, V *x, uint32_t present,
                             const int ROWS, const int NEW, const int WHOLE) {
    const ptrdiff_t row = a->row, ahead = a->ahead;
    const M m = OP(mask)(gc_window_bits(0, a->exist, LANES));
    GC_UNROLL(16)
    for (int i = 0; i < ROWS; i++) {
        x[i] = OP(set1)(0);
        if (present >> i & 1) {
            x[i] = WHOLE ? OP(load)(p) : OP(load_mask)(p, m);
            if (i >= ROWS - NEW) __builtin_prefetch(p + ahead);
        }
        GC_STEP(p, row);
    }
}

/* Taps Q, Q + S, ... of the column, for outputs that began 0, D, ... columns of outputs ago. */
GC_INLINE void OP(roll_column)(const gc_lane_roll *a, const V *x, V *acc, const int Q, const int K,
                               const int S, const int D, const int B, const int SPREAD) {
    const int ROWS = (B - 1) * S + K;
    const real *w = a->weight;
    for (int c = 0; c < (SPREAD ? a->channels : 1); c++) {
        V y[OP(roll_window)];
        GC_UNROLL(16)
        for (int i = 0; i < ROWS; i++)
            y[i] = SPREAD ? OP(spread)(x[i], OP(index)(a->index + c * LANES)) : x[i];
        GC_UNROLL(8)
        for (int r = 0; r < K; r++) {
            const real *row = w + r * (SPREAD ? a->channels : 1) * K * LANES;
            GC_UNROLL(8)
            for (int t = Q; t < K; t += S) {
                const V weight = OP(hold)(OP(load)(row + t * LANES));
                GC_UNROLL(4)
                for (int j = 0; j < B; j++) {
                    V *const sum = &acc[t / S * D * B + j];
                    *sum = OP(fma)(y[j * S + r], weight, *sum);
                }
            }
        }
        w += K * LANES;
    }
}

GC_INLINE void OP(roll_store)(const gc_lane_roll *a, const V *results, ptrdiff_t at, const int B,
                              const int WHOLE) {
    const V high = OP(set1)((real)a->epilogue.high), low = OP(set1)((real)a->epilogue.low);
    real *out = (real *)a->out + at * a->out_step;
    const real *residual = (const real *)a->residual;
    if (residual) residual += at * a->residual_step;
    const ptrdiff_t out_row = a->out_row, residual_row = a->residual_row;
    GC_UNROLL(4)
    for (int j = 0; j < B; j++) {
        if (j > 0 && j >= a->rows) break;
        V y = results[j];
        if (residual) {
            const M m = OP(mask)(gc_window_bits(0, a->stored, LANES));
            y += WHOLE ? OP(load)(residual) : OP(load_mask)(residual, m);
            __builtin_prefetch(residual + a->residual_ahead);
            residual += residual_row;
        }
        y = OP(min)(high, OP(max)(low, y));
        if (WHOLE)
            OP(store)(out, y);
        else
            OP(store_first)(out, y, a->stored);
        __builtin_prefetch(out + a->out_ahead, 1);
        GC_STEP(out, out_row);
    }
}

/* The rest of the activation. */
static void OP(roll_activate)(const gc_lane_roll *a) {
    for (int j = 0; j < a->rows; j++)
        for (ptrdiff_t i = 0; i < a->n; i++) {
            real *out = (real *)a->out + j * a->out_row + i * a->out_step;
            const M m = OP(mask)(gc_window_bits(0, a->stored, LANES));
            const V y = OP(activate)(OP(load_mask)(out, m), a->epilogue.activation,
                                     (real)a->epilogue.parameter);
            OP(store_first)(out, y, a->stored);
        }
}

GC_INLINE void OP(roll_body)(const gc_lane_roll *a, const int K, const int S, const int D,
                             const int B, const int SPREAD, const int WHOLE) {
    const int LIVE = (K - 1) / S * D + 1, ROWS = (B - 1) * S + K;
    const V init = OP(load_mask)(a->init, OP(mask)(gc_window_bits(0, a->stored, LANES)));
    V acc[GC_ROLL_KERNEL * GC_ROLL_ROWS], x[OP(roll_window)];
    GC_UNROLL(32)
    for (int i = 0; i < LIVE * B; i++) acc[i] = init;
    const real *p = a->in;
    const ptrdiff_t column = a->column;
    ptrdiff_t u = 0; /* column of the input */
    for (ptrdiff_t at = 1 - LIVE; at < a->n; at++) {
        GC_UNROLL(2)
        for (int q = 0; q < S; q++, u++) {
            const int inside = u >= a->first && u < a->last;
            if (inside || a->padding) {
                const uint32_t present = inside ? a->present : 0;
                OP(roll_load)(a, p, x, present, ROWS, B * S, WHOLE);
                OP(roll_column)(a, x, acc, q, K, S, D, B, SPREAD);
            }
            GC_STEP(p, column);
        }
        if (at >= 0) OP(roll_store)(a, acc + (LIVE - 1) * B, at, B, WHOLE);
        GC_UNROLL(8)
        for (int i = LIVE - 1; i > 0; i--) GC_UNROLL(4)
        for (int j = 0; j < B; j++) acc[i * B + j] = acc[(i - 1) * B + j];
        GC_UNROLL(4)
        for (int j = 0; j < B; j++) acc[j] = init;
    }
    if (!a->epilogue.clamp) OP(roll_activate)(a);
}

/* Rows of outputs that fill the registers, beside a weight and what is loaded. */
#define ROLL_ROWS(K) (vector_registers >= 32 ? ((K) < 7 ? 4 : 2) : (K) == 3 ? 3 : (K) == 5 ? 2 : 1)
#define LANE_ROLL(NAME, B, K, S, D, SPREAD)                                      \
    GC_NOINLINE void GC_CAT(OP(lane_roll_whole_), NAME)(const gc_lane_roll *a) { \
        OP(roll_body)(a, K, S, D, B, SPREAD, 1);                                 \
    }                                                                            \
    GC_NOINLINE void GC_CAT(OP(lane_roll_part_), NAME)(const gc_lane_roll *a) {  \
        OP(roll_body)(a, K, S, D, B, SPREAD, 0);                                 \
    }                                                                            \
    GC_NOINLINE void GC_CAT(OP(lane_roll_one_), NAME)(const gc_lane_roll *a) {   \
        OP(roll_body)(a, K, S, D, 1, SPREAD, 0);                                 \
    }
LANE_ROLL(3, ROLL_ROWS(3), 3, 1, 1, 0)
LANE_ROLL(5, ROLL_ROWS(5), 5, 1, 1, 0)
LANE_ROLL(7, ROLL_ROWS(7), 7, 1, 1, 0)
LANE_ROLL(3_by_2, ROLL_ROWS(3), 3, 2, 1, 0)
LANE_ROLL(5_by_2, ROLL_ROWS(5), 5, 2, 1, 0)
LANE_ROLL(7_by_2, ROLL_ROWS(7), 7, 2, 1, 0)
LANE_ROLL(3_spread, ROLL_ROWS(3), 3, 1, 1, 1)
LANE_ROLL(3_spread_by_2, ROLL_ROWS(3), 3, 2, 1, 1)
LANE_ROLL(3_dilated, ROLL_ROWS(5), 3, 1, 2, 0)
#undef LANE_ROLL
#define LANE_ROLL_ENTRY(NAME, B)            \
    {                                       \
        B,                                  \
        GC_CAT(OP(lane_roll_whole_), NAME), \
        GC_CAT(OP(lane_roll_part_), NAME),  \
        GC_CAT(OP(lane_roll_one_), NAME),   \
    }
