#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What a wish about a range becomes on one node: in the words of whoever moves its pages there, or as svmd's engine
 * does it. A wish is one attribute of svmd's advice, or a request to move or drop pages. Pure: docs/advice.md has the
 * table of all of it, which a test keeps equal to this code.
 */
enum policy_dialect {
        POLICY_ENGINE, /* shared ranges on host and soft nodes: svmd moves the pages itself */
        POLICY_HMM,    /* the kernel's test device: pages are migrated on request, and that is all */
        POLICY_KFD,    /* AMD: attributes of an SVM range */
        POLICY_HIP,    /* AMD: what a HIP program would call for the same */
        POLICY_XE,     /* Intel: VM madvise and prefetch of a VM bind */
        POLICY_ZE,     /* Intel: what a Level Zero program would call for the same */
        POLICY_CUDA,   /* NVIDIA: managed memory */
        _POLICY_DIALECT_N
};

enum policy_word {
        POLICY_WISH_PREFERRED,   /* location */
        POLICY_WISH_ACCESSED_BY, /* value: on or off; location: where the pages lie or prefer to lie */
        POLICY_WISH_READ_MOSTLY, /* value: on or off */
        POLICY_WISH_PINNED,      /* value: on or off */
        POLICY_WISH_GRANULARITY, /* value: bytes, a power of two from 4 KiB; 0: policy's choice */
        POLICY_WISH_ATOMICS,     /* value: enum policy_atomics */
        POLICY_WISH_COARSE,      /* value: on or off; writes need be seen by others at kernel borders only */
        POLICY_WISH_GROUP,       /* value: its number, 0: none; what is of one group moves together */
        POLICY_WISH_PREFETCH,    /* location */
        POLICY_WISH_DISCARD,
        _POLICY_WISH_N
};

enum policy_atomics { POLICY_ATOMICS_ANY, POLICY_ATOMICS_DEVICE, POLICY_ATOMICS_GLOBAL, POLICY_ATOMICS_CPU };

/* Seen from the node that the wish is compiled for. */
enum policy_location {
        POLICY_AT_NONE, /* none, or not known */
        POLICY_AT_HERE,
        POLICY_AT_HOST, /* host memory that it reaches */
        POLICY_AT_PEER, /* another device, which it reaches over a link */
        POLICY_AT_FAR,  /* memory that it does not reach */
};

struct policy_target {
        enum policy_dialect dialect;
        bool host;        /* the CPU */
        bool faults;      /* an access to what is elsewhere can be served */
        bool huge_pages;  /* it can map 2 MiB at once */
        bool peers;       /* its driver can prefer the memory of another device */
        uint32_t granule; /* bytes that the range moves at least; 0: a page */
        /* What its driver calls the node, and the device of POLICY_AT_PEER and POLICY_AT_FAR (kfd: gpu id; cuda, hip:
         * ordinal; xe: descriptor of the other device). */
        uint32_t id, other;
};

struct policy_wish {
        enum policy_word word;
        enum policy_location location;
        uint64_t value;
};

enum policy_became { POLICY_APPLIED, POLICY_APPROXIMATED, POLICY_REFUSED };

enum policy_why {
        POLICY_WHY_NONE,
        POLICY_WHY_NO_FAULTS,    /* it cannot fault */
        POLICY_WHY_PREFETCH,     /* as it cannot fault, pages come by prefetch alone */
        POLICY_WHY_NO_LINK,      /* no fast link */
        POLICY_WHY_CPU,          /* the CPU cannot reach device memory */
        POLICY_WHY_NO_HUGE,      /* no huge pages */
        POLICY_WHY_GRANULE,      /* the range's granule is larger */
        POLICY_WHY_ONE_OWNER,    /* a page can be written at one place at a time, and moves for it */
        POLICY_WHY_COHERENT,     /* all is coherent always */
        POLICY_WHY_ONE_COPY,     /* the driver keeps one copy */
        POLICY_WHY_LOCATION,     /* said by a preferred location */
        POLICY_WHY_MEMBERS,      /* svmd moves the members one by one */
        POLICY_WHY_NO_WORD,      /* the driver has no word for it */
        POLICY_WHY_OTHER_DEVICE, /* the driver can prefer its own memory or the host's alone */
        _POLICY_WHY_N
};

enum policy_call {
        POLICY_CALL_HMM_MIGRATE,  /* argument: 1 to the device, 0 to the host */
        POLICY_CALL_KFD_SVM,      /* type: of an SVM attribute */
        POLICY_CALL_HIP_ADVISE,   /* type: hipMemoryAdvise; argument: device, -1: host */
        POLICY_CALL_HIP_PREFETCH, /* argument likewise */
        POLICY_CALL_XE_MADVISE,   /* type: DRM_XE_MEM_RANGE_ATTR_*; argument: descriptor or value */
        POLICY_CALL_XE_PREFETCH,  /* argument: instance of a memory region, 0: system */
        POLICY_CALL_ZE_ADVISE,    /* type: ze_memory_advice_t */
        POLICY_CALL_ZE_PREFETCH,  /* to the device of the command list */
        POLICY_CALL_ZE_ATOMICS,   /* argument: ze_memory_atomic_attr_exp_flags_t */
        POLICY_CALL_CU_ADVISE,    /* type: CUmem_advise; argument: device, -1: host */
        POLICY_CALL_CU_PREFETCH,  /* argument likewise */
        POLICY_CALL_CU_DISCARD,   /* cuMemDiscardBatchAsync */
        POLICY_CALL_MADVISE,      /* of the process itself; type: MADV_* */
        _POLICY_CALL_N
};

struct policy_step {
        enum policy_call call;
        uint32_t type;
        int64_t argument;
};

/* Steps: what is to be called, in this order. None: the engine acts on it by itself, or nothing can be done. */
struct policy_verdict {
        enum policy_became became;
        enum policy_why why;
        struct policy_step steps[2];
        uint32_t steps_count;
};

void policy_compile(const struct policy_target *target, const struct policy_wish *wish, struct policy_verdict *ret);

/* For people: a part of a sentence, such as "it has no faults: pages come by prefetch alone". "" for none. */
const char *policy_why_text(enum policy_why why);
