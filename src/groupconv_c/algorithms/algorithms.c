#include "algorithms.h"

const gc_algorithm *const gc_algorithms[] = {&gc_depthwise_in_place,
                                             &gc_depthwise_line,
                                             &gc_depthwise_spread,
                                             &gc_depthwise_transposed,
                                             &gc_depthwise_packed,
                                             &gc_depthwise_fourier,
                                             &gc_depthwise_converted,
                                             &gc_converted,
                                             &gc_pointwise,
                                             &gc_winograd_4x4,
                                             &gc_winograd_2x2,
                                             &gc_winograd_2x2_5x5,
                                             &gc_winograd_4x4_up2,
                                             &gc_channel_lanes,
                                             &gc_fourier_1d,
                                             &gc_direct,
                                             &gc_grad_weight_rows,
                                             &gc_grad_weight_planes,
                                             &gc_grad_weight_lanes,
                                             &gc_grad_weight_winograd,
                                             &gc_reference};
const int gc_algorithm_count = (int)(sizeof gc_algorithms / sizeof gc_algorithms[0]);
