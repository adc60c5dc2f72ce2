#include "service/limited.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/cgroup.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/accounts.h"
#include "service/chain.h"
#include "service/internal.h"

struct account *limited_account(struct limited of, uint32_t node) {
        struct account *all = of.partition ? of.partition->accounts
                              : of.session ? of.session->accounts
                                           : of.cgroup->accounts;

        return all ? &all[node] : NULL;
}

struct give_back **limited_give_backs(struct limited of) {
        return of.partition ? &of.partition->give_backs : of.session ? &of.session->give_backs : &of.cgroup->give_backs;
}

struct managed_group *limited_group(struct limited of) {
        const struct managed_share *share = of.partition ? of.partition->managed : NULL;
        const struct managed_limits *limits = chain_limits(of);

        return share ? share->group : limits ? limits->group : NULL;
}

/* Of a session or a control group that has no limits yet, it is looked up. */
uint64_t limited_managed(struct service *svc, struct limited of, uint32_t node) {
        struct managed_group *group = limited_group(of);
        uint64_t used = 0;

        if (!svc->mover || node >= svc->managed.nodes_count)
                return 0;
        if (group)
                mover_group_used(svc->mover, group, node, &used, NULL);
        for (struct session *s = NULL; !of.partition && !group && (s = limited_session_after(svc, of, s));)
                used += accounts_managed(svc, s, node);
        return used;
}

static bool is_in(const struct session *s, const struct cgroup *g) {
        for (const struct cgroup *at = s->cgroup; at; at = at->outer)
                if (at == g)
                        return true;
        return false;
}

static struct session *after_in_partition(const struct partition *p, const struct session *after) {
        const struct list *l = after ? after->by_partition.next : p->sessions.next;

        return l == &p->sessions ? NULL : container_of(l, struct session, by_partition);
}

static struct session *after_in_cgroup(const struct service *svc, const struct cgroup *g, const struct session *after) {
        const struct list *all = &svc->state.sessions;

        for (const struct list *l = after ? after->by_state.next : all->next; l != all; l = l->next)
                if (is_in(container_of(l, struct session, by_state), g))
                        return container_of(l, struct session, by_state);
        return NULL;
}

struct session *limited_session_after(const struct service *svc, struct limited of, const struct session *after) {
        if (of.partition)
                return after_in_partition(of.partition, after);
        if (of.cgroup)
                return after_in_cgroup(svc, of.cgroup, after);
        return after ? NULL : of.session;
}

static uint64_t has(const struct session *s, uint32_t node) {
        return s->ending ? 0 : session_used(s, node);
}

static bool has_less(const struct session *s, const struct session *than, uint32_t node) {
        return has(s, node) < has(than, node) || (has(s, node) == has(than, node) && s->object.id > than->object.id);
}

struct session *limited_largest(const struct service *svc, struct limited of, uint32_t node,
                                const struct session *than) {
        struct session *found = NULL;

        for (struct session *s = limited_session_after(svc, of, NULL); s; s = limited_session_after(svc, of, s))
                if (has(s, node) > 0 && (!than || has_less(s, than, node)) && (!found || has_less(found, s, node)))
                        found = s;
        return found;
}

/* Of a long path, its end says more. */
static const char *end_of(const char *path, size_t room) {
        size_t n = strlen(path);

        return n < room ? path : path + n - room + 1;
}

const char *limited_name(struct limited of, char name[LIMITED_NAME]) {
        if (of.partition)
                snprintf(name, LIMITED_NAME, "partition %s", of.partition->name->text);
        else if (of.session)
                snprintf(name, LIMITED_NAME, "session %" PRIu64 " (pid %u)", of.session->object.id, of.session->pid);
        else
                snprintf(name, LIMITED_NAME, "control group %s", end_of(of.cgroup->path, LIMITED_NAME - 16));
        return name;
}

struct limited limited_of(const struct session *s, uint32_t node, const struct account *a) {
        for (struct cgroup *g = s->cgroup; g; g = g->outer)
                if (a == &g->accounts[node])
                        return LIMITED_CGROUP(g);
        if (s->accounts && a == &s->accounts[node])
                return LIMITED_SESSION((struct session *)s);
        return LIMITED_PARTITION(s->partition);
}

void limited_say(struct limited of, const char *node, uint64_t size, const struct account *over, char *why,
                 size_t why_size) {
        char asked[24], used[24], max[24], held[24], name[LIMITED_NAME], kept[80] = "", set[LIMITED_NAME];

        text_bytes(asked, sizeof(asked), size);
        text_bytes(used, sizeof(used), over->used);
        text_bytes(max, sizeof(max), over->max);
        text_bytes(held, sizeof(held), over->held);
        if (over->held > 0)
                snprintf(kept, sizeof(kept), ", with %s kept free for the min of sessions", held);
        if (of.cgroup && of.cgroup->told[over - of.cgroup->accounts].bytes[BOUND_MAX] == over->max) {
                snprintf(
                        why, why_size,
                        "%s may have %s on %s by its dmem.max and has %s%s, so %s more is too much; free memory, or have "
                        "whoever runs it set a higher dmem.max",
                        limited_name(of, name), max, node, used, kept, asked);
                return;
        }
        if (of.partition)
                snprintf(set, sizeof(set), "partition set %s", of.partition->name->text);
        else if (of.session)
                snprintf(set, sizeof(set), "session limit %" PRIu64, of.session->object.id);
        else
                snprintf(set, sizeof(set), "cgroup set %s",
                         strlen(of.cgroup->path) < sizeof(set) - 16 ? of.cgroup->path : "PATH");
        snprintf(why, why_size,
                 "%s may have %s on %s and has %s%s, so %s more is too much; free memory or ask for a higher limit "
                 "(svmd-ctl %s --limit %s=SIZE)",
                 limited_name(of, name), max, node, used, kept, asked, set, node);
}
