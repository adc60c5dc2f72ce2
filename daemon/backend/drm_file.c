#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm_bind.h"

/* What a client's file is, and what comes into it: the daemon's part, by libdrm. */

bool drm_file_is(const char *path, const char *driver, int fd, char *why, unsigned why_size) {
        struct stat device, file;
        drmVersionPtr version;
        bool same;

        if (stat(path, &device) < 0) {
                snprintf(why, why_size, "%s is not there: %s", path, strerror(errno));
                return false;
        }
        if (fstat(fd, &file) < 0 || !S_ISCHR(device.st_mode) || !S_ISCHR(file.st_mode) ||
            file.st_rdev != device.st_rdev) {
                snprintf(why, why_size, "the descriptor is no open %s", path);
                return false;
        }
        version = drmGetVersion(fd);
        same = version && version->name && strcmp(version->name, driver) == 0;
        if (!same)
                snprintf(why, why_size, "the driver of %s says it is %.32s and not %s: the device has changed", path,
                         version && version->name ? version->name : "none", driver);
        if (version)
                drmFreeVersion(version);
        return same;
}

int drm_file_is_of(pid_t process, int theirs, int fd) {
        long r = syscall(SYS_kcmp, process, getpid(), KCMP_FILE, (unsigned long)theirs, (unsigned long)fd);

        return r < 0 ? -errno : r == 0;
}

int drm_file_import(int fd, int dmabuf, uint32_t *ret_handle) {
        uint32_t handle = 0;

        if (drmPrimeFDToHandle(fd, dmabuf, &handle) != 0)
                return -errno;
        *ret_handle = handle;
        return 0;
}
