/* Plans: choosing an algorithm, sizing memory, running. The one place that allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "algorithms/algorithms.h"
#include "plan.h"

enum { alignment = 64 };

/* Below this predicted time a second thread costs more than it brings. */
static const double serial_seconds = 30e-6;

const char *gc_version(void) {
#ifdef GC_VERSION
    return GC_VERSION;
#else
    return "unknown";
#endif
}

static void reset(gc_plan *plan) {
    if (plan->algorithm && plan->algorithm->destroy) plan->algorithm->destroy(plan);
    plan->algorithm = NULL;
    plan->state = NULL;
    plan->units = plan->combine_units = plan->prepare_units = 0;
    plan->prepared_size = plan->shared_size = plan->scratch_size = plan->prepared_key = 0;
    plan->prepares_in_work = 0;
    plan->seconds = plan->prepare_seconds = 0;
}

static gc_status try_algorithm(gc_plan *plan, const gc_algorithm *algorithm) {
    reset(plan);
    plan->algorithm = algorithm;
    const gc_status status = algorithm->create(plan);
    if (status != GC_OK) reset(plan);
    return status;
}

/* Whether an algorithm's name is `family` or begins with it and an underscore. */
static int belongs(const gc_algorithm *algorithm, const char *family) {
    const size_t n = strlen(family);
    return strncmp(algorithm->name, family, n) == 0 &&
           (algorithm->name[n] == '\0' || algorithm->name[n] == '_');
}

/* Predicted seconds: what decides. It knows neither the batch nor whether weights are prepared ahead, so
 * that all calls of one problem give the same bits. */
static double cost_of(const gc_plan *plan) {
    return plan->seconds / (double)gc_max(plan->problem.batch, 1);
}

/* The accepted algorithm of a family (NULL: of all) of smallest predicted time; of equals the earlier
 * in the list. No algorithm is left when none accepts. */
static gc_status choose(gc_plan *plan, const char *family) {
    const gc_algorithm *best = NULL;
    double best_cost = 0;
    for (int i = 0; i < gc_algorithm_count; i++) {
        if (family && !belongs(gc_algorithms[i], family)) continue;
        if (gc_algorithms[i]->refuse(plan)) continue;
        const gc_status status = try_algorithm(plan, gc_algorithms[i]);
        if (status != GC_OK) return status;
        if (best == NULL || cost_of(plan) < best_cost) {
            best = gc_algorithms[i];
            best_cost = cost_of(plan);
        }
    }
    return plan->algorithm == best ? GC_OK : try_algorithm(plan, best);
}

static gc_status refuse_name(const gc_plan *plan, const char *name, const char *why) {
    char able[256] = "auto";
    for (int i = 0; i < gc_algorithm_count; i++) {
        if (gc_algorithms[i]->refuse(plan)) continue;
        strncat(able, ", ", sizeof able - strlen(able) - 1);
        strncat(able, gc_algorithms[i]->name, sizeof able - strlen(able) - 1);
    }
    if (why)
        gc_set_error("algorithm='%.32s' cannot do this problem: %s; those that can: %s", name, why,
                     able);
    else
        gc_set_error("algorithm='%.32s' is unknown; for this problem: %s", name, able);
    return GC_ERROR_ALGORITHM;
}

static gc_status choose_named(gc_plan *plan, const char *name) {
    if (name == NULL || strcmp(name, "auto") == 0) return choose(plan, NULL);
    const gc_status status = choose(plan, name);
    if (status != GC_OK || plan->algorithm) return status;
    for (int i = 0; i < gc_algorithm_count; i++)
        if (belongs(gc_algorithms[i], name))
            return refuse_name(plan, name, gc_algorithms[i]->refuse(plan));
    return refuse_name(plan, name, NULL);
}

gc_status gc_plan_create(const gc_problem *problem, const char *algorithm, gc_plan **out) {
    *out = NULL;
    gc_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL) {
        gc_set_error("no memory for a plan");
        return GC_ERROR_MEMORY;
    }
    gc_status status = gc_problem_normalise(problem, &plan->problem);
    if (status == GC_OK) status = gc_kernels_for(problem->dtype, &plan->kernels);
    if (status == GC_OK) {
        plan->storage_size = gc_storage_size(problem->dtype);
        status = choose_named(plan, algorithm);
    }
    plan->mends_border = problem->op == GC_CONV_TRANSPOSE && plan->algorithm != &gc_reference;
    if (status != GC_OK) {
        free(plan);
        return status;
    }
    *out = plan;
    return GC_OK;
}

