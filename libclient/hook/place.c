#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_util.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int place_root(const char *bundle, char *ret, size_t size) {
        char path[4096];
        struct json_object *o, *root, *value;
        const char *text;
        int n = -1;

        snprintf(path, sizeof(path), "%s/config.json", bundle);
        o = json_object_from_file(path);
        if (o && json_object_object_get_ex(o, "root", &root) && json_object_object_get_ex(root, "path", &value) &&
            json_object_is_type(value, json_type_string)) {
                text = json_object_get_string(value);
                n = snprintf(ret, size, "%s%s%s", *text == '/' ? "" : bundle, *text == '/' ? "" : "/", text);
        }
        json_object_put(o);
        return n < 0 ? -ENOENT : (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* One step of the way, made where it is missing. Takes `fd` over. */
static int step(int fd, const char *name) {
        struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS };
        int next;

        if (mkdirat(fd, name, 0755) < 0 && errno != EEXIST)
                next = -1;
        else
                next = (int)syscall(SYS_openat2, fd, name, &how, sizeof(how));
        next = next < 0 ? -errno : next;
        close(fd);
        return next;
}

/* Symbolic links on the way are an error: an image must not choose where in the host it is. */
static int walk(const char *root, const char *at) {
        char copy[256], *rest = copy;
        int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        snprintf(copy, sizeof(copy), "%s", at + 1);
        for (char *name; fd >= 0 && (name = strsep(&rest, "/"));)
                fd = step(fd, name);
        return fd;
}

static bool is_same(int tree, int target) {
        struct stat a, b;

        return fstat(tree, &a) == 0 && fstat(target, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* In a process of its own, which ends in that namespace. */
static int mount_there(int tree, uint32_t pid, const char *root, const char *at) {
        char path[64];
        int target, namespace;

        snprintf(path, sizeof(path), "/proc/%u/ns/mnt", pid);
        namespace = open(path, O_RDONLY | O_CLOEXEC);
        if (namespace < 0 || setns(namespace, CLONE_NEWNS) < 0)
                return errno;
        target = walk(root, at);
        if (target < 0)
                return -target;
        if (is_same(tree, target))
                return 0;
        if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return errno;
        return 0;
}

int place_mount(const char *folder, uint32_t pid, const char *root, const char *at) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                                   .propagation = MS_PRIVATE };
        int tree = open_tree(AT_FDCWD, folder, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), status, r;
        pid_t child;

        if (tree < 0)
                return -errno;
        child = mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -1 : fork();
        r = child < 0 ? -errno : 0;
        if (child == 0)
                _exit(mount_there(tree, pid, root, at) & 0xff);
        close(tree);
        if (r < 0)
                return r;
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}
