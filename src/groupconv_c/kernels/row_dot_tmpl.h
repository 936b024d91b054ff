/* The microkernel of the weight gradient that reads rows where they lie (contract: gc_row_dot in
 * gradient_contracts.h): products of rows are summed over positions in the lanes. Where neighbouring rows of the
 * kernel read neighbouring rows of the input, each of these is read once for all of them: with stride 1 down columns
 * of vectors, with stride 2 in pairs of rows. With stride 2, two neighbouring kernel columns share the vectors that
 * are loaded, and gradients are brought into the order that their lanes come out in; row_dot_pairs_tmpl.h does better
 * where vectors can be shifted. What lies outside of the input counts as zeros, under masks that all rows share. */

/* Edge vectors of a row whose masks are made once and kept for all rows; more are rare. Loads of a row of input, with
 * stride 2 in pairs. */
enum { OP(row_dot_edges) = 4, OP(row_dot_loads) = GC_MAX_ROW_DOT_COLUMNS + 1 };

/* What to fetch after so many vectors. */
GC_INLINE const char *OP(row_dot_ahead)(const gc_row_dot *a, ptrdiff_t vectors) {
    const ptrdiff_t done = vectors * a->fetch_bytes;
    return done < a->fetch_first ? a->fetch[0] + done : a->fetch[1] + (done - a->fetch_first);
}

/* The lanes of vector u of a row of input that exist. */
GC_INLINE M OP(row_mask)(const gc_row_dot *a, ptrdiff_t u) {
    return OP(mask)(gc_window_bits(a->first - u * LANES, a->last - u * LANES, LANES));
}

#ifdef GC_SHIFTS_VECTORS
#include "row_dot_pairs_tmpl.h"
#endif

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

/* Masks of vector v of a column: of the gradients, then of the loads of a row of input. */
GC_INLINE void OP(row_dot_column_masks)(const gc_row_dot *a, const int J, ptrdiff_t v, M *masks) {
#ifdef GC_SHIFTS_VECTORS
    (void)J;
    masks[0] = OP(mask)(gc_window_bits(0, a->columns - v * LANES, LANES));
    masks[1] = OP(row_mask)(a, v);
    masks[2] = OP(row_mask)(a, v + 1);
#else
    OP(row_dot_masks)(a, 1, J, v, masks);
#endif
}

/* One row of input of vector v, loaded once and shifted or loaded for each kernel column, whose products with the
 * gradients g of I rows are added where they are there: with g[slot of i] those of kernel row i, from `first` to
 * `last`. */
GC_INLINE void OP(row_dot_step)(const int I, const int J, const real *x, const M *masks, const V *g,
                                const int turn, ptrdiff_t first, ptrdiff_t last,
                                V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
#ifdef GC_SHIFTS_VECTORS
    const M few = OP(mask)((1u << (J - 1)) - 1);
    const V x0 = OP(hold)(masks ? OP(load_mask)(x, masks[1]) : OP(load)(x));
    const V x1 = J > 1 ? OP(hold)(OP(load_mask)(x + LANES, masks ? masks[2] : few)) : x0;
#endif
    GC_UNROLL(8)
    for (int j = 0; j < J; j++) {
#ifdef GC_SHIFTS_VECTORS
        V xj = OP(shifted)(x0, x1, j);
        if (masks) xj = OP(keep)(xj, masks[0]);
#else
        const V xj = masks ? OP(load_mask)(x + j, masks[1 + j]) : OP(hold)(OP(load)(x + j));
#endif
        GC_UNROLL(4)
        for (int i = 0; i < I; i++)
            if (i >= first && i < last) acc[i][j] = OP(fma)(g[(i + I - turn) % I], xj, acc[i][j]);
    }
}

/* Vector v of all rows, from the first to the last. A row of input is loaded once and meets the gradients of the
 * I rows that it belongs to, which stay in registers: in a turn of I rows each is where it was. */
