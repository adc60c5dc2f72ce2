#include "service/cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/cuda.h"
#include "base/alloc.h"
#include "core/node.h"
#include "core/session.h"
#include "core/space.h"
#include "service/audit.h"
#include "service/internal.h"
#include "service/range.h"

static struct cuda_attached *attached_of(struct list *l) {
        return container_of(l, struct cuda_attached, link);
}

/* Numbers of nodes are below MANAGED_NODES_MAX, and those of sessions do not reach 2^50. */
static uint64_t key_of(const struct session *s, uint32_t node) {
        _Static_assert(MANAGED_NODES_MAX <= 64, "a node is six bits of the key");

        return KEEP_KEY(KEEP_CUDA, s->object.id << 6 | node);
}

struct cuda_attached *cuda_attached_find(const struct session *s, uint32_t node) {
        const struct managed_client *k = s->managed;

        if (k)
                list_for_each (l, &k->channels)
                        if (attached_of(l)->node == node)
                                return attached_of(l);
        return NULL;
}

/* In a worker. */
static void on_withheld(void *userdata) {
        struct service *svc = userdata;

        atomic_store(&svc->managed.withheld, true);
        svc->hooks.wake(svc->hooks.userdata);
}

/* Takes `fd` over on success. */
static int add(struct service *svc, struct session *s, uint32_t node, int fd, bool kept) {
        struct managed_client *k = managed_client_of(svc, s);
        struct cuda_attached *a = k ? alloc_zero(sizeof(*a)) : NULL;
        int r = a ? cuda_channel_new(svc->managed.nodes[node].device, &a->channel, fd, s->object.id, kept) : -ENOMEM;

        if (r < 0) {
                alloc_free(a);
                return r;
        }
        a->node = node;
        cuda_channel_watch(a->channel, on_withheld, svc);
        list_push_back(&k->channels, &a->link);
        peer_take_fds(s->party, 1);
        return 0;
}

int cuda_attach(struct service *svc, struct session *s, uint32_t node) {
        uint64_t key = key_of(s, node);
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : svc->hooks.keep(svc->hooks.userdata, key, pair[0]);
        if (r == 0) {
                r = add(svc, s, node, pair[0], false);
                if (r < 0)
                        svc->hooks.unkeep(svc->hooks.userdata, key);
        }
        if (r == 0)
                return pair[1];
        close(pair[0]);
        close(pair[1]);
        return r;
}

/* Once. */
static void audit(struct service *svc, const struct session *s, struct cuda_attached *a) {
        char why[160];

        if (a->audited || !cuda_channel_withholds(a->channel, why, sizeof(why)))
                return;
        a->audited = true;
        audit_withheld(svc, s, node_desc(svc, a->node)->name, why);
}

static void end(struct service *svc, struct session *s, struct cuda_attached *a) {
        audit(svc, s, a);
        if (!svc->replaying)
                svc->hooks.unkeep(svc->hooks.userdata, key_of(s, a->node));
        peer_drop_fds(s->party, 1);
        list_remove(&a->link);
        cuda_channel_free(a->channel);
        alloc_free(a);
}

void cuda_space_gone(struct service *svc, const struct space *space) {
        struct cuda_attached *a = cuda_attached_find(space->session, space->node);

        if (!a)
                return;
        list_for_each (l, &space->session->spaces) {
                const struct space *other = container_of(l, struct space, by_session);

                if (other != space && other->node == space->node)
                        return;
        }
        end(svc, space->session, a);
}

void cuda_node_gone(struct service *svc, uint32_t node) {
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);
                struct cuda_attached *a = cuda_attached_find(s, node);

                if (a)
                        end(svc, s, a);
        }
}

/* ---- after a restart ---- */

/* Of one that svmd made and died before the reply, the client's end is closed: it asks for another. */
static bool is_open(int fd) {
        struct pollfd p = { .fd = fd };

        return poll(&p, 1, 0) == 0;
}

static int restore(struct service *svc, struct session *s, uint32_t node) {
        int r, fd;

        if (node >= svc->managed.nodes_count || node_backend(svc, node)->kind != NODE_CUDA ||
            !svc->managed.nodes[node].device || svc->state.nodes[node].lost || cuda_attached_find(s, node))
                return 0;
        fd = kept_take(svc, key_of(s, node));
        if (fd < 0)
                return 0;
        r = is_open(fd) ? add(svc, s, node, fd, true) : -EPIPE;
        if (r == 0)
                return 0;
        close(fd);
        svc->hooks.unkeep(svc->hooks.userdata, key_of(s, node));
        return r == -EPIPE ? 0 : r;
}

int cuda_restore(struct service *svc, struct session *s) {
        int r = 0;

        list_for_each (l, &s->spaces)
                if (r == 0)
                        r = restore(svc, s, container_of(l, struct space, by_session)->node);
        return r;
}

/* ---- what is wrong ---- */

void cuda_collect(struct service *svc) {
        if (!atomic_exchange(&svc->managed.withheld, false))
                return;
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);
                const struct managed_client *k = s->managed;

                if (k)
                        list_for_each (it, &k->channels)
                                audit(svc, s, attached_of(it));
        }
}

bool cuda_withholds(const struct service *svc, const struct session *s, char *text, size_t size) {
        const struct managed_client *k = s->managed;
        char why[160];

        if (k)
                list_for_each (l, &k->channels) {
                        const struct cuda_attached *a = attached_of(l);

                        if (!cuda_channel_is_stale(a->channel, why, sizeof(why)))
                                continue;
                        snprintf(text, size, "%s: %s", node_desc(svc, a->node)->name, why);
                        return true;
                }
        return false;
}
