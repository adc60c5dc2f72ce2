#pragma once

#include <stddef.h>
#include <stdint.h>

/* What the kernel says is mapped in this process, where memory is to be adopted or given back. */

/* Whether all of [start, end) can be adopted: private memory of nothing, to read and write. 0, or a code with a
 * sentence that names what is in the way. */
int source_check(uint64_t start, uint64_t end);

struct piece {
        uint64_t start, end;
};
/* Where in [start, end) the file is still mapped as it was, from its beginning at `start` on. The caller frees *ret.
 * 0 or a code. */
int source_pieces(int fd, uint64_t start, uint64_t end, struct piece **ret, size_t *ret_count);
