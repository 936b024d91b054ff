/* Winograd's method down columns; lanes are positions of rows (contracts: winograd_column_contracts.h). The points and
 * transforms are those of winograd_tmpl.h. */

#define G OP(win_v)

static void OP(winograd_column_weights)(const gc_winograd_column_weights *a) {
    G w[GC_COLUMN_TAPS], u[GC_COLUMN_WINDOW];
    for (int t = 0; t < a->taps; t++) w[t] = (G)OP(load)((const real *)a->from + t * a->tap);
    if (a->taps == 3)
        OP(kernel_6)(w, 3, u);
    else if (a->taps == 4)
        OP(kernel_6)(w, 4, u);
    else
        OP(kernel_6)(w, 5, u);
    for (int e = 0; e < GC_COLUMN_WINDOW; e++) OP(store)((real *)a->to + e * a->element, (V)u[e]);
}

enum { OP(column_masks) = 8 };

/* The windows of a block, whose first row is `row` and would be at `from`. WHOLE: all rows are there. */
GC_INLINE void OP(column_windows)(const gc_winograd_column_input *a, ptrdiff_t row,
                                  const char *from, real *out, const M *masks, const int WHOLE) {
    const ptrdiff_t element = a->element, from_row = a->from_row, height = a->height, n = a->n;
    for (ptrdiff_t at = 0; at < n; at += LANES) {
        const M m = at < OP(column_masks) * LANES
                        ? masks[at / LANES]
                        : OP(mask)(gc_window_bits(a->first - at, a->last - at, LANES));
        G d[GC_COLUMN_WINDOW];
        GC_UNROLL(6)
        for (int i = 0; i < GC_COLUMN_WINDOW; i++) {
            V x = OP(set1)(0);
            if (WHOLE || (size_t)(row + i) < (size_t)height)
                x = OP(load_mask)((const real *)(from + i * from_row) + at, m);
            d[i] = (G)x;
        }
        OP(input6)(d);
        GC_UNROLL(6)
        for (int e = 0; e < GC_COLUMN_WINDOW; e++) {
            real *const to = out + e * element + at;
            __builtin_prefetch((const char *)to + a->ahead, 1);
            OP(store)(to, (V)d[e]);
        }
    }
}

static void OP(winograd_column_input)(const gc_winograd_column_input *a) {
    M masks[OP(column_masks)];
    for (ptrdiff_t v = 0; v < OP(column_masks); v++)
        masks[v] = OP(mask)(gc_window_bits(a->first - v * LANES, a->last - v * LANES, LANES));
    const char *from = (const char *)((const real *)a->from - a->first);
    ptrdiff_t row = a->top;
    for (ptrdiff_t b = 0; b < a->blocks; b++, row += a->step) {
        real *out = (real *)a->out + b * a->pitch;
        if (row >= 0 && row + GC_COLUMN_WINDOW <= a->height)
            OP(column_windows)(a, row, from + row * a->from_row, out, masks, 1);
        else
            OP(column_windows)(a, row, from + row * a->from_row, out, masks, 0);
    }
}

/* Rows of results without residual and activation. */
GC_INLINE void OP(column_sums)(const real *in, ptrdiff_t element, G init, const int OUTPUTS, G *y) {
    G m[GC_COLUMN_WINDOW];
    GC_UNROLL(6)
    for (int e = 0; e < GC_COLUMN_WINDOW; e++) m[e] = (G)OP(load)(in + e * element);
    const G p = m[1] + m[2] + init, q = m[1] - m[2] + init, r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r;
    y[1] = OP(plus)(OUTPUTS == 2 ? q + m[5] : q, 2, s);
    if (OUTPUTS > 2) y[2] = OP(plus)(OUTPUTS == 3 ? p + m[5] : p, 4, r);
    if (OUTPUTS > 3) y[3] = OP(plus)(q + m[5], 8, s);
}

/* Results y of a row to their place; all of its lanes if WHOLE. */
GC_INLINE void OP(column_store)(real *out, const real *residual, gc_lanes lanes, V y, V low, V high,
                                const int WHOLE, const int CLAMP) {
    if (residual) y += WHOLE ? OP(load)(residual) : OP(load_mask)(residual, OP(mask)(lanes.bits));
    if (CLAMP) y = OP(min)(high, OP(max)(low, y));
    if (WHOLE)
        OP(store)(out, y);
    else
        OP(store_part)(out, y, lanes);
}

/* A vector of one channel, up to the last of its pieces. The sum's x * 0 is zero for finite x only. */
GC_INLINE G OP(column_results)(const gc_winograd_column_output *a, const real *in, ptrdiff_t k,
                               const gc_column_piece **pieces, V low, V high, const int OUTPUTS,
                               const int WHOLE, const int CLAMP) {
    const gc_column_piece *p = *pieces;
    const ptrdiff_t out_row = a->out_row;
    G y[GC_COLUMN_OUTPUTS];
    OP(column_sums)(in, a->element, (G)OP(set1)(((const real *)a->init)[k]), OUTPUTS, y);
    do {
        real *out = (real *)a->out + p->at + k * a->out_k;
        const real *residual = a->residual;
        if (residual) residual += p->at + k * a->residual_k;
        const ptrdiff_t rows = a->height - p->row;
        GC_UNROLL(4)
        for (int i = 0; i < OUTPUTS; i++) {
            if (!WHOLE && i >= rows) break;
            OP(column_store)(out, residual, p->lanes, (V)y[i], low, high, WHOLE, CLAMP);
            out += out_row;
            if (residual) residual += out_row;
        }
    } while (p++->more);
    *pieces = p;
    G sum = y[0] + y[1];
    if (OUTPUTS > 2) sum += y[2];
    if (OUTPUTS > 3) sum += y[3];
    return sum;
}

GC_INLINE int OP(column_output)(const gc_winograd_column_output *a, const int OUTPUTS) {
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    const real *in = a->in;
    G sum = {0};
    for (ptrdiff_t k = 0; k < a->channels; k++) {
        const gc_column_piece *p = a->pieces;
        for (int v = 0; v < a->vectors; v++, in += LANES) {
            const int whole = p->lanes.count == LANES && a->height - p->row >= OUTPUTS;
            G y;
            if (whole && !a->clamp)
                y = OP(column_results)(a, in, k, &p, low, high, OUTPUTS, 1, 0);
            else if (whole)
                y = OP(column_results)(a, in, k, &p, low, high, OUTPUTS, 1, 1);
            else
                y = OP(column_results)(a, in, k, &p, low, high, OUTPUTS, 0, 1);
            sum = OP(plus)(sum, 0, y);
        }
    }
    return OP(sum)((V)sum) != 0;
}

#define COLUMN_OUTPUT(OUTPUTS)                                                            \
    static int OP(winograd_column_output_##OUTPUTS)(const gc_winograd_column_output *a) { \
        return OP(column_output)(a, OUTPUTS);                                             \
    }
COLUMN_OUTPUT(2)
COLUMN_OUTPUT(3)
COLUMN_OUTPUT(4)
#undef COLUMN_OUTPUT

#undef G
