/* Depthwise 3x3 microkernel of two channels at once (contract: rolling3x3_pair in kernels.h). */

/* Two channels side by side in one vector, each in half of the lanes: for maps at most half a vector
 * wide. The second channel's pointers are moved back by half a vector. */
static void OP(rolling3x3_pair)(const gc_rolling *a, const gc_rolling *b) {
    enum { half = (int)sizeof(V) / (int)sizeof(real) / 2 };
    const uint32_t upper = ((1u << half) - 1) << half;
    V w[9], zero[3];
    for (int r = 0; r < 3; r++) {
        const real *x = (const real *)a->weight + r * a->weight_row;
        const real *y = (const real *)b->weight + r * b->weight_row;
        for (int s = 0; s < 3; s++, x += a->weight_column, y += b->weight_column)
            w[3 * r + s] = OP(set2)(*x, *y);
        zero[r] = OP(fma)(w[3 * r], OP(set1)(0), OP(set1)(0));
        zero[r] = OP(fma)(w[3 * r + 1], OP(set1)(0), zero[r]);
        zero[r] = OP(fma)(w[3 * r + 2], OP(set1)(0), zero[r]);
    }
    const V bias = OP(set2)(*(const real *)a->init, *(const real *)b->init);
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    M lower_in[3], upper_in[3];
    for (int s = 0; s < 3; s++) {
        lower_in[s] = OP(mask)(a->columns->bits[s] & ~upper);
        upper_in[s] = OP(mask)((a->columns->bits[s] << half) & upper);
    }
    const int stored = a->columns->stored;
    const uint32_t bits = gc_window_bits(0, stored, LANES);
    const M lower_out = OP(mask)(bits), upper_out = OP(mask)(bits << half);
    const ptrdiff_t start = -gc_smaller(a->above, 0) * a->in_row;
    const real *p = (const real *)a->in + start, *q = (const real *)b->in + start - half;
    real *to = (real *)a->out, *to2 = b->out;
    const real *residual = a->residual, *residual2 = b->residual;
    V a0 = bias, a1 = bias, a2;
    const ptrdiff_t steps = a->out_height + 2, inside = gc_smaller(steps, a->height + a->above);
    for (ptrdiff_t i = 0; i < steps; i++) {
        if (i >= a->above && i < inside) {
            V x[3];
            GC_UNROLL(3)
            for (int s = 0; s < 3; s++)
                x[s] = OP(load_mask)(p + s, lower_in[s]) + OP(load_mask)(q + s, upper_in[s]);
            p += a->in_row;
            q += a->in_row;
            a2 = bias;
            GC_UNROLL(3)
            for (int s = 0; s < 3; s++) {
                a0 = OP(fma)(x[s], w[6 + s], a0);
                a1 = OP(fma)(x[s], w[3 + s], a1);
                a2 = OP(fma)(x[s], w[s], a2);
            }
        } else {
            a0 += zero[2];
            a1 += zero[1];
            a2 = bias + zero[0];
        }
        if (i >= 2) {
            V y = a0;
            if (residual) {
                y +=
                    OP(load_mask)(residual, lower_out) + OP(load_mask)(residual2 - half, upper_out);
                residual += a->residual_row;
                residual2 += a->residual_row;
            }
            if (a->clamp) y = OP(min)(high, OP(max)(low, y));
            OP(store_first)(to, y, stored);
            OP(store_first)(to2, OP(high)(y), stored);
            to += a->out_row;
            to2 += a->out_row;
        }
        a0 = a1;
        a1 = a2;
    }
}
