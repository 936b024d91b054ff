#include "problems.h"

int problem_narrow(int index, gc_problem *p) {
    enum { widths = 34, kinds = 8 };
    static const struct {
        gc_op op;
        ptrdiff_t groups, in_per_group, out_per_group, kernel, stride;
    } kind[kinds] = {
        {GC_CONV, 3, 1, 1, 3, 1}, /* depthwise */
        {GC_CONV, 3, 1, 1, 5, 1},           {GC_CONV, 2, 1, 2, 3, 2},
        {GC_CONV, 1, 3, 5, 1, 1}, /* pointwise */
        {GC_CONV, 2, 3, 4, 3, 1},           {GC_CONV, 1, 3, 5, 3, 2},
        {GC_CONV_TRANSPOSE, 2, 2, 3, 3, 2}, {GC_GRAD_WEIGHT, 2, 2, 3, 3, 1},
    };
    if (index >= widths * kinds) return 0;
    const int k = index / widths, width = 1 + index % widths;
    const ptrdiff_t size[2] = {1 + width % 6, width};
    *p = (gc_problem){.op = kind[k].op, .ndim = 2, .batch = 1, .groups = kind[k].groups};
    p->dtype = index % 3 ? GC_F32 : GC_F64;
    p->in_per_group = kind[k].in_per_group;
    p->out_per_group = kind[k].out_per_group;
    for (int i = 0; i < 2; i++) {
        p->in_size[i] = size[i];
        p->kernel[i] = kind[k].kernel;
        p->stride[i] = kind[k].stride;
        p->dilation[i] = 1;
        p->pad_before[i] = kind[k].kernel / 2;
        p->out_size[i] =
            p->op == GC_CONV_TRANSPOSE ? size[i] * p->stride[i] : (size[i] - 1) / p->stride[i] + 1;
    }
    if (p->op != GC_GRAD_WEIGHT) {
        p->has_residual = index % 2;
        p->activation = index % 5 < 2 ? GC_RELU : GC_IDENTITY;
    }
    return 1;
}

int problem_lanes(int index, gc_problem *p) {
    static const ptrdiff_t groups[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 70};
    static const ptrdiff_t heights[] = {1, 2, 3, 4, 5, 9};
    static const struct {
        ptrdiff_t in_per_group, out_per_group, kernel, stride, dilation;
    } kind[] = {{1, 1, 3, 1, 1}, {1, 1, 5, 1, 1}, {1, 1, 7, 1, 1}, {1, 1, 3, 2, 1}, {1, 1, 5, 2, 1},
                {1, 1, 7, 2, 1}, {1, 1, 3, 1, 2}, {1, 1, 5, 1, 3}, {1, 2, 3, 1, 1}, {2, 2, 3, 1, 1},
                {4, 4, 3, 2, 1}, {2, 1, 3, 1, 2}, {1, 1, 4, 1, 1}, {3, 2, 2, 1, 1}};
    static const gc_dtype dtypes[] = {GC_F32, GC_F64, GC_F16, GC_BF16};
    enum { ngroups = sizeof groups / sizeof *groups, nheights = sizeof heights / sizeof *heights };
    enum { kinds = sizeof kind / sizeof *kind };
    if (index >= ngroups * nheights * kinds) return 0;
    const int k = index / ngroups / nheights;
    *p = (gc_problem){
        .op = GC_CONV,
        .dtype = dtypes[index % 7 % 4],
        .ndim = 2,
        .batch = 1 + index % 2,
        .groups = groups[index % ngroups],
        .in_per_group = kind[k].in_per_group,
        .out_per_group = kind[k].out_per_group,
        .in_size = {heights[index / ngroups % nheights], 1 + index % 13},
        .has_residual = index % 4 == 0,
    };
    problem_activate(index, p);
    for (int i = 0; i < 2; i++) {
        p->kernel[i] = kind[k].kernel;
        p->stride[i] = kind[k].stride;
        p->dilation[i] = kind[k].dilation;
        const ptrdiff_t reach = (p->kernel[i] - 1) * p->dilation[i];
        p->pad_before[i] = (ptrdiff_t[]){reach / 2, 0, reach + 2}[(index + i) % 3];
        const ptrdiff_t n = p->in_size[i] - 1 + p->pad_before[i] + (reach + 1) / 2 - reach;
        p->out_size[i] = n < 0 ? 1 : n / p->stride[i] + 1;
    }
    return 1;
}

