#pragma once

#include <stddef.h>

/* The system calls, whoever has their names in this process. jemalloc calls these, too (CMakeLists.txt). */
void *raw_mmap(void *at, size_t size, int prot, int flags, int fd, long offset);
int raw_munmap(void *at, size_t size);
int raw_madvise(void *at, size_t size, int what);
int raw_mprotect(void *at, size_t size, int prot);
