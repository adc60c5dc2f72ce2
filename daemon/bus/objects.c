#include "bus/objects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "bus/calls.h"
#include "bus/names.h"
#include "bus/settings.h"
#include "bus/tell.h"
#include "bus/view.h"

#define NODE_FACE      "org.svmd1.Node"
#define PARTITION_FACE "org.svmd1.Partition"
#define MANAGER_FACE   "org.svmd1.Manager"
#define EMITS          SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONSTANT       SD_BUS_VTABLE_PROPERTY_CONST
/* Who may is found out by the call itself: see calls.h. */
#define METHOD(name, in, out, fn) SD_BUS_METHOD(name, in, out, fn, SD_BUS_VTABLE_UNPRIVILEGED)

#define ACTION_PARTITIONS "org.svmd1.manage-partitions"
#define ACTION_NODES      "org.svmd1.manage-nodes"
#define ACTION_SESSIONS   "org.svmd1.end-sessions"
#define ACTION_SEE        "org.svmd1.see-sessions"
#define ACTION_RELOAD     "org.svmd1.reload"

struct objects {
        sd_bus *bus;
        struct calls *calls;
        struct view *view;
        struct tell tell;
        struct view_manager manager; /* as the bus sees it */
};

/* Rows are found anew for each message; whose vtable they are in is known to the slot. */
static struct objects *current(sd_bus_message *m) {
        return sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
}

/* ---- properties ---- */

static int get_text(sd_bus *bus, const char *path, const char *face, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", (const char *)userdata);
}

static int get_usage(sd_bus *bus, const char *path, const char *face, const char *property, sd_bus_message *reply,
                     void *userdata, sd_bus_error *error) {
        const struct view_partition *p = userdata;
        const struct objects *o = sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
        int r = sd_bus_message_open_container(reply, 'a', "(sttttt)");

        for (uint32_t i = 0; r >= 0 && o && i < p->uses_count; i++) {
                const struct view_use *u = &p->uses[i];
                const struct view_node *n = view_node_of(view_now(o->view), u->node);

                if (n)
                        r = sd_bus_message_append(reply, "(sttttt)", n->name, u->used, u->max, u->high, u->low, u->min);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- methods of nodes ---- */

static int node_set(sd_bus_message *m, const struct view_node *n, Svmd__V1__NodeAction action, sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_NODES, .reply = REPLY_FENCE };
        Svmd__V1__NodeSet set = SVMD__V1__NODE_SET__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        set.node = n->id;
        set.action = action;
        op.op_case = SVMD__V1__OP__OP_NODE_SET;
        op.node_set = &set;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int on_drain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return node_set(m, userdata, SVMD__V1__NODE_ACTION__NODE_DRAIN, error);
}

static int on_offline(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return node_set(m, userdata, SVMD__V1__NODE_ACTION__NODE_OFFLINE, error);
}

static int on_online(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return node_set(m, userdata, SVMD__V1__NODE_ACTION__NODE_ONLINE, error);
}

static int on_lost(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return node_set(m, userdata, SVMD__V1__NODE_ACTION__NODE_LOST, error);
}

/* ---- methods of partitions ---- */

static int partition_set(sd_bus_message *m, const struct view_partition *p, enum call_reply reply,
                         sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_PARTITIONS, .reply = reply };
        Svmd__V1__PartitionSet set = SVMD__V1__PARTITION_SET__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct settings s = { .view = view_now(current(m)->view) };
        int r;

        set.name = (char *)p->name;
        r = settings_set(&s, m, &set, error);
        if (r < 0)
                return r;
        op.op_case = SVMD__V1__OP__OP_PARTITION_SET;
        op.partition_set = &set;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int on_set(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return partition_set(m, userdata, REPLY_EMPTY, error);
}

static int on_plan_set(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return partition_set(m, userdata, REPLY_PLAN, error);
}

static int partition_delete(sd_bus_message *m, const struct view_partition *p, enum call_reply reply,
                            sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_PARTITIONS, .reply = reply };
        Svmd__V1__PartitionDelete del = SVMD__V1__PARTITION_DELETE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct settings s = { .view = view_now(current(m)->view) };
        int r;

        del.name = (char *)p->name;
        r = settings_delete(&s, m, &del, error);
        if (r < 0)
                return r;
        op.op_case = SVMD__V1__OP__OP_PARTITION_DELETE;
        op.partition_delete = &del;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int on_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return partition_delete(m, userdata, REPLY_EMPTY, error);
}

