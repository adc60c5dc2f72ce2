#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "event.h"
#include "fence.h"
#include "grant.h"
#include "proto/limits.h"
#include "proto/socket.h"

/*
 * Any thread sends, under the lock, so the order of ids is the order on the wire. Of the threads that wait, one reads
 * for all of them (the reader): it decodes a packet into the session's inbox and swaps that with the inbox of the call
 * that the reply is for, takes in events, and goes on until its own wait is over; then it wakes the next waiter, who
 * becomes the reader.
 *
 * The list of calls is ordered by id and the calls that did not go out are its tail (`unsent`). A socket that is full
 * leaves a tail; the reader then also polls for room, and so does the owner of a call in the tail. Nobody ever waits
 * for room without somebody reading, so two full sockets cannot lock each other up.
 *
 * When another svmd takes over, all unanswered calls become the tail: they are sent again, the same bytes. A reply that
 * then comes twice finds no call and is dropped.
 */

enum { ID_ROOM = 11, BYTES_FIRST = 1024, END_TEXT_MAX = 512, GRANTS_ROOM = 3072 };

int waiter_init(struct waiter *w) {
        pthread_condattr_t attr;
        int r;

        memset(w, 0, sizeof(*w));
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        r = pthread_cond_init(&w->wake, &attr);
        pthread_condattr_destroy(&attr);
        return -r;
}

static struct inbox *inbox_new(void) {
        struct inbox *in = calloc(1, sizeof(*in));

        if (in)
                arena_init(&in->arena);
        return in;
}

static void inbox_clear(struct inbox *in) {
        fdlist_close(&in->fds);
        arena_reset(&in->arena);
        in->packet = NULL;
}

static void inbox_free(struct inbox *in) {
        if (!in)
                return;
        fdlist_close(&in->fds);
        arena_fini(&in->arena);
        free(in);
}

/* In the child of a fork, threads that are not there may seem to wait, and would be waited for. */
static void call_free(struct call *c, bool forked) {
        if (!c)
                return;
        if (!forked)
                pthread_cond_destroy(&c->waiter.wake);
        fdlist_close(&c->fds);
        inbox_free(c->in);
        free(c->asked);
        free(c->bytes);
        free(c);
}

static struct call *call_new(void) {
        struct call *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        if (waiter_init(&c->waiter) < 0) {
                free(c);
                return NULL;
        }
        c->bytes = malloc(BYTES_FIRST);
        c->room = BYTES_FIRST;
        c->in = inbox_new();
        if (c->bytes && c->in)
                return c;
        call_free(c, false);
        return NULL;
}

/* With `lock` held. */
static struct call *call_get(svmd_session *s) {
        struct call *c = s->spare_calls;

        if (!c)
                return call_new();
        s->spare_calls = c->next;
        c->next = NULL;
        c->waiter.done = false;
        c->fences = NULL;
        c->fences_count = 0;
        c->error = 0;
        return c;
}

/* With `lock` held. */
static void call_spare(svmd_session *s, struct call *c) {
        fdlist_close(&c->fds);
        inbox_clear(c->in);
        free(c->asked);
        c->asked = NULL;
        c->next = s->spare_calls;
        s->spare_calls = c;
}

void call_put(svmd_session *s, struct call *c) {
        pthread_mutex_lock(&s->lock);
        call_spare(s, c);
        pthread_mutex_unlock(&s->lock);
}

static void call_unlink(svmd_session *s, struct call *c) {
        if (s->unsent == c)
                s->unsent = c->next;
        *c->link = c->next;
        if (c->next)
                c->next->link = c->link;
        else
                s->calls_end = c->link;
        c->next = NULL;
}

static void call_link(svmd_session *s, struct call *c) {
        c->link = s->calls_end;
        *s->calls_end = c;
        s->calls_end = &c->next;
        if (!s->unsent)
                s->unsent = c;
}

static void wake(struct waiter *w) {
        w->done = true;
        pthread_cond_signal(&w->wake);
}

