#pragma once

struct drm_device;

/* How much memory the open device has, as its driver says, and what it is of SR-IOV; below `sys_root`. What cannot be
 * told stays 0. Its driver's name is known. */
void drm_about(struct drm_device *v, int fd, const char *sys_root);
