/* Tests of the C API, with nothing but groupconv.h: every algorithm that takes a problem computes
 * what the problem's definition says, in every storage type and memory layout, touching no memory
 * but its own, with the same bits for any number of threads.
 *
 * Usage: test_groupconv [PROBLEMS [EACH]]   random problems of each operation and type (default 24); one
 *        in EACH of the listed ones (default 1), another one for each instruction set
 *
 * Runs once per instruction set of the machine, or with the one that GROUPCONV_ISA names.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "arrays.h"
#include "check.h"
#include "plans.h"
#include "problems.h"

int failures;
char subject[512] = "nothing yet";

static const gc_op ops[] = {GC_CONV, GC_CONV_TRANSPOSE, GC_GRAD_WEIGHT};
static const gc_dtype dtypes[] = {GC_F32, GC_F64, GC_F16, GC_BF16};

/* A fault names its problem before it takes its course. */
static struct sigaction previous[2];

static void on_fault(int signal_number) {
    static const char begin[] = "a forbidden access, or a crash, in: ";
    if (write(2, begin, sizeof begin - 1) < 0 || write(2, subject, strlen(subject)) < 0 ||
        write(2, "\n", 1) < 0)
        _exit(3);
    sigaction(signal_number, &previous[signal_number == SIGBUS], NULL);
}

static void watch_faults(void) {
    const struct sigaction action = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, &previous[0]);
    sigaction(SIGBUS, &action, &previous[1]);
}

typedef int listed(int index, gc_problem *p);

/* Every `each`-th problem of a list, from `first` on. */
static void check_listed(listed *problem, layout only, int first, int each, const char *isa) {
    gc_problem p;
    for (int i = first % each; problem(i, &p); i += each) check_problem(&p, only, isa);
}

static void check_isa(int index, int problems, int each) {
    const char *isa = gc_isa_name(index);
    char runs[1024];
    random_restart();
    for (int o = 0; o < 3; o++)
        for (int d = 0; d < 4; d++)
            for (int i = 0; i < problems; i++) {
                const gc_problem p = problem_draw(ops[o], dtypes[d]);
                check_problem(&p, random_from(0, 1) == 0 ? ROWS : LAYOUTS, isa);
            }
    check_listed(problem_narrow, ROWS, index, each, isa);
    check_listed(problem_depthwise, ROWS, index, each, isa);
    check_listed(problem_rolling, ROWS, index, each, isa);
    check_listed(problem_line, ROWS, index, each, isa);
    check_listed(problem_spread, ROWS, index, each, isa);
    check_listed(problem_long, ROWS, index, each, isa);
    check_listed(problem_rows, ROWS, index, each, isa);
    check_listed(problem_lanes, CHANNELS_LAST, index, each, isa);
    check_listed(problem_columns, ROWS, index, each, isa);
    check_listed(problem_columns, CHANNELS_LAST, index, each, isa);
    check_listed(problem_strided, ROWS, index, each, isa);
    check_listed(problem_larger, ROWS, 0, 1, isa);
    check_api();
    runs_text(runs, sizeof runs);
    printf("%s: %s\n", isa, runs);
    fflush(stdout);
}

int main(int count, char **arguments) {
    const int problems = count > 1 ? atoi(arguments[1]) : 24;
    const int each = count > 2 ? atoi(arguments[2]) : 1;
    const char *only = getenv("GROUPCONV_ISA");
    watch_faults();
    check_instruction_sets();
    for (int i = 0; i < gc_isa_count(); i++) {
        const char *isa = gc_isa_name(i);
        if (!gc_isa_detected(i) || (only && strcmp(only, isa) != 0)) continue;
        setenv("GROUPCONV_ISA", isa, 1);
        check_isa(i, problems, each);
    }
    printf("%s\n", failures ? "FAILED" : "passed");
    return failures != 0;
}
