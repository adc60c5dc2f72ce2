/* Stands for the driver's call that gives a stream: FUSE cannot give a new descriptor, so the emulator has it not.
 * Linked into svmd-smi in place of ioctl() (svmd-smi-standin). The stream of a GPU is a connection to SMI_STANDIN/ID;
 * where nobody listens, the driver has no such GPU. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/uapi/kfd.h"

int __wrap_ioctl(int fd, unsigned long number, ...);

int __wrap_ioctl(int fd, unsigned long number, ...) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct kfd_smi_events_args *args;
        va_list ap;
        int stream;

        if (number != KFD_SMI_EVENTS) {
                errno = ENOTTY;
                return -1;
        }
        va_start(ap, number);
        args = va_arg(ap, struct kfd_smi_events_args *);
        va_end(ap);
        snprintf(a.sun_path, sizeof(a.sun_path), "%s/%u", getenv("SMI_STANDIN"), args->gpu_id);
        stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (stream < 0 || connect(stream, (struct sockaddr *)&a, sizeof(a)) < 0) {
                if (stream >= 0)
                        close(stream);
                errno = EINVAL;
                return -1;
        }
        args->anon_fd = (uint32_t)stream;
        return 0;
}
