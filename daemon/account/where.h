#pragma once

#include <stddef.h>

/*
 * Where a process belongs, from its /proc/PID/cgroup: the control group whose memory it uses, and what the names on the
 * way say of a container. Names are a convention of each runtime, no proof.
 *
 *      /system.slice/docker-ID.scope                                  docker, with systemd
 *      /docker/ID                                                     docker, without
 *      /machine.slice/libpod-ID.scope/container                       podman
 *      /libpod_parent/PODID/libpod-ID                                 podman, without systemd, in a pod
 *      /kubepods.slice/kubepods-burstable-podUID.slice/crio-ID.scope  CRI-O; UID with _ for -
 *      /kubepods/besteffort/podUID/ID                                 containerd, without systemd
 *      /x.slice:cri-containerd:ID                                     containerd, a mixture
 *      /machine.slice/machine-NAME.scope, /lxc.payload.NAME           systemd-nspawn, LXC
 *
 * Of containers in containers it is the innermost. Pure.
 */
enum { WHERE_CGROUP = 256, WHERE_ID = 72, WHERE_RUNTIME = 16, WHERE_NAME = 128 };

struct where {
        char cgroup[WHERE_CGROUP];   /* "": it is not known; the end of one that is longer, behind "..." */
        char runtime[WHERE_RUNTIME]; /* docker, podman, crio, containerd, nspawn, lxc; "": none is known */
        char container[WHERE_ID];    /* "": in none */
        char pod[WHERE_ID];          /* "": in none */
        /* As people call it, which no control group says: called.h. "": nobody said. */
        char name[WHERE_NAME], pod_name[WHERE_NAME], pod_namespace[WHERE_NAME];
};

/* The text of /proc/PID/cgroup, version 1, 2 or both. Without a line of either, all is "". */
void where_parse(const char *text, size_t size, struct where *ret);
/* The same of one path. */
void where_of_path(const char *path, size_t size, struct where *ret);
/* What does not belong on a terminal or into a key becomes '?'. */
void where_put(char *to, size_t room, const char *text, size_t size);
/* Of that text, the group that counts the process's memory, as its hierarchy has it: the version of it, or 0 where
 * there is none, its name has no room, or it lies outside of what can be seen from here ("/.."). */
unsigned where_memory(const char *text, size_t size, char *to, size_t room);
