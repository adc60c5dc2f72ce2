#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"

/*
 * Names that others may open, with rights like a file's: owner, group and mode, read and write apart. One
 * tree of names a kind of object and partition.
 */

struct credentials {
        uint32_t uid, gid;
        const uint32_t *groups;
        uint32_t groups_count;
        bool superuser; /* root or svmd's own user: every right */
};

struct name {
        struct tree_node node;
        void *object; /* whose name it is */
        uint32_t uid, gid, mode;
        struct list shares; /* struct share: with other partitions */
        char text[];
};

enum { RIGHT_READ = 1, RIGHT_WRITE = 2 }; /* as the wire's access: 1 read, 3 both */

/* Does `mode` of an owner and group allow all of `rights`? The first class that fits decides, as with files. */
bool mode_allows(uint32_t uid, uint32_t gid, uint32_t mode, const struct credentials *who, unsigned rights);

/* 1 to 63 bytes of [A-Za-z0-9._:-], beginning with a letter or digit: also a file name and a part of a CDI device. */
bool name_ok(const char *text);

/* NULL: out of memory. Not linked. */
struct name *name_new(const char *text, void *object, uint32_t uid, uint32_t gid, uint32_t mode);
/* An unlinked one; it is shared with nobody any more. NULL is allowed. */
void name_free(struct name *n);
struct name *name_find(const struct tree *t, const char *text);
/* The text must not be there. */
void name_link(struct tree *t, struct name *n);
void name_unlink(struct tree *t, struct name *n);
