#define _GNU_SOURCE
#include "arrays.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

void random_restart(void) { state = 0x9e3779b97f4a7c15u; }

/* xorshift64*: G. Marsaglia, "Xorshift RNGs", 2003; its higher half, multiplied. */
unsigned random_bits(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)((state * 0x2545f4914f6cdd1du) >> 32);
}

ptrdiff_t random_from(ptrdiff_t low, ptrdiff_t high) {
    return low + (ptrdiff_t)(random_bits() % (size_t)(high - low + 1));
}

void *checked_alloc(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL) {
        fputs("no memory\n", stderr);
        exit(2);
    }
    return memory;
}

const char *layout_name(layout kind) {
    static const char *const names[LAYOUTS] = {"rows", "channels last", "reversed",
                                               "gaps", "backwards",     "repeated"};
    return names[kind];
}

ptrdiff_t item_size(gc_dtype dtype) { return dtype == GC_F64 ? 8 : dtype == GC_F32 ? 4 : 2; }

/* --- numbers ---------------------------------------------------------------------------------- */

static double load_half(uint16_t bits, int fraction_bits, int bias) {
    const int exponent_bits = 15 - fraction_bits;
    const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    const double fraction = bits & ((1 << fraction_bits) - 1);
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction == 0 ? sign * INFINITY : NAN;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

double load_number(const void *from, gc_dtype dtype) {
    double d;
    float f;
    uint16_t h;
    switch (dtype) {
        case GC_F64:
            memcpy(&d, from, sizeof d);
            return d;
        case GC_F32:
            memcpy(&f, from, sizeof f);
            return (double)f;
        case GC_F16:
        case GC_BF16:
            memcpy(&h, from, sizeof h);
            return dtype == GC_F16 ? load_half(h, 10, 15) : load_half(h, 7, 127);
    }
    return NAN;
}

/* A number from -4 to 4 (half types: of few bits, so that theirs hold it). */
static void store_random(void *to, gc_dtype dtype) {
    const double fine = ldexp((double)random_bits(), -29) - 4;
    const float f = (float)fine;
    uint16_t h;
    switch (dtype) {
        case GC_F64:
            memcpy(to, &fine, sizeof fine);
            return;
        case GC_F32:
            memcpy(to, &f, sizeof f);
            return;
        case GC_F16: /* random sign and fraction, exponents of 2^-6 .. 2^1 */
            h = (uint16_t)((random_bits() & 0x83ffu) | (unsigned)random_from(9, 16) << 10);
            memcpy(to, &h, sizeof h);
            return;
        case GC_BF16:
            h = (uint16_t)((random_bits() & 0x807fu) | (unsigned)random_from(121, 128) << 7);
            memcpy(to, &h, sizeof h);
            return;
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Maps `bytes` between two pages that cannot be touched. */
static void map(array *a, size_t bytes, int at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inside = (bytes + page - 1) / page * page;
    a->mapped = inside + 2 * page;
    a->pages = mmap(NULL, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->pages == MAP_FAILED ||
        (inside && mprotect(a->pages + page, inside, PROT_READ | PROT_WRITE) != 0)) {
        perror("mapping memory");
        exit(2);
    }
    a->low = a->pages + page + (at_end ? inside - bytes : 0);
    a->high = a->low + bytes;
    memset(a->low, 0xff, bytes);
}

array buffer_create(size_t bytes) {
    array a = {.rank = 0};
    map(&a, (bytes + 63) / 64 * 64, 1);
    a.first = a.low;
    return a;
}

void array_destroy(array *a) { munmap(a->pages, a->mapped); }

/* Axes from the fastest to the slowest. */
static void axis_order(int order[MAX_RANK], int rank, layout kind) {
    for (int i = 0; i < rank; i++) order[i] = kind == REVERSED ? i : rank - 1 - i;
    if (kind != CHANNELS_LAST || rank < 3) return;
    for (int i = rank - 2; i > 0; i--) order[i] = order[i - 1];
    order[0] = 1;
}

array array_create(gc_dtype dtype, int rank, const ptrdiff_t *size, layout kind, int at_end) {
    array a = {.dtype = dtype, .rank = rank};
    const ptrdiff_t item = item_size(dtype);
    int order[MAX_RANK];
    axis_order(order, rank, kind);
    ptrdiff_t step = item, last = 0;
    for (int i = 0; i < rank; i++) {
        const int axis = order[i];
        const ptrdiff_t cells = size[axis] > 0 ? size[axis] : 1;
        a.size[axis] = size[axis];
        a.strides[axis] = step;
        if (kind == GAPS && i < 2) a.strides[axis] = step *= 2;
        if (kind == REPEATED && axis == 0) a.strides[axis] = 0;
        last += (cells - 1) * a.strides[axis];
        step = a.strides[axis] * cells + (kind == GAPS ? 3 * item : 0);
    }
    map(&a, array_count(&a) ? (size_t)(last + item) : 0, at_end);
    a.first = a.low;
    if (kind == BACKWARDS) {
        a.first += array_count(&a) ? last : 0;
        for (int i = 0; i < rank; i++) a.strides[i] = -a.strides[i];
    }
    return a;
}

ptrdiff_t array_count(const array *a) {
    ptrdiff_t count = 1;
    for (int i = 0; i < a->rank; i++) count *= a->size[i];
    return count;
}

char *array_at(const array *a, ptrdiff_t i) {
    char *at = a->first;
    for (int axis = a->rank - 1; axis >= 0; axis--) {
        at += i % a->size[axis] * a->strides[axis];
        i /= a->size[axis];
    }
    return at;
}

void array_fill(array *a) {
    const ptrdiff_t count = array_count(a);
    for (ptrdiff_t i = 0; i < count; i++) store_random(array_at(a, i), a->dtype);
    mprotect(a->pages, a->mapped, PROT_NONE);
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (a->high > a->low) mprotect(a->pages + page, a->mapped - 2 * page, PROT_READ);
}

double *array_values(const array *a) {
    const ptrdiff_t count = array_count(a);
    double *values = checked_alloc((size_t)count * sizeof *values);
    for (ptrdiff_t i = 0; i < count; i++) values[i] = load_number(array_at(a, i), a->dtype);
    return values;
}

int array_gaps_untouched(const array *a) {
    const ptrdiff_t count = array_count(a), item = item_size(a->dtype);
    const size_t bytes = (size_t)(a->high - a->low);
    char *mine = checked_alloc(bytes);
    memset(mine, 0, bytes);
    for (ptrdiff_t i = 0; i < count; i++) memset(mine + (array_at(a, i) - a->low), 1, (size_t)item);
    int untouched = 1;
    for (size_t i = 0; i < bytes; i++)
        if (!mine[i] && (unsigned char)a->low[i] != 0xff) untouched = 0;
    free(mine);
    return untouched;
}
