#include "problems.h"

#include <stdio.h>
#include <string.h>

#include "arrays.h"

/* More work than this takes the oracle too long. */
static const double most_macs = 150e3;

#define PICK(...)                                  \
    ((const ptrdiff_t[]){__VA_ARGS__}[random_from( \
        0, (ptrdiff_t)(sizeof((const ptrdiff_t[]){__VA_ARGS__}) / sizeof(ptrdiff_t)) - 1)])

double problem_macs(const gc_problem *p) {
    double macs = (double)(p->batch * p->groups * p->in_per_group * p->out_per_group);
    for (int i = 0; i < p->ndim; i++) {
        const ptrdiff_t positions = p->op == GC_CONV_TRANSPOSE ? p->in_size[i] : p->out_size[i];
        macs *= (double)(p->kernel[i] * positions);
    }
    return macs;
}

/* Sizes of one axis; 0 when no output fits. */
static int draw_axis(gc_problem *p, int i, int plain) {
    p->kernel[i] = p->ndim == 3 ? PICK(1, 2, 3) : PICK(1, 2, 3, 3, 3, 3, 4, 5, 5, 7);
    if (i > 0 && plain) p->kernel[i] = p->kernel[0];
    p->stride[i] = plain ? 1 : PICK(1, 1, 2, 3, 4);
    p->dilation[i] = plain ? 1 : PICK(1, 1, 2, 3);
    p->in_size[i] = p->ndim == 1   ? PICK(1, 7, 16, 17, 33, 65, 130)
                    : p->ndim == 2 ? PICK(1, 4, 7, 8, 9, 14, 15, 16, 17, 32, 35)
                                   : PICK(1, 2, 3, 5, 8);
    const ptrdiff_t reach = (p->kernel[i] - 1) * p->dilation[i];
    const ptrdiff_t before = plain ? reach / 2 : random_from(0, reach + 1);
    const ptrdiff_t after = plain ? reach - before : random_from(0, reach + 1);
    const ptrdiff_t n = p->in_size[i];
    p->pad_before[i] = before;
    if (p->op == GC_CONV_TRANSPOSE) {
        p->out_size[i] =
            (n - 1) * p->stride[i] - before - after + reach + 1 + random_from(0, p->stride[i] - 1);
        return p->out_size[i] > 0;
    }
    if (p->padding_mode == GC_REFLECT && (before >= n || after >= n)) return 0;
    if (p->padding_mode == GC_CIRCULAR && (before > n || after > n)) return 0;
    if (n + before + after < reach + 1) return 0;
    p->out_size[i] = (n + before + after - reach - 1) / p->stride[i] + 1;
    return 1;
}

static void draw_channels(gc_problem *p) {
    p->batch = PICK(1, 1, 2, 3);
    switch (random_from(0, 3)) {
        case 0: /* depthwise, with or without a multiplier */
            p->groups = PICK(1, 3, 8, 17);
            p->in_per_group = 1;
            p->out_per_group = PICK(1, 1, 2, 5);
            return;
        case 1:
            p->groups = PICK(2, 3, 5);
            break;
        case 2:
            p->groups = PICK(1, 2);
            p->in_per_group = PICK(12, 16, 19);
            p->out_per_group = PICK(8, 13, 16);
            return;
        default:
            p->groups = 1;
    }
    p->in_per_group = PICK(1, 2, 3, 4, 5, 8);
    p->out_per_group = PICK(1, 2, 3, 4, 7, 8, 9);
}

void problem_activate(int choice, gc_problem *p) {
    p->activation = (gc_activation)(choice % (GC_GELU + 1));
    p->activation_parameter = p->activation == GC_LEAKY_RELU ? 0.125 : 0;
}

gc_problem problem_draw(gc_op op, gc_dtype dtype) {
    for (;;) {
        gc_problem p = {.op = op, .dtype = dtype};
        p.ndim = (int)PICK(1, 2, 2, 2, 3);
        if (op != GC_CONV_TRANSPOSE && random_from(0, 2) == 0)
            p.padding_mode = (gc_padding_mode)random_from(GC_REFLECT, GC_CIRCULAR);
        const int plain = random_from(0, 1) == 0; /* where the special algorithms are */
        draw_channels(&p);
        int fits = 1;
        for (int i = 0; i < p.ndim && fits; i++) fits = draw_axis(&p, i, plain);
        if (!fits || problem_macs(&p) > most_macs) continue;
        if (op != GC_GRAD_WEIGHT && random_from(0, 1)) {
            p.has_residual = random_from(0, 1) == 1;
            problem_activate((int)random_from(GC_IDENTITY, GC_GELU), &p);
        }
        return p;
    }
}

static size_t append(char *text, size_t size, size_t at, const char *name, const ptrdiff_t *values,
                     int count) {
    for (int i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%td", i ? "x" : name, values[i]);
    return at;
}

void problem_text(const gc_problem *p, char *text, size_t size) {
    static const char *const ops[] = {"conv", "conv_transpose", "grad_weight"};
    static const char *const dtypes[] = {"f32", "f64", "f16", "bf16"};
    static const char *const modes[] = {"zeros", "reflect", "replicate", "circular"};
    size_t at =
        (size_t)snprintf(text, size, "%s %s batch %td, %td * (%td to %td)", ops[p->op],
                         dtypes[p->dtype], p->batch, p->groups, p->in_per_group, p->out_per_group);
    at = append(text, size, at, ", in ", p->in_size, p->ndim);
    at = append(text, size, at, ", kernel ", p->kernel, p->ndim);
    at = append(text, size, at, ", out ", p->out_size, p->ndim);
    at = append(text, size, at, ", stride ", p->stride, p->ndim);
    at = append(text, size, at, ", dilation ", p->dilation, p->ndim);
    at = append(text, size, at, ", before ", p->pad_before, p->ndim);
    if (at < size)
        snprintf(text + at, size - at, ", %s, activation %d, residual %d", modes[p->padding_mode],
                 (int)p->activation, p->has_residual);
}
