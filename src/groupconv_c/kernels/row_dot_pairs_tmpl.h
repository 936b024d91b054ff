/* The microkernel of the weight gradient of stride 2 that reads rows where they lie (contract: gc_row_dot in
 * gradient_contracts.h), for instruction sets that shift vectors.
 *
 * Of a row of input each element is loaded once, in pairs of vectors that are told apart into even and odd columns;
 * further columns of the kernel shift these, filled up from the pair behind. A row meets the gradients of all output
 * rows that it belongs to. What lies outside of the input counts as zeros, under masks that all rows share. */

/* Vectors of gradients whose masks are made once and kept for all rows, more are rare; masks of one of these. */
enum { OP(pair_edges) = 4, OP(pair_masks) = 3 };

/* Vectors begin .. end - 1 of gradients are whole and need nothing behind their own pair that does not exist. */
struct OP(row_pairs) {
    const gc_row_dot *a;
    ptrdiff_t vectors, begin, end;
    M first[2]; /* of the first pair */
    M edges[OP(pair_edges)][OP(pair_masks)];
};

/* Masks of vector v of gradients, then of the pair of inputs behind its own. */
GC_INLINE void OP(pair_edge)(const gc_row_dot *a, ptrdiff_t v, M *masks) {
    masks[0] = OP(mask)(gc_window_bits(0, a->columns - v * LANES, LANES));
    masks[1] = OP(row_mask)(a, 2 * v + 2);
    masks[2] = OP(row_mask)(a, 2 * v + 3);
}

GC_INLINE struct OP(row_pairs) OP(row_pairs_of)(const gc_row_dot *a) {
    struct OP(row_pairs) r = {.a = a, .vectors = (a->columns + LANES - 1) / LANES};
    const ptrdiff_t whole = gc_smaller(a->columns / LANES, a->last / (2 * LANES) - 1);
    r.begin = gc_smaller(gc_larger(a->first - 1, 0) / (2 * LANES), r.vectors);
    r.end = gc_larger(whole, r.begin);
    r.first[0] = OP(row_mask)(a, 0);
    r.first[1] = OP(row_mask)(a, 1);
    for (ptrdiff_t e = 0; e < r.begin + r.vectors - r.end && e < OP(pair_edges); e++)
        OP(pair_edge)(a, e < r.begin ? e : r.end + e - r.begin, r.edges[e]);
    return r;
}

/* A row of input: what follows the columns that are told apart. */
struct OP(pair_row) {
    const real *x;
    V even, odd;
};

/* One vector of rows FROM .. TO - 1 of a pair of rows: row PH belongs to kernel rows PH and PH + 2 of two output rows,
 * whose gradients are at `grad` and a row above; of these the first .. last - 1 exist. masks NULL: all lanes do. */
GC_INLINE void OP(pair_step)(const int FROM, const int TO, const int I, const int J,
                             struct OP(pair_row) rows[2], const real *grad, ptrdiff_t grad_row,
                             ptrdiff_t first, ptrdiff_t last, const M *masks,
                             V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    V g[2];
    GC_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        g[i] = OP(set1)(0);
        if (2 * i + FROM < I && i >= first && i < last) {
            const real *from = grad - i * grad_row;
            g[i] = OP(hold)(masks ? OP(load_mask)(from, masks[0]) : OP(load)(from));
        }
    }
    GC_UNROLL(2)
    for (int ph = FROM; ph < TO; ph++) {
        struct OP(pair_row) *row = &rows[ph];
        const real *x = row->x;
        const V x0 = OP(hold)(masks ? OP(load_mask)(x, masks[1]) : OP(load)(x));
        const V x1 = OP(hold)(masks ? OP(load_mask)(x + LANES, masks[2]) : OP(load)(x + LANES));
        const V even = OP(even)(x0, x1), odd = OP(odd)(x0, x1);
        GC_UNROLL(8)
        for (int j = 0; j < J; j++) {
            V xj = j % 2 ? OP(shifted)(row->odd, odd, j / 2) : OP(shifted)(row->even, even, j / 2);
            if (masks) xj = OP(keep)(xj, masks[0]);
            GC_UNROLL(2)
            for (int i = ph; i < I; i += 2)
                if (i / 2 >= first && i / 2 < last) acc[i][j] = OP(fma)(g[i / 2], xj, acc[i][j]);
        }
        row->even = even;
        row->odd = odd;
        row->x = x + 2 * LANES;
    }
}

