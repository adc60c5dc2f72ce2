#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Shows the folder at `at` in the container whose first process waits before it changes its root, with what is missing
 * on the way made. `root` is the container's root in the mount namespace of that process; nothing in it is followed
 * out of it. What is shown already is left. 0 or -errno.
 */
int place_mount(const char *folder, uint32_t pid, const char *root, const char *at);
/* Where the root of a bundle is, from its config.json. 0 or -errno. */
int place_root(const char *bundle, char *ret, size_t size);
