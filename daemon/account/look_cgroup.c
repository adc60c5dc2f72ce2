#include "account/look.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_ROOM = 16384 };

/* The beginning of a file; 0 bytes where it cannot be read. */
static size_t read_file(const char *path, char *to, size_t room) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        size_t n = 0;
        ssize_t k = 1;

        if (fd < 0)
                return 0;
        while (n < room && (k = read(fd, to + n, room - n)) > 0)
                n += (size_t)k;
        close(fd);
        return n;
}

static bool is_there(const char *root, const char *name) {
        char path[LOOK_FOLDER];

        return snprintf(path, sizeof(path), "%s/fs/cgroup/%s", root, name) < (int)sizeof(path) &&
               access(path, F_OK) == 0;
}

bool look_group_folder(const char *sys_root, unsigned version, const char *path, char folder[LOOK_FOLDER]) {
        const char *mount = version == 1                               ? "/memory"
                            : is_there(sys_root, "cgroup.controllers") ? ""
                            : is_there(sys_root, "unified")            ? "/unified"
                                                                       : "";

        if (path[0] != '/' || strstr(path, "/.."))
                return false;
        return snprintf(folder, LOOK_FOLDER, "%s/fs/cgroup%s%s", sys_root, mount, strcmp(path, "/") == 0 ? "" : path) <
               LOOK_FOLDER;
}

bool look_dmem_folder(const char *given, const char *sys_root, char folder[LOOK_FOLDER]) {
        if (given)
                return snprintf(folder, LOOK_FOLDER, "%s", given) < LOOK_FOLDER;
        return sys_root && look_group_folder(sys_root, 2, "/", folder);
}

unsigned look_memory_folder(const char *proc_root, const char *sys_root, uint32_t pid, char folder[LOOK_FOLDER]) {
        char path[LOOK_FOLDER], text[TEXT_ROOM];
        unsigned version;
        size_t n;

        snprintf(path, sizeof(path), "%s/%u/cgroup", proc_root, pid);
        n = read_file(path, text, sizeof(text));
        version = where_memory(text, n, path, sizeof(path));
        return version && look_group_folder(sys_root, version, path, folder) ? version : 0;
}

/* Of the group and those above it, up to the root of the hierarchy, the one that has least room left. */
static void find_limit(const char *folder, size_t length, size_t root, unsigned version, struct look_cgroup *ret) {
        while (length > root) {
                struct memcg m = MEMCG_NONE;

                if (memcg_read(folder, length, version, MEMCG_LIMITS, &m) && memcg_limit(&m) != MEMCG_NO_LIMIT &&
                    memcg_read(folder, length, version, MEMCG_USE, &m) && memcg_room(&m) < ret->room) {
                        ret->limit = memcg_limit(&m);
                        ret->room = memcg_room(&m);
                }
                while (length > root && folder[--length] != '/')
                        ;
        }
}

/* Where memory has a hierarchy of version 1, the path is of that one. */
void look_at_cgroup(const char *sys_root, const char *cgroup, struct look_cgroup *ret) {
        char folder[LOOK_FOLDER], file[LOOK_FOLDER + 16], text[TEXT_ROOM];
        unsigned version = is_there(sys_root, "memory/memory.usage_in_bytes") ? 1 : 2;
        size_t n, length;

        *ret = (struct look_cgroup){ .memory = MEMCG_NONE, .limit = MEMCG_NO_LIMIT, .room = MEMCG_NO_LIMIT };
        if (!look_group_folder(sys_root, version, cgroup, folder))
                return;
        length = strlen(folder);
        ret->has_memory = memcg_read(folder, length, version, MEMCG_USE, &ret->memory);
        if (ret->has_memory) {
                (void)memcg_read(folder, length, version, MEMCG_ALL, &ret->memory);
                find_limit(folder, length, length - strlen(cgroup), version, ret);
        }
        if (!look_group_folder(sys_root, 2, cgroup, folder))
                return;
        snprintf(file, sizeof(file), "%s/dmem.current", folder);
        n = read_file(file, text, sizeof(text));
        ret->regions_count = dmem_parse(text, n, ret->regions, REPORT_REGIONS);
        if (ret->regions_count > REPORT_REGIONS)
                ret->regions_count = REPORT_REGIONS;
}
