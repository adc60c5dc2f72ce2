#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What a program of its own does with CUDA beside svmd: copies of what is mapped. In the process that calls. */

/* This machine has a libcuda.so.1 with a device; and it is the stand-in. A process of its own asks: this one may go on
 * to fork others that use it. */
bool cuda_is_here(bool *ret_standin);
/* Before the first copy: the device's primary context is this thread's. */
void cuda_use(void);
/* 0, or what CUDA said. */
int cuda_read(void *to, uint64_t from, uint64_t size);
int cuda_write(uint64_t to, const void *from, uint64_t size);
int cuda_fill(uint64_t to, unsigned char value, uint64_t size);
/* The same by a kernel that may still run when this returns; and the end of all. */
int cuda_fill_async(uint64_t to, unsigned char value, uint64_t size);
int cuda_wait(void);
/* Memory that CUDA manages; and what it was told of it: 1 read mostly, 2 preferred, 3 accessed by, 4 prefetched to (a
 * device, -1: the CPU, -2: none). */
uint64_t cuda_alloc_managed(uint64_t size);
int cuda_told(uint64_t at, uint64_t size, int attribute);
