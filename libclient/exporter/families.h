#pragma once

#include "expose.h"

/* Every family that there is, in the order in which they are written; docs/metrics.md says of each what it means. */
#define FAMILIES(X)                                                                                                    \
        X(UP, "svmd_up", GAUGE, NULL, false, "Whether svmd answered.")                                                 \
        X(BUILD, "svmd_build", INFO, NULL, false, "Version of svmd.")                                                  \
        X(START, "svmd_start_time_seconds", GAUGE, "seconds", false, "When this svmd began to count, since 1970.")     \
        X(EPOCH, "svmd_epoch", GAUGE, NULL, false, "Grows with each svmd that takes over on this machine.")            \
        X(KEEPER, "svmd_keeper_up", GAUGE, NULL, false, "Whether svmd-keeper holds what a restart needs.")             \
        X(SESSIONS, "svmd_sessions", GAUGE, NULL, false, "Sessions.")                                                  \
        X(PARTITIONS, "svmd_partitions", GAUGE, NULL, false, "Partitions.")                                            \
        X(RESERVATIONS, "svmd_reservations", GAUGE, NULL, false, "Reservations.")                                      \
        X(MEMORIES, "svmd_memories", GAUGE, NULL, false, "Memory objects.")                                            \
        X(MAPPINGS, "svmd_mappings", GAUGE, NULL, false, "Mappings.")                                                  \
        X(SPACES, "svmd_spaces", GAUGE, NULL, false, "Page tables of devices.")                                        \
        X(JOURNAL_USED, "svmd_journal_used_bytes", GAUGE, "bytes", false, "Of the journal.")                           \
        X(JOURNAL_SIZE, "svmd_journal_size_bytes", GAUGE, "bytes", false, "Of the journal.")                           \
        X(FINDING, "svmd_finding_level", GAUGE, NULL, false,                                                           \
          "What svmd-ctl doctor says: 0 good, 1 note, 2 warning, 3 failure.")                                          \
        X(OPERATIONS, "svmd_operations", COUNTER, NULL, true, "Operations that were carried out or refused.")          \
        X(REQUEST, "svmd_request_duration_seconds", HISTOGRAM, "seconds", true,                                        \
          "Time from a request to its reply, with all that it waited for.")                                            \
        X(FAULT, "svmd_fault_duration_seconds", HISTOGRAM, "seconds", true,                                            \
          "Time from when svmd heard of a fault until whoever waited may go on.")                                      \
        X(MIGRATION, "svmd_migration_duration_seconds", HISTOGRAM, "seconds", true,                                    \
          "Time that moving or copying a granule took.")                                                               \
        X(MOVED_GRANULES, "svmd_moved_granules", COUNTER, NULL, true, "Granules moved or copied between nodes.")       \
        X(MOVED_BYTES, "svmd_moved_bytes", COUNTER, "bytes", true, "Bytes of granules moved or copied.")               \
        X(GRANTS, "svmd_grants", GAUGE, NULL, false, "Leave that processes have to act on devices.")                   \
        X(GRANT_BYTES, "svmd_grant_bytes", GAUGE, "bytes", false, "What is charged for it.")                           \
        X(GRANTS_FAILED, "svmd_grants_failed", COUNTER, NULL, true, "Grants under which nothing was done.")            \
        X(NODE, "svmd_node", INFO, NULL, false, "What the node is.")                                                   \
        X(NODE_ONLINE, "svmd_node_online", GAUGE, NULL, false, "Whether the node takes memory.")                       \
        X(NODE_CAPACITY, "svmd_node_capacity_bytes", GAUGE, "bytes", false, "Memory that svmd gives out there.")       \
        X(NODE_CHARGED, "svmd_node_charged_bytes", GAUGE, "bytes", false, "Of that, what it has given out.")           \
        X(NODE_FREE, "svmd_node_free_bytes", GAUGE, "bytes", false, "Of that, what it has not.")                       \
        X(NODE_MANAGED, "svmd_node_managed_bytes", GAUGE, "bytes", false, "Of what is charged, managed granules.")     \
        X(NODE_RESIDENT, "svmd_node_resident_bytes", GAUGE, "bytes", false,                                            \
          "What the node's pools have taken from the machine.")                                                        \
        X(NODE_RESERVE, "svmd_node_reserve_bytes", GAUGE, "bytes", false, "Kept back for bringing granules in.")       \
        X(NODE_WARM, "svmd_node_warm_bytes", GAUGE, "bytes", false, "Free slots that keep their pages.")               \
        X(NODE_WAITING, "svmd_node_waiting_granules", GAUGE, NULL, false, "Granules that wait for room there.")        \
        X(NODE_SPACES, "svmd_node_spaces", GAUGE, NULL, false, "Page tables of the device.")                           \
        X(NODE_OPERATIONS, "svmd_node_device_operations", COUNTER, NULL, true, "Operations that the device has done.") \
        X(NODE_FAULTS, "svmd_node_device_faults", COUNTER, NULL, true, "Faults of the device that were served.")       \
        X(NODE_EVICTIONS, "svmd_node_evictions", COUNTER, NULL, true, "Granules that left to make room.")              \
        X(NODE_EVICTED, "svmd_node_evicted_bytes", COUNTER, "bytes", true, "Their bytes.")                             \
        X(NODE_BOUNCES, "svmd_node_bounces", COUNTER, NULL, true, "Touches of what had moved there just before.")      \
        X(NODE_CURES, "svmd_node_thrash_cures", COUNTER, NULL, true, "What was done about bouncing granules.")         \
        X(KFD_IN, "svmd_kfd_pages_in", COUNTER, NULL, true, "Pages that came to the GPU, as its driver told.")         \
        X(KFD_OUT, "svmd_kfd_pages_out", COUNTER, NULL, true, "Pages that left it.")                                   \
        X(KFD_FAULTS, "svmd_kfd_faults", COUNTER, NULL, true, "Its faults.")                                           \
        X(KFD_EVICTIONS, "svmd_kfd_queue_evictions", COUNTER, NULL, true, "Queues that it had to stop.")               \
        X(KFD_RESTORES, "svmd_kfd_queue_restores", COUNTER, NULL, true, "Those that it went on with.")                 \
        X(KFD_UNMAPS, "svmd_kfd_unmaps", COUNTER, NULL, true, "Ranges that it has unmapped.")                          \
        X(LINK, "svmd_link_bandwidth_bytes_per_second", GAUGE, NULL, false, "As the machine states it.")               \
        X(LINK_CAP, "svmd_link_cap_bytes_per_second", GAUGE, NULL, false, "That may move when nobody waits for it.")   \
        X(LINK_CAPPED, "svmd_link_capped_bytes", COUNTER, "bytes", false, "Moved over a link since it has a cap.")     \
        X(LINK_PUT_OFF, "svmd_link_put_off", COUNTER, NULL, false, "Moves that waited for the cap, or were not made.") \
        X(PART_SESSIONS, "svmd_partition_sessions", GAUGE, NULL, false, "Sessions of the partition.")                  \
        X(PART_RESERVATIONS, "svmd_partition_reservations", GAUGE, NULL, false, "Reservations of the partition.")      \
        X(PART_RESERVED, "svmd_partition_reserved_bytes", GAUGE, "bytes", false, "Addresses that are reserved.")       \
        X(PART_KEPT, "svmd_partition_kept_bytes", GAUGE, "bytes", false, "Kept for later sessions, by size.")          \
        X(PART_USED, "svmd_partition_used_bytes", GAUGE, "bytes", false, "Memory of the partition on the node.")       \
        X(PART_PEAK, "svmd_partition_peak_bytes", GAUGE, "bytes", false, "The most that it has been.")                 \
        X(PART_LIMIT, "svmd_partition_limit_bytes", GAUGE, "bytes", false, "Bounds of the partition on the node.")     \
        X(PART_MOVED, "svmd_partition_moved_bytes", COUNTER, "bytes", false, "Moved of its managed ranges.")           \
        X(PART_PUT_OFF, "svmd_partition_put_off", COUNTER, NULL, false, "Moves that waited for its cap.")              \
        X(PART_FAULTS, "svmd_partition_faults", COUNTER, NULL, false, "Faults in its managed ranges, served.")         \
        X(PART_EVICTIONS, "svmd_partition_evictions", COUNTER, NULL, false, "Granules of it that left for room.")      \
        X(PART_EVICTED, "svmd_partition_evicted_bytes", COUNTER, "bytes", false, "Their bytes.")                       \
        X(PART_REFUSALS, "svmd_partition_refusals", COUNTER, NULL, false, "Operations of its sessions refused.")       \
        X(PART_BOUNCES, "svmd_partition_bounces", COUNTER, NULL, false, "Touches of what had moved just before.")      \
        X(CONTAINER_USED, "svmd_container_used_bytes", GAUGE, "bytes", false, "Held by the container's processes.")    \
        X(CGROUP_USED, "svmd_cgroup_used_bytes", GAUGE, "bytes", false, "Held by processes of the control group.")     \
        X(CGROUP_REGISTERED, "svmd_cgroup_registered_bytes", GAUGE, "bytes", false,                                    \
          "Their own memory that devices may reach.")                                                                  \
        X(FOLDED, "svmd_exporter_folded", GAUGE, NULL, false, "How many have no time series of their own.")            \
        X(SCRAPE, "svmd_exporter_scrape_duration_seconds", GAUGE, "seconds", false, "That asking svmd took.")

enum family_id {
#define X(id, ...) FAMILY_##id,
        FAMILIES(X)
#undef X
                _FAMILY_N,
};
extern const struct family families[_FAMILY_N];