int problem_columns(int index, gc_problem *p) {
    static const ptrdiff_t in[] = {8, 9, 16, 24, 33, 4}, out[] = {8, 5, 16, 17, 40, 4};
    static const ptrdiff_t heights[] = {1, 3, 4};
    enum { nin = sizeof in / sizeof *in, nout = sizeof out / sizeof *out };
    enum { nheights = sizeof heights / sizeof *heights, kinds = 4 };
    if (index >= nin * nout * nheights * kinds) return 0;
    const int k = index / nin / nout / nheights;
    const int transposed = k == 2, deep = k == 3;
    *p = (gc_problem){
        .op = transposed ? GC_CONV_TRANSPOSE : GC_CONV,
        .dtype = index % 3 ? GC_F32 : GC_F64,
        .ndim = deep ? 3 : 2,
        .batch = 1 + index % 2,
        .groups = 1 + index % 4,
        .in_per_group = in[index % nin],
        .out_per_group = out[index / nin % nout],
        .has_residual = index % 5 < 2,
    };
    problem_activate(index, p);
    for (int i = 0; i < p->ndim; i++) {
        const int columns = i == p->ndim - 1;
        p->in_size[i] = columns ? 1 + index % 11 : heights[(index / nin / nout + i) % nheights];
        p->kernel[i] = columns ? 3 : k == 1 ? 4 : deep && i == 0 ? 2 : 3;
        p->stride[i] = 1;
        p->dilation[i] = columns ? 1 : 1 + k % 2;
        const ptrdiff_t reach = (p->kernel[i] - 1) * p->dilation[i];
        /* before: half, none, more than all */
        const ptrdiff_t before = (ptrdiff_t[]){reach / 2, 0, reach + 1}[(index + i) % 3];
        const ptrdiff_t n = transposed ? p->in_size[i] + reach - before
                                       : p->in_size[i] + before + reach / 2 - reach;
        p->pad_before[i] = before;
        p->out_size[i] = n < 1 ? 1 : n;
    }
    return 1;
}

int problem_strided(int index, gc_problem *p) {
    static const ptrdiff_t in[] = {3, 5, 11}, out[] = {1, 4, 8, 13};
    static const ptrdiff_t heights[] = {1, 2, 3, 5, 8, 13}, widths[] = {1, 3, 7, 15, 16, 18, 35};
    static const struct {
        ptrdiff_t kernel[2], stride[2];
    } kind[] = {{{3, 5}, {1, 2}}, {{5, 3}, {2, 2}},  {{6, 4}, {2, 1}}, {{11, 2}, {4, 1}},
                {{4, 4}, {1, 1}}, {{7, 7}, {2, 2}},  {{8, 2}, {2, 3}}, {{5, 5}, {1, 1}},
                {{5, 3}, {1, 1}}, {{10, 2}, {2, 1}}, {{9, 3}, {3, 2}}, {{3, 7}, {1, 1}}};
    static const gc_dtype dtypes[] = {GC_F32, GC_F64, GC_F16, GC_F32, GC_BF16};
    enum { nheights = sizeof heights / sizeof *heights, nwidths = sizeof widths / sizeof *widths };
    enum { kinds = sizeof kind / sizeof *kind, turns = 5 };
    if (index >= nheights * nwidths * kinds * turns) return 0;
    const int k = index / turns / nheights / nwidths;
    *p = (gc_problem){
        .op = GC_CONV,
        .dtype = dtypes[index % turns],
        .ndim = 2,
        .batch = 1 + index % 2,
        .groups = 1 + index % 3,
        .in_per_group = in[index / 2 % 3],
        .out_per_group = out[index / 3 % 4],
        .in_size = {heights[index / turns % nheights], widths[index / turns / nheights % nwidths]},
        .has_residual = index % 3 == 0,
    };
    problem_activate(index, p);
    for (int i = 0; i < 2; i++) {
        const ptrdiff_t reach = kind[k].kernel[i] - 1, stride = kind[k].stride[i];
        p->kernel[i] = kind[k].kernel[i];
        p->stride[i] = stride;
        p->dilation[i] = 1;
        p->pad_before[i] = (ptrdiff_t[]){reach / 2, 0, reach + 1}[(index + i) % 3];
        const ptrdiff_t n = p->in_size[i] - 1 + p->pad_before[i] + reach / 2 - reach;
        p->out_size[i] = n < 0 ? 1 : n / stride + 1;
    }
    return 1;
}

