#include "core/state.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/node.h"

int state_init(struct state *s, const struct machine *machine) {
        *s = (struct state){ .machine = machine, .next_id = 1 };
        list_init(&s->domains);
        list_init(&s->sessions);
        s->nodes = alloc_array(machine->count ? machine->count : 1, sizeof(*s->nodes));
        if (!s->nodes)
                return -ENOMEM;
        for (uint32_t i = 0; i < machine->count; i++)
                account_init(&s->nodes[i].account, NULL, machine->nodes[i].capacity);
        return 0;
}

void state_fini(struct state *s) {
        ids_fini(&s->ids);
        alloc_free(s->nodes);
}

uint64_t state_take_id(struct state *s) {
        return s->next_id++;
}
