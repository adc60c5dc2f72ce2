#include <stdint.h>

/* Objects count for AFL++ by calling these, which libFuzzer has too, and ends there. */
#define NOT_COUNTED __attribute__((no_sanitize("coverage")))

void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *guard);
void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop);

NOT_COUNTED void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *guard) {
}

NOT_COUNTED void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop) {
}
