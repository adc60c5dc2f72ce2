#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Clients that do not read, or slowly: svmd's memory stays bounded, and nothing that it owes is lost. */

/* A sanitizer keeps back what was freed, and has several bytes of its own to each byte that is touched. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEPT_BACK (256u << 20)
#else
#define KEPT_BACK 0u
#endif

enum { DEAF = 8, EVENTS = 200, QUEUED_MOST = 2 << 20 };

/* Of svmd; where it cannot be seen, somebody else looks. */
static uint64_t rss(void) {
        return target.svmd ? process_rss(target.svmd) : 0;
}

static void never(struct message *m) {
        uint64_t before = rss(), sent[DEAF];
        struct raw r[DEAF];

        for (unsigned i = 0; i < DEAF; i++) {
                raw_hello(&r[i], target.socket);
                sent[i] = raw_flood(&r[i]);
                must(sent[i] > 0 && sent[i] < 100000);
        }
        must(rss() < before + DEAF * (1u << 20) + (8u << 20) + KEPT_BACK);
        for (uint64_t i = 0; i < sent[0]; i++) /* late is not lost */
                must(raw_code(&r[0]) == 0);
        for (unsigned i = 0; i < DEAF; i++)
                raw_close(&r[i]);
}

/* Until svmd says that it reads no more of this user. */
static void await_full(void) {
        struct daemon d = { 0 };
        uint64_t until = now_ms() + CEILING_MS;

        if (!target.svmd)
                return; /* what it says is not seen; its memory is bounded all the same */
        snprintf(d.dir, sizeof(d.dir), "%s", target.dir);
        while (!daemon_said(&d, "does not take")) {
                must(now_ms() < until);
                usleep(5000);
        }
}

/* Takes a packet from each that has one, until all have got what they were owed. */
static void take_all(const struct raw *r, unsigned *owed) {
        struct pollfd p[HOSTILE_SESSIONS];
        uint64_t left = 0;

        for (unsigned i = 0; i < HOSTILE_SESSIONS; i++)
                left += owed[i];
        while (left > 0) {
                for (unsigned i = 0; i < HOSTILE_SESSIONS; i++)
                        p[i] = (struct pollfd){ .fd = owed[i] ? r[i].fd : -1, .events = POLLIN };
                must(poll(p, HOSTILE_SESSIONS, (int)CEILING_MS) > 0);
                for (unsigned i = 0; i < HOSTILE_SESSIONS; i++) {
                        if (!(p[i].revents & POLLIN))
                                continue;
                        must(recv(r[i].fd, raw_buffer, sizeof(raw_buffer), MSG_DONTWAIT) > 0);
                        owed[i]--;
                        left--;
                }
        }
}

/* The largest replies that there are, unread by as many sessions as a user may have: one would wait for each, were it
 * not for what may wait for the user. Who reads then gets all that he has asked for. */
static void large(struct message *m) {
        static Svmd__V1__Free body = SVMD__V1__FREE__INIT;
        static Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[SVMD_OPS_MAX];
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        uint64_t before = rss();
        unsigned owed[HOSTILE_SESSIONS] = { 0 };
        struct raw r[HOSTILE_SESSIONS];

        body.reservation = 1ull << 50; /* the refusal of each is a sentence */
        op.op_case = SVMD__V1__OP__OP_FREE;
        op.free = &body;
        for (unsigned i = 0; i < SVMD_OPS_MAX; i++)
                ops[i] = &op;
        request.n_ops = SVMD_OPS_MAX;
        request.ops = ops;
        for (unsigned i = 0; i < HOSTILE_SESSIONS; i++)
                raw_hello(&r[i], target.socket);
        for (unsigned i = 0; i < HOSTILE_SESSIONS; i++)
                for (request.id = 2; request.id < 40; request.id++) {
                        ssize_t n = encode_request(&request, raw_buffer, sizeof(raw_buffer));

                        if (send(r[i].fd, raw_buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
                                break;
                        owed[i]++;
                }
        await_full();
        must(rss() < before + 2 * QUEUED_MOST + (16u << 20) + KEPT_BACK);
        take_all(r, owed);
        for (unsigned i = 0; i < HOSTILE_SESSIONS; i++)
                raw_close(&r[i]);
}

/* A client that takes one reply a millisecond while it sends without end. */
static void slow(struct message *m) {
        struct raw r;
        uint64_t sent;

        raw_hello(&r, target.socket);
        sent = raw_flood(&r);
        for (uint64_t i = 0; i < sent; i++) {
                must(raw_code(&r) == 0);
                if (i % 16 == 0)
                        usleep(1000);
        }
        raw_close(&r);
}

/* A packet taken with too little room: its rest is gone, and the client's trouble alone. */
static void truncating(struct message *m) {
        struct raw r;
        char byte;

        raw_hello(&r, target.socket);
        for (unsigned i = 0; i < 50; i++) {
                Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
                Svmd__V1__Op op = SVMD__V1__OP__INIT;

                op.op_case = SVMD__V1__OP__OP_STATUS;
                op.status = &body;
                raw_send(&r, &op, NULL);
                must(recv(r.fd, &byte, 1, 0) == 1);
        }
        must(raw_status(&r) == 0);
        raw_close(&r);
}

/* Its events are what others of its own user do; it is told how many it missed, exactly. */
static void events(struct message *m) {
        uint64_t got = 0, dropped = 0, wanted;
        struct raw r;

        raw_attach(&r, target.socket, "");
        must(raw_op(&r, SpaceCreate, SPACE_CREATE, space_create, NULL, b.node = target.gpu) == 0);
        {
                uint64_t space = r.object;

                for (wanted = 0; wanted < EVENTS; wanted++) {
                        Svmd__V1__Submit body = SVMD__V1__SUBMIT__INIT;
                        Svmd__V1__Op op = SVMD__V1__OP__INIT;

                        body.space = space;
                        body.op = SVMD__V1__DEVICE_OP__DEVICE_FILL;
                        body.dst = 4096 * 1024;
                        body.size = 4096;
                        op.op_case = SVMD__V1__OP__OP_SUBMIT;
                        op.submit = &body;
                        raw_send(&r, &op, NULL);
                }
        }
        while (got + dropped < wanted) {
                Svmd__V1__Packet *p = raw_take(&r);

                must(p);
                if (p->packet_case != SVMD__V1__PACKET__PACKET_EVENT)
                        continue;
                got += p->event->event_case == SVMD__V1__EVENT__EVENT_FENCE;
                dropped += p->event->dropped;
        }
        raw_close(&r);
}

const struct hostile_family hostile_readers = { "readers",
                                                { { .name = "never", .run = never },
                                                  { .name = "large replies", .run = large },
                                                  { .name = "slow", .run = slow },
                                                  { .name = "truncating", .run = truncating },
                                                  { .name = "events", .run = events } } };
