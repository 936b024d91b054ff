/* Reading storage into contiguous reals: the pack step's row copies. Rows are short, so they are
 * copied by inline vectors; a tail is loaded under a mask. */

/* The element in all lanes. */
GC_INLINE V OP(load_one)(const real *p) { return OP(set1)(*p); }

GC_INLINE void OP(copy)(real *restrict to, const real *restrict from, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) OP(store)(to + i, OP(load)(from + i));
    if (i < n) {
        const M m = OP(mask)(gc_window_bits(0, n - i, LANES));
        OP(store_first)(to + i, OP(load_mask)(from + i, m), n - i);
    }
}

#if REAL_IS_FLOAT
/* The first n halves at p, at most a vector of them, and zeros. */
#ifdef GC_MASKS_HALVES
#define LOAD_PART(type)                                                    \
    GC_INLINE V OP(load_part_##type)(const uint16_t *p, ptrdiff_t n) {     \
        return type##_load_mask(p, OP(mask)(gc_window_bits(0, n, LANES))); \
    }
#else
#define LOAD_PART(type)                                                      \
    GC_INLINE V OP(load_part_##type)(const uint16_t *p, ptrdiff_t n) {       \
        uint16_t half[LANES] = {0};                                          \
        for (ptrdiff_t l = 0; l < gc_smaller(n, LANES); l++) half[l] = p[l]; \
        return type##_load(half);                                            \
    }
#endif
LOAD_PART(f16)
LOAD_PART(bf16)
#undef LOAD_PART

