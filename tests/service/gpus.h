#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/drm.h"
#include "drm_model.h"
#include "harness.h"

/*
 * GPUs of modelled drivers (tests/emul/drm) in a world: svmd finds them, and their open files are memfds. What would
 * reach the kernel comes here instead (--wrap, in CMakeLists.txt). Lanes are threads: the models are used under a lock.
 */
enum { GPU_XE = 256, GPU_AMDGPU, GPU_NOUVEAU, GPU_VGEM, GPU_FILES = 16, GPU_BINDS = 1024 };

/* As nodes, in worlds that gpus_shape() made: then they have no other numbers. */
enum { GPU_NODES = NODES };
void gpus_shape(struct machine *m);

extern struct drm_card gpus[3];
extern struct drm_file *gpu_files[GPU_FILES]; /* in the order in which they were opened */

/* Before the world, and after it: false says that memory of a GPU is left. */
void gpus_open(void);
bool gpus_close(void);
/* Opens a GPU: a descriptor, which the caller closes. */
int gpu_open(unsigned gpu);
/* What the process that opened the file does with it itself: 0, -errno. */
int gpu_call(unsigned file, unsigned long request, void *arg);
uint32_t gpu_memory(unsigned file, uint64_t size);
/* Rows of a page table; SIZE_MAX: there is none. */
size_t gpu_rows(unsigned file, uint32_t space);
/* How many calls of the driver came since the world began. */
uint64_t gpu_calls(unsigned gpu);
/* The driver refuses `times` calls of that number, behind `after`. */
void gpu_refuse(unsigned gpu, unsigned long request, uint32_t after, uint32_t times, int error);

/* Calls of svmd's with that number wait in the driver; 0: they go on. How many wait. */
void gpu_hold(unsigned gpu, unsigned long request);
unsigned gpu_held(void);

/* ---- asking ---- */

/* Takes the descriptor. */
Svmd__V1__Result *gpu_give(struct client *c, unsigned gpu, int fd);
Svmd__V1__Op *mk_drm_space(uint64_t file, uint32_t space, bool take, bool off);
Svmd__V1__Op *mk_drm_check(uint64_t file, uint32_t space);
/* One more for the next mk_drm_bind(), of whole pages from `address` on. */
Svmd__V1__DrmBinding *gpu_binding(unsigned what, uint64_t address, uint64_t pages, uint32_t handle);
Svmd__V1__Op *mk_drm_bind(uint64_t file, uint32_t space);
/* Of bindings that were added, which the process has made under a grant. */
Svmd__V1__Op *mk_drm_bound(uint64_t grant, uint64_t generation, uint64_t file, uint32_t space, bool more);
/* What was added is forgotten. */
void gpu_bindings_drop(void);

/* What came of one: how its fence ended, or that there was none. */
struct gpu_end {
        unsigned code;
        uint64_t value, address;
        char text[256];
};
struct gpu_end gpu_run(struct client *c, Svmd__V1__Op *op);
struct gpu_end gpu_await(struct client *c, uint64_t fence);
