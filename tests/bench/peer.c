#include "peer.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "proto/limits.h"

enum { DAEMON_CPU = 1 };

static void answer_for_ever(int socket, size_t size) {
        static char bytes[SVMD_PACKET_MAX];

        pin_to(DAEMON_CPU);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (recv(socket, bytes, sizeof(bytes), 0) > 0)
                if (send(socket, bytes, size, MSG_NOSIGNAL) < 0)
                        break;
        _exit(0);
}

int peer_start(size_t size) {
        int pair[2];
        pid_t pid;

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "no sockets could be made");
        pid = fork();
        must(pid >= 0, "no process could be made");
        if (pid == 0) {
                close(pair[0]);
                answer_for_ever(pair[1], size);
        }
        close(pair[1]);
        return pair[0];
}

double peer_ns(int peer, size_t sent, size_t received, int trips) {
        static char bytes[SVMD_PACKET_MAX];
        uint64_t start = now_ns();

        for (int i = 0; i < trips; i++) {
                must(send(peer, bytes, sent, MSG_NOSIGNAL) == (ssize_t)sent, "the peer takes nothing");
                must(recv(peer, bytes, sizeof(bytes), 0) == (ssize_t)received, "the peer does not answer");
        }
        return (double)(now_ns() - start) / trips;
}