int problem_long(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {1, 2, 31, 32, 33, 34, 60, 66, 67, 100, 131, 200};
    static const struct {
        ptrdiff_t taps, dilation;
    } kernels[] = {{32, 1}, {33, 1}, {40, 1}, {32, 2}, {63, 1}, {65, 1}, {128, 1}};
    enum { nwidths = sizeof widths / sizeof *widths, nkernels = sizeof kernels / sizeof *kernels };
    if (index >= nwidths * nkernels * 4) return 0; /* of op, dtype */
    const int way = index / nwidths / nkernels, transposed = way % 2;
    const ptrdiff_t taps = kernels[index / nwidths % nkernels].taps;
    const ptrdiff_t dilation = kernels[index / nwidths % nkernels].dilation;
    const ptrdiff_t out = widths[index % nwidths], reach = (taps - 1) * dilation;
    const ptrdiff_t before = (ptrdiff_t[]){0, reach / 2, reach, reach + 2}[index % 4];
    *p = (gc_problem){
        .op = transposed ? GC_CONV_TRANSPOSE : GC_CONV,
        .dtype = way / 2 ? GC_F64 : GC_F32,
        .ndim = 1,
        .batch = 2,
        .groups = 1 + index % 2,
        .in_per_group = (ptrdiff_t[]){4, 8, 9}[index % 3],
        .out_per_group = (ptrdiff_t[]){4, 7, 8, 10, 17}[index % 5],
        .out_size = {out},
        .kernel = {taps},
        .stride = {1},
        .dilation = {dilation},
        .pad_before = {before},
        .has_residual = index % 5 == 0,
    };
    problem_activate(index, p);
    const ptrdiff_t after = index % 7;
    const ptrdiff_t in = transposed ? out - reach + before + after : out + reach - before - after;
    p->in_size[0] = in > 0 ? in : 1;
    return 1;
}

int problem_rows(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 24, 33, 50};
    static const ptrdiff_t kernels[] = {1, 2, 3, 4, 5, 7, 8, 9, 20};
    enum { nwidths = sizeof widths / sizeof *widths, nkernels = sizeof kernels / sizeof *kernels };
    enum { ways = 8 }; /* of stride, dilation or depth, dtype */
    if (index >= nwidths * nkernels * ways) return 0;
    const int way = index / nwidths / nkernels;
    const ptrdiff_t n = widths[index % nwidths], taps = kernels[index / nwidths % nkernels];
    const ptrdiff_t stride = 1 + way % 2, dilation = stride == 1 && way / 2 % 2 ? 2 : 1;
    const ptrdiff_t reach = (taps - 1) * dilation;
    const ptrdiff_t before = (ptrdiff_t[]){0, reach / 2, reach, reach + 2}[index % 4];
    *p = (gc_problem){
        .op = GC_GRAD_WEIGHT,
        .dtype = way / 4 ? GC_F64 : GC_F32,
        .ndim = 2,
        .batch = 3,
        .groups = 1 + index % 3,
        .in_per_group = 1 + index / 3 % 2,
        .out_per_group = 1 + index % 2,
        .out_size = {index % 7 ? 1 + index % 6 : 13, n},
        .kernel = {1 + index / 2 % 4, taps},
        .stride = {1 + index / 5 % 3, stride},
        .dilation = {1 + index / 7 % 2, dilation},
        .pad_before = {index % 11 ? index % 3 : 7, before},
    };
    for (int i = 0; i < 2; i++) {
        const ptrdiff_t all = (p->out_size[i] - 1) * p->stride[i] + 1 +
                              (p->kernel[i] - 1) * p->dilation[i] - p->pad_before[i] - index % 5;
        p->in_size[i] = all > 0 ? all : 1;
    }
    return 1;
}

