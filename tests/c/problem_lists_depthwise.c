#include "problems.h"

int problem_depthwise(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {1, 2, 4, 7, 8, 9, 14, 15, 16, 17, 23, 31, 33, 66, 130};
    static const struct {
        gc_op op;
        ptrdiff_t stride, dilation;
        int ndim;
    } kind[] = {{GC_CONV, 1, 1, 2}, {GC_CONV, 1, 2, 2},           {GC_CONV, 2, 1, 2},
                {GC_CONV, 2, 1, 3}, {GC_CONV_TRANSPOSE, 1, 1, 2}, {GC_CONV_TRANSPOSE, 2, 1, 2}};
    enum { nwidths = sizeof widths / sizeof *widths, kinds = sizeof kind / sizeof *kind };
    enum { kernels = 8 };
    static const gc_dtype dtypes[] = {GC_F32, GC_F64, GC_F16, GC_F32, GC_F64, GC_BF16, GC_F32};
    if (index >= nwidths * kinds * kernels) return 0;
    const int k = index / nwidths % kinds, ndim = kind[k].ndim;
    const ptrdiff_t kernel = 1 + index / nwidths / kinds, width = widths[index % nwidths];
    *p = (gc_problem){.op = kind[k].op, .ndim = ndim, .batch = 1 + index % 2, .groups = 3};
    p->dtype = dtypes[index % 7];
    p->in_per_group = 1;
    p->out_per_group = 1 + index % 5 / 4;
    for (int i = 0; i < ndim; i++) {
        const int depth = ndim == 3 && i == 0;
        const ptrdiff_t stride = depth ? 1 : kind[k].stride,
                        dilation = depth ? 1 : kind[k].dilation;
        const ptrdiff_t taps = depth ? 3 : i == ndim - 1 ? kernel : 1 + (kernel + index % 2) % 8;
        const ptrdiff_t reach = (taps - 1) * dilation, before = (reach + index % 3) / 2;
        const ptrdiff_t n = depth ? 3 : i == ndim - 1 ? width : 1 + (width + index) % 11;
        p->in_size[i] = n;
        p->kernel[i] = taps;
        p->stride[i] = stride;
        p->dilation[i] = dilation;
        p->pad_before[i] = before;
        p->out_size[i] = (n + 2 * before - reach - 1) / stride + 1;
        if (n + 2 * before < reach + 1) p->out_size[i] = 1;
        if (p->op == GC_CONV_TRANSPOSE) {
            p->out_size[i] = (n - 1) * stride - before + reach + 1 - index % 2;
            if (p->out_size[i] < 1) p->out_size[i] = 1;
        }
    }
    p->has_residual = index % 2;
    problem_activate(index, p);
    return 1;
}

int problem_rolling(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {1, 3, 5, 7, 8, 9, 13, 14, 16, 17, 24, 31, 35, 50};
    static const ptrdiff_t heights[] = {1, 2, 5, 7, 9, 14};
    static const struct {
        gc_op op;
        ptrdiff_t kernel, stride, dilation, depth; /* depth of the kernel; 0: two dimensions */
    } kind[] = {{GC_CONV, 3, 1, 1, 0}, {GC_CONV, 5, 1, 1, 0},           {GC_CONV, 7, 1, 1, 0},
                {GC_CONV, 3, 2, 1, 0}, {GC_CONV, 5, 2, 1, 0},           {GC_CONV, 7, 2, 1, 0},
                {GC_CONV, 3, 1, 2, 0}, {GC_CONV_TRANSPOSE, 5, 1, 1, 0}, {GC_CONV, 3, 1, 1, 3},
                {GC_CONV, 3, 2, 1, 2}, {GC_CONV_TRANSPOSE, 3, 1, 1, 3}, {GC_CONV, 5, 1, 1, 1},
                {GC_CONV, 3, 1, 1, 8}, {GC_CONV, 5, 2, 1, 1},           {GC_CONV, 7, 1, 1, 2}};
    static const gc_dtype dtypes[] = {GC_F32, GC_F32, GC_F16, GC_F64, GC_BF16};
    enum { nwidths = sizeof widths / sizeof *widths, nheights = sizeof heights / sizeof *heights };
    enum { kinds = sizeof kind / sizeof *kind };
    if (index >= nwidths * nheights * kinds) return 0;
    const int k = index / nwidths / nheights, deep = kind[k].depth > 0;
    *p = (gc_problem){
        .op = kind[k].op,
        .dtype = dtypes[index % 5],
        .ndim = 2 + deep,
        .batch = 1 + index % 2,
        .groups = 3,
        .in_per_group = 1,
        .out_per_group = 1 + index % 7 / 6,
        .in_size = {2, heights[index / nwidths % nheights], widths[index % nwidths]},
        .kernel = {kind[k].depth, kind[k].kernel, kind[k].kernel},
        .stride = {1 + index % 2, kind[k].stride, kind[k].stride},
        .dilation = {1, kind[k].dilation, kind[k].dilation},
        .has_residual = index % 4 == 0,
    };
    problem_activate(index, p);
    for (int i = 0; i < p->ndim; i++) {
        if (!deep) { /* the list's first dimension is no dimension */
            p->in_size[i] = p->in_size[i + 1];
            p->kernel[i] = p->kernel[i + 1];
            p->stride[i] = p->stride[i + 1];
            p->dilation[i] = p->dilation[i + 1];
        }
        const int transposed = p->op == GC_CONV_TRANSPOSE;
        if (transposed) p->stride[i] = 1;
        /* before: none, half, all, more than all: windows that hold nothing */
        const ptrdiff_t taps = p->kernel[i], reach = (taps - 1) * p->dilation[i];
        const ptrdiff_t before = (ptrdiff_t[]){0, reach / 2, reach, reach + 2}[(index + i) % 4];
        const ptrdiff_t after = (ptrdiff_t[]){reach / 2, reach + 3, 0}[(index + i) % 3];
        const ptrdiff_t n = p->in_size[i] - 1 + before + after - reach;
        p->pad_before[i] = before;
        p->out_size[i] = transposed ? p->in_size[i] + reach - before - index % 2
                         : n < 0    ? 1
                                    : n / p->stride[i] + 1;
        if (p->out_size[i] < 1) p->out_size[i] = 1;
    }
    return 1;
}