void gc_plan_destroy(gc_plan *plan) {
    if (plan == NULL) return;
    reset(plan);
    free(plan);
}

const char *gc_plan_algorithm(const gc_plan *plan) { return plan->algorithm->name; }
const char *gc_plan_isa(const gc_plan *plan) { return plan->kernels->isa; }
double gc_plan_macs(const gc_plan *plan) { return gc_problem_macs(&plan->problem); }
double gc_plan_predicted_seconds(const gc_plan *plan) {
    return plan->seconds + (plan->problem.weights_ahead ? 0 : plan->prepare_seconds);
}

/* Behind prepared weights: whether they are finite, where that matters. */
static int *finite_of(const gc_plan *plan, const void *prepared) {
    return (int *)((char *)prepared + gc_round_up(plan->prepared_size, alignment));
}

size_t gc_plan_prepared_size(const gc_plan *plan) {
    if (plan->prepared_size == 0 || !plan->mends_border) return plan->prepared_size;
    return gc_round_up(plan->prepared_size, alignment) + alignment;
}

size_t gc_plan_prepared_key(const gc_plan *plan) { return plan->prepared_key; }

int gc_plan_threads(const gc_plan *plan, int offered) {
    if (offered < 1 || plan->seconds < serial_seconds) return 1;
    return (int)gc_min(offered, gc_max(plan->units, 1));
}

static size_t bias_size(const gc_plan *plan) {
    const ptrdiff_t channels = plan->problem.groups * plan->problem.out_per_group;
    return gc_round_up((size_t)channels * plan->kernels->real_size, alignment);
}

/* Bytes of weights that a call without prepared ones prepares before its work. */
static size_t prepared_by_call(const gc_plan *plan) {
    return plan->prepares_in_work ? 0 : gc_round_up(gc_plan_prepared_size(plan), alignment);
}

size_t gc_plan_workspace_size(const gc_plan *plan, int threads) {
    const size_t each = gc_round_up(plan->scratch_size, alignment);
    return bias_size(plan) + prepared_by_call(plan) + gc_round_up(plan->shared_size, alignment) +
           each * (size_t)gc_plan_threads(plan, threads);
}

ptrdiff_t gc_even_pieces(const gc_plan *plan, ptrdiff_t others, ptrdiff_t total, ptrdiff_t least) {
    static const ptrdiff_t teams[] = {8, 16, 64};
    const double even = 1.1;
    const gc_problem *p = &plan->problem;
    if (gc_problem_macs(p) <= (double)(p->batch * GC_MANY_MACS) || others < 1) return least;
    double best = 0;
    ptrdiff_t pieces = least;
    for (ptrdiff_t n = gc_max(least, 1); n <= total; n++) {
        double worst = 1; /* largest over mean work of a thread */
        for (int i = 0; i < 3; i++) {
            const ptrdiff_t largest = gc_ceil_div(others * n, teams[i]) * gc_ceil_div(total, n);
            const double mean = (double)(others * total) / (double)teams[i];
            if ((double)largest > worst * mean) worst = (double)largest / mean;
        }
        if (best == 0 || worst < best) {
            best = worst;
            pieces = n;
        }
        if (worst <= even) break;
    }
    return pieces;
}

double gc_plan_balance(const gc_plan *plan, int threads) {
    const ptrdiff_t team = gc_max(gc_min(threads, plan->units), 1);
    double total = 0, largest = 0;
    for (ptrdiff_t i = 0; i < team; i++) {
        double sum = 0;
        for (ptrdiff_t u = gc_cut(plan->units, team, i); u < gc_cut(plan->units, team, i + 1); u++)
            sum += plan->algorithm->unit_cost ? plan->algorithm->unit_cost(plan, u) : 1;
        total += sum;
        if (sum > largest) largest = sum;
    }
    return total > 0 ? largest * threads / total : 1;
}

