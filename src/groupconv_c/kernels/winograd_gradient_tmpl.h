/* Transforms of the weight gradient by F(4x4, 3x3) (contracts: gc_winograd_gradients, gc_winograd_kernels in
 * transform_contracts.h). The convolution y = A^T [(G w) * (B^T x)] has by its weights the gradient
 * G^T [(A dy) * (B^T x)]: the same points, the other matrices turned. Lanes are output channels. */

GC_INLINE void OP(points_of_4)(const G *d, G *u) {
    const G even = d[0] + d[2], odd = d[1] + d[3];
    const G even2 = OP(plus)(d[0], 4, d[2]), odd2 = OP(plus)(d[1], 4, d[3]);
    u[0] = d[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = OP(plus)(even2, 2, odd2);
    u[4] = OP(plus)(even2, -2, odd2);
    u[5] = d[3];
}

GC_INLINE void OP(kernel_of_6)(const G *m, G *w) {
    const G one = m[1] + m[2], two = m[3] + m[4];
    const G differ = m[1] - m[2], differ2 = m[3] - m[4];
    w[0] = OP(plus)(OP(plus)((real)0.25 * m[0], -1.0 / 6, one), 1.0 / 24, two);
    w[1] = OP(plus)((real)(1.0 / 12) * differ2, -1.0 / 6, differ);
    w[2] = OP(plus)(m[5], 1.0 / 6, two - one);
}

GC_INLINE void OP(gradient_tile)(const gc_winograd_gradients *a, const real *from, real *out,
                                 ptrdiff_t columns, const int WHOLE) {
    G t[4][6];
    GC_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        G d[4];
        GC_UNROLL(4)
        for (int j = 0; j < 4; j++)
            d[j] = WHOLE || (i < a->rows && j < columns)
                       ? (G)OP(load)(from + i * a->row + j * a->step)
                       : (G){0};
        OP(points_of_4)(d, t[i]);
    }
    GC_UNROLL(6)
    for (int j = 0; j < 6; j++) {
        G d[4], u[6];
        GC_UNROLL(4)
        for (int i = 0; i < 4; i++) d[i] = t[i][j];
        OP(points_of_4)(d, u);
        GC_UNROLL(6)
        for (int i = 0; i < 6; i++) OP(store)(out + (6 * i + j) * a->out_step, (V)u[i]);
    }
}

static void OP(winograd_gradients)(const gc_winograd_gradients *a) {
    const real *from = a->from;
    real *out = a->out;
    ptrdiff_t columns = a->columns;
    if (a->rows == 4)
        for (; columns >= 4; columns -= 4, from += 4 * a->step, out += a->step)
            OP(gradient_tile)(a, from, out, columns, 1);
    for (; columns > 0; columns -= 4, from += 4 * a->step, out += a->step)
        OP(gradient_tile)(a, from, out, columns, 0);
}

/* x * 0 is zero for finite x only, so the sum tells whether all are finite. */
static int OP(winograd_kernels)(const gc_winograd_kernels *a) {
    G bad = {0};
    for (ptrdiff_t v = 0; v < a->vectors; v++) {
        const real *in = (const real *)a->in + v * LANES;
        real *out = (real *)a->out + v * LANES;
        G t[3][6];
        GC_UNROLL(6)
        for (int j = 0; j < 6; j++) {
            G m[6], w[3];
            GC_UNROLL(6)
            for (int i = 0; i < 6; i++) m[i] = (G)OP(load)(in + (6 * i + j) * a->in_step);
            OP(kernel_of_6)(m, w);
            GC_UNROLL(3)
            for (int i = 0; i < 3; i++) t[i][j] = w[i];
        }
        GC_UNROLL(3)
        for (int i = 0; i < 3; i++) {
            G w[3];
            OP(kernel_of_6)(t[i], w);
            GC_UNROLL(3)
            for (int j = 0; j < 3; j++) {
                bad = OP(plus)(bad, 0, w[j]);
                OP(store)(out + (3 * i + j) * a->out_step, (V)w[j]);
            }
        }
    }
    return OP(sum)((V)bad) != 0;
}
#undef G
