/* Winograd's F(4, 3) along rows; lanes are channels (contracts: winograd_row_contracts.h). The points and transforms
 * of one dimension are those of winograd_tmpl.h. */

#define G OP(win_v)

/* Lanes in an order that groups share a vector in; NULL: as they are. */
GC_INLINE G OP(ordered)(G x, const int32_t *order) {
    return order ? (G)OP(spread)((V)x, OP(index)(order)) : x;
}

static void OP(winograd_row_weights)(const gc_winograd_row_weights *a) {
    for (ptrdiff_t i = 0; i < a->rows; i++) {
        G w[GC_ROW_TAPS], u[GC_ROW_WINDOW];
        GC_UNROLL(3)
        for (int t = 0; t < GC_ROW_TAPS; t++)
            w[t] =
                OP(ordered)((G)OP(load)((const real *)a->from + t * a->tap + i * LANES), a->order);
        OP(kernel_6)(w, GC_ROW_TAPS, u);
        GC_UNROLL(6)
        for (int e = 0; e < GC_ROW_WINDOW; e++)
            OP(store)((real *)a->to + e * a->element + i * a->row, (V)u[e]);
    }
}

/* Windows of one vector of channels, all of whose lanes are there if WHOLE. */
GC_INLINE void OP(row_windows)(const gc_winograd_row_input *a, ptrdiff_t c, const int32_t *order,
                               const int WHOLE) {
    const M lanes = OP(mask)(gc_window_bits(0, a->channels - c, LANES));
    const ptrdiff_t step = a->step, element = a->element;
    const size_t columns = (size_t)a->columns;
    const real *x = (const real *)a->from + a->first * step + c;
    real *out = (real *)a->out + c;
    ptrdiff_t u = a->first;
    for (ptrdiff_t t = a->tiles; t > 0; t--, x += GC_ROW_OUTPUTS * step, out += a->tile) {
        G d[GC_ROW_WINDOW];
        GC_UNROLL(6)
        for (int i = 0; i < GC_ROW_WINDOW; i++) {
            V column = OP(set1)(0);
            if ((size_t)(u + i) < columns)
                column = WHOLE ? OP(load)(x + i * step) : OP(load_mask)(x + i * step, lanes);
            d[i] = OP(ordered)((G)column, order);
        }
        u += GC_ROW_OUTPUTS;
        OP(input6)(d);
        GC_UNROLL(6)
        for (int e = 0; e < GC_ROW_WINDOW; e++) OP(store)(out + e * element, (V)d[e]);
    }
}

static void OP(winograd_row_input)(const gc_winograd_row_input *a) {
    for (ptrdiff_t c = 0; c < a->channels; c += LANES) {
        if (a->channels - c < LANES)
            OP(row_windows)(a, c, a->order, 0);
        else if (a->order)
            OP(row_windows)(a, c, a->order, 1);
        else
            OP(row_windows)(a, c, NULL, 1);
    }
}

/* S reals in turn. */
GC_INLINE V OP(row_input)(const real *x, const int S) {
#ifdef GC_REPEATS_LANES
    if (S > 1) return OP(repeated)(x, S);
#endif
    (void)S;
    return OP(set1)(*x);
}

/* J times I positions: a pointer for each I of them. S groups in turn in the lanes. */
GC_INLINE void OP(lane_products_body)(const gc_lane_products *a, const int J, const int I,
                                      const int VB, const int S) {
    V acc[28];
    GC_UNROLL(28)
    for (int i = 0; i < J * I * VB; i++) acc[i] = OP(set1)(0);
    const ptrdiff_t step = a->step, *const end = a->taps + a->ntaps;
    const real *w = a->weight;
    for (const ptrdiff_t *tap = a->taps; tap < end; tap++) {
        const real *x[4];
        GC_UNROLL(4)
        for (int j = 0; j < J; j++) x[j] = (const real *)a->in + *tap + j * I * step;
        for (ptrdiff_t c = a->channels; c > 0; c--, w += VB * LANES) {
            V weight[GC_MAX_LANE_VB];
            OP(lane_tile_weights)(w, weight, VB);
            GC_UNROLL(4)
            for (int j = 0; j < J; j++) {
                GC_UNROLL(8)
                for (int i = 0; i < I; i++) {
                    const V in = OP(row_input)(x[j] + i * step, S);
                    GC_UNROLL(3)
                    for (int v = 0; v < VB; v++) {
                        V *sum = &acc[(j * I + i) * VB + v];
                        *sum = OP(fma)(in, weight[v], *sum);
                    }
                }
                GC_STEP(x[j], S);
            }
        }
    }
    real *out = a->out;
    GC_UNROLL(28)
    for (int i = 0; i < J * I * VB; i++) OP(store)(out + i * LANES, acc[i]);
}