static int on_plan_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return partition_delete(m, userdata, REPLY_PLAN, error);
}

static int on_sessions(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const struct view_partition *p = userdata;
        struct call_desc desc = { .action = ACTION_SEE, .reply = REPLY_SESSIONS, .name = p->name };
        Svmd__V1__SessionList list = SVMD__V1__SESSION_LIST__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        list.partition = (char *)p->name;
        op.op_case = SVMD__V1__OP__OP_SESSION_LIST;
        op.session_list = &list;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

/* ---- methods of the manager ---- */

static int on_create(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_PARTITIONS, .reply = REPLY_PARTITION };
        Svmd__V1__PartitionCreate create = SVMD__V1__PARTITION_CREATE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct settings s = { .view = view_now(current(m)->view) };
        int r = sd_bus_message_read(m, "s", &desc.name);

        if (r < 0)
                return r;
        create.name = (char *)desc.name;
        r = settings_create(&s, m, &create, error);
        if (r < 0)
                return r;
        op.op_case = SVMD__V1__OP__OP_PARTITION_CREATE;
        op.partition_create = &create;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int on_kill(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_SESSIONS };
        Svmd__V1__SessionKill kill = SVMD__V1__SESSION_KILL__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = sd_bus_message_read(m, "t", &kill.session);

        if (r < 0)
                return r;
        op.op_case = SVMD__V1__OP__OP_SESSION_KILL;
        op.session_kill = &kill;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int on_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct call_desc desc = { .action = ACTION_RELOAD };
        Svmd__V1__Reload reload = SVMD__V1__RELOAD__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_RELOAD;
        op.reload = &reload;
        return call_begin(current(m)->calls, m, &desc, &op, error);
}

static int reply_path(sd_bus_message *m, const char *prefix, const void *row, const char *name, sd_bus_error *error) {
        char *path = NULL;
        int r;

        if (!row)
                return sd_bus_error_setf(error, CALL_ERROR("NO_SUCH"), "there is no %s", name);
        r = sd_bus_path_encode(prefix, name, &path);
        if (r >= 0)
                r = sd_bus_reply_method_return(m, "o", path);
        free(path);
        return r;
}

static int on_get_node(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const struct objects *o = current(m);
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : reply_path(m, BUS_NODES, view_node(view_now(o->view), name), name, error);
}

static int on_get_partition(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const struct objects *o = current(m);
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : reply_path(m, BUS_PARTITIONS, view_partition(view_now(o->view), name), name, error);
}

/* ---- vtables ---- */

#define TEXT(name, type, member, flags) SD_BUS_PROPERTY(name, "s", get_text, offsetof(struct type, member), flags)

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        TEXT("Version", objects, manager.version, EMITS),
#define X(name, type, member) SD_BUS_PROPERTY(name, type, NULL, offsetof(struct objects, manager.member), EMITS),
        VIEW_MANAGER_NUMBERS(X)
