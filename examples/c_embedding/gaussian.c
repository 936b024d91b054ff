#include "gaussian.h"

#include <math.h>
#include <stdlib.h>

#include "groupconv.h"

struct gaussian {
    gc_plan *plan;
    ptrdiff_t window;
    float *weights;
};

static float *make_weights(ptrdiff_t radius, double sigma) {
    const ptrdiff_t window = 2 * radius + 1;
    float *weights = malloc((size_t)(window * window) * sizeof *weights);
    if (weights == NULL) return NULL;
    double line = 0;
    for (ptrdiff_t i = -radius; i <= radius; i++)
        line += exp(-(double)(i * i) / (2 * sigma * sigma));
    for (ptrdiff_t y = -radius; y <= radius; y++)
        for (ptrdiff_t x = -radius; x <= radius; x++)
            weights[(y + radius) * window + x + radius] =
                (float)(exp(-(double)(y * y + x * x) / (2 * sigma * sigma)) / (line * line));
    return weights;
}

/* A depthwise convolution: every channel is a group of its own. */
static gc_problem state_problem(ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels,
                                ptrdiff_t radius) {
    const ptrdiff_t item = (ptrdiff_t)sizeof(float), window = 2 * radius + 1;
    return (gc_problem){
        .op = GC_CONV,
        .dtype = GC_F32,
        .padding_mode = GC_REPLICATE,
        .ndim = 2,
        .batch = 1,
        .groups = channels,
        .in_per_group = 1,
        .out_per_group = 1,
        .in_size = {height, width},
        .kernel = {window, window},
        .out_size = {height, width},
        .stride = {1, 1},
        .dilation = {1, 1},
        .pad_before = {radius, radius},
        /* channels are the innermost axis in memory, and one image needs no batch stride */
        .input_strides = {0, item, width * channels * item, channels * item},
        .output_strides = {0, item, width * channels * item, channels * item},
        /* stride 0: all channels read the same weights */
        .weight_strides = {0, 0, window * item, item},
    };
}

gaussian *gaussian_create(ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels, double sigma) {
    const ptrdiff_t radius = (ptrdiff_t)ceil(3 * sigma);
    const gc_problem problem = state_problem(height, width, channels, radius);
    gaussian *blur = calloc(1, sizeof *blur);
    if (blur == NULL) return NULL;
    blur->window = 2 * radius + 1;
    blur->weights = make_weights(radius, sigma);
    if (blur->weights && gc_plan_create(&problem, "auto", &blur->plan) == GC_OK) return blur;
    gaussian_destroy(blur);
    return NULL;
}

int gaussian_run(const gaussian *blur, const float *from, float *to, int threads) {
    const gc_arrays arrays = {.input = from, .weight = blur->weights, .output = to};
    return gc_plan_run(blur->plan, &arrays, NULL, threads) == GC_OK ? 0 : -1;
}

ptrdiff_t gaussian_window(const gaussian *blur) { return blur->window; }

void gaussian_destroy(gaussian *blur) {
    if (blur == NULL) return;
    gc_plan_destroy(blur->plan);
    free(blur->weights);
    free(blur);
}
