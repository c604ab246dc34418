/* The most multiply-adds this CPU does in a second: chains of fused multiply-adds in registers, no memory.
 * usage: fma_peak THREADS; prints GFLOP/s in float32 and, where the CPU has it, of bfloat16 dot products (else 0). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define WIDTH 16
#else
#define WIDTH 8
#endif
#ifdef __aarch64__
#define REGISTER "+w"
#else
#define REGISTER "+v"
#endif
#define STEPS 40000000L
#define CHAINS 12 /* of their own, so that no multiply-add waits for another */
#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)

typedef float vector __attribute__((vector_size(WIDTH * 4)));
static volatile float sink;

/* Seconds that all threads computed, so that a busy machine shows its peak too. */
static double computed(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *run_float(void *unused) {
    vector b, c;
    for (int k = 0; k < WIDTH; k++) b[k] = 0.9999f, c[k] = 1e-4f;
#define START(j) vector a##j = b;
#define ADD(j) a##j = a##j * b + c;
#define KEEP(j) __asm__ volatile("" : REGISTER(a##j)); /* for all the compiler knows, it changed here */
#define SUM(j) sink += a##j[0];
    EACH(START)
    for (long step = 0; step < STEPS; step++) { EACH(ADD) EACH(KEEP) }
    EACH(SUM)
    return unused;
}

#ifdef __AVX512BF16__
static void *run_bfloat(void *unused) {
    __m512bh b = (__m512bh)_mm512_set1_epi32(0x3f003f00); /* 0.5, twice */
#define ZERO(j) __m512 a##j = _mm512_setzero_ps();
#define DOT(j) a##j = _mm512_dpbf16_ps(a##j, b, b);
    EACH(ZERO)
    for (long step = 0; step < STEPS; step++) { EACH(DOT) EACH(KEEP) }
    EACH(SUM)
    return unused;
}
#endif

static double gigaflops(void *(*run)(void *), int threads, int flops) {
    pthread_t id[256];
    double start = computed();
    for (int k = 0; k < threads; k++) pthread_create(&id[k], NULL, run, NULL);
    for (int k = 0; k < threads; k++) pthread_join(id[k], NULL);
    return 1e-9 * threads * flops * CHAINS * (double)STEPS * threads / (computed() - start);
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    if (threads < 1 || threads > 256) return 2;
    double fp32 = gigaflops(run_float, threads, 2 * WIDTH), bf16 = 0;
#ifdef __AVX512BF16__
    bf16 = gigaflops(run_bfloat, threads, 64);
#endif
    printf("%.1f %.1f\n", fp32, bf16);
    return 0;
}
