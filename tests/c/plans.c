#include "plans.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "problems.h"
#include "trial.h"

typedef struct algorithm {
    char name[ALGORITHM_NAME];
    long runs;
} algorithm;

static algorithm seen[MAX_ALGORITHMS];
static int seen_count;
static long shared; /* plans that two threads ran at once */

static void count_run(const char *name) {
    int i = 0;
    while (i < seen_count && strcmp(seen[i].name, name) != 0) i++;
    if (i == seen_count && seen_count < MAX_ALGORITHMS)
        snprintf(seen[seen_count++].name, ALGORITHM_NAME, "%s", name);
    if (i < seen_count) seen[i].runs++;
}

/* The names are in the message of the error that an unknown one is. */
int algorithms_for(const gc_problem *p, char names[MAX_ALGORITHMS][ALGORITHM_NAME]) {
    gc_plan *plan = (gc_plan *)&failures;
    const gc_status status = gc_plan_create(p, "no such algorithm", &plan);
    CHECK(status == GC_ERROR_ALGORITHM, "status %d", (int)status);
    CHECK(plan == NULL, "a plan in spite of the error");
    const char *list = strstr(gc_last_error(), ": auto");
    CHECK(list != NULL, "no list of algorithms: %s", gc_last_error());
    int count = 0;
    for (list = list ? list + 2 : ""; *list && count < MAX_ALGORITHMS; count++) {
        const size_t length = strcspn(list, ",");
        snprintf(names[count], ALGORITHM_NAME, "%.*s", (int)length, list);
        list += length;
        list += strspn(list, ", ");
    }
    return count;
}

static void check_values(const trial *t, const char *name, const array *output) {
    for (ptrdiff_t i = 0; i < t->expected.count; i++) {
        const double got = load_number(array_at(output, i), t->problem.dtype);
        const double want = t->expected.values[i], most = trial_tolerance(t, name, i);
        if (fabs(got - want) <= most) continue;
        CHECK(0, "element %td is %.17g, should be %.17g, may be off by %.3g", i, got, want, most);
        return;
    }
}

static int same_bytes(const array *a, const array *b) {
    return a->high - a->low == b->high - b->low &&
           memcmp(a->low, b->low, (size_t)(a->high - a->low)) == 0;
}

/* Runs with another number of threads, or prepared weights: the bits must not change. */
static void check_variant(const trial *t, const gc_plan *plan, const array *first,
                          const void *prepared, int threads, int own_workspace) {
    array output = trial_output(t, threads % 2);
    array workspace = buffer_create(own_workspace ? gc_plan_workspace_size(plan, threads) : 0);
    const gc_arrays arrays = trial_arrays(t, &output, prepared);
    const gc_status status =
        gc_plan_run(plan, &arrays, own_workspace ? workspace.first : NULL, threads);
    CHECK(status == GC_OK, "status %d: %s", (int)status, gc_last_error());
    CHECK(same_bytes(&output, first), "%s, %d threads: other bits than one thread's%s",
          gc_plan_algorithm(plan), threads, prepared ? " with weights not prepared" : "");
    array_destroy(&output);
    array_destroy(&workspace);
}

static void check_prepared(const trial *t, const gc_plan *plan, const array *first) {
    const size_t size = gc_plan_prepared_size(plan);
    if (size == 0) return;
    array prepared = buffer_create(size);
    const gc_status status = gc_plan_prepare(plan, t->weight.first, prepared.first, 2);
    CHECK(status == GC_OK, "status %d: %s", (int)status, gc_last_error());
    check_variant(t, plan, first, prepared.first, 1, 1);
    check_variant(t, plan, first, prepared.first, 3, 1);
    array_destroy(&prepared);
}

typedef struct caller {
    pthread_t thread;
    const gc_plan *plan;
    gc_arrays arrays;
    gc_status status;
} caller;

static void *call_plan(void *argument) {
    caller *c = argument;
    c->status = gc_plan_run(c->plan, &c->arrays, NULL, 2);
    return NULL;
}

/* Two threads run one plan at once. */
static void check_callers(const trial *t, const gc_plan *plan, const array *first) {
    array outputs[2] = {trial_output(t, 0), trial_output(t, 1)};
    caller callers[2];
    shared++;
    for (int i = 0; i < 2; i++) {
        callers[i] = (caller){.plan = plan, .arrays = trial_arrays(t, &outputs[i], NULL)};
        if (pthread_create(&callers[i].thread, NULL, call_plan, &callers[i]) != 0) exit(2);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK(callers[i].status == GC_OK, "status %d", (int)callers[i].status);
        CHECK(same_bytes(&outputs[i], first), "%s: other bits in a thread of ours",
              gc_plan_algorithm(plan));
        array_destroy(&outputs[i]);
    }
}

