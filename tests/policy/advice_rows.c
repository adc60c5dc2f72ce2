#include "advice_rows.h"

#define PREFERRED(where)                                                                                               \
        { POLICY_WISH_PREFERRED, POLICY_AT_##where, 0 }
#define PREFETCH(where)                                                                                                \
        { POLICY_WISH_PREFETCH, POLICY_AT_##where, 0 }
#define ACCESSED(on)                                                                                                   \
        { POLICY_WISH_ACCESSED_BY, POLICY_AT_PEER, on }
#define READ_MOSTLY(on)                                                                                                \
        { POLICY_WISH_READ_MOSTLY, POLICY_AT_NONE, on }
#define PINNED(on)                                                                                                     \
        { POLICY_WISH_PINNED, POLICY_AT_NONE, on }
#define GRANULARITY(size)                                                                                              \
        { POLICY_WISH_GRANULARITY, POLICY_AT_NONE, size }
#define ATOMICS(whose)                                                                                                 \
        { POLICY_WISH_ATOMICS, POLICY_AT_NONE, POLICY_ATOMICS_##whose }
#define COARSE(on)                                                                                                     \
        { POLICY_WISH_COARSE, POLICY_AT_NONE, on }
#define DISCARD                                                                                                        \
        { POLICY_WISH_DISCARD, POLICY_AT_NONE, 0 }

#define ROW(api, name, number, call, type, argument, ...)                                                              \
        {                                                                                                              \
                api, name, number, call, { __VA_ARGS__ },                                                              \
                        sizeof((struct policy_wish[]){ __VA_ARGS__ }) / sizeof(struct policy_wish), type, argument,    \
                        NULL                                                                                           \
        }
#define DIFFERS(api, name, number, call, why, ...)                                                                     \
        {                                                                                                              \
                api, name, number, call, { __VA_ARGS__ },                                                              \
                        sizeof((struct policy_wish[]){ __VA_ARGS__ }) / sizeof(struct policy_wish), -1, 0, why         \
        }
#define OTHER(whose, word, value, ours)                                                                                \
        { .api = whose, .name = word, .number = value, .call = ours }

const struct advice_row advice_rows[] = {
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_SET_READ_MOSTLY", "1", "read mostly", 1, ROW_DEVICE, READ_MOSTLY(1)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_UNSET_READ_MOSTLY", "2", "not read mostly", 2, ROW_DEVICE, READ_MOSTLY(0)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_SET_PREFERRED_LOCATION", "3", "preferred this device", 3, ROW_DEVICE,
            PREFERRED(HERE)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_SET_PREFERRED_LOCATION", "3", "preferred the host", 3, -1, PREFERRED(HOST)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_SET_PREFERRED_LOCATION", "3", "preferred another device", 3, ROW_OTHER,
            PREFERRED(PEER)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION", "4", "no preferred node", 4, ROW_DEVICE,
            PREFERRED(NONE)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_SET_ACCESSED_BY", "5", "accessed by this device", 5, ROW_DEVICE, ACCESSED(1)),
        ROW(POLICY_CUDA, "CU_MEM_ADVISE_UNSET_ACCESSED_BY", "6", "not accessed by it", 6, ROW_DEVICE, ACCESSED(0)),
        ROW(POLICY_CUDA, "cuMemPrefetchAsync", "", "prefetch to this device", 0, ROW_DEVICE, PREFETCH(HERE)),
        ROW(POLICY_CUDA, "cuMemPrefetchAsync", "", "prefetch to the host", 0, -1, PREFETCH(HOST)),
        ROW(POLICY_CUDA, "cuMemPrefetchBatchAsync", "", "vector of prefetch", 0, ROW_DEVICE, PREFETCH(HERE)),
        ROW(POLICY_CUDA, "cuMemDiscardBatchAsync", "", "vector of discard", 0, 0, DISCARD),
        ROW(POLICY_CUDA, "cuMemDiscardAndPrefetchBatchAsync", "", "discard, then prefetch", 0, 0, DISCARD,
            PREFETCH(HERE)),

        ROW(POLICY_HIP, "hipMemAdviseSetReadMostly", "1", "read mostly", 1, ROW_DEVICE, READ_MOSTLY(1)),
        ROW(POLICY_HIP, "hipMemAdviseUnsetReadMostly", "2", "not read mostly", 2, ROW_DEVICE, READ_MOSTLY(0)),
        ROW(POLICY_HIP, "hipMemAdviseSetPreferredLocation", "3", "preferred this device", 3, ROW_DEVICE,
            PREFERRED(HERE)),
        ROW(POLICY_HIP, "hipMemAdviseSetPreferredLocation", "3", "preferred the host", 3, -1, PREFERRED(HOST)),
        ROW(POLICY_HIP, "hipMemAdviseUnsetPreferredLocation", "4", "no preferred node", 4, ROW_DEVICE, PREFERRED(NONE)),
        ROW(POLICY_HIP, "hipMemAdviseSetAccessedBy", "5", "accessed by this device", 5, ROW_DEVICE, ACCESSED(1)),
        ROW(POLICY_HIP, "hipMemAdviseUnsetAccessedBy", "6", "not accessed by it", 6, ROW_DEVICE, ACCESSED(0)),
        ROW(POLICY_HIP, "hipMemAdviseSetCoarseGrain", "100", "coarse", 100, ROW_DEVICE, COARSE(1)),
        ROW(POLICY_HIP, "hipMemAdviseUnsetCoarseGrain", "101", "not coarse", 101, ROW_DEVICE, COARSE(0)),
        ROW(POLICY_HIP, "hipMemPrefetchAsync", "", "prefetch to this device", 0, ROW_DEVICE, PREFETCH(HERE)),

        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_PREFERRED_LOC", "0", "preferred this device", 0, ROW_DEVICE,
            PREFERRED(HERE)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_PREFERRED_LOC", "0", "preferred the host", 0, 0, PREFERRED(HOST)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_PREFERRED_LOC", "0", "no preferred node", 0, 0xffffffff, PREFERRED(NONE)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_PREFETCH_LOC", "1", "prefetch to this device", 1, ROW_DEVICE,
            PREFETCH(HERE)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_ACCESS", "2", "not accessed by it", 2, ROW_DEVICE, ACCESSED(0)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_ACCESS_IN_PLACE", "3", "accessed by this device", 3, ROW_DEVICE,
            ACCESSED(1)),
        OTHER(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_NO_ACCESS", "4", "no mapping in a space of that device"),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_GRANULARITY", "7", "granularity 2 MiB", 7, 9, GRANULARITY(2 << 20)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_ATTR_GRANULARITY", "7", "granularity 64 KiB", 7, 4, GRANULARITY(65536)),
        OTHER(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_HOST_ACCESS", "0x1", "the CPU may use what a reservation shows"),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_COHERENT", "0x2", "not coarse", 5, 0x2, COARSE(0)),
        OTHER(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_HIVE_LOCAL", "0x4", "policy keeps pages in a hive by itself"),
        OTHER(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_GPU_RO", "0x8", "access of the mapping: read"),
        OTHER(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_GPU_EXEC", "0x10", "attribute of the mapping"),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_GPU_READ_MOSTLY", "0x20", "read mostly", 5, 0x20, READ_MOSTLY(1)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_GPU_ALWAYS_MAPPED", "0x40", "pinned", 5, 0x40, PINNED(1)),
        ROW(POLICY_KFD, "KFD_IOCTL_SVM_FLAG_EXT_COHERENT", "0x80", "atomics global", 5, 0x82, ATOMICS(GLOBAL)),

        ROW(POLICY_XE, "DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC", "0", "preferred this device", 0, 0, PREFERRED(HERE)),
        ROW(POLICY_XE, "DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC", "0", "preferred the host", 0, -1, PREFERRED(HOST)),
        ROW(POLICY_XE, "DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC", "0", "preferred another device", 0, ROW_OTHER,
            PREFERRED(PEER)),
        ROW(POLICY_XE, "DRM_XE_ATOMIC_UNDEFINED", "1=0", "atomics any", 1, 0, ATOMICS(ANY)),
        ROW(POLICY_XE, "DRM_XE_ATOMIC_DEVICE", "1=1", "atomics device", 1, 1, ATOMICS(DEVICE)),
        ROW(POLICY_XE, "DRM_XE_ATOMIC_GLOBAL", "1=2", "atomics global", 1, 2, ATOMICS(GLOBAL)),
        ROW(POLICY_XE, "DRM_XE_ATOMIC_CPU", "1=3", "atomics cpu", 1, 3, ATOMICS(CPU)),
        OTHER(POLICY_XE, "DRM_XE_MEM_RANGE_ATTR_PAT", "2", "attribute of the mapping"),
        ROW(POLICY_XE, "DRM_XE_VM_BIND_OP_PREFETCH", "4", "prefetch to this device", 0, 1, PREFETCH(HERE)),
        ROW(POLICY_XE, "DRM_XE_VM_BIND_OP_PREFETCH", "4", "prefetch to the host", 0, 0, PREFETCH(HOST)),
        OTHER(POLICY_XE, "DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET", "0x40", "advice ends with its reservation"),

        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_SET_READ_MOSTLY", "0", "read mostly", 0, 0, READ_MOSTLY(1)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_CLEAR_READ_MOSTLY", "1", "not read mostly", 1, 0, READ_MOSTLY(0)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_SET_PREFERRED_LOCATION", "2", "preferred this device", 2, 0, PREFERRED(HERE)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_CLEAR_PREFERRED_LOCATION", "3", "no preferred node", 3, 0, PREFERRED(NONE)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ADVICE_SET_NON_ATOMIC_MOSTLY", "4", "atomics any",
                "the attribute of atomics says it now", ATOMICS(ANY)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ADVICE_CLEAR_NON_ATOMIC_MOSTLY", "5", "atomics device",
                "the attribute of atomics says it now", ATOMICS(DEVICE)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_BIAS_CACHED", "6", "coarse", 6, 0, COARSE(1)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_BIAS_UNCACHED", "7", "not coarse", 7, 0, COARSE(0)),
        ROW(POLICY_ZE, "ZE_MEMORY_ADVICE_SET_SYSTEM_MEMORY_PREFERRED_LOCATION", "8", "preferred the host", 8, 0,
            PREFERRED(HOST)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ADVICE_CLEAR_SYSTEM_MEMORY_PREFERRED_LOCATION", "9", "no preferred node",
                "the second of two steps", PREFERRED(NONE)),
        ROW(POLICY_ZE, "zeCommandListAppendMemoryPrefetch", "", "prefetch to this device", 0, 0, PREFETCH(HERE)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_NO_ATOMICS", "0x1", "atomics any",
                "svmd gives the choice back instead", ATOMICS(ANY)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_NO_HOST_ATOMICS", "0x2", "atomics device",
                "svmd asks for the device's", ATOMICS(DEVICE)),
        ROW(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_HOST_ATOMICS", "0x4", "atomics cpu", 0, 0xc, ATOMICS(CPU)),
        ROW(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_NO_DEVICE_ATOMICS", "0x8", "atomics cpu", 0, 0xc, ATOMICS(CPU)),
        ROW(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_DEVICE_ATOMICS", "0x10", "atomics device", 0, 0x10,
            ATOMICS(DEVICE)),
        DIFFERS(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_NO_SYSTEM_ATOMICS", "0x20", "atomics device",
                "svmd asks for the device's", ATOMICS(DEVICE)),
        ROW(POLICY_ZE, "ZE_MEMORY_ATOMIC_ATTR_EXP_FLAG_SYSTEM_ATOMICS", "0x40", "atomics global", 0, 0x40,
            ATOMICS(GLOBAL)),
};
const size_t advice_rows_count = sizeof(advice_rows) / sizeof(advice_rows[0]);

void advice_target(enum policy_dialect dialect, struct policy_target *ret) {
        *ret = (struct policy_target){ .dialect = dialect,
                                       .faults = true,
                                       .huge_pages = true,
                                       .peers = true,
                                       .id = ROW_DEVICE,
                                       .other = ROW_OTHER };
}
