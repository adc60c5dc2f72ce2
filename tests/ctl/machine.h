#pragma once

#include "fake.h"

/*
 * A machine with a host and two devices, as the fake shows it: partition train has the reservations index (managed, 64
 * MiB), shm (explicit) and a revoked one without a name; partition twin, of another domain, lies at the same addresses.
 * Of index host0 and gpu0 hold 24 MiB each, gpu1 8 MiB, and 8 MiB were never touched. When a fence has ended
 * everything that was touched is on gpu1.
 */
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define AT  0x280000000000

/* Rows of residency, in MiB from the first address on. */
#define RUN(from, size, ...)                                                                                           \
        { .address = AT + (from)*MIB, .length = (size)*MIB, __VA_ARGS__ }
#define NOWHERE .node = SVMD_NODE_NONE, .state = "empty"
#define HOST    .node = 0, .state = "resident"
#define GPU0    .node = 1, .state = "out"
#define GPU1    .node = 2, .state = "out"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define THEN(list)                                                                                                     \
        do {                                                                                                           \
                fake.moved = (list);                                                                                   \
                fake.moved_count = COUNT(list);                                                                        \
        } while (0)

extern const struct svmd_reservation_row machine_reservations[];
enum { MACHINE_ON_GPU1 = 3 };
extern const struct svmd_residency_row machine_on_gpu1[MACHINE_ON_GPU1];

int machine_setup(void **state);
/* A run is over; the next begins where the first did. */
void machine_again(void);
/* What was asked of libsvmd, and nothing is left of it; then as above. */
void machine_expect_asked(const char *what, uint64_t address, uint64_t size);
