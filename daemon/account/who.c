#include "account/who.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { KEY_ROOM = 2 * WHERE_ID + WHERE_RUNTIME + 3 * WHERE_NAME + 32 };

/* Number and time of its start name a process, also when the number is given again. */
static void key_of_process(char *to, size_t room, uint32_t pid, const char *client, const struct looked *seen) {
        if (seen && seen->process[0])
                snprintf(to, room, "%u.%" PRIu64 " %s", pid, seen->started, seen->process);
        else
                snprintf(to, room, "%u %s", pid, client);
}

static void key_of_container(char *to, size_t room, const struct looked *seen) {
        const struct where *w = seen ? &seen->where : NULL;

        if (!w || !w->cgroup[0])
                snprintf(to, room, WHO_UNKNOWN);
        else if (!w->container[0])
                snprintf(to, room, WHO_NONE);
        else
                snprintf(to, room, "%s:%s%s%s%s%s%s%s%s%s", w->runtime, w->container, w->pod[0] ? " pod " : "", w->pod,
                         w->name[0] ? " name " : "", w->name, w->pod_name[0] ? " of " : "", w->pod_namespace,
                         w->pod_name[0] ? "/" : "", w->pod_name);
}

static struct who *make(const char *const *keys, const struct looked *seen) {
        size_t size = 0;
        struct who *w;
        char *at;

        for (unsigned i = 0; i < HISTORY_BYS; i++)
                size += keys[i] ? strlen(keys[i]) + 1 : 0;
        w = alloc_zero(sizeof(*w) + size);
        if (!w)
                return NULL;
        w->users = 1;
        if (seen)
                w->seen = *seen;
        at = (char *)(w + 1);
        for (unsigned i = 0; i < HISTORY_BYS; i++) {
                size_t length = keys[i] ? strlen(keys[i]) + 1 : 0;

                if (!keys[i])
                        continue;
                w->sum.keys[i] = memcpy(at, keys[i], length);
                at += length;
        }
        return w;
}

bool looked_same(const struct looked *a, const struct looked *b) {
        return a->started == b->started && strcmp(a->process, b->process) == 0 &&
               strcmp(a->where.cgroup, b->where.cgroup) == 0 && strcmp(a->where.runtime, b->where.runtime) == 0 &&
               strcmp(a->where.container, b->where.container) == 0 && strcmp(a->where.pod, b->where.pod) == 0 &&
               strcmp(a->where.name, b->where.name) == 0 && strcmp(a->where.pod_name, b->where.pod_name) == 0 &&
               strcmp(a->where.pod_namespace, b->where.pod_namespace) == 0;
}

struct who *who_new(const char *partition, uint32_t uid, uint32_t pid, const char *client, const struct looked *seen) {
        char user[16], process[128], container[KEY_ROOM];
        const char *keys[HISTORY_BYS] = {
                [HISTORY_BY_PARTITION] = partition,
                [HISTORY_BY_USER] = user,
                [HISTORY_BY_CGROUP] = seen && seen->where.cgroup[0] ? seen->where.cgroup : WHO_UNKNOWN,
                [HISTORY_BY_CONTAINER] = container,
                [HISTORY_BY_PID] = process,
        };

        snprintf(user, sizeof(user), "%u", uid);
        key_of_process(process, sizeof(process), pid, client, seen);
        key_of_container(container, sizeof(container), seen);
        return make(keys, seen);
}

struct who *who_none(const char *partition) {
        static const char none[] = WHO_NONE;
        const char *keys[HISTORY_BYS] = { NULL, partition, none, none, none, none };

        return make(keys, NULL);
}

struct who *who_use(struct who *w) {
        w->users++;
        return w;
}

void who_drop(struct who *w) {
        if (w && --w->users == 0)
                alloc_free(w);
}
