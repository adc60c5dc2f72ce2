#pragma once

#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What AMD's driver amdgpu takes of programs, as far as svmd uses it. An open file is one page table. What svmd audits
 * by (handles and mappings of a file) is there from about 6.18 on; older kernels refuse it with EINVAL.
 */

enum { AMDGPU_CPU = 1, AMDGPU_GTT = 2, AMDGPU_VRAM = 4 };

/* The reply stands where the question did: the handle in the low half of `size`. */
struct amdgpu_gem_create {
        union {
                uint64_t size;
                uint32_t handle;
        };
        uint64_t alignment, domains, flags;
};

enum {
        AMDGPU_VA_MAP = 1, /* over a mapping: EINVAL */
        AMDGPU_VA_UNMAP = 2,
        AMDGPU_VA_CLEAR = 3, /* all that is in the range */
        AMDGPU_VA_REPLACE = 4,
};

#define AMDGPU_PAGE_READ    2u
#define AMDGPU_PAGE_WRITE   4u
#define AMDGPU_PAGE_EXECUTE 8u
#define AMDGPU_PAGE_SPARSE  16u
#define AMDGPU_MTYPE_SHIFT  5
#define AMDGPU_MTYPE_MASK   (0xfu << AMDGPU_MTYPE_SHIFT)
#define AMDGPU_MTYPE_END    6u

struct amdgpu_gem_va {
        uint32_t handle, pad;
        uint32_t op, flags;
        uint64_t address, offset, size;
};

enum { AMDGPU_OP_INFO = 0, AMDGPU_OP_PLACEMENT = 1, AMDGPU_OP_MAPPINGS = 2 };

struct amdgpu_gem_op {
        uint32_t handle, op;
        uint64_t value; /* of MAPPINGS: address of entries */
};

/* The same with room for the number of entries. */
struct amdgpu_gem_op_long {
        struct amdgpu_gem_op op;
        uint32_t count, pad;
};

struct amdgpu_mapping {
        uint64_t address, size, offset, flags;
};

struct amdgpu_list_handles {
        uint64_t entries;
        uint32_t count, pad;
};

struct amdgpu_handle {
        uint64_t size, domains, flags, alignment;
        uint32_t handle, imported;
};

#define AMDGPU_GEM_CREATE   _IOWR('d', 0x40, struct amdgpu_gem_create)
#define AMDGPU_GEM_VA       _IOW('d', 0x48, struct amdgpu_gem_va)
#define AMDGPU_GEM_OP       _IOWR('d', 0x50, struct amdgpu_gem_op)
#define AMDGPU_GEM_OP_LONG  _IOWR('d', 0x50, struct amdgpu_gem_op_long)
#define AMDGPU_LIST_HANDLES _IOWR('d', 0x59, struct amdgpu_list_handles)

#define AMDGPU_IS(what) _Static_assert(what, #what)
AMDGPU_IS(AMDGPU_GEM_CREATE == 0xc0206440 && AMDGPU_GEM_VA == 0x40286448 && AMDGPU_GEM_OP == 0xc0106450);
AMDGPU_IS(AMDGPU_GEM_OP_LONG == 0xc0186450 && AMDGPU_LIST_HANDLES == 0xc0106459);
AMDGPU_IS(offsetof(struct amdgpu_gem_va, address) == 16 && sizeof(struct amdgpu_handle) == 40);
#undef AMDGPU_IS
