#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The container that a partition was made for: its id, and its first process, by number and start, in one boot. It is
 * kept as one text with the partition: "BOOT PID STARTED ID". When that process has ended, so has the container.
 */
enum { HOLDER_TEXT = 160 };

struct holder {
        char boot[40];
        uint32_t pid;
        uint64_t started; /* base/started.h */
        char container[64];
};

/* Of the boot that this is; "" where the kernel does not say. */
void holder_boot(char ret[40]);
void holder_format(char ret[HOLDER_TEXT], const struct holder *h);
/* False: it is no such text, and `*ret` is all zero. */
bool holder_parse(struct holder *ret, const char *text);
/* Where the id is in such a text; "" where it is none. */
const char *holder_container(const char *text);
