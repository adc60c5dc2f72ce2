#include "service/registered.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/range_restore.h"

struct registered *registered_of(const struct memory *m) {
        return m->registered;
}

struct memory *registered_new(struct session *s, uint64_t id, uint32_t node, uint64_t address, uint64_t size) {
        struct registered *r = alloc_zero(sizeof(*r));
        struct file *f = r ? file_new(0, FILE_CLIENT, node, size) : NULL;
        struct memory *m = f ? memory_new(id, s->partition, node, size) : NULL;

        if (!m) {
                file_free(f);
                alloc_free(r);
                return NULL;
        }
        memory_take_extents(m, f, false); /* all of it: nothing is in the way */
        *r = (struct registered){ .memory = m, .session = s, .address = address };
        m->registered = r;
        m->pinned = true;
        s->registered += size;
        return m;
}

int registered_reach(struct service *svc, struct registered *r) {
        struct managed_client *k = r->session->managed;
        struct memfile *memfile;
        int k2 = mover_register(svc->mover, k->mover, &r->mover, r, r->address, r->memory->size, &memfile);

        if (k2 == 0)
                r->memory->file->memfile = memfile;
        return k2;
}

void registered_discard(struct service *svc, struct memory *m) {
        struct registered *r = m->registered;
        struct file *f = m->file;

        r->session->registered -= m->size;
        memory_release(m);
        memfile_free(f->memfile);
        if (r->mover)
                mover_unregister(svc->mover, r->mover);
        file_free(f);
        memory_free(m);
        alloc_free(r);
}

static void tell(struct service *svc, const struct registered *r, const char *why) {
        Svmd__V1__RegisteredEvent body = SVMD__V1__REGISTERED_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        body.memory = r->memory->object.id;
        body.address = r->address;
        body.size = r->memory->size;
        body.generation = r->generation;
        body.text = (char *)why;
        event.event_case = SVMD__V1__EVENT__EVENT_REGISTERED;
        event.registered = &body;
        event_send(svc, r->session, &event);
        event_monitor(svc, "registered-gone", r->session, r->session->partition->name->text,
                      "memory %llu of %s at 0x%llx: %s", (unsigned long long)body.memory, r->session->client,
                      (unsigned long long)r->address, why);
}

void registered_gone(struct service *svc, struct registered *r, const char *why) {
        struct effect_fenced e;

        if (r->fenced)
                return;
        r->fenced = true;
        r->generation = ++svc->generation;
        e = (struct effect_fenced){ .memory = r->memory->object.id, .generation = r->generation };
        journal_note(svc, EFFECT_FENCED, &e, sizeof(e));
        tell(svc, r, why);
}

/* ---- journal ---- */

struct effect_register effect_of_registered(const struct memory *m) {
        const struct registered *r = m->registered;
        const struct managed_client *k = r->session->managed;

        return (struct effect_register){
                .id = m->object.id,
                .session = m->creator.session ? m->creator.session->object.id : 0,
                .owner = r->session->object.id,
                .address = r->address,
                .size = m->size,
                .generation = r->generation,
                .probe = k->probe,
                .node = m->node,
                .fenced = r->fenced,
        };
}

int registered_put(struct service *svc, const struct memory *m) {
        struct effect_register e = effect_of_registered(m);

        return journal_snapshot_put(svc->journal, EFFECT_REGISTER, &e, sizeof(e));
}

/* ---- after a restart ---- */

/* Its registrations are reached again. -ENODATA: the keeper does not lead to its process. */
static int reach_again(struct service *svc, struct session *s) {
        struct managed_client *k = s->managed;
        int r = range_adopt_session(svc, s), mem;

        if (r < 0)
                return r;
        mem = kept_take(svc, KEEP_KEY(KEEP_CLIENT, s->object.id));
        r = svc->mover && k->mover && mem >= 0 ? mover_client(svc->mover, k->mover, mem, s->pid, s->who.uid, k->probe)
                                               : -ENODATA;
        if (r < 0 && mem >= 0)
                close(mem);
        return r;
}

static int reach_memory(struct service *svc, struct memory *m) {
        struct registered *r = m->registered;
        int k = registered_reach(svc, r);

        if (k < 0)
                return k;
        if (r->fenced)
                mover_fence(r->mover);
        else
                mover_registered_check(r->mover);
        return 0;
}

static int reach_memories(struct service *svc) {
        const struct ids *ids = &svc->state.ids;
        int r = 0;

        for (uint64_t i = 0; r == 0 && i < ids->size; i++) {
                struct memory *m = ids->slots[i] && ids->slots[i]->type == OBJECT_MEMORY
                                           ? container_of(ids->slots[i], struct memory, object)
                                           : NULL;

                if (m && m->registered)
                        r = reach_memory(svc, m);
        }
        return r;
}

/* What is registered may all be private ranges, which nobody reaches so. */
static bool is_reached(const struct session *s) {
        const struct managed_client *k = s->managed;

        return k && k->reached;
}

int registered_restore(struct service *svc, char *why, size_t why_size) {
        bool any = false;
        int r = 0;

        list_for_each_safe (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (r < 0 || s->registered == 0 || !is_reached(s))
                        continue;
                any = true;
                r = reach_again(svc, s);
                if (r < 0 && r != -ENOMEM) {
                        session_release(svc, s);
                        r = 0;
                }
        }
        if (r == 0 && any)
                r = reach_memories(svc);
        if (r < 0)
                snprintf(why, why_size, "registered memory cannot be taken over: %s", strerror(-r));
        return r;
}
