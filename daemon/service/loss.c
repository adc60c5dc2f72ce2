#include "service/loss.h"

#include "core/memory.h"
#include "core/node.h"
#include "service/cuda.h"
#include "service/internal.h"

/*
 * A device that vanished took along what lay in its pool. Such memory keeps its number, its charge and its mappings,
 * and no page table shows it: an operation that meets it ends, and its holders release it. Memory that was spilled, and
 * lies on a host node, waits there for its node.
 *
 * Nothing of it is written to the journal but that the node is lost: a replay finds the same memory there.
 */
void memory_lose(struct service *svc, struct memory *m) {
        m->lost = true;
        list_remove(&m->by_node);
        if (svc->replaying)
                memory_set_away(svc, m, true);
        else if (!m->away)
                memory_hide(svc, m);
}

void memory_lost(struct service *svc, uint32_t node) {
        const struct ids *ids = &svc->state.ids;

        for (uint64_t i = 0; i < ids->size; i++) {
                struct object *o = ids->slots[i];
                struct memory *m;

                if (!o || o->type != OBJECT_MEMORY)
                        continue;
                m = container_of(o, struct memory, object);
                if (m->file->kind == FILE_POOL && m->file->node == node && !m->lost)
                        memory_lose(svc, m);
        }
}

void node_vanished(struct service *svc, uint32_t node, const char *why) {
        const char *name = node_desc(svc, node)->name, *colon = *why ? ": " : "";

        memory_lost(svc, node);
        cuda_node_gone(svc, node);
        message(MESSAGE_NODE_LOST, FIELDS(FIELD_TEXT("SVMD_NODE", name)), "%s has vanished, with what was there%s%s",
                name, colon, why);
        event_condition(svc, "node-lost", "", node, 0, "%s has vanished, with what was there%s%s", name, colon, why);
}
