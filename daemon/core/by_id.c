#include "core/by_id.h"

#include "base/list.h"
#include "core/memory.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "core/state.h"

#define BY_ID(name, TYPE)                                                                                              \
        struct name *name##_by_id(const struct state *s, uint64_t id) {                                                \
                struct object *o = ids_find(&s->ids, id);                                                              \
                                                                                                                       \
                return o && o->type == (TYPE) ? container_of(o, struct name, object) : NULL;                           \
        }

BY_ID(session, OBJECT_SESSION)
BY_ID(reservation, OBJECT_RESERVATION)
BY_ID(memory, OBJECT_MEMORY)
BY_ID(space, OBJECT_SPACE)
BY_ID(file, OBJECT_FILE)
