#pragma once

/* The DRM files of a machine's GPUs, as far as libhsakmt opens them: amdgpu's name and what it says of the device. */
struct emul;
struct machine;

int render_add(struct emul *e, const struct machine *m);
