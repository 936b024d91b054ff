#include "fourier_tables.h"

#include <math.h>
#include <stdlib.h>

static void set_turn(void *to, ptrdiff_t i, double part, size_t size) {
    const double angle = -2 * 3.14159265358979323846 * part;
    for (int k = 0; k < 2; k++) {
        const double value = k ? sin(angle) : cos(angle);
        if (size == sizeof(float))
            ((float *)to)[2 * i + k] = (float)value;
        else
            ((double *)to)[2 * i + k] = value;
    }
}

/* Where frequency f of n comes out. */
static ptrdiff_t place_of(ptrdiff_t f, ptrdiff_t n) {
    if (n <= 2) return f;
    return f % 4 * (n / 4) + place_of(f / 4, n / 4);
}

gc_status gc_fourier_tables_create(gc_fourier_tables *t, ptrdiff_t points,
                                   const gc_kernels *kernels) {
    const size_t size = kernels->real_size;
    t->points = points;
    t->half = points / 2;
    for (t->fours = 1; t->fours * 4 <= t->half; t->fours *= 4) continue;
    t->turns = malloc((size_t)(t->half / 4 * 6 + 1) * size);
    t->half_turns = malloc((size_t)(t->half + 2) * size);
    t->place = malloc((size_t)t->half * sizeof *t->place);
    if (!t->turns || !t->half_turns || !t->place) return GC_ERROR_MEMORY;
    for (ptrdiff_t j = 0; j < t->half / 4; j++)
        for (ptrdiff_t k = 1; k < 4; k++)
            set_turn(t->turns, 3 * j + k - 1, (double)(j * k) / (double)t->half, size);
    for (ptrdiff_t f = 0; f <= t->half / 2; f++)
        set_turn(t->half_turns, f, (double)f / (double)t->points, size);
    for (ptrdiff_t f = 0; f < t->half; f++) t->place[f] = (int32_t)place_of(f, t->half);
    return GC_OK;
}

void gc_fourier_tables_destroy(gc_fourier_tables *t) {
    free(t->turns);
    free(t->half_turns);
    free(t->place);
}

gc_fourier gc_fourier_transform(const gc_fourier_tables *t, void *data, void *spectrum,
                                ptrdiff_t bin, ptrdiff_t imaginary) {
    return (gc_fourier){
        .data = data,
        .spectrum = spectrum,
        .half = t->half,
        .fours = t->fours,
        .bin = bin,
        .imaginary = imaginary,
        .scale = 1,
        .turns = t->turns,
        .half_turns = t->half_turns,
        .place = t->place,
    };
}

double gc_fourier_cycles(const gc_fourier_tables *t) {
    return (double)t->half * (log2((double)t->half) * 2.2 + 5);
}