int problem_line(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {1,  15, 16, 17, 31,  32,  33,  48,
                                       63, 64, 65, 96, 127, 129, 200, 333};
    static const ptrdiff_t kernels[] = {1, 2, 4, 9, 32};
    enum { nwidths = sizeof widths / sizeof *widths, nkernels = sizeof kernels / sizeof *kernels };
    static const gc_dtype dtypes[] = {GC_F32, GC_F64, GC_F16, GC_BF16};
    enum { ways = 8 }; /* of op, dilation, dtype */
    if (index >= nwidths * nkernels * ways) return 0;
    const int way = index / nwidths / nkernels;
    const ptrdiff_t n = widths[index % nwidths], taps = kernels[index / nwidths % nkernels];
    const ptrdiff_t dilation = way / 2 % 2 ? 3 : 1, reach = (taps - 1) * dilation;
    /* before: none, some, all, more than all */
    const ptrdiff_t before = (ptrdiff_t[]){0, reach / 2, reach, reach + 2}[index % 4];
    const int transposed = way % 2;
    *p = (gc_problem){
        .op = transposed ? GC_CONV_TRANSPOSE : GC_CONV,
        .dtype = dtypes[way / 4 * 2 + (index + index / nwidths) % 2],
        .ndim = 1,
        .batch = 2,
        .groups = 1 + index % 3,
        .in_per_group = 1,
        .out_per_group = 1 + index % 2,
        .in_size = {n},
        .kernel = {taps},
        .stride = {1},
        .dilation = {dilation},
        .pad_before = {before},
        .has_residual = index % 5 == 0,
    };
    problem_activate(index, p);
    const ptrdiff_t after = index % 7;
    const ptrdiff_t out = transposed ? n + reach - before - after : n + before + after - reach;
    p->out_size[0] = out > 0 ? out : 1;
    return 1;
}

int problem_spread(int index, gc_problem *p) {
    static const ptrdiff_t widths[] = {1, 2, 3, 5, 8, 9, 15, 16, 17, 32, 33, 47, 65, 100};
    static const struct {
        ptrdiff_t stride, kernel;
    } kinds[] = {{2, 2}, {2, 4}, {3, 3}, {3, 6}, {4, 4}, {2, 8}, {5, 5}, {8, 8}, {4, 16}, {3, 4}};
    enum { nwidths = sizeof widths / sizeof *widths, nkinds = sizeof kinds / sizeof *kinds };
    if (index >= nwidths * nkinds * 2) return 0;
    const ptrdiff_t n = widths[index % nwidths], stride = kinds[index / nwidths % nkinds].stride;
    const ptrdiff_t taps = kinds[index / nwidths % nkinds].kernel;
    const ptrdiff_t before = (ptrdiff_t[]){0, taps / 2, taps, taps + 3}[index % 4];
    *p = (gc_problem){
        .op = GC_CONV_TRANSPOSE,
        .dtype = index / nwidths / nkinds ? GC_F64 : GC_F32,
        .ndim = 1,
        .batch = 2,
        .groups = 1 + index % 3,
        .in_per_group = 1,
        .out_per_group = 1 + index % 2,
        .in_size = {n},
        .kernel = {taps},
        .stride = {stride},
        .dilation = {1},
        .pad_before = {before},
        .has_residual = index % 5 == 0,
    };
    problem_activate(index, p);
    const ptrdiff_t out = (n - 1) * stride + taps - before - index % 3 + index % (int)stride;
    p->out_size[0] = out > 0 ? out : 1;
    return 1;
}
