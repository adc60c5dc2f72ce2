#pragma once

#include <stdint.h>

/*
 * What the container is called, for those who look at svmd's accounts: OCI's state has its number only. Runtimes for
 * Kubernetes and nerdctl say the rest in annotations of their own; Podman says it to conmon, which runs the OCI
 * runtime, which runs the hook. org.svmd.name comes before all of these.
 */
enum { CALLED_NAME = 128 };

struct called_names {
        char name[CALLED_NAME], pod[CALLED_NAME], space[CALLED_NAME]; /* "": it is not known */
};

struct state;

/* `proc_root`: "/proc"; `pid`: who started the hook, the OCI runtime. */
void called_of(struct called_names *ret, const struct state *s, const char *proc_root, uint32_t pid);
/* Leaves a note for svmd, of the form that docs/containers.md has. 0 or -errno. */
int called_note(const char *runtime_dir, const char *id, uint32_t pid, uint64_t started, const struct called_names *n);
void called_forget(const char *runtime_dir, const char *id);
