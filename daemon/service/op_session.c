#include "service/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/share.h"
#include "service/cgroups.h"
#include "service/effects.h"
#include "service/lookup.h"
#include "service/store_job.h"

/* The beginning of a session: hello, then a partition. */

int op_hello(struct call *c) {
        const Svmd__V1__Hello *m = c->op->hello;
        Svmd__V1__HelloResult *result = call_take(c, sizeof(*result));

        if (!result)
                return -ENOMEM;
        if (m->min_version > SVMD_PROTOCOL_VERSION || m->max_version < SVMD_PROTOCOL_VERSION)
                return refuse(c, SVMD_STATUS_VERSION,
                              "the client speaks protocol %u to %u and svmd %s speaks %u: upgrade the older one",
                              m->min_version, m->max_version, SVMD_VERSION, SVMD_PROTOCOL_VERSION);
        if (session_set_client(c->session, m->client[0] ? m->client : "unnamed") < 0)
                return -ENOMEM;
        svmd__v1__hello_result__init(result);
        result->version = SVMD_PROTOCOL_VERSION;
        result->daemon = call_string(c, SVMD_VERSION);
        result->epoch = c->svc->epoch;
        result->session = c->session->object.id;
        result->admin = c->session->admin;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_HELLO;
        c->result->hello = result;
        return 0;
}

int op_monitor(struct call *c) {
        event_watch(c->svc, c->session, c->op->monitor->on, c->op->monitor->seldom);
        return 0;
}

/* ---- attach ---- */

static const char *const window_names[] = { "primary", "low" };

static int check_attach(struct call *c, const struct partition *p) {
        const Svmd__V1__Attach *m = c->op->attach;
        const struct session *s = c->session;
        const struct domain *other = session_other_domain(s);

        if (!s->door && !mode_allows(p->name->uid, p->name->gid, p->name->mode, &s->who, RIGHT_READ))
                return refuse(c, SVMD_STATUS_DENIED,
                              "partition %s belongs to uid %u, gid %u, mode %04o: uid %u may not attach", p->name->text,
                              p->name->uid, p->name->gid, p->name->mode, s->who.uid);
        if (p->window != m->window && !m->any_window)
                return refuse(
                        c, SVMD_STATUS_COLLISION,
                        "partition %s lies in the %s window, which this process cannot have; create one that it can: "
                        "svmd-ctl partition create NAME --window %s",
                        p->name->text, window_names[p->window], window_names[m->window]);
        if (other && other != p->domain)
                return refuse(
                        c, SVMD_STATUS_DENIED,
                        "process %u is attached to a partition of domain %s; a process attaches to one sharing domain only",
                        s->pid, other->name->text);
        return 0;
}

static int effect_session(struct tx *tx, const struct session *s, const struct partition *p) {
        struct effect_session e = effect_of_session(s, p);
        size_t groups = s->who.groups_count * sizeof(uint32_t), client = strlen(s->client) + 1;
        uint8_t *bytes = arena_take(&tx->svc->arena, sizeof(e) + groups + client);

        if (!bytes)
                return -ENOMEM;
        memcpy(bytes, &e, sizeof(e));
        if (groups)
                memcpy(bytes + sizeof(e), s->who.groups, groups);
        memcpy(bytes + sizeof(e) + groups, s->client, client);
        tx_effect(tx, EFFECT_SESSION, bytes, sizeof(e) + groups + client);
        return 0;
}

static void effect_door(struct tx *tx, const struct session *s) {
        struct effect_door e = effect_of_door(s);

        tx_effect(tx, EFFECT_DOOR, &e, sizeof(e));
}