size_t gc_plan_describe(const gc_plan *plan, char *text, size_t size) {
    char tiling[256] = "";
    if (plan->algorithm->describe) plan->algorithm->describe(plan, tiling, sizeof tiling);
    size_t n = (size_t)snprintf(text, size, "algorithm   %s\nISA         %s\ntiling      %s\n",
                                plan->algorithm->name, plan->kernels->isa, tiling);
    n += (size_t)snprintf(text ? text + gc_min((ptrdiff_t)n, (ptrdiff_t)size) : NULL,
                          n < size ? size - n : 0,
                          "workspace   %zu bytes per thread, %zu shared, %zu of prepared weights\n"
                          "work        %.6g MACs in %td units\npredicted   %.4g ms on one thread\n",
                          plan->scratch_size, plan->shared_size, plan->prepared_size,
                          gc_plan_macs(plan), plan->units, gc_plan_predicted_seconds(plan) * 1e3);
    gc_plan probe = *plan;
    probe.state = NULL;
    for (int i = 0; i < gc_algorithm_count; i++) {
        if (gc_algorithms[i] == plan->algorithm) continue;
        char why[160];
        const char *refusal = gc_algorithms[i]->refuse(plan);
        if (refusal) {
            snprintf(why, sizeof why, "%s", refusal);
        } else {
            probe.algorithm = NULL;
            if (try_algorithm(&probe, gc_algorithms[i]) != GC_OK) continue;
            snprintf(why, sizeof why, "predicted %.4g ms", gc_plan_predicted_seconds(&probe) * 1e3);
            reset(&probe);
        }
        n += (size_t)snprintf(text ? text + gc_min((ptrdiff_t)n, (ptrdiff_t)size) : NULL,
                              n < size ? size - n : 0, "not %-14s %s\n", gc_algorithms[i]->name,
                              why);
    }
    return n;
}

typedef struct preparation {
    const gc_plan *plan;
    const void *weight;
    void *prepared;
} preparation;

static void prepare_range(void *context, int thread, ptrdiff_t first, ptrdiff_t last) {
    const preparation *p = context;
    (void)thread;
    p->plan->algorithm->prepare(p->plan, p->weight, p->prepared, first, last);
}

gc_status gc_plan_prepare(const gc_plan *plan, const void *weight, void *prepared, int threads) {
    preparation p = {plan, weight, prepared};
    if (plan->prepared_size == 0) return GC_OK;
    gc_parallel(threads, plan->prepare_units, prepare_range, &p);
    if (plan->mends_border)
        *finite_of(plan, prepared) = gc_border_weights_finite(plan, weight, threads);
    return GC_OK;
}

static void work_range(void *context, int thread, ptrdiff_t first, ptrdiff_t last) {
    const gc_run *run = context;
    const size_t each = gc_round_up(run->plan->scratch_size, alignment);
    run->plan->algorithm->work(run, run->scratch + each * (size_t)thread, first, last);
}

static void combine_range(void *context, int thread, ptrdiff_t first, ptrdiff_t last) {
    const gc_run *run = context;
    (void)thread;
    run->plan->algorithm->combine(run, first, last);
}

static int weights_finite(const gc_run *run, int threads) {
    if (run->weights && run->plan->prepared_size) return *finite_of(run->plan, run->weights);
    return gc_border_weights_finite(run->plan, run->arrays->weight, threads);
}

gc_status gc_plan_run(const gc_plan *plan, const gc_arrays *arrays, void *workspace, int threads) {
    threads = gc_plan_threads(plan, threads);
    char *memory = workspace;
    if (memory == NULL) {
        const size_t size = gc_round_up(gc_plan_workspace_size(plan, threads), alignment);
        memory = aligned_alloc(alignment, size ? size : alignment);
        if (memory == NULL) {
            gc_set_error("no memory for a workspace of %zu bytes", size);
            return GC_ERROR_MEMORY;
        }
    }
    gc_run run = {.plan = plan, .arrays = arrays, .weights = arrays->prepared};
    char *next = memory + bias_size(plan);
    const ptrdiff_t channels = plan->problem.groups * plan->problem.out_per_group;
    run.bias = memory;
    if (arrays->bias)
        plan->kernels->load(memory, arrays->bias, plan->storage_size, channels,
                            plan->problem.dtype);
    else
        memset(memory, 0, (size_t)channels * plan->kernels->real_size);
    if (prepared_by_call(plan) && run.weights == NULL) {
        gc_plan_prepare(plan, arrays->weight, next, threads);
        run.weights = next;
    }
    next += prepared_by_call(plan);
    run.shared = next;
    run.scratch = next + gc_round_up(plan->shared_size, alignment);
    const int mend = plan->mends_border && !weights_finite(&run, threads);
    gc_status status = GC_OK;
    if (mend && arrays->weight == NULL) {
        gc_set_error(
            "gc_arrays.weight must be given beside prepared weights: some of this transposed "
            "convolution's are not finite");
        status = GC_ERROR_PROBLEM;
    } else {
        gc_parallel(threads, plan->units, work_range, &run);
        if (plan->combine_units) gc_parallel(threads, plan->combine_units, combine_range, &run);
        if (mend) gc_border_mend(&run, threads);
    }
    if (workspace == NULL) free(memory);
    return status;
}
