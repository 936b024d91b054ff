/* The shared bodies, once for float and once for double, and the two kernel tables. */
#define R f32
#define real float
#define REAL_IS_FLOAT 1
#include "instantiate_tmpl.h"
#undef R
#undef real
#undef REAL_IS_FLOAT
#define R f64
#define real double
#define REAL_IS_FLOAT 0
#include "instantiate_tmpl.h"
#undef R
#undef real
#undef REAL_IS_FLOAT