GC_INLINE void OP(row_dot_column)(const int I, const int J, const gc_row_dot *a, ptrdiff_t v,
                                  const M *masks, V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const real *x = (const real *)a->in + v * LANES, *grad = (const real *)a->grad + v * LANES;
    const ptrdiff_t rows = a->rows, above = a->above;
    const ptrdiff_t steps = gc_larger(gc_smaller(rows + I - 1, a->below), 0);
    const ptrdiff_t whole = gc_smaller(rows, steps);
    const ptrdiff_t fetch_bytes = a->fetch_bytes;
    const char *fetch = OP(row_dot_ahead)(a, v * rows);
    V g[GC_MAX_ROW_DOT_ROWS];
    GC_UNROLL(4)
    for (int i = 0; i < I; i++) g[i] = OP(set1)(0);
    ptrdiff_t r = 0, next = gc_smaller(gc_larger(I - 1, above), steps);
    for (;; next = steps) {
        for (; r < next; r++, x += a->in_row, fetch += fetch_bytes) {
            gc_fetch(fetch, fetch_bytes);
            GC_UNROLL(4)
            for (int i = I - 1; i > 0; i--) g[i] = g[i - 1];
            if (r < rows) {
                g[0] = masks ? OP(load_mask)(grad, masks[0]) : OP(load)(grad);
                grad += a->grad_row;
            }
            if (r >= above) OP(row_dot_step)(I, J, x, masks, g, 0, r - rows + 1, r + 1, acc);
        }
        if (r == steps) break;
        for (; r + I <= whole; r += I) {
            GC_UNROLL(4)
            for (int u = 0; u < I; u++) {
                gc_fetch(fetch, fetch_bytes);
                GC_STEP(fetch, fetch_bytes);
                g[I - 1 - u] = masks ? OP(load_mask)(grad, masks[0]) : OP(load)(grad);
                OP(row_dot_step)(I, J, x, masks, g, u + 1, 0, I, acc);
                GC_STEP(grad, a->grad_row);
                GC_STEP(x, a->in_row);
            }
        }
    }
}

/* The same with stride 2, for row 2*m + PH of input: it belongs to kernel rows PH, PH + 2 .. of output rows m,
 * m - 1 .., whose gradients are g[0], g[1] ..; of these only `first` .. `last` - 1 exist. */
GC_INLINE void OP(row_dot_step_2)(const int PH, const int I, const int J, const real *x,
                                  const M *masks, const V *g, ptrdiff_t first, ptrdiff_t last,
                                  V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    GC_UNROLL(4)
    for (int j = 0; j < J; j += 2) {
        const V x0 = masks ? OP(load_mask)(x + j, masks[1 + j]) : OP(load)(x + j);
        const V x1 = masks ? OP(load_mask)(x + j + LANES, masks[2 + j]) : OP(load)(x + j + LANES);
        const V even = OP(even_mixed)(x0, x1), odd = OP(odd_mixed)(x0, x1);
        GC_UNROLL(2)
        for (int i = PH; i < I; i += 2) {
            if (i / 2 < first || i / 2 >= last) continue;
            acc[i][j] = OP(fma)(g[i / 2], even, acc[i][j]);
            if (j + 1 < J) acc[i][j + 1] = OP(fma)(g[i / 2], odd, acc[i][j + 1]);
        }
    }
}

/* Vector v of input rows 2*m and 2*m + 1. all: they exist, and all output rows that they belong to. */
GC_INLINE void OP(row_dot_rows_2)(const int I, const int J, const gc_row_dot *a, ptrdiff_t m,
                                  ptrdiff_t v, const M *masks, int all,
                                  V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const real *x = (const real *)a->in + m * a->in_row + 2 * v * LANES;
    const real *grad = (const real *)a->grad + m * a->grad_row + v * LANES;
    const ptrdiff_t first = all ? 0 : gc_larger(m - a->rows + 1, 0), last = all ? 2 : m + 1;
    V g[2];
    GC_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        const real *from = grad - i * a->grad_row;
        if (i < (I + 1) / 2 && i >= first && i < last)
            g[i] = OP(unmix)(masks ? OP(load_mask)(from, masks[0]) : OP(load)(from));
        else
            g[i] = OP(set1)(0);
    }
    if (all || (2 * m >= a->above && 2 * m < a->below))
        OP(row_dot_step_2)(0, I, J, x, masks, g, first, last, acc);
    if (all || (2 * m + 1 >= a->above && 2 * m + 1 < a->below))
        OP(row_dot_step_2)(1, I, J, x + a->tap_row, masks, g, first, last, acc);
}

GC_INLINE void OP(row_dot_columns)(const int I, const int J, const gc_row_dot *a,
                                   V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const ptrdiff_t vectors = (a->columns + LANES - 1) / LANES;
    M masks[1 + OP(row_dot_loads)];
    for (ptrdiff_t v = 0; v < vectors; v++) {
        if (v >= a->inside && v < a->outside) {
            OP(row_dot_column)(I, J, a, v, NULL, acc);
        } else {
            OP(row_dot_column_masks)(a, J, v, masks);
            OP(row_dot_column)(I, J, a, v, masks, acc);
        }
    }
}

