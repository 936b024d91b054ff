/* Fourier transforms of real sequences (contracts: gc_fourier, gc_fourier_sum in transform_contracts.h). Lanes
 * are channels, so that every step is plain vector code.
 *
 * A sequence of N = 2*H reals is taken for H complex numbers (even elements real, odd ones imaginary), which are
 * transformed in place by decimation in frequency, four at a time: the frequencies come out in an order of their
 * own, which `place` knows and which the way back takes. The spectrum of the reals follows from that of the
 * complex numbers (Press et al., "Numerical Recipes", section 12.3). */

typedef struct OP(complex) {
    V re, im;
} OP(complex);
#define C OP(complex)

GC_INLINE C OP(complex_load)(const real *p) { return (C){OP(load)(p), OP(load)(p + LANES)}; }
GC_INLINE void OP(complex_store)(real *p, C z) {
    OP(store)(p, z.re);
    OP(store)(p + LANES, z.im);
}
GC_INLINE C OP(add)(C a, C b) { return (C){a.re + b.re, a.im + b.im}; }
GC_INLINE C OP(subtract)(C a, C b) { return (C){a.re - b.re, a.im - b.im}; }
/* a times the number at w, or times its conjugate. */
GC_INLINE C OP(turned)(C a, const real *w, const int back) {
    const V re = OP(set1)(w[0]), im = OP(set1)(back ? -w[1] : w[1]);
    return (C){OP(fma)(a.re, re, -(a.im * im)), OP(fma)(a.re, im, a.im * re)};
}

/* One butterfly of four numbers `step` reals apart; w: its three turns, or NULL. */
GC_INLINE void OP(forth4)(real *p, ptrdiff_t step, const real *w) {
    const C a = OP(complex_load)(p), b = OP(complex_load)(p + step);
    const C c = OP(complex_load)(p + 2 * step), d = OP(complex_load)(p + 3 * step);
    const C ac = OP(add)(a, c), bd = OP(add)(b, d);
    const C a_c = OP(subtract)(a, c), b_d = OP(subtract)(b, d);
    C y1 = {a_c.re + b_d.im, a_c.im - b_d.re}, y2 = OP(subtract)(ac, bd);
    C y3 = {a_c.re - b_d.im, a_c.im + b_d.re};
    if (w) {
        y1 = OP(turned)(y1, w, 0);
        y2 = OP(turned)(y2, w + 2, 0);
        y3 = OP(turned)(y3, w + 4, 0);
    }
    OP(complex_store)(p, OP(add)(ac, bd));
    OP(complex_store)(p + step, y1);
    OP(complex_store)(p + 2 * step, y2);
    OP(complex_store)(p + 3 * step, y3);
}

GC_INLINE void OP(back4)(real *p, ptrdiff_t step, const real *w) {
    const C y0 = OP(complex_load)(p);
    C y1 = OP(complex_load)(p + step), y2 = OP(complex_load)(p + 2 * step);
    C y3 = OP(complex_load)(p + 3 * step);
    if (w) {
        y1 = OP(turned)(y1, w, 1);
        y2 = OP(turned)(y2, w + 2, 1);
        y3 = OP(turned)(y3, w + 4, 1);
    }
    const C ac = OP(add)(y0, y2), bd = OP(add)(y1, y3);
    const C a_c = OP(subtract)(y0, y2), b_d = OP(subtract)(y1, y3);
    OP(complex_store)(p, OP(add)(ac, bd));
    OP(complex_store)(p + step, (C){a_c.re - b_d.im, a_c.im + b_d.re});
    OP(complex_store)(p + 2 * step, OP(subtract)(ac, bd));
    OP(complex_store)(p + 3 * step, (C){a_c.re + b_d.im, a_c.im - b_d.re});
}

GC_INLINE void OP(butterflies_of_2)(real *p, ptrdiff_t half) {
    for (ptrdiff_t i = 0; i < half; i += 2, p += 4 * LANES) {
        const C a = OP(complex_load)(p), b = OP(complex_load)(p + 2 * LANES);
        OP(complex_store)(p, OP(add)(a, b));
        OP(complex_store)(p + 2 * LANES, OP(subtract)(a, b));
    }
}