int problem_larger(int index, gc_problem *p) {
#define SQUARE(n) \
    {             \
        n, n      \
    }
    static const gc_problem larger[] = {
        {.op = GC_CONV,
         .ndim = 2,
         .batch = 1,
         .groups = 1,
         .in_per_group = 32,
         .out_per_group = 33,
         .in_size = SQUARE(22),
         .kernel = SQUARE(3),
         .out_size = SQUARE(22),
         .pad_before = {1, 1},
         .activation = GC_RELU},
        {.op = GC_CONV,
         .ndim = 2,
         .batch = 2,
         .groups = 16,
         .in_per_group = 4,
         .out_per_group = 5,
         .in_size = SQUARE(29),
         .kernel = SQUARE(3),
         .out_size = SQUARE(29),
         .pad_before = {1, 1},
         .has_residual = 1},
        {.op = GC_CONV,
         .ndim = 2,
         .batch = 2,
         .groups = 20,
         .in_per_group = 1,
         .out_per_group = 1,
         .in_size = SQUARE(56),
         .kernel = SQUARE(5),
         .out_size = SQUARE(56),
         .pad_before = {2, 2}},
        /* bands of rows */
        {.op = GC_CONV,
         .ndim = 2,
         .batch = 1,
         .groups = 2,
         .in_per_group = 1,
         .out_per_group = 1,
         .in_size = {400, 100},
         .kernel = SQUARE(3),
         .out_size = {400, 100},
         .pad_before = {1, 1},
         .has_residual = 1},
        {.op = GC_CONV,
         .ndim = 2,
         .batch = 1,
         .groups = 2,
         .in_per_group = 1,
         .out_per_group = 1,
         .in_size = {601, 199},
         .kernel = SQUARE(5),
         .out_size = {301, 100},
         .stride = {2, 2},
         .pad_before = {2, 2},
         .activation = GC_SILU},
        {.op = GC_CONV_TRANSPOSE,
         .ndim = 2,
         .batch = 1,
         .groups = 2,
         .in_per_group = 1,
         .out_per_group = 1,
         .in_size = {200, 70},
         .kernel = SQUARE(4),
         .out_size = {400, 139},
         .stride = {2, 2},
         .pad_before = {1, 1},
         .activation = GC_HARDSWISH},
        {.op = GC_CONV,
         .ndim = 1,
         .batch = 1,
         .groups = 2,
         .in_per_group = 24,
         .out_per_group = 32,
         .in_size = {1000},
         .kernel = {3},
         .out_size = {998}},
        {.op = GC_CONV_TRANSPOSE,
         .ndim = 2,
         .batch = 1,
         .groups = 4,
         .in_per_group = 16,
         .out_per_group = 12,
         .in_size = SQUARE(20),
         .kernel = SQUARE(3),
         .out_size = SQUARE(40),
         .stride = {2, 2},
         .pad_before = {1, 1}},
        {.op = GC_GRAD_WEIGHT,
         .ndim = 2,
         .batch = 3,
         .groups = 2,
         .in_per_group = 16,
         .out_per_group = 16,
         .in_size = SQUARE(24),
         .kernel = SQUARE(3),
         .out_size = SQUARE(24),
         .pad_before = {1, 1}},
        {.op = GC_GRAD_WEIGHT, /* of several images together */
         .ndim = 2,
         .batch = 19,
         .groups = 1,
         .in_per_group = 9,
         .out_per_group = 10,
         .in_size = {13, 14},
         .kernel = SQUARE(3),
         .out_size = {12, 13},
         .pad_before = {1, 0}},
        {.op = GC_GRAD_WEIGHT, /* of more rows than are summed up at once */
         .ndim = 2,
         .batch = 1,
         .groups = 3,
         .in_per_group = 1,
         .out_per_group = 1,
         .in_size = {1100, 9},
         .kernel = SQUARE(3),
         .out_size = {1100, 9},
         .pad_before = {1, 1}},
    };
#undef SQUARE
    if (index >= (int)(sizeof larger / sizeof larger[0])) return 0;
    *p = larger[index];
    for (int i = 0; i < GC_MAX_DIMS; i++) {
        if (p->stride[i] == 0) p->stride[i] = 1;
        p->dilation[i] = 1;
    }
    return 1;
}