/* Vector v of row y, or, where ROLL, of a pair of rows, `all` of which exist. */
GC_INLINE void OP(row_dot_at)(const int S, const int I, const int J, const int ROLL,
                              const gc_row_dot *a, ptrdiff_t y, ptrdiff_t v, const M *masks,
                              int all, V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const real *x = (const real *)a->in + y * a->in_row + S * v * LANES;
    const real *g = (const real *)a->grad + y * a->grad_row + v * LANES;
    if (ROLL && all)
        OP(row_dot_rows_2)(I, J, a, y, v, masks, 1, acc);
    else if (ROLL)
        OP(row_dot_rows_2)(I, J, a, y, v, masks, 0, acc);
    else
        OP(row_dot_vector)(S, I, J, x, a->tap_row, a->dilation, g, masks, acc);
}

/* Row by row; ROLL: by pairs of rows of input of stride 2, each read once for all output rows that it belongs to. */
GC_INLINE void OP(row_dot_rows)(const int S, const int I, const int J, const int ROLL,
                                const gc_row_dot *a, V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const ptrdiff_t vectors = (a->columns + LANES - 1) / LANES;
    const ptrdiff_t inside = a->inside, outside = a->outside;
    const ptrdiff_t edges = inside + vectors - outside;
    const ptrdiff_t fetch_bytes = a->fetch_bytes;
    const ptrdiff_t shared =
        ROLL ? (I + 1) / 2 : 1; /* output rows that a row belongs to, at most */
    const ptrdiff_t begin = ROLL ? gc_larger(shared - 1, (a->above + 1) / 2) : 0;
    const ptrdiff_t whole = ROLL ? gc_smaller(a->rows, a->below / 2) : a->rows;
    M masks[OP(row_dot_edges)][1 + OP(row_dot_loads)], here[1 + OP(row_dot_loads)];
    for (ptrdiff_t e = 0; e < edges && edges <= OP(row_dot_edges); e++)
        OP(row_dot_masks)(a, S, J, e < inside ? e : outside + e - inside, masks[e]);
    for (ptrdiff_t y = 0; y < a->rows + shared - 1; y++) {
        const int all = y >= begin && y < whole;
        const char *fetch = OP(row_dot_ahead)(a, y * vectors);
        for (ptrdiff_t e = 0; e < edges; e++, fetch += fetch_bytes) {
            const ptrdiff_t v = e < inside ? e : outside + e - inside;
            const M *at_edge = masks[e];
            if (edges > OP(row_dot_edges)) {
                OP(row_dot_masks)(a, S, J, v, here);
                at_edge = here;
            }
            gc_fetch(fetch, fetch_bytes);
            OP(row_dot_at)(S, I, J, ROLL, a, y, v, at_edge, all, acc);
        }
        for (ptrdiff_t v = inside; v < outside; v++, fetch += fetch_bytes) {
            gc_fetch(fetch, fetch_bytes);
            OP(row_dot_at)(S, I, J, ROLL, a, y, v, NULL, all, acc);
        }
    }
}

GC_INLINE void OP(row_dot_body)(const int S, const int I, const int J, const int ROLL,
                                const gc_row_dot *a) {
    V acc[GC_MAX_ROW_DOT_ROWS][GC_MAX_ROW_DOT_COLUMNS];
    GC_UNROLL(4)
    for (int i = 0; i < I; i++) GC_UNROLL(8)
    for (int j = 0; j < J; j++) acc[i][j] = OP(set1)(0);
    if (S == 1 && ROLL) OP(row_dot_columns)(I, J, a, acc);
#ifdef GC_SHIFTS_VECTORS
    else if (S == 2 && (ROLL || I == 1))
        OP(row_dot_pairs)(I, J, a, acc);
#endif
    else
        OP(row_dot_rows)(S, I, J, ROLL, a, acc);
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
#define ROW_DOT(S, I, J)                                                                 \
    GC_NOINLINE void GC_CAT(OP(row_roll_##S), GC_CAT(_##I, _##J))(const gc_row_dot *a) { \
        if (I > 1 && I * J <= ROW_DOT_MAX) OP(row_dot_body)(S, I, J, 1, a);              \
    }                                                                                    \
    GC_NOINLINE void GC_CAT(OP(row_dot_##S), GC_CAT(_##I, _##J))(const gc_row_dot *a) {  \
        if (I * J > ROW_DOT_MAX) return;                                                 \
        if (I > 1 && S * a->tap_row == a->in_row && a->dilation == 1)                    \
            GC_CAT(OP(row_roll_##S), GC_CAT(_##I, _##J))(a);                             \
        else                                                                             \
            OP(row_dot_body)(S, I, J, 0, a);                                             \
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