static void call_over(svmd_session *s, struct call *c) {
        call_unlink(s, c);
        if (c->asked)
                call_spare(s, c);
        else
                wake(&c->waiter);
}

/* ---- the end ---- */

static void end(svmd_session *s, const char *text) {
        if (s->ended)
                return;
        s->ended = true;
        if (!s->end_text[0])
                strncat(s->end_text, text, END_TEXT_MAX - 1);
        fence_end_all(s, SVMD_E_GONE, s->end_text);
        while (s->calls)
                call_over(s, s->calls);
        for (struct waiter *w = s->waiters; w; w = w->next)
                wake(w);
        event_ended(s);
        event_wake(s);
}

/* ---- sending ---- */

/* Sends the tail, as far as there is room. A packet that the kernel refuses for itself fails alone; an end of the
 * connection is left to the reader, who finds what svmd said before. */
static void flush(svmd_session *s) {
        while (s->unsent) {
                struct call *c = s->unsent;
                int r = packet_send(s->socket, c->bytes, c->size, &c->fds, MSG_DONTWAIT);

                if (r == -EAGAIN)
                        return;
                s->unsent = c->next;
                if (r < 0 && r != -EPIPE && r != -ECONNRESET && r != -ENOTCONN) {
                        c->error = -r;
                        call_over(s, c);
                }
        }
}

static int make_room(struct call *c, size_t size) {
        unsigned char *bytes;

        if (size <= c->room)
                return 0;
        bytes = realloc(c->bytes, size);
        if (!bytes)
                return -ENOMEM;
        c->bytes = bytes;
        c->room = size;
        return 0;
}

/* All but the id, which is appended when the call gets its place in the order: fields may come in any order. How long a
 * request is only its bytes say; a call keeps the room that it once needed. */
static int pack(struct call *c, const Svmd__V1__Request *request) {
        size_t room = c->room < SVMD_PACKET_MAX ? c->room : SVMD_PACKET_MAX;
        ssize_t n;

        while ((n = encode_request(request, c->bytes, room - ID_ROOM)) == -EMSGSIZE && room < SVMD_PACKET_MAX) {
                room = room < SVMD_PACKET_MAX / 4 ? 4 * room : SVMD_PACKET_MAX;
                if (make_room(c, room) < 0)
                        return -ENOMEM;
        }
        if (n < 0)
                return (int)n;
        c->size = (size_t)n;
        return 0;
}

static void pack_id(struct call *c, uint64_t id) {
        unsigned char *p = c->bytes + c->size;

        c->id = id;
        *p++ = 1 << 3; /* field 1, varint */
        for (; id >= 0x80; id >>= 7)
                *p++ = (unsigned char)(id | 0x80);
        *p++ = (unsigned char)id;
        c->size = (size_t)(p - c->bytes);
}

/* Whatever waits to be told; without memory it waits for the next. */
static void pack_grants(svmd_session *s, struct call *c) {
        if (!s->grants || make_room(c, c->size + GRANTS_ROOM + ID_ROOM) < 0)
                return;
        if (c->size + GRANTS_ROOM + ID_ROOM <= SVMD_PACKET_MAX)
                c->size += grants_pack(s, c->bytes + c->size, GRANTS_ROOM);
}

static int keep_descriptors(struct call *c, const int *fds, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return -errno;
                if (fdlist_add(&c->fds, fd) < 0) {
                        close(fd);
                        return -EMFILE;
                }
        }
        return 0;
}

static void submit(svmd_session *s, struct call *c) {
        pack_grants(s, c);
        pack_id(c, ++s->last_id);
        call_link(s, c);
        if (s->unsent == c)
                flush(s);
}

/* ---- fences that are asked for ---- */

enum { ASK_MAX = 256 };