/* Rows of halves side by side, of every second one (chosen from two vectors), and of any. */
#define LOAD_HALF(type)                                                                     \
    static void OP(load_row_##type)(float *restrict to, const char *from, ptrdiff_t stride, \
                                    ptrdiff_t n) {                                          \
        const uint16_t *p = (const uint16_t *)from;                                         \
        ptrdiff_t i = 0;                                                                    \
        if (stride == 2) {                                                                  \
            for (; i + LANES <= n; i += LANES) OP(store)(to + i, type##_load(p + i));       \
            if (i >= n) return;                                                             \
            if (n >= LANES) /* a vector that overlaps the one before */                     \
                OP(store)(to + n - LANES, type##_load(p + n - LANES));                      \
            else                                                                            \
                OP(store_first)(to + i, OP(load_part_##type)(p + i, n - i), n - i);         \
            return;                                                                         \
        }                                                                                   \
        if (stride == 4 && n > 0) {                                                         \
            for (; i + LANES < n; i += LANES, p += 2 * LANES)                               \
                OP(store)(to + i, OP(even)(type##_load(p), type##_load(p + LANES)));        \
            const ptrdiff_t last = 2 * (n - i) - 1; /* what is in the row */                \
            const V x = OP(load_part_##type)(p, last);                                      \
            const V y = last > LANES ? OP(load_part_##type)(p + LANES, last - LANES) : x;   \
            OP(store_first)(to + i, OP(even)(x, y), n - i);                                 \
            return;                                                                         \
        }                                                                                   \
        uint16_t half[LANES] = {0};                                                         \
        for (; i < n; i += LANES) {                                                         \
            const ptrdiff_t count = gc_smaller(n - i, LANES);                               \
            for (ptrdiff_t l = 0; l < count; l++)                                           \
                memcpy(half + l, from + (i + l) * stride, sizeof *half);                    \
            OP(store_first)(to + i, type##_load(half), count);                              \
        }                                                                                   \
    }
LOAD_HALF(f16)
LOAD_HALF(bf16)
#undef LOAD_HALF
#endif

static void OP(load_row)(void *restrict to_, const void *restrict from_, ptrdiff_t stride,
                         ptrdiff_t n, gc_dtype dtype) {
    real *to = to_;
    const char *from = from_;
#if REAL_IS_FLOAT
    if (dtype == GC_F16) {
        OP(load_row_f16)(to, from, stride, n);
        return;
    }
    if (dtype == GC_BF16) {
        OP(load_row_bf16)(to, from, stride, n);
        return;
    }
#else
    (void)dtype;
#endif
    if (stride == (ptrdiff_t)sizeof(real)) {
        OP(copy)(to, (const real *)from, n);
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++) memcpy(to + i, from + i * stride, sizeof(real));
}

/* Elements of n vectors by their residue modulo n. */
GC_INLINE void OP(split_2)(V *x) {
    const V even = OP(even)(x[0], x[1]);
    x[1] = OP(odd)(x[0], x[1]);
    x[0] = even;
}

GC_INLINE void OP(split_4)(V *x) {
    const V even0 = OP(even)(x[0], x[1]), even1 = OP(even)(x[2], x[3]);
    const V odd0 = OP(odd)(x[0], x[1]), odd1 = OP(odd)(x[2], x[3]);
    x[0] = OP(even)(even0, even1);
    x[1] = OP(even)(odd0, odd1);
    x[2] = OP(odd)(even0, even1);
    x[3] = OP(odd)(odd0, odd1);
}

GC_INLINE void OP(split_1)(V *x) { (void)x; }

/* Rows are packed from start to end, as memory likes it, a vector of each phase at a time. Vectors whole ..
 * wholes - 1 of a row lie inside the source; the others are its edges, whose masks are made once where they
 * are few. A row's last vector is stored whole where the next rows are written over what spills; nothing
 * behind the last row is touched. */
enum { OP(most_edges) = 4 };

typedef struct OP(row_edges) {
    ptrdiff_t vectors, whole, wholes;
} OP(row_edges);

GC_INLINE OP(row_edges)
    OP(find_edges)(ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, ptrdiff_t width) {
    OP(row_edges) e = {(n + LANES - 1) / LANES, 0, 0};
    if (first > 0) e.whole = (first + width - 1) / width;
    e.wholes = gc_larger(gc_smaller(last / width, n / LANES), e.whole);
    e.whole = gc_smaller(e.whole, e.vectors);
    e.wholes = gc_smaller(e.wholes, e.vectors);
    return e;
}

#define PACK_BY(N)                                                                                         \
    GC_INLINE void OP(edge_masks_##N)(const gc_rows *a, ptrdiff_t v, M *masks) {                           \
        GC_UNROLL(4)                                                                                       \
        for (int p = 0; p < N; p++) {                                                                      \
            const ptrdiff_t at = (N * v + p) * LANES;                                                      \
            masks[p] = OP(mask)(gc_window_bits(a->first - at, a->last - at, LANES));                       \
        }                                                                                                  \
    }                                                                                                      \
    /* masks NULL: all lanes are inside. left: elements from here to the end of the rows. */               \
    GC_INLINE void OP(pack_vector_##N)(real *const *to, const real *from, ptrdiff_t v,                     \
                                       const M *masks, ptrdiff_t left, ptrdiff_t ahead) {                  \
        V x[N];                                                                                            \
        GC_UNROLL(4)                                                                                       \
        for (int p = 0; p < N; p++) {                                                                      \
            const real *at = from + (N * v + p) * LANES;                                                   \
            x[p] = masks ? OP(load_mask)(at, masks[p]) : OP(load)(at);                                     \
        }                                                                                                  \
        OP(split_##N)(x);                                                                                  \
        GC_UNROLL(4)                                                                                       \
        for (int p = 0; p < N; p++) {                                                                      \
            __builtin_prefetch((const char *)(to[p] + v * LANES) + ahead, 1);                              \
            if (left >= LANES)                                                                             \
                OP(store)(to[p] + v * LANES, x[p]);                                                        \
            else                                                                                           \
                OP(store_first)(to[p] + v * LANES, x[p], left);                                            \
        }                                                                                                  \
    }                                                                                                      \
    GC_INLINE void OP(pack_planes_##N)(const gc_rows *a, const real *from) {                               \
        const OP(row_edges) e = OP(find_edges)(a->first, a->last, a->n, N * LANES);                        \
        const ptrdiff_t edges = e.whole + e.vectors - e.wholes;                                            \
        M masks[OP(most_edges)][N], here[N];                                                               \
        for (ptrdiff_t i = 0; i < edges && edges <= OP(most_edges); i++)                                   \
            OP(edge_masks_##N)(a, i < e.whole ? i : e.wholes + i - e.whole, masks[i]);                     \
        const ptrdiff_t ahead = a->ahead;                                                                  \
        real *to[N];                                                                                       \
        GC_UNROLL(4)                                                                                       \
        for (int p = 0; p < N; p++) to[p] = a->to[p];                                                      \
        for (ptrdiff_t j = 0; j < a->rows; j++) {                                                          \
            const ptrdiff_t end = (a->rows - 1 - j) * a->pitch + a->n;                                     \
            for (ptrdiff_t i = 0; i < edges; i++) {                                                        \
                const ptrdiff_t v = i < e.whole ? i : e.wholes + i - e.whole;                              \
                if (i == e.whole)                                                                          \
                    for (ptrdiff_t u = e.whole; u < e.wholes; u++)                                         \
                        OP(pack_vector_##N)(to, from, u, NULL, LANES, ahead);                              \
                if (edges > OP(most_edges)) OP(edge_masks_##N)(a, v, here);                                \
                OP(pack_vector_##N)(to, from, v, edges > OP(most_edges) ? here : masks[i],                 \
                                    end - v * LANES, ahead);                                               \
            }                                                                                              \
            if (edges == e.whole)                                                                          \
                for (ptrdiff_t u = e.whole; u < e.wholes; u++)                                             \
                    OP(pack_vector_##N)(to, from, u, NULL, LANES, ahead);                                  \
            from = (const real *)((const char *)from + a->from_row);                                       \
            GC_UNROLL(4)                                                                                   \
            for (int p = 0; p < N; p++) to[p] += a->pitch;                                                 \
        }                                                                                                  \
    }                                                                                                      \
    /* Rows of few vectors, of which the first and the last may reach over the source: all but the last */ \
    /* rows, which are not stored whole. How many were packed. */                                          \
    GC_INLINE ptrdiff_t OP(pack_few_##N)(const gc_rows *a, const real *from, const int vectors) {          \
        const int last = vectors - 1;                                                                      \
        M masks[2][N];                                                                                     \
        OP(edge_masks_##N)(a, 0, masks[0]);                                                                \
        OP(edge_masks_##N)(a, last, masks[1]);                                                             \
        const ptrdiff_t ahead = a->ahead;                                                                  \
        real *to[N];                                                                                       \
        GC_UNROLL(4)                                                                                       \
        for (int p = 0; p < N; p++) to[p] = a->to[p];                                                      \
        const ptrdiff_t pitch = a->pitch, from_row = a->from_row;                                          \
        /* without those whose last vector would spill over the end of the last row */                     \
        const ptrdiff_t spilling = (vectors * LANES - a->n + pitch - 1) / pitch;                           \
        const ptrdiff_t rows = gc_larger(a->rows - spilling, 0);                                           \
        for (ptrdiff_t j = 0; j < rows; j++) {                                                             \
            GC_UNROLL(4)                                                                                   \
            for (int v = 0; v < vectors; v++)                                                              \
                OP(pack_vector_##N)(to, from, v,                                                           \
                                    v == 0      ? masks[0]                                                 \
                                    : v == last ? masks[1]                                                 \
                                                : NULL,                                                    \
                                    LANES, ahead);                                                         \
            from = (const real *)((const char *)from + from_row);                                          \
            GC_UNROLL(4)                                                                                   \
            for (int p = 0; p < N; p++) to[p] += pitch;                                                    \
        }                                                                                                  \
        return rows;                                                                                       \
    }                                                                                                      \
    static void OP(pack_by_##N)(const gc_rows *a, const real *from) {                                      \
        const OP(row_edges) e = OP(find_edges)(a->first, a->last, a->n, N * LANES);                        \
        ptrdiff_t done = 0;                                                                                \
        if (e.vectors <= 4 && e.whole <= 1 && a->last >= (e.vectors - 1) * N * LANES) {                    \
            switch (e.vectors) {                                                                           \
                case 1:                                                                                    \
                    done = OP(pack_few_##N)(a, from, 1);                                                   \
                    break;                                                                                 \
                case 2:                                                                                    \
                    done = OP(pack_few_##N)(a, from, 2);                                                   \
                    break;                                                                                 \
                case 3:                                                                                    \
                    done = OP(pack_few_##N)(a, from, 3);                                                   \
                    break;                                                                                 \
                case 4:                                                                                    \
                    done = OP(pack_few_##N)(a, from, 4);                                                   \
                    break;                                                                                 \
                default:                                                                                   \
                    break;                                                                                 \
            }                                                                                              \
        }                                                                                                  \
        gc_rows rest = *a;                                                                                 \
        rest.rows -= done;                                                                                 \
        for (int p = 0; p < N; p++) rest.to[p] = (real *)a->to[p] + done * a->pitch;                       \
        if (rest.rows > 0)                                                                                 \
            OP(pack_planes_##N)(&rest, (const real *)((const char *)from + done * a->from_row));           \
    }

PACK_BY(1)
PACK_BY(2)
PACK_BY(4)
#undef PACK_BY

static void OP(pack_rows_by_2)(const gc_rows *a) { OP(pack_by_2)(a, a->from); }
static void OP(pack_rows_by_4)(const gc_rows *a) { OP(pack_by_4)(a, a->from); }

static void OP(pack_rows)(const gc_rows *a) {
    const char *from = a->from;
    real *to = a->to[0];
    if (a->stride == (ptrdiff_t)sizeof(real) && (a->dtype == GC_F32 || a->dtype == GC_F64)) {
        OP(pack_by_1)(a, (const real *)from - a->first);
        return;
    }
    for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch, from += a->from_row) {
        for (ptrdiff_t i = 0; i < a->first; i++) to[i] = 0;
        OP(load_row)(to + a->first, from, a->stride, a->last - a->first, a->dtype);
        for (ptrdiff_t i = a->last; i < a->n; i++) to[i] = 0;
    }
}
