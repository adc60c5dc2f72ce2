#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What outlives a boot: partitions and their limits, and those of control groups, in STATE_DIR/state.db (SQLite, WAL,
 * synchronous=FULL). A call returns when the disk has it, so they are made from a worker thread, one at a time, never
 * from the loop. A partition that was made for somebody ends with him and so with the boot: the kernel has it then,
 * which is enough for another svmd, and the disk gets it when it comes to that. The schema has a version; older files
 * are upgraded in one transaction, newer or damaged ones are refused and left as they are. `why` gets a sentence with
 * what to do.
 */
struct store;

struct store_limit {
        char node[32];
        uint64_t min, low, high, max; /* UINT64_MAX: none; of min and low 0 */
};

struct store_partition {
        char name[64];
        char domain[64];
        uint32_t window; /* the wire's numbers: 0 primary, 1 low */
        uint64_t base, size;
        uint32_t uid, gid, mode;
        uint64_t kept_max;
        char holder[160]; /* the service's: whom it was made for; "": nobody */
        struct store_limit *limits;
        uint32_t limits_count;
};

struct store_cgroup {
        const char *path;
        struct store_limit *limits;
        uint32_t limits_count;
};

int store_open(struct store **ret, const char *state_dir, char *why, size_t why_size);
void store_close(struct store *s);

/* Every partition, ordered by name. What is handed over lives during the call. */
typedef int (*store_fn)(void *userdata, const struct store_partition *p);
int store_each(struct store *s, store_fn fn, void *userdata, char *why, size_t why_size);

/* Writes the partition and exactly these limits, new or changed. -ENOSPC, -EIO, -EROFS ...: nothing changed. */
int store_put(struct store *s, const struct store_partition *p, char *why, size_t why_size);
int store_remove(struct store *s, const char *name, char *why, size_t why_size);

/* Every control group that has limits, ordered by path; as store_each(). */
typedef int (*store_cgroup_fn)(void *userdata, const struct store_cgroup *g);
int store_each_cgroup(struct store *s, store_cgroup_fn fn, void *userdata, char *why, size_t why_size);
/* Exactly these limits; with none of them it is forgotten. As store_put(). */
int store_put_cgroup(struct store *s, const struct store_cgroup *g, char *why, size_t why_size);