static bool ask_some(svmd_session *s, const struct svmd_fence **from) {
        Svmd__V1__FenceQuery query[ASK_MAX];
        Svmd__V1__Op op[ASK_MAX], *ops[ASK_MAX];
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c = call_get(s);

        if (!c)
                return false;
        c->asked = calloc(ASK_MAX, sizeof(*c->asked));
        request.ops = ops;
        for (; c->asked && *from && request.n_ops < ASK_MAX; *from = (*from)->next) {
                size_t i = request.n_ops++;

                svmd__v1__fence_query__init(&query[i]);
                svmd__v1__op__init(&op[i]);
                query[i].fence = c->asked[i] = (*from)->id;
                op[i].op_case = SVMD__V1__OP__OP_FENCE_QUERY;
                op[i].fence_query = &query[i];
                ops[i] = &op[i];
        }
        if (!c->asked || pack(c, &request) < 0) {
                call_spare(s, c);
                return false;
        }
        submit(s, c);
        return true;
}

void wire_ask_fences(svmd_session *s) {
        const struct svmd_fence *from = s->pending;

        while (from && ask_some(s, &from))
                ;
}

static void take_asked(svmd_session *s, const struct call *c, const Svmd__V1__Reply *reply) {
        for (size_t i = 0; i < reply->n_results && i < ASK_MAX && c->asked[i]; i++) {
                const Svmd__V1__Result *r = reply->results[i];

                if (r->code)
                        fence_failed(s, c->asked[i], (int)r->code, r->text);
                else if (r->detail_case == SVMD__V1__RESULT__DETAIL_FENCE && r->fence->done)
                        fence_done(s, c->asked[i], r->fence);
        }
}

/* ---- reading ---- */

static void take_refusal(svmd_session *s, const Svmd__V1__Reply *reply) {
        if (!reply->n_results || s->end_text[0])
                return;
        s->end_code = (int)reply->results[0]->code;
        strncat(s->end_text, reply->results[0]->text, END_TEXT_MAX - 1);
}

/* A reply with another number of results fails the call, and the fences go with it. */
static void take_fences(svmd_session *s, const struct call *c, const Svmd__V1__Reply *reply) {
        for (size_t i = 0; i < c->fences_count && reply->n_results == c->fences_count; i++) {
                if (!reply->results[i]->code)
                        fence_link(s, c->fences[i], reply->results[i]->id);
        }
}

static void take_reply(svmd_session *s, const Svmd__V1__Reply *reply) {
        struct call *c = s->calls;
        struct inbox *in;
        bool resent;

        if (!reply->id) {
                take_refusal(s, reply);
                return;
        }
        while (c && c->id < reply->id)
                c = c->next;
        if (!c || c->id != reply->id)
                return;
        grants_refused(s, reply);
        if (c->asked)
                take_asked(s, c, reply);
        resent = c->fences && c->id <= s->epoch_id;
        take_fences(s, c, reply);
        in = c->in;
        c->in = s->in;
        s->in = in;
        call_over(s, c);
        /* Its fence may be one of an earlier svmd, whose end no event tells. */
        if (resent)
                wire_ask_fences(s);
}

static void take_epoch(svmd_session *s, const Svmd__V1__EpochEvent *epoch) {
        s->info.epoch = epoch->epoch;
        s->unsent = s->calls;
        s->epoch_id = s->last_id;
        s->refresh_all = true;
        flush(s);
        wire_ask_fences(s);
}

static void take_end(svmd_session *s, const Svmd__V1__EndEvent *e) {
        s->end_code = (int)e->code;
        s->end_text[0] = 0;
        strncat(s->end_text, e->text, END_TEXT_MAX - 1);
}

static void take_event(svmd_session *s, const Svmd__V1__Event *event) {
        if (event->event_case == SVMD__V1__EVENT__EVENT_FENCE && event->fence->result)
                fence_done(s, event->fence->fence, event->fence->result);
        if (event->event_case == SVMD__V1__EVENT__EVENT_EPOCH)
                take_epoch(s, event->epoch);
        if (event->event_case == SVMD__V1__EVENT__EVENT_END)
                take_end(s, event->end);
        if (event->dropped) {
                s->refresh_all = true;
                wire_ask_fences(s);
        }
        event_take(s, event);
        event_wake(s);
}

