#pragma once

#include <stdbool.h>
#include <stddef.h>

struct args;
struct ctl;
struct json_object;

/*
 * Partitions as devices of the Container Device Interface: a runtime that is asked for svmd.org/partition=NAME mounts
 * the folder of that partition's socket and sets what libsvmd looks for. A specification is a file: one, written by
 * 'cdi generate', has any number of partitions; one that goes with a single partition is transient, and has its name.
 *
 * A file is ours by its name and by the kind in it. No other one is ever written or removed.
 */

#define CDI_KIND      "svmd.org/partition"
#define CDI_FILE      "svmd.org-partition"
#define CDI_CONTAINER "/run/svmd/client" /* where the folder stands in a container */

/* CDI's rule: letters, digits and "-_.:", with a letter or a digit at either end. */
bool cdi_name_ok(const char *name);
/* The least version of CDI that has what devices of these names use: readers refuse what is newer than they are. */
const char *cdi_version(const char *const *names, size_t count);
/* `hook`: svmd-hook is called before and after the container. The caller puts it. */
struct json_object *cdi_spec(struct ctl *c, const char *const *names, size_t count, bool hook);

/* A device of a specification of ours. */
struct cdi_device {
        const char *name, *path, *version;
        const char *folder;    /* of svmd, that its socket is in; "": it does not say */
        bool transient, owned; /* owned: its file's name is ours, too */
};
struct cdi_devices {
        struct cdi_device *rows;
        size_t count, room;
};

/* The two folders; the same one with --cdi-dir, and for users. An exit status; what is wrong was written. */
struct cdi_folders {
        const char *fixed, *transient;
};
int cdi_folders(struct ctl *c, const struct args *a, struct cdi_folders *ret);
/* What is in them, in the order of names of files. A folder that is not there has nothing in it. */
int cdi_read(struct ctl *c, const struct cdi_folders *f, struct cdi_devices *ret);
bool cdi_has(const struct cdi_devices *d, const char *name, bool transient);

/* The file of one partition, or with NULL that of many. */
const char *cdi_path(struct ctl *c, const struct cdi_folders *f, const char *name);
/* Beside and renamed, so that nobody reads half of it. An exit status; the object is put. */
int cdi_write(struct ctl *c, const char *path, struct json_object *spec);
/* Takes away the devices that `gone` names by their place, and files that are left without one. */
int cdi_take(struct ctl *c, const struct cdi_devices *d, const bool *gone);

/* ---- with a partition of its own (the options of `a`) ---- */

/* Before it is created: whether its name can be a device's. */
int cdi_partition_check(struct ctl *c, const struct args *a, const char *name);
int cdi_partition_made(struct ctl *c, const struct args *a, const char *name, const char **ret_path);
/* Takes its transient specification away, where it has one. */
int cdi_partition_gone(struct ctl *c, const struct args *a, const char *name);
