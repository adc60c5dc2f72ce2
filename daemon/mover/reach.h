#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * The thread that enters another process's memory, and may not come back for long: where a page of it is served by a
 * userfaultfd of its own, or by a file system of its own. One thread at a time asks it.
 *
 * Reading needs no care: what is read is checked afterwards. Writing is done by process_vm_writev() page by page, out
 * of a stage of svmd's that has no pages. The kernel pins the page over there first, and then faults on the stage; so
 * who serves that fault can check what was pinned, and let the bytes through, or not. What is let through goes into the
 * page that was pinned, whatever has been mapped there since.
 */
struct reach;

/* -errno: there is no userfaultfd for it. `mem`: /proc/PID/mem, stays the caller's. */
int reach_new(struct reach **ret, int mem, uint32_t pid);
/* Waits until the thread has come back. */
void reach_free(struct reach *r);

/* 0, -EFAULT (not all of it), -ESRCH (the process has ended). Into `to`. */
int reach_read(struct reach *r, uint64_t address, void *to, uint32_t size);

/* Begins to write; then, until it gives false, reach_pinned(): `ret` is the page's number of those that are written,
 * which is pinned now and waits for reach_supply() or reach_deny(). */
void reach_write(struct reach *r, uint64_t address, uint32_t size);
bool reach_pinned(struct reach *r, uint32_t *ret);
/* `page` bytes of the stage, of which the write takes its part. Returns when they have been written. */
void reach_supply(struct reach *r, uint32_t page, const void *bytes);
/* Nothing more is written. */
void reach_deny(struct reach *r);
/* How the write has ended. */
int reach_result(struct reach *r);
