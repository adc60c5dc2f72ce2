#include "hook.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <svmd.h>

#include "base/started.h"
#include "hook/called.h"
#include "hook/demand.h"
#include "hook/place.h"
#include "hook/state.h"

/*
 * A partition that the hook makes belongs to its container: svmd has the container's id and its first process with it,
 * and ends it when that process has ended, if nobody called 'release' before. Both verbs may be called again.
 *
 *      attach    there, nobody's or this container's --> shown
 *                there, another container's          --> refused
 *                not there, to be made               --> made with all its limits at once, or refused
 *      release   this container's                    --> ended, with its sessions
 *                anything else                       --> left
 */
struct hook {
        const struct hook_options *options;
        struct state state;
        struct demand demand;
        svmd_session *session;
        FILE *err;
        char container[DEMAND_NAME]; /* the id as svmd has it */
        bool found;                  /* the partition is there, */
        char holder[DEMAND_NAME];    /* and belongs to this container, or "" */
        struct svmd_limit limits[DEMAND_LIMITS];
        size_t named; /* limits whose node was found */
};

static int say(struct hook *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int say(struct hook *h, const char *format, ...) {
        va_list args;

        va_start(args, format);
        fputs("svmd-hook: ", h->err);
        vfprintf(h->err, format, args);
        fputc('\n', h->err);
        va_end(args);
        return -1;
}

static int reach(struct hook *h) {
        char socket[512];
        struct svmd_connect_options options = {
                .size = sizeof(options), .socket = socket, .name = "svmd-hook", .flags = SVMD_CONNECT_NO_ATTACH
        };

        snprintf(socket, sizeof(socket), "%s/admin.sock", h->options->runtime_dir);
        if (svmd_connect(&h->session, &options) != SVMD_OK)
                return say(h, "svmd cannot be reached over %s: %s", socket, svmd_error());
        return 0;
}

static int on_partition(const struct svmd_partition_row *row, void *userdata) {
        struct hook *h = userdata;

        h->found = true;
        snprintf(h->holder, sizeof(h->holder), "%s", row->container);
        return 0;
}

static int look(struct hook *h) {
        int r;

        h->found = false;
        h->holder[0] = 0;
        r = svmd_query_partitions(h->session, h->demand.name, on_partition, h);
        if (r != SVMD_OK && r != SVMD_E_NO_SUCH)
                return say(h, "partition %s: %s", h->demand.name, svmd_error());
        return 0;
}

/* ---- attach ---- */

static int on_node(const struct svmd_node_row *row, void *userdata) {
        struct hook *h = userdata;

        for (size_t i = 0; i < h->demand.limits_count; i++) {
                const struct demand_limit *l = &h->demand.limits[i];

                if (strcmp(l->node, row->name) != 0)
                        continue;
                h->limits[h->named++] = (struct svmd_limit){ .node = row->id,
                                                             .max = l->bytes,
                                                             .bound = l->min ? SVMD_BOUND_MIN : SVMD_BOUND_MAX };
        }
        return 0;
}

static int name_nodes(struct hook *h) {
        h->named = 0;
        if (h->demand.limits_count == 0)
                return 0;
        if (svmd_query_nodes(h->session, on_node, h) != SVMD_OK)
                return say(h, "%s", svmd_error());
        if (h->named == h->demand.limits_count)
                return 0;
        return say(h, "an annotation org.svmd.max or org.svmd.min names a node that svmd has not; "
                      "'svmd-ctl node list' shows those there are");
}

enum { MADE = 1 };

/* MADE, or 0: there is one. -1: it was said why not. */
static int make(struct hook *h) {
        struct svmd_partition_options options = { .size = sizeof(options),
                                                  .length = h->demand.size,
                                                  .domain = h->demand.domain[0] ? h->demand.domain : NULL,
                                                  .limits = h->limits,
                                                  .container = h->container,
                                                  .container_pid = h->state.pid };
        int r = name_nodes(h);

        if (r < 0)
                return r;
        r = started_read(h->state.pid, &options.container_started);
        if (r < 0)
                return say(h, "process %u of container %s: %s", h->state.pid, h->state.id, strerror(-r));
        options.limits_count = h->named;
        r = svmd_partition_create(h->session, h->demand.name, &options, NULL);
        if (r == SVMD_OK)
                return MADE;
        if (r != SVMD_E_TAKEN)
                return say(h, "partition %s: %s", h->demand.name, svmd_error());
        return 0;
}

/* Nobody is given memory of another container by the name of its partition. What is to be made is most often not there,
 * so that is asked for first. */
static int have(struct hook *h) {
        int r = h->demand.makes ? make(h) : 0;

        if (r == 0)
                r = look(h);
        if (r != 0)
                return r == MADE ? 0 : r;
        if (h->found && h->holder[0] && strcmp(h->holder, h->container) != 0)
                return say(h,
                           "partition %s belongs to container %s, and ends with it; for several containers make it "
                           "with 'svmd-ctl partition create'",
                           h->demand.name, h->holder);
        if (h->found && !h->holder[0] && h->demand.makes)
                return say(h,
                           "partition %s was not made for a container and has limits of its own: leave out "
                           "org.svmd.size, org.svmd.domain, org.svmd.max and org.svmd.min",
                           h->demand.name);
        if (h->found)
                return 0;
        return say(h, "there is no partition %s; with org.svmd.size it is made for the container", h->demand.name);
}

static int show(struct hook *h) {
        char folder[512], root[4096];
        int r = place_root(h->state.bundle, root, sizeof(root));

        if (r < 0)
                return say(h, "the root of container %s in %s/config.json: %s", h->state.id, h->state.bundle,
                           strerror(-r));
        snprintf(folder, sizeof(folder), "%s/p/%s", h->options->runtime_dir, h->demand.name);
        r = place_mount(folder, h->state.pid, root, HOOK_FOLDER);
        if (r < 0)
                return say(h, "%s cannot be shown as " HOOK_FOLDER " in container %s: %s", folder, h->state.id,
                           strerror(-r));
        return 0;
}

/* Without its names the container is as good: they are for people. */
static void say_names(struct hook *h) {
        struct called_names names;
        uint64_t started;

        called_of(&names, &h->state, "/proc", (uint32_t)getppid());
        if (!names.name[0] && !names.pod[0])
                return;
        if (started_read(h->state.pid, &started) == 0)
                called_note(h->options->runtime_dir, h->state.id, h->state.pid, started, &names);
}

static int attach(struct hook *h) {
        int r;

        if (h->state.pid == 0)
                return say(h, "container %s has no process yet: 'attach' is for createRuntime", h->state.id);
        r = have(h);
        if (r == 0)
                say_names(h);
        return r == 0 && h->options->mounts ? show(h) : r;
}

/* ---- release ---- */

static int release(struct hook *h) {
        int r = look(h);

        called_forget(h->options->runtime_dir, h->state.id);
        if (r < 0 || !h->found || strcmp(h->holder, h->container) != 0)
                return r;
        r = svmd_partition_delete(h->session, h->demand.name, SVMD_DELETE_END_SESSIONS | SVMD_DELETE_DROP_KEPT, 0);
        /* svmd saw the container end, too. */
        if (r != SVMD_OK && r != SVMD_E_NO_SUCH && r != SVMD_E_BUSY)
                return say(h, "partition %s: %s", h->demand.name, svmd_error());
        return 0;
}

int hook_run(const struct hook_options *o, const char *text, size_t size, FILE *err) {
        struct hook h = { .options = o, .err = err };
        char why[(int)STATE_WHY > (int)DEMAND_WHY ? STATE_WHY : DEMAND_WHY];
        int r;

        if (state_parse(&h.state, text, size, why) < 0)
                return say(&h, "the container's state on standard input: %s", why);
        demand_name(h.container, h.state.id);
        r = demand_of(&h.demand, &h.state, o->name, why);
        if (r < 0)
                r = say(&h, "container %s: %s", h.state.id, why);
        else if (h.demand.name[0])
                r = reach(&h);
        if (r == 0 && h.session)
                r = o->attach ? attach(&h) : release(&h);
        svmd_disconnect(h.session);
        state_free(&h.state);
        return r;
}