static void take_packet(svmd_session *s) {
        const Svmd__V1__Packet *p = s->in->packet;

        if (p->packet_case == SVMD__V1__PACKET__PACKET_REPLY)
                take_reply(s, p->reply);
        else if (p->packet_case == SVMD__V1__PACKET__PACKET_EVENT)
                take_event(s, p->event);
}

static void take_failure(svmd_session *s, int error) {
        char why[128];

        switch (error) {
        case 0: end(s, "svmd closed the connection; connect again"); return;
        case ECONNRESET:
                if (s->reset)
                        end(s, "svmd closed the connection; connect again");
                s->reset = true; /* what it wrote before is still to be read */
                return;
        case EBADMSG:
                end(s, "svmd sent what this process could not take in: file descriptors beyond its limit (see ulimit "
                       "-n), or a message that libsvmd does not understand; connect again");
                return;
        default:
                snprintf(why, sizeof(why), "the connection to svmd failed: %s; connect again",
                         strerrordesc_np(error) ?: "unknown error");
                end(s, why);
        }
}

/* Milliseconds until the deadline, rounded up; -1 for none. */
static int left_ms(const struct timespec *deadline) {
        struct timespec now;
        int64_t ns;

        if (!deadline)
                return -1;
        clock_gettime(CLOCK_MONOTONIC, &now);
        ns = (deadline->tv_sec - now.tv_sec) * 1000000000ll + deadline->tv_nsec - now.tv_nsec;
        if (ns <= 0)
                return 0;
        return ns / 1000000 >= INT32_MAX ? INT32_MAX : (int)((ns + 999999) / 1000000);
}

/* Without the lock, by the reader: bytes, 0 at the end, -EAGAIN when nothing came until the deadline or there is room
 * again for the tail. A reader that waits for nothing else goes straight into recvmsg(). */
static ssize_t receive(svmd_session *s, bool unsent, const struct timespec *deadline) {
        struct pollfd p = { .fd = s->socket, .events = POLLIN | (unsent ? POLLOUT : 0) };
        ssize_t n;

        if (!unsent && !deadline)
                return packet_recv(s->socket, s->buffer, SVMD_PACKET_MAX, &s->in->fds, 0);
        n = packet_recv(s->socket, s->buffer, SVMD_PACKET_MAX, &s->in->fds, MSG_DONTWAIT);
        if (n != -EAGAIN)
                return n;
        if (poll(&p, 1, left_ms(deadline)) < 0 && errno != EINTR)
                return -errno;
        if (!(p.revents & (POLLIN | POLLHUP | POLLERR)))
                return -EAGAIN;
        return packet_recv(s->socket, s->buffer, SVMD_PACKET_MAX, &s->in->fds, MSG_DONTWAIT);
}

/* By the reader, with `lock` held, which is let go meanwhile. False when nothing was there to read. */
static bool read_one(svmd_session *s, const struct timespec *deadline) {
        bool unsent = s->unsent;
        ssize_t n;

        pthread_mutex_unlock(&s->lock);
        n = receive(s, unsent, deadline);
        if (n > 0) {
                s->in->packet = decode_packet(&s->in->arena, s->buffer, (size_t)n);
                if (!s->in->packet)
                        n = -errno;
        }
        pthread_mutex_lock(&s->lock);
        if (n > 0)
                take_packet(s);
        else if (n != -EAGAIN)
                take_failure(s, (int)-n);
        inbox_clear(s->in);
        flush(s);
        return n != -EAGAIN;
}

static void waiter_link(svmd_session *s, struct waiter *w) {
        w->next = NULL;
        w->link = s->waiters_end;
        *s->waiters_end = w;
        s->waiters_end = &w->next;
}

static void waiter_unlink(svmd_session *s, struct waiter *w) {
        *w->link = w->next;
        if (w->next)
                w->next->link = w->link;
        else
                s->waiters_end = w->link;
}

