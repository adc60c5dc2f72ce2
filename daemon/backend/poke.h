#pragma once

#include <stdint.h>

/*
 * Changes bytes of a file through a mapping that lives for that long, for what no system call can do: pages of `page`
 * bytes that pwrite refuses (huge ones), files without read and write (dma-bufs), and additions that CPUs see whole.
 * Clients have the same file: what they do to it meanwhile (a hole where a huge page was, and none is left) does not
 * end svmd, it is -EFAULT. Any thread.
 */
int poke_read(int fd, uint64_t page, uint64_t offset, void *to, uint64_t size);
int poke_write(int fd, uint64_t page, uint64_t offset, const void *from, uint64_t size);
/* To the 64-bit word at `offset`, a multiple of 8. */
int poke_add(int fd, uint64_t page, uint64_t offset, uint64_t value, uint64_t *ret_before);