/* All butterflies of the sequences of n numbers. */
GC_INLINE void OP(butterflies)(const gc_fourier *a, ptrdiff_t n, const int back) {
    const ptrdiff_t quarter = n / 4, step = quarter * 2 * LANES;
    const ptrdiff_t apart = a->half / n; /* between the turns of this n, in those of all of them */
    const real *turns = a->turns;
    for (ptrdiff_t j = 0; j < quarter; j++)
        for (ptrdiff_t s = j; s < a->half; s += n) {
            real *p = (real *)a->data + s * 2 * LANES;
            const real *w = j ? turns + j * apart * 6 : NULL;
            if (back && w)
                OP(back4)(p, step, w);
            else if (back)
                OP(back4)(p, step, NULL);
            else if (w)
                OP(forth4)(p, step, w);
            else
                OP(forth4)(p, step, NULL);
        }
}

static void OP(fourier_forth)(const gc_fourier *a) {
    ptrdiff_t n = a->half;
    for (; n >= 4; n /= 4) OP(butterflies)(a, n, 0);
    if (n == 2) OP(butterflies_of_2)(a->data, a->half);
    const real *const z = a->data, *turn = a->half_turns;
    const V scale = OP(set1)((real)a->scale);
    for (ptrdiff_t f = 0; f <= a->half / 2; f++, turn += 2) {
        const ptrdiff_t g = a->half - f;
        const C zf = OP(complex_load)(z + a->place[f] * 2 * LANES);
        const C zg = OP(complex_load)(z + a->place[f ? g : 0] * 2 * LANES);
        const C sum = {zf.re + zg.re, zf.im - zg.im};
        const C t = OP(turned)((C){zg.im + zf.im, zg.re - zf.re}, turn, 0); /* -i times */
        real *to = (real *)a->spectrum + f * a->bin, *mirrored = (real *)a->spectrum + g * a->bin;
        OP(store)(to, (sum.re + t.re) * scale);
        OP(store)(to + a->imaginary, (sum.im + t.im) * scale);
        OP(store)(mirrored, (sum.re - t.re) * scale);
        OP(store)(mirrored + a->imaginary, (t.im - sum.im) * scale);
    }
}

static void OP(fourier_back)(const gc_fourier *a) {
    real *const z = a->data;
    const real *turn = a->half_turns;
    for (ptrdiff_t f = 0; f <= a->half / 2; f++, turn += 2) {
        const ptrdiff_t g = a->half - f;
        const real *from = (const real *)a->spectrum + f * a->bin;
        const real *mirrored = (const real *)a->spectrum + g * a->bin;
        const C yf = {OP(load)(from), OP(load)(from + a->imaginary)};
        const C yg = {OP(load)(mirrored), OP(load)(mirrored + a->imaginary)};
        const C sum = {yf.re + yg.re, yf.im - yg.im};
        const C t = OP(turned)((C){-(yf.im + yg.im), yf.re - yg.re}, turn, 1); /* i times */
        OP(complex_store)(z + a->place[f] * 2 * LANES, OP(add)(sum, t));
        if (f) OP(complex_store)(z + a->place[g] * 2 * LANES, (C){sum.re - t.re, t.im - sum.im});
    }
    ptrdiff_t n = 1;
    if (a->half != a->fours) {
        OP(butterflies_of_2)(z, a->half);
        n = 2;
    }
    for (n *= 4; n <= a->half; n *= 4) OP(butterflies)(a, n, 1);
}

/* Products of B blocks at F frequencies, so that there are sums enough to wait for none. */
GC_INLINE void OP(fourier_products)(const gc_fourier_sum *a, const real *w, const real *x, real *y,
                                    const int F, const int B) {
    C acc[4][GC_MAX_FOURIER_BLOCKS];
    GC_UNROLL(4)
    for (int f = 0; f < F; f++) GC_UNROLL(4)
    for (int b = 0; b < B; b++) acc[f][b] = (C){OP(set1)(0), OP(set1)(0)};
    const ptrdiff_t bin_w = a->channels * 2 * LANES;
    for (ptrdiff_t c = 0; c < a->channels; c++, w += 2 * LANES, x++) {
        GC_UNROLL(4)
        for (int f = 0; f < F; f++) {
            const C wc = OP(complex_load)(w + f * bin_w);
            GC_UNROLL(4)
            for (int b = 0; b < B; b++) {
                const real *at = x + f * a->x_bin + b * a->x_block;
                const V re = OP(set1)(at[0]), im = OP(set1)(at[a->x_imaginary]);
                C *sum = &acc[f][b];
                sum->re = OP(fma)(wc.re, re, sum->re);
                sum->im = OP(fma)(wc.re, im, sum->im);
                sum->re = OP(fma)(-wc.im, im, sum->re);
                sum->im = OP(fma)(wc.im, re, sum->im);
            }
        }
    }
    GC_UNROLL(4)
    for (int f = 0; f < F; f++) GC_UNROLL(4)
    for (int b = 0; b < B; b++) OP(complex_store)(y + f * a->y_bin + b * 2 * LANES, acc[f][b]);
}

