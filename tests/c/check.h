/* Counting failures. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>

extern int failures;
extern char subject[512]; /* what is being tested */

#define CHECK(condition, ...)                                                            \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            printf("FAILED %s:%d: %s: %s\n  ", __func__, __LINE__, #condition, subject); \
            printf(__VA_ARGS__);                                                         \
            putchar('\n');                                                               \
            if (++failures == 10) exit(1);                                               \
        }                                                                                \
    } while (0)

#endif
