#pragma once

struct drm;
struct machine;

/*
 * Which region of the kernel's controller of device memory a GPU's memory is: drivers register it by a name of their
 * own, in which the device's place on its bus is. A node is told of it where the controller has it and says that it is
 * as large as the node: several nodes, or a part of one, have no bounds of their own there.
 */

/* Of nodes that were found, when drivers have said what there is; `dmem_root` as configured, or NULL. */
void regions_add(struct machine *m, struct drm *drm, const char *dmem_root, const char *sys_root);
