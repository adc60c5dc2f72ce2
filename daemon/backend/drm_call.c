#include <errno.h>
#include <sys/ioctl.h>

#include "backend/drm_bind.h"

/* A driver that is interrupted, or out of something for a moment, wants to be asked again. */
int drm_call(int fd, unsigned long request, void *arg) {
        int r;

        do
                r = ioctl(fd, request, arg);
        while (r < 0 && (errno == EINTR || errno == EAGAIN));
        return r < 0 ? -errno : 0;
}
