/* The depthwise microkernels that have a body for each type of arrays that are read and written where they lie:
 * `element` is theirs, ST(name) what works on them. */
#define ST(name) GC_CAT(GC_CAT(SR, _), name)

#include "depthwise_rows_tmpl.h"
#include "depthwise_up_tmpl.h"
#include "depthwise_rolling_row_tmpl.h"
#include "depthwise_rolling_tmpl.h"
#include "depthwise_wide_tmpl.h"
#ifdef GC_SHIFTS_VECTORS
#include "depthwise_line_tmpl.h"
#include "depthwise_small_tmpl.h"
#endif

static const gc_in_place_kernels ST(in_place) = {
    .rows = {DEPTHWISE_ROWS_ENTRIES(rows_, 1), DEPTHWISE_ROWS_ENTRIES(rows_, 2)},
    .few = DEPTHWISE_ROWS_ENTRIES(few_, 1),
    .up = {DEPTHWISE_UP_ENTRIES(0), DEPTHWISE_UP_ENTRIES(1)},
    .rolling = {{ST(rolling_3_by_1), ST(rolling_any_5), ST(rolling_any_7)},
                {ST(rolling_3_by_2), ST(rolling_520), NULL}},
    .rolling_deep = {ST(rolling_deep_3_by_1), ST(rolling_deep_3_by_2)},
    .rolling_dilated = ST(rolling_312),
#ifdef GC_SHIFTS_VECTORS
    .small_maps = {ST(small_maps_3), ST(small_maps_5), ST(small_maps_7)},
    .line = ST(depthwise_line),
#endif
};

#undef ST
#undef DEPTHWISE_ROWS_KERNEL
#undef DEPTHWISE_ROWS_KERNELS
#undef DEPTHWISE_ROWS_ENTRIES
#undef DEPTHWISE_UP_ENTRIES
