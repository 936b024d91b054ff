#include "to_lanes.h"

#include <string.h>

#include "scatter.h"

void gc_to_lanes(const gc_plan *plan, const ptrdiff_t b[5], const char *from, ptrdiff_t channels,
                 ptrdiff_t vb, ptrdiff_t n, char *to, char *row) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size, lanes = plan->kernels->lanes;
    if (plan->storage_size == size && b[4] == size && b[1] % size == 0) {
        for (ptrdiff_t v = 0; v < vb; v++)
            plan->kernels->turn(&(gc_turn){
                .from = from + v * lanes * b[1],
                .to = to + v * lanes * size,
                .from_step = b[1] / size,
                .to_step = vb * lanes,
                .rows = gc_min(lanes, channels - v * lanes),
                .n = n,
            });
        return;
    }
    if (channels < vb * lanes) memset(to, 0, (size_t)(n * vb * lanes * size));
    if (b[1] == plan->storage_size)
        for (ptrdiff_t i = 0; i < n; i++)
            plan->kernels->load(to + i * vb * lanes * size, from + i * b[4], b[1], channels,
                                p->dtype);
    else
        for (ptrdiff_t c = 0; c < channels; c++) {
            plan->kernels->load(row, from + c * b[1], b[4], n, p->dtype);
            gc_scatter(to + c * size, vb * lanes, row, n, size);
        }
}
