#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether the heap of this program can be managed: the dynamic loader has to load libsvmd-heap.so into it. False: `why`
 * says why not. What is no ELF file (a script) is judged by its interpreter; what cannot be read is left to exec(). */
bool program_takes_heap(const char *path, char *why, size_t size);
