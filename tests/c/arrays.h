/* Arrays of any storage type and memory layout, with nothing readable before or behind them. */
#ifndef TEST_ARRAYS_H
#define TEST_ARRAYS_H

#include "groupconv.h"

enum { MAX_RANK = 2 + GC_MAX_DIMS };

typedef enum layout {
    ROWS,          /* C order */
    CHANNELS_LAST, /* the second axis is the fastest */
    REVERSED,      /* the first axis is the fastest */
    GAPS,          /* C order, every axis with cells between and behind its own */
    BACKWARDS,     /* C order from the end: all strides negative */
    REPEATED,      /* stride 0 along the first axis; inputs only */
    LAYOUTS
} layout;

/* Elements lie somewhere in low .. high - 1; the bytes there that belong to none are 0xff, which is
 * NaN in every type, and the memory before low or behind high cannot be touched. */
typedef struct array {
    gc_dtype dtype;
    int rank;
    ptrdiff_t size[MAX_RANK], strides[MAX_RANK]; /* strides in bytes */
    char *first;                                 /* element (0, 0, ...) */
    char *low, *high;
    char *pages;
    size_t mapped;
} array;

/* The next random number: bits of a fixed sequence. */
unsigned random_bits(void);
void random_restart(void);
/* A random integer from low to high, both included. */
ptrdiff_t random_from(ptrdiff_t low, ptrdiff_t high);

const char *layout_name(layout kind);
ptrdiff_t item_size(gc_dtype dtype);

/* An array of NaN; at_end: the forbidden memory begins right behind it, else it ends right before. */
array array_create(gc_dtype dtype, int rank, const ptrdiff_t *size, layout kind, int at_end);
void array_destroy(array *a);
/* Random numbers that the type represents, after which any write is a fault. */
void array_fill(array *a);
ptrdiff_t array_count(const array *a);
/* Element i in C order. */
char *array_at(const array *a, ptrdiff_t i);
double load_number(const void *from, gc_dtype dtype);
/* All elements in C order; to be freed. */
double *array_values(const array *a);
/* Whether all bytes that belong to no element are as they were created. */
int array_gaps_untouched(const array *a);

/* Bytes without layout between forbidden memory, aligned to 64; rounded up to a multiple of that. */
array buffer_create(size_t bytes);
void *checked_alloc(size_t bytes);

#endif