static void check_description(const gc_plan *plan, const char *isa) {
    char text[4096], cut[16];
    const size_t length = gc_plan_describe(plan, text, sizeof text);
    CHECK(length < sizeof text && strlen(text) == length, "%zu of %zu", strlen(text), length);
    CHECK(strstr(text, gc_plan_algorithm(plan)) && strstr(text, isa), "%s", text);
    CHECK(strcmp(gc_plan_isa(plan), isa) == 0, "planned for %s", gc_plan_isa(plan));
    CHECK(gc_plan_describe(plan, NULL, 0) == length, "another length without a buffer");
    memset(cut, 'x', sizeof cut);
    CHECK(gc_plan_describe(plan, cut, 9) == length, "another length when cut");
    CHECK(memcmp(cut, text, 8) == 0 && cut[8] == 0 && cut[9] == 'x', "%.10s", cut);
}

/* The first run of a plan, by one thread: its output. */
static array run_first(const trial *t, const gc_plan *plan, const char *isa) {
    const char *name = gc_plan_algorithm(plan);
    check_description(plan, isa);
    const double macs = gc_plan_macs(plan);
    CHECK(macs == problem_macs(&t->problem), "%.17g MACs", macs);
    CHECK(gc_plan_predicted_seconds(plan) >= 0, "%g s", gc_plan_predicted_seconds(plan));
    CHECK(gc_plan_threads(plan, 0) == 1 && gc_plan_threads(plan, 1) == 1, "no single thread");
    CHECK(gc_plan_balance(plan, 1) == 1, "%g for one thread", gc_plan_balance(plan, 1));
    CHECK(gc_plan_balance(plan, 7) >= 1, "%g for seven threads", gc_plan_balance(plan, 7));
    array output = trial_output(t, 1);
    const gc_arrays arrays = trial_arrays(t, &output, NULL);
    const gc_status status = gc_plan_run(plan, &arrays, NULL, 1);
    CHECK(status == GC_OK, "status %d: %s", (int)status, gc_last_error());
    check_values(t, name, &output);
    CHECK(array_gaps_untouched(&output), "%s wrote between the elements of its output", name);
    count_run(name);
    return output;
}

static void check_variants(const trial *t, const gc_plan *plan, const array *first) {
    /* most of the time would go to the plain loops of large problems */
    const int slow = strcmp(gc_plan_algorithm(plan), "reference") == 0 && gc_plan_macs(plan) > 1e5;
    for (int threads = slow ? 3 : 1; threads <= 3; threads++)
        check_variant(t, plan, first, NULL, threads, 1);
    check_prepared(t, plan, first);
    if (!slow && gc_plan_threads(plan, 2) == 2) check_callers(t, plan, first);
}

/* What `auto` chooses computes what the algorithm does that it names, whose plan is tried further. */
void check_problem(const gc_problem *problem, layout only, const char *isa) {
    trial t = trial_create(problem, only);
    char names[MAX_ALGORITHMS][ALGORITHM_NAME], chosen[ALGORITHM_NAME] = "";
    array of_chosen = {0};
    int met = 0;
    problem_text(problem, subject, sizeof subject);
    const int count = algorithms_for(&t.problem, names);
    const size_t length = strlen(subject);
    for (int i = 0; i < count; i++) {
        gc_plan *plan = NULL;
        snprintf(subject + length, sizeof subject - length, ", %s, %.31s in %s", isa, names[i],
                 layout_name(t.output_layout));
        const gc_status status = gc_plan_create(&t.problem, names[i], &plan);
        CHECK(status == GC_OK, "status %d: %s", (int)status, gc_last_error());
        if (plan == NULL) continue;
        const char *name = gc_plan_algorithm(plan);
        CHECK(i == 0 || strcmp(names[i], name) == 0, "took %s", name);
        array output = run_first(&t, plan, isa);
        if (i == 0) {
            snprintf(chosen, sizeof chosen, "%s", name);
            of_chosen = output;
        } else {
            if (strcmp(name, chosen) == 0) {
                CHECK(same_bytes(&output, &of_chosen), "other bits than by auto");
                met++;
            }
            check_variants(&t, plan, &output);
            array_destroy(&output);
        }
        gc_plan_destroy(plan);
    }
    CHECK(met == 1, "auto chose %s, which is in its list %d times", chosen, met);
    array_destroy(&of_chosen);
    trial_destroy(&t);
}

void runs_text(char *text, size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < seen_count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s %ld", i ? ", " : "", seen[i].name,
                               seen[i].runs);
    if (at < size) snprintf(text + at, size - at, "; in two threads at once %ld", shared);
    seen_count = 0;
    shared = 0;
    memset(seen, 0, sizeof seen);
}