#define FOURIER_SUM(B, F)                                          \
    GC_NOINLINE void OP(fourier_sum##B)(const gc_fourier_sum *a) { \
        const real *w = a->weight, *x = a->x;                      \
        real *y = a->y;                                            \
        ptrdiff_t f = 0;                                           \
        for (; f + F <= a->bins; f += F) {                         \
            OP(fourier_products)(a, w, x, y, F, B);                \
            w += F * a->channels * 2 * LANES;                      \
            x += F * a->x_bin;                                     \
            y += F * a->y_bin;                                     \
        }                                                          \
        for (; f < a->bins; f++) {                                 \
            OP(fourier_products)(a, w, x, y, 1, B);                \
            w += a->channels * 2 * LANES;                          \
            x += a->x_bin;                                         \
            y += a->y_bin;                                         \
        }                                                          \
    }
FOURIER_SUM(1, 4)
FOURIER_SUM(2, 2)
FOURIER_SUM(3, 1)
FOURIER_SUM(4, 1)
#undef FOURIER_SUM

/* Rows of results at a time: as many sums as registers take. */
#define FOURIER_ROWS (vector_registers >= 32 ? 6 : 4)

static void OP(fourier_rows)(const gc_fourier_rows *a) {
    enum { rows = FOURIER_ROWS, margin = rows - 1 };
    for (ptrdiff_t f = 0; f < a->bins; f++) {
        const real *const w = (const real *)a->weight + f * a->w_bin + margin * 2 * LANES;
        const real *const x = (const real *)a->x + f * a->x_bin;
        real *const y = (real *)a->y + f * a->y_bin;
        for (ptrdiff_t r = 0; r < a->rows; r += rows) {
            const ptrdiff_t top = a->shift + r, end = top + margin + a->taps;
            C sums[rows];
            GC_UNROLL(6)
            for (int j = 0; j < rows; j++) sums[j] = (C){OP(set1)(0), OP(set1)(0)};
            for (ptrdiff_t q = top > 0 ? top : 0; q < gc_smaller(end, a->height); q++) {
                const C xq = OP(complex_load)(x + q * 2 * LANES);
                GC_UNROLL(6)
                for (int j = 0; j < rows; j++) {
                    const C wj = OP(complex_load)(w + (q - top - j) * 2 * LANES);
                    sums[j].re = OP(fma)(wj.re, xq.re, sums[j].re);
                    sums[j].im = OP(fma)(wj.re, xq.im, sums[j].im);
                    sums[j].re = OP(fma)(-wj.im, xq.im, sums[j].re);
                    sums[j].im = OP(fma)(wj.im, xq.re, sums[j].im);
                }
            }
            const ptrdiff_t count = gc_smaller(rows, a->rows - r);
            if (count == rows) {
                GC_UNROLL(6)
                for (int j = 0; j < rows; j++) OP(complex_store)(y + (r + j) * 2 * LANES, sums[j]);
            } else {
                for (ptrdiff_t j = 0; j < count; j++)
                    OP(complex_store)(y + (r + j) * 2 * LANES, sums[j]);
            }
        }
    }
}

/* x * 0 is zero for finite x only. */
static int OP(finite)(const void *from, ptrdiff_t vectors) {
    V sum = OP(set1)(0);
    for (ptrdiff_t i = 0; i < vectors; i++)
        sum = OP(fma)(OP(load)((const real *)from + i * LANES), OP(set1)(0), sum);
    return OP(sum)(sum) == 0;
}
#undef C
