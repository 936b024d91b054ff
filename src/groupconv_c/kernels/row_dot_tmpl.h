/* The microkernel of the weight gradient that reads rows where they lie (contract: gc_row_dot in kernels.h):
 * products of rows are summed over positions in the lanes. With stride 2, two neighbouring kernel columns
 * share the vectors that are loaded; gradients are brought into the order that their lanes come out in.
 * What lies outside of the input counts as zeros, under masks that all rows share. */

/* Edge vectors of a row whose masks are made once and kept for all rows; more are rare. Loads of a row of input, with
 * stride 2 in pairs. */
enum { OP(row_dot_edges) = 4, OP(row_dot_loads) = GC_MAX_ROW_DOT_COLUMNS + 1 };

/* Masks of vector v: of the gradients, then of the loads of a row of input. */
GC_INLINE void OP(row_dot_masks)(const gc_row_dot *a, const int S, const int J, ptrdiff_t v,
                                 M *masks) {
    masks[0] = OP(mask)(gc_window_bits(0, a->columns - v * LANES, LANES));
    for (int j = 0; j < J; j += S) {
        const ptrdiff_t last = gc_smaller(a->last, j * a->dilation + S * a->columns);
        const ptrdiff_t at = j * a->dilation + S * v * LANES;
        masks[1 + j] = OP(mask)(gc_window_bits(a->first - at, last - at, LANES));
        if (S == 2)
            masks[2 + j] =
                OP(mask)(gc_window_bits(a->first - at - LANES, last - at - LANES, LANES));
    }
}

/* masks NULL: all lanes are there. */
GC_INLINE void OP(row_dot_vector)(const int S, const int I, const int J, const real *x,
                                  ptrdiff_t tap_row, ptrdiff_t dilation, const real *grad,
                                  const M *masks, V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    V g = masks ? OP(load_mask)(grad, masks[0]) : OP(load)(grad);
    if (S == 2) g = OP(unmix)(g); /* which is its own inverse */
    GC_UNROLL(4)
    for (int i = 0; i < I; i++) GC_UNROLL(8)
    for (int j = 0; j < J; j += S) {
        const real *at = x + i * tap_row + (S == 2 ? j : j * dilation);
        const V x0 = masks ? OP(load_mask)(at, masks[1 + j]) : OP(load)(at);
        if (S == 1) {
            acc[i][j] = OP(fma)(g, x0, acc[i][j]);
            continue;
        }
        const V x1 = masks ? OP(load_mask)(at + LANES, masks[2 + j]) : OP(load)(at + LANES);
        acc[i][j] = OP(fma)(g, OP(even_mixed)(x0, x1), acc[i][j]);
        if (j + 1 < J) acc[i][j + 1] = OP(fma)(g, OP(odd_mixed)(x0, x1), acc[i][j + 1]);
    }
}

GC_INLINE void OP(row_dot_body)(const int S, const int I, const int J, const gc_row_dot *a) {
    V acc[GC_MAX_ROW_DOT_ROWS][GC_MAX_ROW_DOT_COLUMNS];
    GC_UNROLL(4)
    for (int i = 0; i < I; i++) GC_UNROLL(8)
    for (int j = 0; j < J; j++) acc[i][j] = OP(set1)(0);
    const ptrdiff_t vectors = (a->columns + LANES - 1) / LANES;
    const ptrdiff_t inside = a->inside, outside = a->outside;
    const ptrdiff_t edges = inside + vectors - outside;
    const ptrdiff_t tap_row = a->tap_row, dilation = a->dilation, fetch_bytes = a->fetch_bytes;
    M masks[OP(row_dot_edges)][1 + OP(row_dot_loads)], here[1 + OP(row_dot_loads)];
    for (ptrdiff_t e = 0; e < edges && edges <= OP(row_dot_edges); e++)
        OP(row_dot_masks)(a, S, J, e < inside ? e : outside + e - inside, masks[e]);
    const real *x = a->in, *g = a->grad;
    const char *fetch = a->fetch;
    for (ptrdiff_t y = 0; y < a->rows; y++, x += a->in_row, g += a->grad_row) {
        for (ptrdiff_t e = 0; e < edges; e++) {
            const ptrdiff_t v = e < inside ? e : outside + e - inside;
            const M *at_edge = masks[e];
            if (edges > OP(row_dot_edges)) {
                OP(row_dot_masks)(a, S, J, v, here);
                at_edge = here;
            }
            OP(row_dot_vector)(S, I, J, x + S * v * LANES, tap_row, dilation, g + v * LANES,
                               at_edge, acc);
        }
        for (ptrdiff_t v = inside; v < outside; v++) {
            gc_fetch(fetch, fetch_bytes);
            fetch += fetch_bytes;
            OP(row_dot_vector)(S, I, J, x + S * v * LANES, tap_row, dilation, g + v * LANES, NULL,
                               acc);
        }
    }
    real *sums = a->sums;
    GC_UNROLL(4)
    for (int i = 0; i < I; i++) GC_UNROLL(8)
    for (int j = 0; j < J; j++) {
        real *to = sums + i * a->sums_row + j * LANES;
        OP(store)(to, OP(load)(to) + acc[i][j]);
    }
}

/* As many sums as leave registers for a gradient and inputs. */
#define ROW_DOT_MAX (vector_registers < 32 ? 12 : 24)
#define ROW_DOT(S, I, J)                                                                \
    GC_NOINLINE void GC_CAT(OP(row_dot_##S), GC_CAT(_##I, _##J))(const gc_row_dot *a) { \
        if (I * J <= ROW_DOT_MAX) OP(row_dot_body)(S, I, J, a);                         \
    }
#define ROW_DOT_ROW(S, I) \
    ROW_DOT(S, I, 1)      \
    ROW_DOT(S, I, 2)      \
    ROW_DOT(S, I, 3)      \
    ROW_DOT(S, I, 4)      \
    ROW_DOT(S, I, 5) ROW_DOT(S, I, 6) ROW_DOT(S, I, 7) ROW_DOT(S, I, 8)
ROW_DOT_ROW(1, 1)
ROW_DOT_ROW(1, 2)
ROW_DOT_ROW(1, 3)
ROW_DOT_ROW(2, 1)
ROW_DOT_ROW(2, 2)
ROW_DOT_ROW(2, 3)
#define ROW_DOT_ENTRY(S, I, J) \
    (I * J <= ROW_DOT_MAX ? GC_CAT(OP(row_dot_##S), GC_CAT(_##I, _##J)) : NULL)
#define ROW_DOT_ENTRIES(S, I)                                                   \
    {                                                                           \
        ROW_DOT_ENTRY(S, I, 1), ROW_DOT_ENTRY(S, I, 2), ROW_DOT_ENTRY(S, I, 3), \
        ROW_DOT_ENTRY(S, I, 4), ROW_DOT_ENTRY(S, I, 5), ROW_DOT_ENTRY(S, I, 6), \
        ROW_DOT_ENTRY(S, I, 7), ROW_DOT_ENTRY(S, I, 8)}
