#pragma once

/* Allocations of the calling thread that fail: malloc(), calloc() and realloc() must be wrapped by the linker. How many
 * succeed before one fails; -1: all. */
extern _Thread_local long allocations_left;
