#pragma once

#include <stdatomic.h>
#include <stdint.h>

/*
 * What malloc() has given a process and has not got back, counted by size outside that process: svmd-blocks.so is
 * preloaded into it, and counts in a file that the test maps. It sees svmd's own allocations and those of its libraries
 * alike, and neither what an allocator keeps to give it again nor how its blocks lie.
 */
enum { BLOCKS_STEP = 16, BLOCKS_CLASSES = 4096 }; /* the last class has all that are larger */

/* Where the file shall be: the name of the program is put behind it. */
#define BLOCKS_ENV "SVMD_TEST_BLOCKS"

struct blocks {
        _Atomic int64_t live[BLOCKS_CLASSES], bytes;
};
