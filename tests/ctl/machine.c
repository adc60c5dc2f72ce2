#include "machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct svmd_node_row nodes[] = {
        { .id = 0,
          .name = "host0",
          .model = "",
          .kind = SVMD_NODE_HOST,
          .kind_name = "host",
          .online = 1,
          .capacity = 64 * GIB },
        { .id = 1,
          .name = "gpu0",
          .model = "",
          .kind = SVMD_NODE_SOFT,
          .kind_name = "soft",
          .online = 1,
          .capacity = 2 * GIB,
          .used = GIB,
          .managed = 3 * GIB / 4 },
        { .id = 2,
          .name = "gpu1",
          .model = "",
          .kind = SVMD_NODE_SOFT,
          .kind_name = "soft",
          .online = 1,
          .capacity = 2 * GIB },
};
static const struct svmd_partition_row partitions[] = {
        { .name = "train", .domain = "default", .base = AT, .length = 16 * GIB, .reservations = 3 },
        { .name = "twin", .domain = "other", .base = AT, .length = 4 * GIB, .reservations = 1 },
};
const struct svmd_reservation_row machine_reservations[] = {
        { .id = 5,
          .address = AT,
          .length = 64 * MIB,
          .mapped = 24 * MIB,
          .session = 12,
          .name = "index",
          .partition = "train",
          .kind = SVMD_SHARED,
          .granule = 2 * MIB,
          .openers = 2,
          .mode = 0640 },
        { .id = 6,
          .address = AT + 64 * MIB,
          .length = MIB,
          .mapped = MIB,
          .session = 12,
          .name = "shm",
          .partition = "train" },
        { .id = 7,
          .address = AT + 128 * MIB,
          .length = MIB,
          .session = 14,
          .name = "",
          .partition = "train",
          .kind = SVMD_SHARED,
          .granule = 4096,
          .revoked = 1 },
        { .id = 8, .address = AT + 2 * GIB, .length = MIB, .session = 15, .name = "shm", .partition = "twin" },
};

/* 24 MiB on host0, 24 MiB on gpu0, 8 MiB on gpu1, 8 MiB never touched. */
static const struct svmd_residency_row before[] = {
        RUN(0, 20, HOST, .cause = "fault"),
        RUN(20, 4, HOST, .cause = "fault", .pins = 1),
        RUN(24, 22, GPU0, .cause = "eviction"),
        RUN(46, 2, GPU0, .cause = "eviction", .busy = 1),
        RUN(48, 8, GPU1, .cause = "request", .copies = 3),
        RUN(56, 8, NOWHERE, .cause = "fault"),
        RUN(128, 1, .node = 1, .state = "revoked", .cause = "revoke"),
};
const struct svmd_residency_row machine_on_gpu1[MACHINE_ON_GPU1] = {
        RUN(0, 56, GPU1, .cause = "request"),
        RUN(56, 8, NOWHERE, .cause = "fault"),
        RUN(128, 1, HOST, .cause = "fault"),
};

int machine_setup(void **state) {
        fake_reset();
        fake.nodes = nodes;
        fake.nodes_count = COUNT(nodes);
        fake.partitions = partitions;
        fake.partitions_count = COUNT(partitions);
        fake.reservations = machine_reservations;
        fake.reservations_count = COUNT(machine_reservations);
        fake.residency = before;
        fake.residency_count = COUNT(before);
        THEN(machine_on_gpu1);
        return 0;
}

void machine_again(void) {
        assert_int_equal(fake.fences, 0);
        fake.done = false;
        fake.waits = fake.changes = 0;
        fake.asked = NULL;
}

void machine_expect_asked(const char *what, uint64_t address, uint64_t size) {
        assert_non_null(fake.asked);
        assert_string_equal(fake.asked, what);
        assert_string_equal(fake.asked_partition, "train");
        assert_true(fake.asked_address == address);
        assert_true(fake.asked_size == size);
        machine_again();
}
