/* Activations on vectors, with PyTorch's definitions. exp is Cephes' scheme: x = n ln2 + r with ln2 in
 * two parts, a polynomial in r of |r| <= ln2/2, and n added to the exponent. erf follows from exp by
 * series and continued rational fits below. All keep NaN. */

#if REAL_IS_FLOAT
#define EXP_LOW -104.0f
#define EXP_HIGH 89.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define EXP_TERMS 7
#define BIAS_SHIFT 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define INTEGER int32_t
#else
#define EXP_LOW -745.2
#define EXP_HIGH 710.0
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define EXP_TERMS 13
#define BIAS_SHIFT 6755399441055744.0 /* 1.5 * 2^52 */
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#define INTEGER int64_t
#endif

typedef INTEGER OP(int_v) __attribute__((vector_size(sizeof(V))));
typedef real OP(gen_v) __attribute__((vector_size(sizeof(V))));
#define VI OP(int_v)
#define G OP(gen_v) /* the vector type the compiler's own operators take on every ISA */

GC_INLINE V OP(pick)(VI m, V a, V b) { return (V)(((VI)a & m) | ((VI)b & ~m)); }

/* 2^n for a vector of integral reals, within the exponents of normal numbers. */
GC_INLINE V OP(power_of_2)(V n) {
    const VI shifted = (VI)((G)n + BIAS_SHIFT) - (VI)((G){0} + BIAS_SHIFT);
    return (V)((shifted + EXPONENT_BIAS) << MANTISSA_BITS);
}

GC_INLINE V OP(exp)(V x) {
    /* 1/n! of the Taylor polynomial: its error on |r| <= ln2/2 is below half an ulp */
    static const real term[] = {1,
                                1,
                                (real)0.5,
                                (real)(1.0 / 6),
                                (real)(1.0 / 24),
                                (real)(1.0 / 120),
                                (real)(1.0 / 720),
                                (real)(1.0 / 5040),
                                (real)(1.0 / 40320),
                                (real)(1.0 / 362880),
                                (real)(1.0 / 3628800),
                                (real)(1.0 / 39916800),
                                (real)(1.0 / 479001600),
                                (real)(1.0 / 6227020800.0)};
    const V bounded = OP(min)(OP(set1)(EXP_HIGH), OP(max)(OP(set1)(EXP_LOW), x));
    const G scaled = (G)bounded * (real)1.44269504088896340736;
    const G n = (scaled + BIAS_SHIFT) - BIAS_SHIFT;
    V r = OP(fma)((V)n, OP(set1)(-LN2_HIGH), bounded);
    r = OP(fma)((V)n, OP(set1)(-LN2_LOW), r);
    V sum = OP(set1)(term[EXP_TERMS]);
    GC_UNROLL(16)
    for (int i = EXP_TERMS - 1; i >= 0; i--) sum = OP(fma)(sum, r, OP(set1)(term[i]));
    /* two factors, so that the ends of the range neither overflow nor lose the subnormals early */
    const G half = ((n * (real)0.5 + BIAS_SHIFT) - BIAS_SHIFT);
    const V result = (V)((G)sum * (G)OP(power_of_2)((V)half) * (G)OP(power_of_2)((V)(n - half)));
    const V low = OP(pick)((VI)((G)x < EXP_LOW), OP(set1)(0), result);
    return OP(pick)((VI)((G)x > EXP_HIGH), OP(set1)((real)INFINITY), low);
}

/* 1 / (1 + e^-x) as n / d with e^-|x| alone, so that nothing overflows and small results keep their
 * digits. */
GC_INLINE void OP(logistic)(V x, G *n, G *d) {
    const VI negative = (VI)((G)x < 0);
    const G e = (G)OP(exp)(OP(pick)(negative, x, (V)(-(G)x)));
    *n = (G)OP(pick)(negative, (V)e, OP(set1)(1));
    *d = (real)1 + e;
}

GC_INLINE V OP(sigmoid)(V x) {
    G n, d;
    OP(logistic)(x, &n, &d);
    return (V)(n / d);
}

GC_INLINE V OP(silu)(V x) {
    G n, d;
    OP(logistic)(x, &n, &d);
    return (V)((G)x * n / d);
}

/* tanh = sign * (1 - 2 / (e^2|x| + 1)) away from zero; near it the odd Taylor-Pade form
 * x * p(x^2) / q(x^2) avoids the cancellation. */
