/* Kernels of depthwise microkernels, as those that roll or take small maps read them. */

/* Whether the weights of a kernel are left as they are, for instructions that spread an operand over a vector. */
#ifdef GC_SPREADS_OPERANDS
#define ROLLING_PLAIN(K) ((K) >= 5)
#else
#define ROLLING_PLAIN(K) 0
#endif

/* A channel's kernel: weights[depth][row][column] of the depths that are there, each in all lanes or `plain`, and
 * where their input begins; zero[r]: the products of its row r with zeros, NULL if they are 0; the bias, with the
 * products of depths that are not there. */
typedef struct OP(rolling_kernel) {
    const V *weights, *zero;
    const real *plain;
    V bias;
    ptrdiff_t slabs[GC_ROLLING_DEPTHS], depths;
} OP(rolling_kernel);

/* Reads the weights of a depth; the sum of their products with zeros, which is 0 if they are finite. */
GC_INLINE V OP(rolling_depth)(const gc_rolling *a, ptrdiff_t first, V *w, const int K) {
    const real *row = (const real *)a->weight + first;
    V columns[GC_DEPTHWISE_KERNEL_ROWS]; /* sums that need not wait for each other */
    GC_UNROLL(8)
    for (int r = 0; r < K; r++, row += a->weight_row) {
        GC_UNROLL(8)
        for (int t = 0; t < K; t++) {
            w[r * K + t] = OP(set1)(row[t * a->weight_column]);
            columns[t] = OP(fma)(w[r * K + t], OP(set1)(0), r ? columns[t] : OP(set1)(0));
        }
    }
    V total = columns[0];
    GC_UNROLL(8)
    for (int t = 1; t < K; t++) total += columns[t];
    return total;
}

/* A kernel that is left as it is: where it lies, or in `copy` if it is not contiguous there. */
GC_INLINE const real *OP(plain_kernel)(const real *weight, ptrdiff_t row, ptrdiff_t column,
                                       real *copy, const int K) {
    if (column == 1 && row == K) return weight;
    GC_UNROLL(8)
    for (int r = 0; r < K; r++) {
        GC_UNROLL(8)
        for (int t = 0; t < K; t++) copy[r * K + t] = weight[r * row + t * column];
    }
    return copy;
}

/* Sums of its weights' products with zeros, which are 0 if they are finite, else NaN. */
GC_INLINE V OP(plain_zeros)(const real *weight, const int K) {
    V total = OP(set1)(0);
    GC_UNROLL(16)
    for (int i = 0; i < K * K; i += LANES) {
        const M m = OP(mask)(gc_window_bits(0, K * K - i, LANES));
        total = OP(fma)(OP(load_mask)(weight + i, m), OP(set1)(0), total);
    }
    return total;
}

/* From the caller's weights: a pointer to those in registers would put them into memory. */
GC_NOINLINE void OP(rolling_zeros)(const gc_rolling *a, V *zero, int k, ptrdiff_t depths) {
    for (int r = 0; r < k; r++) {
        zero[r] = OP(set1)(0);
        for (ptrdiff_t d = 0; d < depths; d++) {
            if (a->slabs && !a->slabs[d].there) continue;
            const real *row = (const real *)a->weight + (a->slabs ? a->slabs[d].weight : 0);
            row += r * a->weight_row;
            for (int t = 0; t < k; t++)
                zero[r] = OP(fma)(OP(set1)(row[t * a->weight_column]), OP(set1)(0), zero[r]);
        }
    }
}

GC_INLINE OP(rolling_kernel)
    OP(rolling_weights)(const gc_rolling *a, V *w, V *zero, const int K, const int DEEP) {
    OP(rolling_kernel) k = {.weights = w, .bias = OP(set1)(*(const real *)a->init), .depths = 1};
    V total = OP(set1)(0);
    if (ROLLING_PLAIN(K)) {
        k.plain = OP(plain_kernel)(a->weight, a->weight_row, a->weight_column, (real *)w, K);
        total = OP(set1)(OP(sum)(OP(plain_zeros)(k.plain, K)));
    } else if (!DEEP) {
        total = OP(rolling_depth)(a, 0, w, K);
    }
    if (DEEP) k.depths = 0;
    for (ptrdiff_t i = 0; DEEP && i < a->nslabs; i++) {
        const gc_depthwise_slab *slab = a->slabs + i;
        const V products = OP(rolling_depth)(a, slab->weight, w + k.depths * K * K, K);
        if (slab->there) {
            k.slabs[k.depths++] = slab->in;
            total += products;
        } else {
            k.bias += products;
        }
    }
    if (total[0] != 0) {
        OP(rolling_zeros)(a, zero, K, DEEP ? a->nslabs : 1);
        k.zero = zero;
    }
    return k;
}