static int attach_to(struct call *c, struct partition *p) {
        Svmd__V1__AttachResult *result = call_take(c, sizeof(*result));
        struct session *s = c->session;
        int r;

        if (!result)
                return -ENOMEM;
        r = check_attach(c, p);
        if (r != 0)
                return r;
        r = cgroups_attach(c->svc, s);
        if (r < 0)
                return r;
        r = tx_reserve(c->tx, sizeof(struct effect_session) + s->who.groups_count * 4ul + 128 + SVMD_PACKET_MAX);
        if (r == 0)
                r = c->svc->hooks.keep_session(c->svc->hooks.userdata, s);
        if (r < 0)
                return r == -EMFILE ? refuse(c, SVMD_STATUS_QUOTA,
                                             "svmd-keeper can hold no more sessions: raise its LimitNOFILE")
                                    : r;
        r = effect_session(c->tx, s, p);
        if (r == 0 && s->door)
                effect_door(c->tx, s);
        if (r < 0) {
                c->svc->hooks.unkeep(c->svc->hooks.userdata, KEEP_KEY(KEEP_SESSION, s->object.id));
                return r;
        }
        session_attach(s, p);
        if (s->door)
                s->door->journaled = true;
        accounts_session_begin(c->svc, s);
        c->svc->attached++;
        p->journaled = true;
        event_monitor(c->svc, "session-new", s, p->name->text, "%s (uid %u) attached", s->client, s->who.uid);
        svmd__v1__attach_result__init(result);
        result->partition = call_string(c, p->name->text);
        result->start = p->slice.start;
        result->size = p->slice.size;
        result->window = (Svmd__V1__Window)p->window;
        result->domain = call_string(c, p->domain->name->text);
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ATTACH;
        c->result->attach = result;
        return 0;
}

/* Its own socket leads to a partition, and to those that share something with it. */
static int attach_through(struct call *c, struct partition *door) {
        const char *name = c->op->attach->partition;
        struct partition *p = name[0] ? partition_find(&c->svc->state, name) : door;

        if (door->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s is being deleted", door->name->text);
        if (p != door && (!p || !p->ready || p->ending || !share_any(p, door)))
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "this socket is partition %s's and leads to no other but those that share something with "
                              "it, which %s does not",
                              door->name->text, name);
        return attach_to(c, p);
}

/* Everyone has a partition of his own by default: it is made when he first asks. */
static int attach_default(struct call *c, uint32_t window) {
        struct partition_args args = {
                .domain = "default",
                .window = window,
                .size = window == WINDOW_LOW ? SVMD_PARTITION_UNIT : c->svc->options.default_partition_size,
                .uid = c->session->who.uid,
                .gid = c->session->who.gid,
                .mode = 0600,
        };
        struct partition *p;
        char name[64];

        snprintf(name, sizeof(name), "uid-%u%s", args.uid, window == WINDOW_LOW ? "-low" : "");
        p = partition_find(&c->svc->state, name);
        if (p && p->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s is being deleted; attach again", name);
        if (p && p->ready)
                return attach_to(c, p);
        if (p) {
                c->request->again = true;
                return OP_LATER;
        }
        if (c->request->store_done && c->request->store_result < 0)
                return refuse(c, SVMD_STATUS_STORE, "the default partition could not be written: %s",
                              c->request->store_why);
        args.name = name;
        return make_partition(c, &args, true);
}

int op_attach(struct call *c) {
        const Svmd__V1__Attach *m = c->op->attach;
        const struct session *s = c->session;
        struct partition *p;

        if (s->partition)
                return refuse(c, SVMD_STATUS_SHAPE,
                              "this connection is attached to %s already; connect once more for another partition",
                              s->partition->name->text);
        if (m->window > SVMD__V1__WINDOW__LOW)
                return refuse(c, SVMD_STATUS_INVALID, "the window is PRIMARY or LOW, not %d", (int)m->window);
        if (s->door)
                return attach_through(c, s->door);
        if (!m->partition[0])
                return attach_default(c, m->window);
        p = partition_find(&c->svc->state, m->partition);
        if (!p || !p->ready || p->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s", m->partition);
        return attach_to(c, p);
}
