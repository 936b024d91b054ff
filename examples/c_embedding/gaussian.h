/* Gaussian blur of pictures, on groupconv's C API: an example of embedding it. */
#ifndef GAUSSIAN_H
#define GAUSSIAN_H

#include <stddef.h>

typedef struct gaussian gaussian;

/* Plans the blur of float pictures of (height, width, channels), the channels of a pixel side by
 * side. Cells beyond the border repeat it. NULL: it failed, and gc_last_error() says why. */
gaussian *gaussian_create(ptrdiff_t height, ptrdiff_t width, ptrdiff_t channels, double sigma);

/* Blurs one picture into another; several threads may use one plan at once. 0, or -1 on failure. */
int gaussian_run(const gaussian *blur, const float *from, float *to, int threads);

/* Side of the square window that the weights fill. */
ptrdiff_t gaussian_window(const gaussian *blur);

void gaussian_destroy(gaussian *blur);

#endif
