#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Sessions and processes without end. */

static void connections(struct message *m) {
        for (unsigned i = 0; i < 1500; i++) {
                int fd = raw_connect(target.socket);

                close(fd);
        }
}

static void sessions(struct message *m) {
        for (unsigned i = 0; i < 200; i++) {
                struct raw r;

                raw_attach(&r, target.socket, i % 2 ? HOSTILE_PARTITION : "");
                must(raw_op(&r, Reserve, RESERVE, reserve, NULL, b.size = 1 << 20) == 0);
                raw_close(&r);
        }
}

/* As many as a user may have, and more: svmd says which limit, and others of other users still come in. */
static void too_many(struct message *m) {
        static struct raw r[HOSTILE_SESSIONS + 8];
        unsigned refused = 0;

        for (unsigned i = 0; i < HOSTILE_SESSIONS + 8; i++) {
                Svmd__V1__Packet *p;

                r[i].fd = raw_connect(target.socket);
                if (i < HOSTILE_SESSIONS)
                        continue;
                p = raw_take(&r[i]);
                must(p && p->packet_case == SVMD__V1__PACKET__PACKET_EVENT);
                must(p->event->event_case == SVMD__V1__EVENT__EVENT_END && p->event->end->code == SVMD_E_QUOTA);
                must(strstr(p->event->end->text, "max-sessions-per-uid"));
                refused++;
        }
        must(refused == 8);
}

static void forks(struct message *m) {
        for (unsigned i = 0; i < 100; i++) {
                struct raw r;
                pid_t pid;

                raw_hello(&r, target.socket);
                pid = fork();
                must(pid >= 0);
                if (pid == 0) { /* with its parent's session */
                        raw_status(&r);
                        _exit(0);
                }
                must(waitpid(pid, NULL, 0) == pid);
                raw_close(&r);
        }
}

/* Many at a time, killed in the middle of what they do. */
static void killed(struct message *m) {
        for (unsigned round = 0; round < 5; round++) {
                pid_t pid[8];

                for (unsigned i = 0; i < 8; i++) {
                        pid[i] = fork();
                        must(pid[i] >= 0);
                        if (pid[i] > 0)
                                continue;
                        for (;;) {
                                struct raw r;

                                raw_attach(&r, target.socket, HOSTILE_PARTITION);
                                raw_op(&r, MemCreate, MEM_CREATE, mem_create, NULL, b.node = target.gpu;
                                       b.size = 65536);
                                raw_close(&r);
                        }
                }
                usleep(20000);
                for (unsigned i = 0; i < 8; i++) {
                        kill(pid[i], SIGKILL);
                        must(waitpid(pid[i], NULL, 0) == pid[i]);
                }
        }
}

const struct hostile_family hostile_storms = { "storms",
                                               { { .name = "connections", .run = connections },
                                                 { .name = "sessions", .run = sessions },
                                                 { .name = "too many sessions", .run = too_many },
                                                 { .name = "forks", .run = forks },
                                                 { .name = "killed", .run = killed } } };
