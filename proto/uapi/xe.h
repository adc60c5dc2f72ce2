#pragma once

#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What Intel's driver xe takes of programs: its page tables (VM), memory (GEM), and what is asked of it. No header of a
 * Debian 12 has this. From 6.8 on; the CPU's mirror from 6.15, advice (MADVISE) from 6.18. Members that are not named
 * here are zero.
 */

/* ---- questions ---- */

enum { XE_QUERY_MEM_REGIONS = 1, XE_QUERY_CONFIG = 2 };

/* With `size` 0 it says how many bytes the answer has. */
struct xe_device_query {
        uint64_t extensions;
        uint32_t query, size;
        uint64_t data;
        uint64_t reserved[2];
};

enum { XE_REGION_SYSTEM = 0, XE_REGION_VRAM = 1 };

struct xe_mem_region {
        uint16_t class_, instance; /* the instance is the region's bit in a placement */
        uint32_t min_page;
        uint64_t total, used, visible, visible_used;
        uint64_t reserved[6];
};

struct xe_query_mem_regions {
        uint32_t count, pad;
        struct xe_mem_region regions[];
};

enum { XE_CONFIG_DEVICE, XE_CONFIG_FLAGS, XE_CONFIG_ALIGNMENT, XE_CONFIG_VA_BITS, XE_CONFIG_COUNT };
#define XE_CONFIG_HAS_VRAM 1u

struct xe_query_config {
        uint32_t count, pad;
        uint64_t info[];
};

/* ---- memory ---- */

enum { XE_CACHING_WRITE_BACK = 1, XE_CACHING_WRITE_COMBINED = 2 };
#define XE_GEM_DEFER 1u /* no page until it is bound */

struct xe_gem_create {
        uint64_t extensions, size;
        uint32_t placement, flags; /* a bit a region */
        uint32_t vm_id, handle;    /* vm_id 0: of any VM */
        uint16_t cpu_caching, pad[3];
        uint64_t reserved[2];
};

struct xe_gem_mmap_offset {
        uint64_t extensions;
        uint32_t handle, flags;
        uint64_t offset;
        uint64_t reserved[2];
};

/* ---- page tables ---- */

#define XE_VM_SCRATCH 1u
#define XE_VM_LR      2u
#define XE_VM_FAULT   4u /* with LR: takes the address space of the process that creates it */

struct xe_vm_create {
        uint64_t extensions;
        uint32_t flags, vm_id;
        uint64_t reserved[2];
};

struct xe_vm_destroy {
        uint32_t vm_id, pad;
        uint64_t reserved[2];
};

enum {
        XE_BIND_MAP = 0, /* what is mapped there gives way */
        XE_BIND_UNMAP = 1,
        XE_BIND_USERPTR = 2,
        XE_BIND_UNMAP_ALL = 3, /* of one object */
        XE_BIND_PREFETCH = 4,
        XE_BINDS_END,
};

#define XE_BIND_READ_ONLY  1u
#define XE_BIND_IMMEDIATE  2u
#define XE_BIND_NULL       4u /* reads are zero, writes vanish */
#define XE_BIND_DUMPABLE   8u
#define XE_BIND_CPU_MIRROR 0x20u
#define XE_BIND_AUTORESET  0x40u
#define XE_BIND_FLAGS      0x6fu

#define XE_PREFETCH_AS_ADVISED UINT32_MAX

struct xe_bind_op {
        uint64_t extensions;
        uint32_t object;
        uint16_t pat, pad;
        uint64_t offset; /* in the object; an address for USERPTR; 0 for a mirror */
        uint64_t range, address;
        uint32_t op, flags;
        uint32_t prefetch_region, pad2;
        uint64_t reserved[3];
};

struct xe_vm_bind {
        uint64_t extensions;
        uint32_t vm_id, exec_queue;
        uint32_t pad, count;
        union {
                struct xe_bind_op bind; /* where count is 1 */
                uint64_t vector;
        };
        uint32_t pad2, syncs_count;
        uint64_t syncs;
        uint64_t reserved[2];
};

enum { XE_SYNC_SYNCOBJ = 0, XE_SYNC_TIMELINE = 1, XE_SYNC_USER_FENCE = 2 };
#define XE_SYNC_SIGNAL 1u

