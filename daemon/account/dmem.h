#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The kernel's controller of device memory (dmem, Linux 6.14 and later), in groups of version 2:
 *
 *      ROOT/dmem.capacity              drm/0000:03:00.0/vram0 8514437120      regions that drivers have registered
 *      ROOT/GROUP/dmem.current         drm/0000:03:00.0/vram0 1048576         what the group and those in it have
 *      ROOT/GROUP/dmem.max, low, min   drm/0000:03:00.0/vram0 max             limits; one region a write
 *
 * Limits count in pages: a write is rounded down. Where the kernel has no such controller, a folder with the same files
 * can stand for it (an emulation): whoever makes it makes its groups, and one line of a file is replaced where the
 * kernel would take a write.
 */
enum dmem_value { DMEM_MAX, DMEM_LOW, DMEM_MIN, DMEM_VALUES };

#define DMEM_NO_LIMIT UINT64_MAX

struct dmem_group {
        uint64_t number; /* the folder's: another one with the same name has another number */
        uint64_t value[DMEM_VALUES];
        uint64_t current;
};
#define DMEM_GROUP_NONE ((struct dmem_group){ .value = { DMEM_NO_LIMIT, 0, 0 } })

/* ---- pure ---- */

/* What is there for the region; "max" is DMEM_NO_LIMIT. False: it has no line. */
bool dmem_find(const char *text, size_t size, const char *region, uint64_t *ret);
/* The text with that line in the place of what it had for the region. The bytes it takes, also where that is more than
 * `room`, and what is there is then cut off. */
size_t dmem_replace(const char *text, size_t size, const char *line, char *to, size_t room);
/* "REGION VALUE\n", as it is written; as much as snprintf would. */
int dmem_line(char *to, size_t room, const char *region, uint64_t value);
/* What the kernel makes of a limit. */
uint64_t dmem_rounded(uint64_t value);

/* ---- files ---- */

/* 0, or -errno: there is no controller, or (-ENODEV) no such region. */
int dmem_capacity(const char *root, const char *region, uint64_t *ret);
/* 0, or -ENOENT: there is no such group, or dmem is not on for it. */
int dmem_read(const char *root, const char *group, const char *region, struct dmem_group *ret);
/* 0 or -errno. That it was taken is only seen by reading it: the kernel keeps a max that is less than what is used as
 * it was, and says nothing. */
int dmem_write(const char *root, bool emulated, const char *group, const char *region, enum dmem_value which,
               uint64_t value);
