#pragma once

/* The model as /dev/kfd, and what sysfs shows of processes (the folder kfd-proc). `m` stays with the caller. */
struct emul;
struct machine;

int kfd_file_add(struct emul *e, const struct machine *m);
