#include "service/service.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "core/node.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/loss.h"

/*
 * Nodes that are devices of drivers. The machine has those that were found when svmd started, and those that an earlier
 * svmd had, whether they are there or not: their numbers stay, and so does what is charged on them.
 */

struct nodes_walk {
        service_node_fn fn;
        void *userdata;
        int result;
};

/* A snapshot begins with them. */
static int on_effect(void *userdata, uint16_t type, const void *bytes, size_t size) {
        struct nodes_walk *w = userdata;
        struct node_desc n = { 0 };
        struct effect_node e = { 0 };

        if (type == EFFECT_EPOCH)
                return 0;
        if (type != EFFECT_NODE || size < offsetof(struct effect_node, unique))
                return 1;
        memcpy(&e, bytes, size < sizeof(e) ? size : sizeof(e));
        n.kind = (enum node_kind)e.kind;
        n.capacity = e.capacity;
        n.card = (struct card){ e.unique, e.driver_id, e.domain, e.location };
        snprintf(n.name, sizeof(n.name), "%.*s", (int)sizeof(e.name), e.name);
        w->result = w->fn(w->userdata, e.index, &n);
        return w->result ? 1 : 0;
}

int service_kept_nodes(const struct service_kept *kept, size_t count, service_node_fn fn, void *userdata) {
        struct nodes_walk w = { fn, userdata, 0 };
        struct journal *j;
        char why[256];
        int fd = -1;

        for (size_t i = 0; i < count && fd < 0; i++)
                if (kept[i].key == KEEP_KEY(KEEP_JOURNAL, 0))
                        fd = fcntl(kept[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return 0;
        if (journal_adopt(&j, fd, why, sizeof(why)) != 0) {
                close(fd); /* service_start() says what is wrong with it */
                return 0;
        }
        (void)journal_replay(j, on_effect, &w);
        journal_free(j);
        return w.result;
}

void service_found(struct service *svc, uint32_t node, bool there, const char *why) {
        struct node *n = &svc->state.nodes[node];
        struct effect_node_state e;

        text_copy(n->trouble, there ? "" : why);
        if (n->lost == !there)
                return;
        n->lost = n->offline = !there;
        if (there)
                event_monitor(svc, "node-online", NULL, "", "%s is there again", node_desc(svc, node)->name);
        else
                node_vanished(svc, node, why);
        leases_changed(svc);
        e = effect_of_node(n, node);
        journal_note(svc, EFFECT_NODE_STATE, &e, sizeof(e));
}

void service_found_card(struct service *svc) {
        if (svc->journal && !svc->replaying)
                svc->journal_behind = true; /* what a node is stands at the head of a snapshot alone */
}

void service_set_devices(struct service *svc, struct kfd *kfd, struct drm *drm) {
        svc->options.kfd = kfd;
        svc->options.drm = drm;
}

void service_found_new(struct service *svc, unsigned count) {
        svc->found_new = count;
}
