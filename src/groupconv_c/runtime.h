/* The process around the library: threads, forks, and what the machine can do at most. */
#ifndef GC_RUNTIME_H
#define GC_RUNTIME_H

#include <stddef.h>

int gc_max_threads(void);     /* OpenMP's limit for the calling thread */
int gc_cpu_count(void);       /* CPUs the process may run on */
void gc_watch_forks(void);    /* to be called once, before gc_in_forked_child means anything */
int gc_in_forked_child(void); /* OpenMP's threads do not survive a fork */
double gc_peak_gflops(int is_double);
double gc_copy_gbs(size_t bytes);
void *gc_aligned_alloc(size_t bytes); /* aligned to 64; to be freed with free */

#endif