/* Sums, weights and one input fit the registers. */
#define LANE_PRODUCTS_FIT(J, I, VB) ((J) * (I) * (VB) + (VB) + 1 <= vector_registers)
#define LANE_PRODUCTS_OF_1(DO) \
    DO(4, 7, 1) DO(4, 6, 1) DO(4, 5, 1) DO(2, 8, 1) DO(2, 7, 1) DO(2, 6, 1) DO(1, 8, 1) DO(1, 4, 1)
#define LANE_PRODUCTS_OF_2(DO) \
    DO(2, 7, 2) DO(2, 6, 2) DO(2, 5, 2) DO(1, 8, 2) DO(1, 7, 2) DO(1, 6, 2) DO(1, 4, 2) DO(1, 2, 2)
#define LANE_PRODUCTS_OF_3(DO) \
    DO(3, 3, 3) DO(1, 8, 3) DO(1, 7, 3) DO(1, 6, 3) DO(1, 5, 3) DO(1, 4, 3) DO(1, 2, 3) DO(1, 1, 3)
#define LANE_PRODUCTS(J, I, VB)                                                    \
    GC_NOINLINE void GC_CAT(OP(lane_products_),                                    \
                            GC_CAT(J, GC_CAT(I, VB)))(const gc_lane_products *a) { \
        if (LANE_PRODUCTS_FIT(J, I, VB)) OP(lane_products_body)(a, J, I, VB, 1);   \
    }
LANE_PRODUCTS_OF_1(LANE_PRODUCTS)
LANE_PRODUCTS_OF_2(LANE_PRODUCTS)
LANE_PRODUCTS_OF_3(LANE_PRODUCTS)
#define LANE_PRODUCTS_ENTRY(J, I, VB)             \
    {LANE_PRODUCTS_FIT(J, I, VB) ? (J) * (I) : 0, \
     GC_CAT(OP(lane_products_), GC_CAT(J, GC_CAT(I, VB)))},

/* Groups of 4 channels and more share vectors where an instruction repeats so few reals: with tiles of one vector. */
#ifdef GC_REPEATS_LANES
#define LANE_SHARED_PRODUCTS_FIT(J, I, S) (LANES / (S) >= 4 && LANE_PRODUCTS_FIT(J, I, 1))
#define LANE_SHARED_PRODUCTS(J, I, S)                                                 \
    GC_NOINLINE void GC_CAT(OP(lane_shared_products_),                                \
                            GC_CAT(J, GC_CAT(I, S)))(const gc_lane_products *a) {     \
        if (LANE_SHARED_PRODUCTS_FIT(J, I, S)) OP(lane_products_body)(a, J, I, 1, S); \
    }
#define LANE_PAIR_PRODUCTS(J, I, VB) LANE_SHARED_PRODUCTS(J, I, 2)
#define LANE_QUAD_PRODUCTS(J, I, VB) LANE_SHARED_PRODUCTS(J, I, 4)
LANE_PRODUCTS_OF_1(LANE_PAIR_PRODUCTS)
LANE_PRODUCTS_OF_1(LANE_QUAD_PRODUCTS)
#define LANE_SHARED_PRODUCTS_ENTRY(J, I, S)             \
    {LANE_SHARED_PRODUCTS_FIT(J, I, S) ? (J) * (I) : 0, \
     GC_CAT(OP(lane_shared_products_), GC_CAT(J, GC_CAT(I, S)))},
