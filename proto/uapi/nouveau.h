#pragma once

#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

/* What nouveau takes of programs, as far as svmd uses it: page tables that the program fills itself, from 6.6 on. */

/* Questions about the device. Of 8: what programs may have, less what is pinned just now (scan-out); of 19: what is
 * taken, by all, which kernels before 2024 refuse with EINVAL. Both in bytes. */
enum { NOUVEAU_FB_SIZE = 8, NOUVEAU_VRAM_USED = 19 };
struct nouveau_getparam {
        uint64_t param, value;
};

/* Splits the addresses: [kernel_address, + kernel_size) stay the driver's. Before any memory object. */
struct nouveau_vm_init {
        uint64_t kernel_address, kernel_size;
};

enum { NOUVEAU_BIND_MAP = 0, NOUVEAU_BIND_UNMAP = 1 };
#define NOUVEAU_BIND_SPARSE 0x100u
#define NOUVEAU_BIND_ASYNC  1u

struct nouveau_bind_op {
        uint32_t op, flags;
        uint32_t handle, pad;
        uint64_t address, offset, range;
};

struct nouveau_vm_bind {
        uint32_t count, flags;
        uint32_t waits, signals;
        uint64_t wait_ptr, signal_ptr, ops;
};

enum { NOUVEAU_VRAM = 2, NOUVEAU_GART = 4 };

struct nouveau_gem_new {
        uint32_t handle, domain;
        uint64_t size, offset, map_handle;
        uint32_t tile_mode, tile_flags;
        uint32_t channel_hint, align;
};

/* Of the caller's address space: for clients alone. */
struct nouveau_svm_init {
        uint64_t kernel_address, kernel_size;
};

struct nouveau_svm_bind {
        uint64_t header, start, end, pages;
        uint32_t stride, result;
        uint64_t reserved[3];
};

#define NOUVEAU_GETPARAM _IOWR('d', 0x40, struct nouveau_getparam)
#define NOUVEAU_SVM_INIT _IOWR('d', 0x48, struct nouveau_svm_init)
#define NOUVEAU_SVM_BIND _IOWR('d', 0x49, struct nouveau_svm_bind)
#define NOUVEAU_VM_INIT  _IOWR('d', 0x50, struct nouveau_vm_init)
#define NOUVEAU_VM_BIND  _IOWR('d', 0x51, struct nouveau_vm_bind)
#define NOUVEAU_GEM_NEW  _IOWR('d', 0x80, struct nouveau_gem_new)

#define NOUVEAU_IS(what) _Static_assert(what, #what)
NOUVEAU_IS(NOUVEAU_VM_INIT == 0xc0106450 && NOUVEAU_VM_BIND == 0xc0286451 && NOUVEAU_GEM_NEW == 0xc0306480);
NOUVEAU_IS(NOUVEAU_GETPARAM == 0xc0106440);
NOUVEAU_IS(NOUVEAU_SVM_INIT == 0xc0106448 && NOUVEAU_SVM_BIND == 0xc0406449);
NOUVEAU_IS(sizeof(struct nouveau_bind_op) == 40 && offsetof(struct nouveau_bind_op, address) == 16);
#undef NOUVEAU_IS
