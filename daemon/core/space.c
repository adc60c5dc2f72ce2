#include "core/space.h"

#include "base/alloc.h"
#include "core/session.h"
#include "core/state.h"

struct space *space_new(struct state *s, uint64_t id, struct session *session, uint32_t node) {
        struct space *space;

        if (ids_reserve(&s->ids, 1) < 0)
                return NULL;
        space = alloc_zero(sizeof(*space));
        if (!space)
                return NULL;
        space->object = (struct object){ .id = id, .type = OBJECT_SPACE };
        space->session = session;
        space->node = node;
        list_init(&space->by_session);
        list_init(&space->held);
        vmap_init(&space->mappings);
        imap_init(&space->sparse);
        return space;
}

void space_link(struct state *s, struct space *space) {
        ids_add(&s->ids, &space->object);
        list_push_back(&space->session->spaces, &space->by_session);
        space->session->spaces_count++;
        space->session->objects++;
        s->nodes[space->node].spaces++;
        s->spaces_count++;
}

void space_unlink(struct state *s, struct space *space) {
        ids_remove(&s->ids, &space->object);
        list_remove(&space->by_session);
        space->session->spaces_count--;
        space->session->objects--;
        s->nodes[space->node].spaces--;
        s->spaces_count--;
}

void space_free(struct space *space) {
        vmap_clear(&space->mappings);
        imap_clear(&space->sparse);
        alloc_free(space);
}