#undef X
                SD_BUS_METHOD_WITH_NAMES("GetNode", "s", SD_BUS_PARAM(name), "o", SD_BUS_PARAM(node), on_get_node,
                                         SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("GetPartition", "s", SD_BUS_PARAM(name), "o", SD_BUS_PARAM(partition),
                                 on_get_partition, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("CreatePartition", "sa{sv}", SD_BUS_PARAM(name) SD_BUS_PARAM(settings), "o",
                                 SD_BUS_PARAM(partition), on_create, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("KillSession", "t", SD_BUS_PARAM(session), "", , on_kill, SD_BUS_VTABLE_UNPRIVILEGED),
        METHOD("Reload", "", "", on_reload),
        SD_BUS_SIGNAL_WITH_NAMES("NodeLost", "os", SD_BUS_PARAM(node) SD_BUS_PARAM(text), 0),
        SD_BUS_SIGNAL_WITH_NAMES("Pressure", "sot", SD_BUS_PARAM(partition) SD_BUS_PARAM(node) SD_BUS_PARAM(bytes), 0),
        SD_BUS_SIGNAL_WITH_NAMES("GiveBack", "sot", SD_BUS_PARAM(partition) SD_BUS_PARAM(node) SD_BUS_PARAM(left), 0),
        SD_BUS_SIGNAL_WITH_NAMES("Event", "sstus",
                                 SD_BUS_PARAM(what) SD_BUS_PARAM(partition) SD_BUS_PARAM(session) SD_BUS_PARAM(pid)
                                         SD_BUS_PARAM(text),
                                 0),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable node_vtable[] = {
        SD_BUS_VTABLE_START(0),
        TEXT("Name", view_node, name, CONSTANT),
        TEXT("Kind", view_node, kind, CONSTANT),
        TEXT("Driver", view_node, driver, CONSTANT),
        TEXT("Trouble", view_node, trouble, EMITS),
#define X(name, type, member) SD_BUS_PROPERTY(name, type, NULL, offsetof(struct view_node, member), EMITS),
        VIEW_NODE_NUMBERS(X)
#undef X
                METHOD("Drain", "", "", on_drain),
        METHOD("Offline", "", "", on_offline),
        METHOD("Online", "", "", on_online),
        METHOD("DeclareLost", "", "", on_lost),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable partition_vtable[] = {
        SD_BUS_VTABLE_START(0),
        TEXT("Name", view_partition, name, CONSTANT),
        TEXT("Domain", view_partition, domain, CONSTANT),
        TEXT("Window", view_partition, window, CONSTANT),
        TEXT("Policy", view_partition, policy, EMITS),
        SD_BUS_PROPERTY("Usage", "a(sttttt)", get_usage, 0, EMITS),
#define X(name, type, member) SD_BUS_PROPERTY(name, type, NULL, offsetof(struct view_partition, member), EMITS),
        VIEW_PARTITION_NUMBERS(X)
#undef X
                SD_BUS_METHOD_WITH_NAMES("Set", "a{sv}", SD_BUS_PARAM(settings), "", , on_set,
                                         SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("Delete", "a{sv}", SD_BUS_PARAM(settings), "", , on_delete,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("PlanSet", "a{sv}", SD_BUS_PARAM(settings), "a" BUS_PLAN, SD_BUS_PARAM(steps),
                                 on_plan_set, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("PlanDelete", "a{sv}", SD_BUS_PARAM(settings), "a" BUS_PLAN, SD_BUS_PARAM(steps),
                                 on_plan_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        METHOD("ListSessions", "", "a" BUS_SESSIONS, on_sessions),
        SD_BUS_VTABLE_END,
};

/* ---- objects ---- */

static bool name_of(const char *path, const char *prefix, char *name, size_t size) {
        char *found = NULL;
        bool fits;

        if (sd_bus_path_decode(path, prefix, &found) <= 0)
                return false;
        fits = strlen(found) < size;
        if (fits)
                memcpy(name, found, strlen(found) + 1);
        free(found);
        return fits;
}

static int find_node(sd_bus *bus, const char *path, const char *face, void *userdata, void **ret, sd_bus_error *error) {
        const struct objects *o = userdata;
        char name[VIEW_NAME];

        if (!name_of(path, BUS_NODES, name, sizeof(name)))
                return 0;
        *ret = view_node(view_now(o->view), name);
        return *ret != NULL;
}

static int find_partition(sd_bus *bus, const char *path, const char *face, void *userdata, void **ret,
                          sd_bus_error *error) {
        const struct objects *o = userdata;
        char name[VIEW_NAME];

        if (!name_of(path, BUS_PARTITIONS, name, sizeof(name)))
                return 0;
        *ret = view_partition(view_now(o->view), name);
        return *ret != NULL;
}

/* Rows begin with their name. */
static int list_paths(const char *prefix, const void *rows, uint32_t count, size_t size, char ***ret) {
        char **paths = calloc(count + 1ul, sizeof(*paths));

        if (!paths)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++) {
                if (sd_bus_path_encode(prefix, (const char *)rows + i * size, &paths[i]) >= 0)
                        continue;
                while (i > 0)
                        free(paths[--i]);
                free(paths);
                return -ENOMEM;
        }
        *ret = paths;
        return 1;
}

static int list_nodes(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        const struct view_copy *c = view_now(((struct objects *)userdata)->view);

        return list_paths(BUS_NODES, c->nodes, c->nodes_count, sizeof(*c->nodes), ret);
}

static int list_partitions(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        const struct view_copy *c = view_now(((struct objects *)userdata)->view);

        return list_paths(BUS_PARTITIONS, c->partitions, c->partitions_count, sizeof(*c->partitions), ret);
}

/* ---- changes ---- */

static void on_changes(void *userdata, const struct view_copy *now, struct view_copy *next) {
        struct objects *o = userdata;

        tell_changes(&o->tell, now, next);
}

static void on_changed(void *userdata) {
        struct objects *o = userdata;
        const struct view_copy *now = view_now(o->view);

        o->manager = now->manager;
        tell_changed(&o->tell, now);
        calls_seen(o->calls);
}

/* Signals that name a node are told of nodes that the bus has. */
static void on_happened(void *userdata, const char *what, const char *partition, uint32_t node, uint64_t bytes,
                        uint64_t session, uint32_t pid, const char *text) {
        struct objects *o = userdata;
        const struct view_node *n = view_node_of(view_now(o->view), node);
        char *path = NULL;

        if (tell_is_full(&o->tell))
                return;
        (void)sd_bus_emit_signal(o->bus, BUS_ROOT, MANAGER_FACE, "Event", "sstus", what, partition, session, pid, text);
        if (!n || sd_bus_path_encode(BUS_NODES, n->name, &path) < 0)
                return;
        if (strcmp(what, "node-lost") == 0)
                (void)sd_bus_emit_signal(o->bus, BUS_ROOT, MANAGER_FACE, "NodeLost", "os", path, text);
        if (strcmp(what, "pressure") == 0)
                (void)sd_bus_emit_signal(o->bus, BUS_ROOT, MANAGER_FACE, "Pressure", "sot", partition, path, bytes);
        if (strcmp(what, "give-back") == 0)
                (void)sd_bus_emit_signal(o->bus, BUS_ROOT, MANAGER_FACE, "GiveBack", "sot", partition, path, bytes);
        free(path);
}

void objects_hooks(struct objects *o, struct view_hooks *hooks) {
        *hooks = (struct view_hooks){ o, on_changes, on_changed, on_happened };
}

void objects_set_view(struct objects *o, struct view *v) {
        o->view = v;
}

int objects_new(struct objects **ret, sd_bus *bus, struct calls *calls) {
        struct objects *o = alloc_zero(sizeof(*o));
        int r;

        if (!o)
                return -ENOMEM;
        o->bus = bus;
        o->calls = calls;
        o->tell.bus = bus;
        r = sd_bus_add_object_vtable(bus, NULL, BUS_ROOT, MANAGER_FACE, manager_vtable, o);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(bus, NULL, BUS_NODES, NODE_FACE, node_vtable, find_node, o);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(bus, NULL, BUS_PARTITIONS, PARTITION_FACE, partition_vtable,
                                               find_partition, o);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(bus, NULL, BUS_NODES, list_nodes, o);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(bus, NULL, BUS_PARTITIONS, list_partitions, o);
        if (r >= 0)
                r = sd_bus_add_object_manager(bus, NULL, BUS_ROOT);
        if (r < 0) {
                alloc_free(o);
                return r;
        }
        *ret = o;
        return 0;
}

void objects_free(struct objects *o) {
        alloc_free(o);
}