/* The reader leaves: the first waiter that is not done takes its place. */
static void hand_over(svmd_session *s) {
        s->reading = false;
        for (struct waiter *w = s->waiters; w; w = w->next) {
                if (!w->done) {
                        pthread_cond_signal(&w->wake);
                        return;
                }
        }
}

/* Another thread reads, and may be deep in recvmsg() without an eye on the room. */
static void wait_for_room(svmd_session *s) {
        struct pollfd p = { .fd = s->socket, .events = POLLOUT };

        pthread_mutex_unlock(&s->lock);
        poll(&p, 1, -1);
        pthread_mutex_lock(&s->lock);
        flush(s);
}

static bool follow(svmd_session *s, struct waiter *w, const struct timespec *deadline) {
        if (s->unsent && !deadline)
                wait_for_room(s);
        else if (!deadline)
                pthread_cond_wait(&w->wake, &s->lock);
        else if (pthread_cond_timedwait(&w->wake, &s->lock, deadline) == ETIMEDOUT)
                return false;
        return true;
}

static bool lead(svmd_session *s, const struct waiter *w, const struct timespec *deadline) {
        bool more;

        s->reading = true;
        do
                more = read_one(s, deadline) || !deadline || left_ms(deadline);
        while (!w->done && !s->ended && more);
        hand_over(s);
        return more;
}

void wire_wait(svmd_session *s, struct waiter *w, const struct timespec *deadline) {
        bool more = true;

        waiter_link(s, w);
        while (!w->done && !s->ended && more)
                more = s->reading ? follow(s, w, deadline) : lead(s, w, deadline);
        waiter_unlink(s, w);
        if (!s->reading)
                hand_over(s);
}

void wire_read(svmd_session *s) {
        static const struct timespec past = { 0 };

        pthread_mutex_lock(&s->lock);
        if (!s->reading) {
                s->reading = true;
                while (!s->ended && read_one(s, &past))
                        ;
                hand_over(s);
        }
        pthread_mutex_unlock(&s->lock);
}

/* ---- calls ---- */

static int fail_send(int error) {
        if (error == ENOMEM)
                return fail_memory();
        if (error == EMSGSIZE)
                return fail(SVMD_E_SIZE, "the request is longer than the %u KiB of a packet; send fewer operations",
                            SVMD_PACKET_MAX >> 10);
        if (error == EBADF)
                return fail(SVMD_E_FD_KIND, "a file descriptor that was given is not open");
        return fail_errno(error, "a request could not be sent to svmd");
}

static int send_call(svmd_session *s, struct call *c) {
        pthread_mutex_lock(&s->lock);
        if (s->ended) {
                pthread_mutex_unlock(&s->lock);
                return fail(SVMD_E_GONE, "%s", s->end_text);
        }
        submit(s, c);
        pthread_mutex_unlock(&s->lock);
        return 0;
}

static int wait_call(svmd_session *s, struct call *c) {
        pthread_mutex_lock(&s->lock);
        wire_wait(s, &c->waiter, NULL);
        pthread_mutex_unlock(&s->lock);
        if (c->error)
                return fail_send(c->error);
        if (!c->in->packet)
                return fail(SVMD_E_GONE, "%s", s->end_text);
        return 0;
}

/* A request that is refused as a whole may have one result for all of its operations. */
static int check_reply(const struct call *c, size_t ops) {
        const Svmd__V1__Reply *reply = c->in->packet->reply;

        if (reply->n_results == ops || (reply->n_results == 1 && reply->results[0]->code))
                return 0;
        return fail(SVMD_E_MALFORMED, "svmd answered %zu of %zu operations; its version may not fit libsvmd %s",
                    reply->n_results, ops, svmd_version());
}

const Svmd__V1__Result *call_result(const struct call *c, size_t i) {
        const Svmd__V1__Reply *reply = c->in->packet->reply;

        return reply->results[i < reply->n_results ? i : 0];
}

