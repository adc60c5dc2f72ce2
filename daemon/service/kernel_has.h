#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mover_features;

/*
 * What svmd and its clients have of the kernel, and what it means for them when a kernel has less: a row each. Kernels
 * are asked, not compared by their number, since what a distribution or a configuration changes is in no number.
 */
struct kernel_has {
        const char *name;  /* its finding; begins with "kernel-", and is stable, for scripts */
        const char *since; /* the version of Linux that has it first */
        const char *gives;
        const char *without;
        bool needed; /* without it there is something svmd cannot do at all */
        bool (*there)(const struct mover_features *f);
};

enum { KERNEL_HAS_MAX = 24 };

/* All of them; how many, at most KERNEL_HAS_MAX. */
size_t kernel_has_all(const struct kernel_has **ret);
