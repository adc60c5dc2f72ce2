#pragma once

#include <stdint.h>

struct index_builder;

struct text_progress {
        uint64_t files, bytes;
        uint64_t unreadable; /* files and folders that this user may not read; grep passes over them likewise */
};

/* Called before each file. */
typedef void (*text_progress_fn)(void *userdata, const struct text_progress *progress);

/* Reads all that `grep -r` reads: the regular files under `dir`, links not followed. `ret` (filled on success) counts
 * them. 0, a negative errno, or what the builder's growth returned. */
int text_read_tree(struct index_builder *b, const char *dir, text_progress_fn fn, void *userdata,
                   struct text_progress *ret);