GC_INLINE V OP(tanh)(V x) {
    const G g = (G)x;
    const VI negative = (VI)(g < 0);
    const G magnitude = (G)OP(pick)(negative, (V)(-g), x);
    const G far = (real)1 - (real)2 / ((G)OP(exp)((V)(magnitude + magnitude)) + (real)1);
    /* continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))), Lambert 1768 */
    const G s = g * g;
    G tail = (G){0} + (real)(REAL_IS_FLOAT ? 13 : 21);
    GC_UNROLL(16)
    for (int odd = REAL_IS_FLOAT ? 11 : 19; odd >= 1; odd -= 2) tail = (real)odd + s / tail;
    const G near = g / tail;
    const V signed_far = OP(pick)(negative, (V)(-far), (V)far);
    return OP(pick)((VI)(magnitude < (real)0.75), (V)near, signed_far);
}

/* erfc(x) for x >= 0 as t exp(p(s) - x^2) with t = 2/(2+x), s = 2t-1 in -1..1; p is the Chebyshev
 * expansion of log(erfc(x) exp(x^2) / t), fitted with 60 digits and cut below the precision. */
static const real OP(log_erfcx)[] = {
#if REAL_IS_FLOAT
    -0.6717940852,   0.6726431548,    0.04734341752,   -0.04689364056,   -0.009874534918,
    0.008808825369,  0.001770666119,  -0.002288765239, -0.0001827821417, 0.000573766372,
    -3.211377231e-5, -8.728381022e-5, 1.337150349e-5
#else
    -0.671794084056692266,    0.672643223977656728,      0.0473433068419044283,
    -0.0468956102311752965,   -0.00987268936638995857,   0.00882493855706062317,
    0.00175893355779901609,   -0.00234581250048285335,   -0.000146246863378003364,
    0.000673678795580234959,  -0.0000937350311709817049, -0.00017430294720307622,
    0.0000714010141275703064, 0.0000317451797494374039,  -0.0000301878845513942443,
    1.37726641344644184e-7,   8.56262342012128565e-6,    -2.94798687699825925e-6,
    -1.27231190486886998e-6,  1.25002766125697535e-6,    -1.68498007206532975e-7,
    -2.49583276171966701e-7,  1.53343459209081768e-7,    1.44486580462526755e-9,
    -3.91718205102718583e-8,  1.11723522636237579e-8,    4.06088214696972022e-9,
    -1.89023060089445366e-9
#endif
};

/* x * Phi(x) with Phi(x) = erfc(-x / sqrt 2) / 2. The square of z = |x|/sqrt 2 is taken in two parts,
 * since an error of z^2 is one of the exponent. */
GC_INLINE V OP(gelu)(V x) {
    const VI negative = (VI)((G)x < 0);
    const G magnitude = (G)OP(pick)(negative, (V)(-(G)x), x);
    const G z = magnitude * (real)0.70710678118654752440;
    const G t = (real)2 / ((real)2 + z), s = t + t - (real)1;
    enum { degree = (int)(sizeof OP(log_erfcx) / sizeof(real)) - 1 };
    V p = OP(set1)(OP(log_erfcx)[degree]);
    GC_UNROLL(32)
    for (int i = degree - 1; i >= 0; i--) p = OP(fma)(p, (V)s, OP(set1)(OP(log_erfcx)[i]));
    const G square = magnitude * magnitude * (real)0.5;
    const G tail = (real)0.5 * t * (G)OP(exp)((V)((G)p - square));
    const G phi = (G)OP(pick)(negative, (V)tail, (V)((real)1 - tail));
    return (V)((G)x * phi);
}

GC_INLINE V OP(clamp)(V x, real low, real high) {
    return OP(min)(OP(set1)(high), OP(max)(OP(set1)(low), x));
}

GC_INLINE V OP(activate)(V x, gc_activation kind, real parameter) {
    const G g = (G)x;
    switch (kind) {
        case GC_IDENTITY:
            return x;
        case GC_RELU:
            return OP(clamp)(x, 0, (real)INFINITY);
        case GC_RELU6:
            return OP(clamp)(x, 0, 6);
        case GC_LEAKY_RELU:
            return OP(pick)((VI)(g > 0), x, (V)(g * parameter));
        case GC_SIGMOID:
            return OP(sigmoid)(x);
        case GC_TANH:
            return OP(tanh)(x);
        case GC_SILU:
            return OP(silu)(x);
        case GC_HARDSIGMOID:
            return (V)((G)OP(clamp)((V)(g + (real)3), 0, 6) / (real)6);
        case GC_HARDSWISH:
            return (V)(g * ((G)OP(clamp)((V)(g + (real)3), 0, 6) / (real)6));
        case GC_GELU:
            return OP(gelu)(x);
    }
    return x;
}

#undef VI
#undef G
#undef EXP_LOW
#undef EXP_HIGH
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_TERMS
#undef BIAS_SHIFT
#undef EXPONENT_BIAS
#undef MANTISSA_BITS
#undef INTEGER
