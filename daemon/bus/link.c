#include "bus/link.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/connect.h"
#include "proto/codec.h"
#include "proto/fdlist.h"
#include "proto/limits.h"
#include "proto/socket.h"

struct link {
        struct link_hooks hooks;
        sd_event_source *source;
        struct arena arena;
        uint64_t id;
        bool waits; /* for a reply */
        bool *freed;
        uint8_t *out; /* what the socket has not taken yet */
        size_t out_size;
        uint8_t in[SVMD_PACKET_MAX];
};

static int hello(struct link *l) {
        Svmd__V1__Hello m = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        m.min_version = m.max_version = SVMD_PROTOCOL_VERSION;
        m.client = (char *)"svmd-dbus";
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &m;
        return link_send(l, &op);
}

static int watch(struct link *l) {
        return sd_event_source_set_io_events(l->source, EPOLLIN | (l->out ? EPOLLOUT : 0u));
}

/* ---- out ---- */

static int send_now(struct link *l, const void *bytes, size_t size) {
        return packet_send(sd_event_source_get_io_fd(l->source), bytes, size, NULL, MSG_NOSIGNAL);
}

static int send_request(struct link *l, const Svmd__V1__Request *m) {
        uint8_t *bytes = alloc_zero(SVMD_PACKET_MAX);
        ssize_t n;
        int r;

        if (!bytes)
                return -ENOMEM;
        n = encode_request(m, bytes, SVMD_PACKET_MAX);
        r = n < 0 ? (int)n : send_now(l, bytes, (size_t)n);
        if (r == -EAGAIN) {
                l->out = bytes;
                l->out_size = (size_t)n;
                l->waits = true;
                return watch(l);
        }
        alloc_free(bytes);
        l->waits = r == 0;
        return r;
}

static int send_op(struct link *l, const Svmd__V1__Op *op, Svmd__V1__Mode mode) {
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        Svmd__V1__Op *ops[1] = { (Svmd__V1__Op *)op };

        if (l->waits)
                return -EBUSY;
        m.id = ++l->id;
        m.ops = ops;
        m.n_ops = 1;
        m.mode = mode;
        return send_request(l, &m);
}

int link_send(struct link *l, const Svmd__V1__Op *op) {
        return send_op(l, op, SVMD__V1__MODE__BEST_EFFORT);
}

int op_pack(const Svmd__V1__Op *op, void **ret, size_t *ret_size) {
        size_t size = svmd__v1__op__get_packed_size(op);
        uint8_t *bytes;

        if (size > SVMD_PACKET_MAX - 64)
                return -EMSGSIZE;
        bytes = alloc_zero(size ? size : 1);
        if (!bytes)
                return -ENOMEM;
        *ret_size = svmd__v1__op__pack(op, bytes);
        *ret = bytes;
        return 0;
}

int link_send_packed(struct link *l, const void *bytes, size_t size, bool dry_run) {
        Svmd__V1__Op *op = svmd__v1__op__unpack(NULL, size, bytes);
        int r;

        if (!op)
                return -ENOMEM;
        r = send_op(l, op, dry_run ? SVMD__V1__MODE__DRY_RUN : SVMD__V1__MODE__BEST_EFFORT);
        svmd__v1__op__free_unpacked(op, NULL);
        return r;
}

/* ---- in ---- */

static void end(struct link *l, const char *why) {
        sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
        l->hooks.ended(l->hooks.userdata, why);
}

static bool take(struct link *l, size_t size) {
        const Svmd__V1__Packet *p = decode_packet(&l->arena, l->in, size);

        if (p && p->packet_case == SVMD__V1__PACKET__PACKET_EVENT) {
                if (p->event->event_case == SVMD__V1__EVENT__EVENT_END) {
                        end(l, p->event->end->text);
                        return false;
                }
                l->hooks.event(l->hooks.userdata, p->event);
                return true;
        }
        if (!p || p->packet_case != SVMD__V1__PACKET__PACKET_REPLY || !l->waits || p->reply->id != l->id ||
            p->reply->n_results != 1) {
                end(l, "svmd answers with what is no reply");
                return false;
        }
        l->waits = false;
        l->hooks.reply(l->hooks.userdata, p->reply->results[0]);
        return true;
}

static void on_writable(struct link *l) {
        int r = send_now(l, l->out, l->out_size);

        if (r == -EAGAIN)
                return;
        alloc_free(l->out);
        l->out = NULL;
        if (r == 0)
                r = watch(l);
        if (r < 0)
                end(l, strerror(-r));
}

/* One packet a turn: the others of the loop have theirs. */
static int on_socket(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct link *l = userdata;
        struct fdlist fds;
        bool freed = false;
        ssize_t n;

        if ((revents & EPOLLOUT) && l->out) {
                on_writable(l);
                return 0;
        }
        fdlist_init(&fds);
        n = packet_recv(fd, l->in, sizeof(l->in), &fds, 0);
        fdlist_close(&fds);
        if (n == -EAGAIN)
                return 0;
        if (n <= 0) {
                end(l, n == 0 ? "svmd has ended the connection" : strerror((int)-n));
                return 0;
        }
        l->freed = &freed;
        take(l, (size_t)n);
        if (freed)
                return 0;
        l->freed = NULL;
        arena_reset(&l->arena);
        return 0;
}

int link_new(struct link **ret, sd_event *loop, const char *path, const struct link_hooks *hooks) {
        struct link *l = alloc_zero(sizeof(*l));
        int fd, r;

        if (!l)
                return -ENOMEM;
        l->hooks = *hooks;
        arena_init(&l->arena);
        r = connect_packets(path, 0, &fd);
        if (r < 0) {
                alloc_free(l);
                return r;
        }
        r = sd_event_add_io(loop, &l->source, fd, EPOLLIN, on_socket, l);
        if (r < 0) {
                close(fd);
                alloc_free(l);
                return r;
        }
        sd_event_source_set_io_fd_own(l->source, true);
        r = hello(l);
        if (r < 0) {
                link_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void link_free(struct link *l) {
        if (!l)
                return;
        if (l->freed)
                *l->freed = true;
        sd_event_source_disable_unref(l->source);
        arena_fini(&l->arena);
        alloc_free(l->out);
        alloc_free(l);
}