static int begin(svmd_session *s, const Svmd__V1__Request *request, const int *fds, unsigned count,
                 struct svmd_fence **fences, struct call **ret) {
        struct call *c;
        int r;

        pthread_mutex_lock(&s->lock);
        c = call_get(s);
        pthread_mutex_unlock(&s->lock);
        if (!c)
                return fail_memory();
        c->fences = fences;
        c->fences_count = fences ? request->n_ops : 0;
        c->ops = request->n_ops;
        r = pack(c, request);
        if (!r)
                r = keep_descriptors(c, fds, count);
        r = r < 0 ? fail_send(-r) : send_call(s, c);
        if (r) {
                call_put(s, c);
                return r;
        }
        *ret = c;
        return 0;
}

int call_begin(svmd_session *s, const Svmd__V1__Request *request, struct call **ret) {
        return begin(s, request, NULL, 0, NULL, ret);
}

int call_end(svmd_session *s, struct call *c) {
        int r = wait_call(s, c);

        if (!r)
                r = check_reply(c, c->ops);
        if (r)
                call_put(s, c);
        return r;
}

int call_run(svmd_session *s, const Svmd__V1__Request *request, const int *fds, unsigned count,
             struct svmd_fence **fences, struct call **ret) {
        struct call *c;
        int r = begin(s, request, fds, count, fences, &c);

        if (!r)
                r = call_end(s, c);
        if (!r)
                *ret = c;
        return r;
}

static int one(svmd_session *s, Svmd__V1__Op *op, Svmd__V1__Mode mode, const int *fds, unsigned count,
               struct call **ret, const Svmd__V1__Result **ret_result) {
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c;
        int r;

        request.mode = mode;
        request.n_ops = 1;
        request.ops = &op;
        r = call_run(s, &request, fds, count, NULL, &c);
        if (r)
                return r;
        r = fail_result(call_result(c, 0));
        if (r) {
                call_put(s, c);
                return r;
        }
        *ret = c;
        *ret_result = call_result(c, 0);
        return 0;
}

int call_one(svmd_session *s, Svmd__V1__Op *op, Svmd__V1__Mode mode, struct call **ret,
             const Svmd__V1__Result **ret_result) {
        return one(s, op, mode, NULL, 0, ret, ret_result);
}

int call_one_fd(svmd_session *s, Svmd__V1__Op *op, int fd, struct call **ret, const Svmd__V1__Result **ret_result) {
        return one(s, op, SVMD__V1__MODE__BEST_EFFORT, &fd, 1, ret, ret_result);
}

int call_simple(svmd_session *s, Svmd__V1__Op *op, Svmd__V1__Mode mode) {
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        r = call_one(s, op, mode, &c, &result);
        if (!r)
                call_put(s, c);
        return r;
}

/* ---- making and ending ---- */

int wire_init(svmd_session *s, int socket) {
        s->socket = socket;
        s->calls_end = &s->calls;
        s->waiters_end = &s->waiters;
        s->pending_end = &s->pending;
        s->end_code = SVMD_E_GONE;
        s->end_text = calloc(1, END_TEXT_MAX);
        s->buffer = malloc(SVMD_PACKET_MAX);
        s->in = inbox_new();
        return s->end_text && s->buffer && s->in ? 0 : -ENOMEM;
}

void wire_close(svmd_session *s) {
        if (s->socket >= 0)
                close(s->socket);
        s->socket = -1;
        for (struct call *c = s->calls; c; c = c->next)
                fdlist_close(&c->fds);
}

void wire_fini(svmd_session *s) {
        wire_close(s);
        while (s->calls) {
                struct call *c = s->calls;

                call_unlink(s, c);
                call_free(c, s->forked);
        }
        while (s->spare_calls) {
                struct call *c = s->spare_calls;

                s->spare_calls = c->next;
                call_free(c, s->forked);
        }
        inbox_free(s->in);
        free(s->buffer);
        free(s->end_text);
}
