/* Which instruction set runs: the strongest that is built, supported by CPU and OS, and allowed by
 * GROUPCONV_ISA. And what is asked of the processor beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/isa.h"
#include "plan.h"
#if GC_X86
#include <cpuid.h>
#endif

typedef struct isa {
    const char *name;
    const gc_kernels *const *f32, *const *f64;
    int (*supported)(void);
} isa;

#if GC_X86
/* Register state the OS saves: bits 1, 2 SSE and AVX; 5, 6, 7 the AVX-512 masks and registers. */
static unsigned saved_state(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int avx2_supported(void) {
    unsigned a, b, c, d;
    if ((saved_state() & 0x6) != 0x6) return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c & bit_FMA) || !(c & bit_F16C) || !(c & bit_POPCNT)) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

static int avx512_supported(void) {
    unsigned a, b, c, d;
    const unsigned wanted = bit_AVX512F | bit_AVX512VL | bit_AVX512DQ | bit_AVX512BW | bit_BMI2;
    if (!avx2_supported() || (saved_state() & 0xe6) != 0xe6) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & wanted) == wanted;
}

static int is_made_by(unsigned signature) {
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature;
}

static int is_intel(void) { return is_made_by(signature_INTEL_ebx); }

/* AMD's family 19h with AVX-512. */
static int is_zen4(void) {
    unsigned a, b, c, d;
    if (!is_made_by(signature_AMD_ebx)) return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const unsigned family = (a >> 8) & 0xf, extended = (a >> 20) & 0xff;
    return family == 0xf && family + extended == 0x19 && avx512_supported();
}
#else
static int is_intel(void) { return 0; }
static int is_zen4(void) { return 0; }
static int avx2_supported(void) { return 0; }
static int avx512_supported(void) { return 0; }
#endif

static int baseline_supported(void) { return 1; }

#define ISA_ENTRY(name) \
    {#name, &gc_kernels_##name##_f32, &gc_kernels_##name##_f64, name##_supported},
static const isa isas[] = {GC_FOR_EACH_ISA(ISA_ENTRY)};
enum { isa_count = (int)(sizeof isas / sizeof isas[0]) };

int gc_isa_count(void) { return isa_count; }
const char *gc_isa_name(int i) { return i >= 0 && i < isa_count ? isas[i].name : ""; }
int gc_isa_built(int i) { return i >= 0 && i < isa_count && *isas[i].f32 != NULL; }

/* Asked once: cpuid is slow, and slower in a virtual machine. 0: not asked yet, 1: no, 2: yes. */
int gc_isa_detected(int i) {
    static _Atomic int known[isa_count];
    if (!gc_isa_built(i)) return 0;
    if (known[i] == 0) known[i] = isas[i].supported() ? 2 : 1;
    return known[i] == 2;
}

static gc_status refuse_name(const char *name) {
    char possible[128] = "";
    for (int i = 0; i < isa_count; i++) {
        if (!gc_isa_detected(i)) continue;
        if (possible[0]) strncat(possible, ", ", sizeof possible - strlen(possible) - 1);
        strncat(possible, isas[i].name, sizeof possible - strlen(possible) - 1);
    }
    gc_set_error("GROUPCONV_ISA is '%.32s'; possible on this machine: %s", name, possible);
    return GC_ERROR_ISA;
}

gc_status gc_isa_in_use(int *index) {
    const char *name = getenv("GROUPCONV_ISA");
    int best = 0;
    for (int i = 0; i < isa_count; i++)
        if (gc_isa_detected(i)) best = i;
    *index = best;
    if (name == NULL || name[0] == '\0') return GC_OK;
    for (int i = 0; i < isa_count; i++) {
        if (strcmp(name, isas[i].name) == 0 && gc_isa_detected(i)) {
            *index = i;
            return GC_OK;
        }
    }
    return refuse_name(name);
}

const gc_kernels *gc_half_kernels(const gc_kernels *kernels) {
    if (kernels == gc_kernels_avx512_f32) return gc_kernels_avx2_f32;
    if (kernels == gc_kernels_avx512_f64) return gc_kernels_avx2_f64;
    return NULL;
}

/* What `is` says, asked once. *known: 0: not asked yet, 1: no, 2: yes. */
static int once(_Atomic int *known, int (*is)(void)) {
    if (*known == 0) *known = is() ? 2 : 1;
    return *known == 2;
}

static int zen4(void) {
    static _Atomic int known;
    return once(&known, is_zen4);
}

int gc_takes_halves(const gc_kernels *kernels) {
    return (size_t)kernels->lanes * kernels->real_size == 64 && zen4();
}

double gc_vector_cycles(const gc_kernels *kernels) { return gc_takes_halves(kernels) ? 0.8 : 0.5; }

int gc_leaves_rows(void) { return zen4(); }

int gc_waits_to_store(void) {
    static _Atomic int known;
    return once(&known, is_intel);
}

gc_status gc_kernels_for(gc_dtype dtype, const gc_kernels **kernels) {
    int index;
    const gc_status status = gc_isa_in_use(&index);
    if (status != GC_OK) return status;
    *kernels = dtype == GC_F64 ? *isas[index].f64 : *isas[index].f32;
    return GC_OK;
}
