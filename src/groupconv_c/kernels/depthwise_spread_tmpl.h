/* One-dimensional depthwise transposed convolution (contract: gc_spread in depthwise_contracts.h): lanes are
 * neighbouring outputs, whose inputs are picked from a vector of neighbouring inputs, as are their weights. */
static void OP(depthwise_spread)(const gc_spread *a) {
    const V weights = OP(load_mask)(a->weight, OP(mask)(gc_window_bits(0, a->kernel, LANES)));
    const V init = OP(set1)(*(const real *)a->init);
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    const ptrdiff_t period = a->stride * LANES;
    const int32_t *weight_index = a->weight_index, *input_index = a->input_index;
    const ptrdiff_t *input = a->input;
    for (ptrdiff_t first = 0; first < gc_smaller(period, a->n); first += LANES) {
        V w[GC_MAX_SPREAD_TAPS];
        for (ptrdiff_t t = 0; t < a->taps; t++)
            w[t] = OP(spread)(weights, OP(index)(weight_index + t * LANES));
        const real *in = a->in;
        for (ptrdiff_t at = first; at < a->n; at += period, in += LANES) {
            V y = init;
            for (ptrdiff_t t = 0; t < a->taps; t++) {
                const V x = OP(load)(in + input[t]);
                y = OP(fma)(w[t], OP(spread)(x, OP(index)(input_index + t * LANES)), y);
            }
            if (a->clamp) y = OP(min)(high, OP(max)(low, y));
            real *out = (real *)a->out + at;
            if (at + LANES <= a->n)
                OP(store)(out, y);
            else
                OP(store_first)(out, y, a->n - at);
        }
        weight_index += a->taps * LANES;
        input_index += a->taps * LANES;
        input += a->taps;
    }
}
