/* The text of the latest error, one per thread. */
#include <stdarg.h>
#include <stdio.h>

#include "plan.h"

static _Thread_local char message[512];

void gc_set_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
}

const char *gc_last_error(void) { return message; }