struct xe_sync {
        uint64_t extensions;
        uint32_t type, flags;
        uint64_t handle; /* an address for a user fence */
        uint64_t value;
        uint64_t reserved[2];
};

/* ---- advice ---- */

enum { XE_ADVISE_PREFERRED = 0, XE_ADVISE_ATOMIC = 1, XE_ADVISE_PAT = 2 };
enum { XE_ATOMIC_UNDEFINED, XE_ATOMIC_DEVICE, XE_ATOMIC_GLOBAL, XE_ATOMIC_CPU };
#define XE_PREFERRED_LOCAL  0    /* its own memory, */
#define XE_PREFERRED_SYSTEM (-1) /* or the machine's; else a descriptor of another device, of the caller */

struct xe_madvise {
        uint64_t extensions, start, range;
        uint32_t vm_id, type;
        union {
                struct {
                        int32_t device_fd;
                        uint16_t policy, region; /* 0 all pages, 1 those in system memory */
                        uint64_t reserved;
                } preferred;
                struct {
                        uint32_t value, pad;
                        uint64_t reserved;
                } number;
        };
        uint64_t reserved[2];
};

struct xe_range_attr {
        uint64_t extensions, start, end;
        int32_t device_fd;
        uint32_t policy;
        uint32_t atomic, pad;
        uint32_t pat, pad2;
        uint64_t reserved[2];
};

/* With `count` 0 it says how many there are, and how long each is. */
struct xe_query_range_attrs {
        uint64_t extensions;
        uint32_t vm_id, count;
        uint64_t start, range, attr_size, vector;
        uint64_t reserved[2];
};

#define XE_DEVICE_QUERY          _IOWR('d', 0x40, struct xe_device_query)
#define XE_GEM_CREATE            _IOWR('d', 0x41, struct xe_gem_create)
#define XE_GEM_MMAP_OFFSET       _IOWR('d', 0x42, struct xe_gem_mmap_offset)
#define XE_VM_CREATE             _IOWR('d', 0x43, struct xe_vm_create)
#define XE_VM_DESTROY            _IOW('d', 0x44, struct xe_vm_destroy)
#define XE_VM_BIND               _IOW('d', 0x45, struct xe_vm_bind)
#define XE_MADVISE               _IOW('d', 0x4c, struct xe_madvise)
#define XE_QUERY_MEM_RANGE_ATTRS _IOWR('d', 0x4d, struct xe_query_range_attrs)

#define XE_IS(what) _Static_assert(what, #what)
XE_IS(XE_DEVICE_QUERY == 0xc0286440 && XE_GEM_CREATE == 0xc0386441 && XE_GEM_MMAP_OFFSET == 0xc0286442);
XE_IS(XE_VM_CREATE == 0xc0206443 && XE_VM_DESTROY == 0x40186444 && XE_VM_BIND == 0x40886445);
XE_IS(XE_MADVISE == 0x4040644c && XE_QUERY_MEM_RANGE_ATTRS == 0xc040644d);
XE_IS(sizeof(struct xe_mem_region) == 88 && offsetof(struct xe_mem_region, visible_used) == 32);
XE_IS(sizeof(struct xe_bind_op) == 80 && offsetof(struct xe_bind_op, offset) == 16);
XE_IS(offsetof(struct xe_bind_op, op) == 40 && offsetof(struct xe_bind_op, prefetch_region) == 48);
XE_IS(offsetof(struct xe_vm_bind, bind) == 24 && offsetof(struct xe_vm_bind, syncs_count) == 108);
XE_IS(offsetof(struct xe_gem_create, cpu_caching) == 32 && offsetof(struct xe_madvise, preferred) == 32);
XE_IS(sizeof(struct xe_range_attr) == 64 && offsetof(struct xe_range_attr, device_fd) == 24);
XE_IS(offsetof(struct xe_range_attr, atomic) == 32 && offsetof(struct xe_range_attr, pat) == 40);
XE_IS(offsetof(struct xe_query_range_attrs, attr_size) == 32 && sizeof(struct xe_sync) == 48);
#undef XE_IS
