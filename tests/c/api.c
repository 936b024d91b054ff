#define _GNU_SOURCE
#include "api.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "arrays.h"
#include "check.h"
#include "groupconv.h"
#include "plans.h"
#include "trial.h"

/* 2 images, 3 groups of 2 to 4 channels, 9 x 8 cells, kernel 3 x 3. */
static gc_problem valid_problem(gc_op op) {
    const int turned = op == GC_CONV_TRANSPOSE;
    return (gc_problem){
        .op = op,
        .ndim = 2,
        .batch = 2,
        .groups = 3,
        .in_per_group = 2,
        .out_per_group = 4,
        .in_size = {9, 8},
        .kernel = {3, 3},
        .out_size = {turned ? 11 : 7, turned ? 10 : 6},
        .stride = {1, 1},
        .dilation = {1, 1},
    };
}

/* --- errors ----------------------------------------------------------------------------------- */

static void refuse(const gc_problem *p, const char *algorithm, gc_status wanted, const char *word) {
    gc_plan *plan = (gc_plan *)&failures;
    snprintf(subject, sizeof subject, "an error about %s", word);
    const gc_status status = gc_plan_create(p, algorithm, &plan);
    CHECK(status == wanted, "status %d instead of %d", (int)status, (int)wanted);
    CHECK(plan == NULL, "a plan in spite of the error");
    CHECK(strstr(gc_last_error(), word) != NULL, "%s", gc_last_error());
}

#define REFUSE(op, field, value, word)              \
    do {                                            \
        gc_problem p = valid_problem(op);           \
        p.field = value;                            \
        refuse(&p, "auto", GC_ERROR_PROBLEM, word); \
    } while (0)

static void check_errors(void) {
    REFUSE(GC_CONV, ndim, 0, "ndim");
    REFUSE(GC_CONV, ndim, 4, "ndim");
    REFUSE(GC_CONV, dtype, (gc_dtype)9, "dtype");
    REFUSE(GC_CONV, batch, -1, "batch");
    REFUSE(GC_CONV, groups, 0, "groups");
    REFUSE(GC_CONV, in_per_group, 0, "channels");
    REFUSE(GC_CONV, out_per_group, -2, "channels");
    REFUSE(GC_CONV, in_size[0], 0, "input");
    REFUSE(GC_CONV, kernel[1], 0, "kernel");
    REFUSE(GC_CONV, stride[0], 0, "stride");
    REFUSE(GC_CONV, dilation[1], -1, "dilation");
    REFUSE(GC_CONV, out_size[1], -1, "output");
    REFUSE(GC_CONV_TRANSPOSE, padding_mode, GC_REFLECT, "padding");
    REFUSE(GC_GRAD_WEIGHT, has_residual, 1, "residual");
    REFUSE(GC_GRAD_WEIGHT, activation, GC_RELU, "activation");
    gc_problem p = valid_problem(GC_CONV);
    p.pad_before[1] = 8;
    p.out_size[1] = 14;
    p.padding_mode = GC_REFLECT;
    refuse(&p, "auto", GC_ERROR_PROBLEM, "padding");
    p.pad_before[1] = 9;
    p.padding_mode = GC_CIRCULAR;
    refuse(&p, "auto", GC_ERROR_PROBLEM, "padding");
    p = valid_problem(GC_CONV);
    refuse(&p, "no such algorithm", GC_ERROR_ALGORITHM, "no such algorithm");
    refuse(&p, "grad_weight", GC_ERROR_ALGORITHM, "reference");
    p = valid_problem(GC_GRAD_WEIGHT);
    refuse(&p, "direct", GC_ERROR_ALGORITHM, "grad_weight");
    gc_plan_destroy(NULL);
}

static void *fail_elsewhere(void *unused) {
    (void)unused;
    const gc_problem p = valid_problem(GC_CONV);
    gc_plan *plan;
    const gc_status status = gc_plan_create(&p, "elsewhere", &plan);
    return status == GC_ERROR_ALGORITHM && strstr(gc_last_error(), "elsewhere") ? &failures : NULL;
}

static void check_error_per_thread(void) {
    gc_problem p = valid_problem(GC_CONV);
    p.ndim = 7;
    refuse(&p, "auto", GC_ERROR_PROBLEM, "ndim is 7");
    pthread_t thread;
    void *failed = NULL;
    if (pthread_create(&thread, NULL, fail_elsewhere, NULL) != 0) exit(2);
    pthread_join(thread, &failed);
    CHECK(failed != NULL, "the other thread has no error of its own");
    CHECK(strstr(gc_last_error(), "ndim is 7") != NULL, "%s", gc_last_error());
}

/* --- nothing to compute ----------------------------------------------------------------------- */

/* Runs every algorithm on a problem without output, or a gradient without terms, which is zero. */
static void check_empty(const gc_problem *problem) {
    trial t = trial_create(problem, 1);
    char names[MAX_ALGORITHMS][ALGORITHM_NAME];
    const int count = algorithms_for(&t.problem, names);
    for (int i = 0; i < count; i++) {
        gc_plan *plan = NULL;
        snprintf(subject, sizeof subject, "nothing to compute, operation %d, by %.31s",
                 (int)problem->op, names[i]);
        const gc_status made = gc_plan_create(&t.problem, names[i], &plan);
        CHECK(made == GC_OK, "status %d: %s", (int)made, gc_last_error());
        if (plan == NULL) continue;
        array output = trial_output(&t, 1);
        const gc_arrays arrays = trial_arrays(&t, &output, NULL);
        CHECK(gc_plan_run(plan, &arrays, NULL, 2) == GC_OK, "%s", gc_last_error());
        for (ptrdiff_t j = 0; j < array_count(&output); j++) {
            const double value = load_number(array_at(&output, j), GC_F32);
            CHECK(value == 0, "element %td is %g, not 0", j, value);
        }
        array_destroy(&output);
        gc_plan_destroy(plan);
    }
    trial_destroy(&t);
}

