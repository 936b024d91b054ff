/* The one place where threads start. */
#include "plan.h"
#ifdef _OPENMP
#include <omp.h>
#endif

int gc_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

void gc_parallel(int threads, ptrdiff_t units, gc_range_fn *work, void *context) {
    if (units <= 0) return;
    threads = (int)gc_min(threads, units);
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            /* the team may be smaller than asked */
            const int team = omp_get_num_threads(), me = omp_get_thread_num();
            const ptrdiff_t first = gc_cut(units, team, me), last = gc_cut(units, team, me + 1);
            if (first < last) work(context, me, first, last);
        }
        return;
    }
#endif
    work(context, 0, 0, units);
}
