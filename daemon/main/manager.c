#include "main/manager.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"

enum { STATUS_MS = 5000 };

static int take(int fd, struct transport_given *ret) {
        struct sockaddr_un a = { 0 };
        socklen_t size = sizeof(a);

        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0 ||
            getsockname(fd, (struct sockaddr *)&a, &size) < 0 || a.sun_path[0] != '/' ||
            fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return -1;
        ret->fd = fd;
        memcpy(ret->path, a.sun_path, sizeof(ret->path));
        ret->path[sizeof(ret->path) - 1] = 0;
        return 0;
}

size_t manager_sockets(struct transport_given given[MANAGER_SOCKETS]) {
        int n = sd_listen_fds(1);
        size_t taken = 0;

        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (taken < MANAGER_SOCKETS && take(fd, &given[taken]) == 0) {
                        taken++;
                        continue;
                }
                log_warning("descriptor %d of the service manager is no socket that svmd can use (SOCK_SEQPACKET, "
                            "listening at a path), and is closed",
                            fd);
                close(fd);
        }
        return taken;
}

/* Twice in the time that the manager waits. */
uint64_t manager_beat_ms(void) {
        uint64_t us;

        if (sd_watchdog_enabled(0, &us) > 0)
                return us / 2000 ? us / 2000 : 1;
        return sd_notify(0, "") > 0 ? STATUS_MS : 0;
}

void manager_alive(uint32_t nodes, uint64_t sessions) {
        sd_notifyf(0, "WATCHDOG=1\nSTATUS=%" PRIu32 " nodes, %" PRIu64 " sessions", nodes, sessions);
}

void manager_ready(uint32_t nodes, uint64_t sessions) {
        sd_notifyf(0, "READY=1\nSTATUS=%" PRIu32 " nodes, %" PRIu64 " sessions", nodes, sessions);
}

void manager_reloading(void) {
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reading the configuration again",
                   clock_ns(CLOCK_MONOTONIC) / 1000);
}

void manager_becoming(const char *program) {
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=becoming %s", clock_ns(CLOCK_MONOTONIC) / 1000,
                   program);
}

void manager_stopping(void) {
        sd_notify(0, "STOPPING=1");
}