static void check_all_empty(void) {
    for (int op = GC_CONV; op <= GC_GRAD_WEIGHT; op++) {
        gc_problem p = valid_problem((gc_op)op);
        p.batch = 0;
        check_empty(&p);
        p = valid_problem((gc_op)op);
        p.out_size[0] = 0;
        check_empty(&p);
    }
}

/* --- weights that are not finite -------------------------------------------------------------- */

/* A transposed convolution then needs them beside the prepared ones. */
static void check_weights_not_finite(void) {
    const gc_problem p = valid_problem(GC_CONV_TRANSPOSE);
    trial t = trial_create(&p, 1);
    const ptrdiff_t sizes[] = {p.groups * p.in_per_group, p.out_per_group, 3, 3};
    array weight = array_create(p.dtype, 4, sizes, ROWS, 1);
    for (ptrdiff_t i = 0; i < array_count(&weight); i++)
        memcpy(array_at(&weight, i), &(float){i ? 1 : INFINITY}, sizeof(float));
    gc_plan *plan = NULL;
    snprintf(subject, sizeof subject, "a transposed convolution with an infinite weight");
    CHECK(gc_plan_create(&t.problem, "direct", &plan) == GC_OK, "%s", gc_last_error());
    array prepared = buffer_create(gc_plan_prepared_size(plan)), output = trial_output(&t, 1);
    gc_plan_prepare(plan, weight.first, prepared.first, 1);
    gc_arrays arrays = trial_arrays(&t, &output, prepared.first);
    CHECK(gc_plan_run(plan, &arrays, NULL, 1) == GC_ERROR_PROBLEM, "no error without weights");
    CHECK(strstr(gc_last_error(), "gc_arrays.weight"), "%s", gc_last_error());
    CHECK(array_gaps_untouched(&output), "wrote in spite of the error");
    arrays.weight = weight.first;
    CHECK(gc_plan_run(plan, &arrays, NULL, 1) == GC_OK, "%s", gc_last_error());
    array_destroy(&output);
    array_destroy(&prepared);
    array_destroy(&weight);
    gc_plan_destroy(plan);
    trial_destroy(&t);
}

void check_api(void) {
    check_errors();
    check_weights_not_finite();
    check_error_per_thread();
    check_all_empty();
}

/* --- instruction sets ------------------------------------------------------------------------- */

void check_instruction_sets(void) {
    snprintf(subject, sizeof subject, "instruction sets");
    const int count = gc_isa_count();
    CHECK(count >= 1 && strcmp(gc_isa_name(0), "baseline") == 0, "%s", gc_isa_name(0));
    CHECK(gc_isa_built(0) && gc_isa_detected(0), "no baseline");
    CHECK(!gc_isa_built(-1) && !gc_isa_detected(count), "more than there are");
    CHECK(gc_isa_name(-1)[0] == 0 && gc_isa_name(count)[0] == 0, "names of none");
    for (int i = 0; i < count; i++)
        CHECK(gc_isa_built(i) || !gc_isa_detected(i), "%s without code", gc_isa_name(i));

    const char *present = getenv("GROUPCONV_ISA");
    char *kept = present ? strdup(present) : NULL;
    int best = 0, index = -1;
    for (int i = 0; i < count; i++)
        if (gc_isa_detected(i)) best = i;
    unsetenv("GROUPCONV_ISA");
    CHECK(gc_isa_in_use(&index) == GC_OK && index == best, "%s", gc_isa_name(index));
    setenv("GROUPCONV_ISA", "", 1);
    CHECK(gc_isa_in_use(&index) == GC_OK && index == best, "%s", gc_isa_name(index));
    setenv("GROUPCONV_ISA", "abacus", 1);
    CHECK(gc_isa_in_use(&index) == GC_ERROR_ISA, "took %s", gc_isa_name(index));
    CHECK(strstr(gc_last_error(), "abacus") && strstr(gc_last_error(), "baseline"), "%s",
          gc_last_error());
    const gc_problem p = valid_problem(GC_CONV);
    refuse(&p, "auto", GC_ERROR_ISA, "abacus");
    for (int i = 0; i < count; i++) {
        setenv("GROUPCONV_ISA", gc_isa_name(i), 1);
        const gc_status wanted = gc_isa_detected(i) ? GC_OK : GC_ERROR_ISA;
        CHECK(gc_isa_in_use(&index) == wanted, "%s", gc_isa_name(i));
        CHECK(wanted != GC_OK || index == i, "%s for %s", gc_isa_name(index), gc_isa_name(i));
    }
    if (kept)
        setenv("GROUPCONV_ISA", kept, 1);
    else
        unsetenv("GROUPCONV_ISA");
    free(kept);
    CHECK(strlen(gc_version()) > 0, "no version");
}