/* All vectors of rows FROM .. TO - 1 of pair m of rows. */
GC_INLINE void OP(pair_pass)(const int FROM, const int TO, const int I, const int J,
                             const struct OP(row_pairs) r[1], ptrdiff_t m, const char *fetch,
                             ptrdiff_t fetch_bytes, ptrdiff_t first, ptrdiff_t last,
                             V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const gc_row_dot *a = r->a;
    const real *grad = (const real *)a->grad + m * a->grad_row;
    const ptrdiff_t grad_row = a->grad_row, vectors = r->vectors, begin = r->begin, end = r->end;
    const int many = begin + vectors - end > OP(pair_edges);
    struct OP(pair_row) rows[2];
    GC_UNROLL(2)
    for (int ph = FROM; ph < TO; ph++) {
        const real *x = (const real *)a->in + m * a->in_row + ph * a->tap_row;
        const V x0 = OP(load_mask)(x, r->first[0]), x1 = OP(load_mask)(x + LANES, r->first[1]);
        rows[ph] = (struct OP(pair_row)){x + 2 * LANES, OP(even)(x0, x1), OP(odd)(x0, x1)};
    }
    const M(*edge)[OP(pair_masks)] = r->edges;
    M here[OP(pair_masks)];
    for (ptrdiff_t v = 0;;) {
        for (; v < begin || (v >= end && v < vectors); v++, grad += LANES, fetch += fetch_bytes) {
            if (many) OP(pair_edge)(a, v, here);
            const M *masks = many ? here : *edge++;
            gc_fetch(fetch, fetch_bytes);
            OP(pair_step)(FROM, TO, I, J, rows, grad, grad_row, first, last, masks, acc);
        }
        if (v == vectors) return;
        for (; v < end; v++, grad += LANES, fetch += fetch_bytes) {
            gc_fetch(fetch, fetch_bytes);
            OP(pair_step)(FROM, TO, I, J, rows, grad, grad_row, first, last, NULL, acc);
        }
    }
}

/* Where I > 1, in_row must be 2*tap_row. */
GC_INLINE void OP(row_dot_pairs)(const int I, const int J, const gc_row_dot *a,
                                 V (*acc)[GC_MAX_ROW_DOT_COLUMNS]) {
    const struct OP(row_pairs) r = OP(row_pairs_of)(a);
    const int together = I * J <= 15; /* as many sums as leave registers for both rows */
    const ptrdiff_t fetch_bytes = a->fetch_bytes;
    const ptrdiff_t shared = (I + 1) / 2; /* output rows that a row of input belongs to, at most */
    const ptrdiff_t above = I > 1 ? a->above : 0, below = I > 1 ? a->below : 2 * a->rows;
    const ptrdiff_t begin = gc_larger(shared - 1, (above + 1) / 2);
    const ptrdiff_t whole = gc_smaller(a->rows, below / 2);
    for (ptrdiff_t m = 0; m < a->rows + shared - 1; m++) {
        const char *fetch = OP(row_dot_ahead)(a, m * r.vectors);
        if (I == 1) {
            OP(pair_pass)(0, 1, I, J, &r, m, fetch, fetch_bytes, 0, 1, acc);
        } else if (m >= begin && m < whole && together) {
            OP(pair_pass)(0, 2, I, J, &r, m, fetch, fetch_bytes, 0, 2, acc);
        } else if (m >= begin && m < whole) {
            OP(pair_pass)(0, 1, I, J, &r, m, fetch, fetch_bytes, 0, 2, acc);
            OP(pair_pass)(1, 2, I, J, &r, m, fetch, 0, 0, 2, acc);
        } else {
            const ptrdiff_t first = gc_larger(m - a->rows + 1, 0), last = m + 1;
            const int upper = 2 * m >= above && 2 * m < below;
            if (upper) OP(pair_pass)(0, 1, I, J, &r, m, fetch, fetch_bytes, first, last, acc);
            if (2 * m + 1 >= above && 2 * m + 1 < below)
                OP(pair_pass)(1, 2, I, J, &r, m, fetch, upper ? 0 : fetch_bytes, first, last, acc);
        }
    }
}