#define LANE_PAIR_PRODUCTS_ENTRY(J, I, VB) LANE_SHARED_PRODUCTS_ENTRY(J, I, 2)
#define LANE_QUAD_PRODUCTS_ENTRY(J, I, VB) LANE_SHARED_PRODUCTS_ENTRY(J, I, 4)
#endif

/* Results of a tile of one vector of channels, without residual and activation. */
GC_INLINE void OP(row_results)(const real *in, ptrdiff_t element, G init, const int32_t *back,
                               G *y) {
    G m[GC_ROW_WINDOW];
    GC_UNROLL(6)
    for (int e = 0; e < GC_ROW_WINDOW; e++) m[e] = (G)OP(load)(in + e * element);
    const G p = m[1] + m[2] + init, q = m[1] - m[2] + init, r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r;
    y[1] = OP(plus)(q, 2, s);
    y[2] = OP(plus)(p, 4, r);
    y[3] = OP(plus)(q + m[5], 8, s);
    GC_UNROLL(4)
    for (int i = 0; i < GC_ROW_OUTPUTS; i++) y[i] = OP(ordered)(y[i], back);
}

/* Of vector v, to its place; all its lanes, clamped, if WHOLE. The sum's x * 0 is zero for finite x only. */
GC_INLINE G OP(row_outputs)(const gc_winograd_row_output *a, int v, const int32_t *back,
                            const int WHOLE, const int CLAMP, const int RESIDUAL) {
    const int stored = v == a->vectors - 1 ? a->last : LANES;
    const M lanes = OP(mask)(gc_window_bits(0, stored, LANES));
    const G init =
        OP(ordered)((G)OP(load_mask)((const real *)a->init + v * LANES, lanes), a->order);
    const V high = OP(set1)((real)a->epilogue.high), low = OP(set1)((real)a->epilogue.low);
    const real *in = (const real *)a->in + v * LANES;
    const real *residual = RESIDUAL ? (const real *)a->residual + v * LANES : NULL;
    real *out = (real *)a->out + v * LANES;
    G sum = {0};
    for (ptrdiff_t left = a->count; left > 0; left -= GC_ROW_OUTPUTS, in += a->vectors * LANES) {
        G y[GC_ROW_OUTPUTS];
        OP(row_results)(in, a->element, init, back, y);
        GC_UNROLL(4)
        for (int i = 0; i < GC_ROW_OUTPUTS; i++) {
            if (i >= left) break;
            sum = OP(plus)(sum, 0, y[i]);
            if (WHOLE) {
                V x = (V)y[i];
                if (RESIDUAL) x += OP(load)(residual);
                OP(store)(out, OP(min)(high, OP(max)(low, x)));
            } else {
                OP(lane_store)(out, (V)y[i], residual, stored, &a->epilogue, CLAMP);
            }
            out += a->out_step;
            if (RESIDUAL) residual += a->residual_step;
        }
    }
    return sum;
}

#define ROW_OUTPUTS(BACK, WHOLE, CLAMP)                               \
    sum += a->residual ? OP(row_outputs)(a, v, BACK, WHOLE, CLAMP, 1) \
                       : OP(row_outputs)(a, v, BACK, WHOLE, CLAMP, 0)
static int OP(winograd_row_output)(const gc_winograd_row_output *a) {
    G sum = {0};
    for (int v = 0; v < a->vectors; v++) {
        const int whole = v < a->vectors - 1 || a->last == LANES;
        if (!a->epilogue.clamp)
            ROW_OUTPUTS(a->back, 0, 0);
        else if (!whole)
            ROW_OUTPUTS(a->back, 0, 1);
        else if (a->back)
            ROW_OUTPUTS(a->back, 1, 1);
        else
            ROW_OUTPUTS(NULL, 1, 1);
    }
    return OP(sum)((V)sum) != 0;
}
#undef ROW_OUTPUTS

#undef G
