#include "core/share.h"

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

struct share *share_new(uint64_t id, struct object *object, struct name *name, struct partition *from,
                        struct partition *to) {
        struct share *x = alloc_zero(sizeof(*x));

        if (!x)
                return NULL;
        x->id = id;
        x->object = object;
        x->name = name;
        x->from = from;
        x->to = to;
        return x;
}

void share_link(struct state *s, struct share *x) {
        list_push_back(&x->name->shares, &x->by_name);
        list_push_back(&x->to->shares, &x->by_partition);
        list_push_back(&s->shares, &x->by_state);
        x->from->shares_count++;
}

void share_end(struct share *x) {
        list_remove(&x->by_name);
        list_remove(&x->by_partition);
        list_remove(&x->by_state);
        x->from->shares_count--;
        alloc_free(x);
}

bool share_of_memory(const struct share *x) {
        return x->object->type == OBJECT_MEMORY;
}

struct share *share_find(const struct name *name, const struct partition *to) {
        list_for_each (l, &name->shares) {
                struct share *x = container_of(l, struct share, by_name);

                if (x->to == to)
                        return x;
        }
        return NULL;
}

bool share_any(const struct partition *from, const struct partition *to) {
        list_for_each (l, &to->shares)
                if (container_of(l, struct share, by_partition)->from == from)
                        return true;
        return false;
}

unsigned share_access(const struct name *name, const struct session *guest) {
        const struct share *x = guest->door ? share_find(name, guest->door) : NULL;

        return x && !x->ending ? x->access : 0;
}

void shares_drop(struct name *name) {
        list_for_each_safe (l, &name->shares)
                share_end(container_of(l, struct share, by_name));
}

void shares_drop_for(struct partition *to) {
        list_for_each_safe (l, &to->shares)
                share_end(container_of(l, struct share, by_partition));
}
