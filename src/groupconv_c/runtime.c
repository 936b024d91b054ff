#define _GNU_SOURCE
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#include <pthread.h>

#include "plan.h"
#ifdef _OPENMP
#include <omp.h>
#endif

int gc_max_threads(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int gc_cpu_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return (int)gc_max(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

static int forked;

static void after_fork_in_child(void) { forked = 1; }

void gc_watch_forks(void) {
    static int watching;
    if (!watching) pthread_atfork(NULL, NULL, after_fork_in_child);
    watching = 1;
}

int gc_in_forked_child(void) { return forked; }

void *gc_aligned_alloc(size_t bytes) {
    return aligned_alloc(64, gc_round_up(bytes ? bytes : 1, 64));
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A tap sum that never leaves the first-level cache, in its widest tile: the arithmetic the
 * microkernel can reach at most, the best of several short runs. */
double gc_peak_gflops(int is_double) {
    const gc_kernels *k;
    enum { taps = 256, repeats = 400, trials = 20 };
    if (gc_kernels_for(is_double ? GC_F64 : GC_F32, &k) != GC_OK) return 0;
    double best = 0, best_tile = 0;
    int kb = 1;
    for (int i = 1; i <= GC_MAX_KB; i++) {
        const double size = i * k->max_vb[i - 1] - 0.01 * abs(i - 6);
        if (size > best_tile) {
            best_tile = size;
            kb = i;
        }
    }
    const int vb = k->max_vb[kb - 1];
    const size_t tile = (size_t)(GC_MAX_KB * GC_MAX_VB * k->lanes) * k->real_size;
    char *memory = gc_aligned_alloc(3 * tile + taps * k->real_size);
    ptrdiff_t *list = calloc(taps, sizeof *list); /* every tap reads the same vectors */
    if (memory && list) {
        memset(memory, 0, 3 * tile + taps * k->real_size);
        gc_tap_sum sum = {.plane = memory,
                          .weight = memory + tile,
                          .taps = list,
                          .ntaps = taps,
                          .weight_k = 1,
                          .init = memory + tile,
                          .out = memory + 2 * tile,
                          .out_k = vb * k->lanes};
        for (int t = 0; t < trials; t++) {
            const double start = now();
            for (int r = 0; r < repeats; r++) k->tap_sum[kb - 1][vb - 1](&sum);
            const double rate = 2e-9 * taps * repeats * kb * vb * k->lanes / (now() - start);
            if (rate > best) best = rate;
        }
    }
    free(memory);
    free(list);
    return best;
}

double gc_copy_gbs(size_t bytes) {
    char *from = malloc(bytes), *to = malloc(bytes);
    double best = 0;
    if (from && to) {
        memset(from, 1, bytes);
        memset(to, 2, bytes);
        for (int trial = 0; trial < 5; trial++) {
            const double start = now();
            memcpy(to, from, bytes);
            __asm__ volatile("" ::"r"(to) : "memory");
            const double rate = 2e-9 * (double)bytes / (now() - start);
            if (rate > best) best = rate;
        }
    }
    free(from);
    free(to);
    return best;
}
