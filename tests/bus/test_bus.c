/*
 * svmd on a real bus, asked by processes of several users: what it shows, who may, what svmd's log says of it, what is
 * told, and what hostile callers come to.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"

#define NAME      "org.svmd1"
#define ROOT      "/org/svmd1"
#define MANAGER   "org.svmd1.Manager"
#define NODE      "org.svmd1.Node"
#define PARTITION "org.svmd1.Partition"
#define GPU0      "/org/svmd1/node/gpu0"
#define GPU1      "/org/svmd1/node/gpu_2d1_2ex"
#define TRAIN     "/org/svmd1/partition/train"

/* dbus-daemon asks the system who they are: these are users of every Debian, and MEMBER is in its own group alone. */
enum { STRANGER = 65534, MEMBER = 5, GIB4 = 4 };

/* A sanitizer keeps what was freed, and notes about what was not. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RSS_MOST (1024ull << 20)
#else
#define RSS_MOST (256ull << 20)
#endif

static struct bus b;
static sd_bus *root;

/* ---- calls ---- */

/* The name of the error that the call gave; "" none. The rest of the error is in `last`. */
static char last[512], last_name[128];

static const char *result(int r, sd_bus_error *error) {
        snprintf(last_name, sizeof(last_name), "%s", r < 0 ? (error->name ? error->name : strerror(-r)) : "");
        snprintf(last, sizeof(last), "%s", error->message ? error->message : "");
        sd_bus_error_free(error);
        return last_name;
}

#define CALL(bus, path, face, method, ...)                                                                             \
        ({                                                                                                             \
                sd_bus_error error_ = SD_BUS_ERROR_NULL;                                                               \
                int r_ = sd_bus_call_method(bus, NAME, path, face, method, &error_, NULL, __VA_ARGS__);                \
                result(r_, &error_);                                                                                   \
        })

static void is(const char *name, const char *got) {
        if (strcmp(name, got) != 0) {
                fprintf(stderr, "expected \"%s\", got \"%s\": %s\n", name, got, last);
                fail_here("another error");
        }
}

static void says(const char *text) {
        if (!strstr(last, text)) {
                fprintf(stderr, "expected \"%s\" in: %s\n", text, last);
                fail_here("another text");
        }
}

static const char *create(sd_bus *bus, const char *name) {
        return CALL(bus, ROOT, MANAGER, "CreatePartition", "sa{sv}", name, 3, "Size", "t", (uint64_t)GIB4 << 30, "Mode",
                    "u", 0640, "Window", "s", HARNESS_WINDOW == SVMD_WINDOW_LOW ? "low" : "primary");
}

static uint64_t number(const char *path, const char *face, const char *property, char type) {
        union {
                uint64_t t;
                uint32_t u;
                int b;
        } value = { 0 };

        must(sd_bus_get_property_trivial(root, NAME, path, face, property, NULL, type, &value) >= 0);
        return type == 't' ? value.t : type == 'u' ? value.u : (uint64_t)value.b;
}

static void await_number(const char *path, const char *face, const char *property, char type, uint64_t wanted) {
        uint64_t end = now_ms() + CEILING_MS;

        while (number(path, face, property, type) != wanted) {
                must(now_ms() < end);
                usleep(2000);
        }
}

static bool exists(const char *path) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *text = NULL;
        int r = sd_bus_get_property_string(root, NAME, path, PARTITION, "Name", &error, &text);

        free(text);
        sd_bus_error_free(&error);
        return r >= 0;
}

static void await_partition(const char *path, bool there) {
        uint64_t end = now_ms() + CEILING_MS;

        while (exists(path) != there) {
                must(now_ms() < end);
                usleep(2000);
        }
}

/* ---- signals ---- */

/* Reads what comes until a signal of that member has a body that begins with this text. */
static void await_signal(sd_bus *bus, const char *member, const char *path) {
        uint64_t end = now_ms() + CEILING_MS;

        for (;;) {
                sd_bus_message *m = NULL;
                const char *text = NULL;
                int r = sd_bus_process(bus, &m);

                must(r >= 0 && now_ms() < end);
                if (m && sd_bus_message_is_signal(m, NULL, member)) {
                        sd_bus_message_rewind(m, true);
                        if (strcmp(member, "PropertiesChanged") == 0)
                                text = sd_bus_message_get_path(m);
                        else if (strcmp(member, "Pressure") == 0 || strcmp(member, "GiveBack") == 0)
                                must(sd_bus_message_read(m, "so", NULL, &text) > 0);
                        else
                                must(sd_bus_message_read_basic(m, sd_bus_message_get_signature(m, true)[0], &text) > 0);
                }
                if (text && strcmp(text, path) == 0) {
                        sd_bus_message_unref(m);
                        return;
                }
                sd_bus_message_unref(m);
                if (r == 0)
                        sd_bus_wait(bus, 10000);
        }
}

static sd_bus *listen_to(void) {
        sd_bus *bus = bus_connect(&b);

        must(sd_bus_add_match(bus, NULL, "type='signal',sender='org.svmd1'", NULL, NULL) >= 0);
        return bus;
}

/* ---- other users ---- */

static sd_bus *mine;

static void connect_actor(struct message *m) {
        mine = bus_connect(&b);
        m->r = mine ? 0 : 1;
}

static void keep(struct message *m) {
        snprintf(m->error, sizeof(m->error), "%s", last);
        snprintf(m->text, sizeof(m->text), "%s", last_name);
}

/* text: name */
static void create_actor(struct message *m) {
        create(mine, m->text);
        keep(m);
}

static void create_interactive(struct message *m) {
        sd_bus_set_allow_interactive_authorization(mine, true);
        create(mine, m->text);
        keep(m);
}

/* Which of the ways to see partitions are open to it: n[0]. */
static void look_actor(struct message *m) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *text = NULL;
        int running;

        m->n[0] = sd_bus_get_property_trivial(mine, NAME, ROOT, MANAGER, "Running", NULL, 'b', &running) >= 0;
        m->n[0] |= 2u * (sd_bus_get_property_string(mine, NAME, TRAIN, PARTITION, "Name", &error, &text) >= 0);
        sd_bus_error_free(&error);
        m->n[0] |=
                4u * (strcmp(CALL(mine, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", ""), "") == 0);
        m->n[0] |= 8u * (strcmp(CALL(mine, ROOT, "org.freedesktop.DBus.Introspectable", "Introspect", ""), "") == 0);
        free(text);
}

/* Signals that reach it until the partition of that name is gone again: n[0]. */
static void listen_actor(struct message *m) {
        must(sd_bus_add_match(mine, NULL, "type='signal',sender='org.svmd1'", NULL, NULL) >= 0);
        m->r = 0;
}

static void heard_actor(struct message *m) {
        m->n[0] = 0;
        for (int r = 1; r > 0;) {
                sd_bus_message *got = NULL;

                r = sd_bus_process(mine, &got);
                m->n[0] += got && sd_bus_message_is_signal(got, NULL, NULL) &&
                           strncmp(sd_bus_message_get_path(got), ROOT, strlen(ROOT)) == 0;
                sd_bus_message_unref(got);
        }
}

/* n[0] calls that it does not wait for. */
static void post_actor(struct message *m) {
        for (uint64_t i = 0; i < m->n[0]; i++) {
                sd_bus_message *call = NULL;
                char name[32];

                snprintf(name, sizeof(name), "flood-%llu", (unsigned long long)i);
                must(sd_bus_message_new_method_call(mine, &call, NAME, ROOT, MANAGER, "CreatePartition") >= 0);
                must(sd_bus_message_append(call, "sa{sv}", name, 1, "Size", "t", (uint64_t)GIB4 << 30) >= 0);
                (void)sd_bus_send(mine, call, NULL);
                sd_bus_message_unref(call);
        }
        sd_bus_flush(mine);
}

static void await_count(volatile unsigned *count, unsigned wanted) {
        uint64_t end = now_ms() + CEILING_MS;

        while (*count < wanted) {
                must(now_ms() < end);
                usleep(2000);
        }
}

/* ---- tests ---- */

static void test_shape(void) {
        char command[256];
        sd_bus_message *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *xml;
        FILE *f;

        must(number(ROOT, MANAGER, "Running", 'b') == 1);
        must(number(ROOT, MANAGER, "Pid", 'u') == (uint64_t)b.svmd.pid);
        must(number(GPU0, NODE, "Capacity", 't') == 64ull << 20);
        must(number(GPU1, NODE, "Online", 'b') == 1);
        must(sd_bus_call_method(root, NAME, GPU0, "org.freedesktop.DBus.Introspectable", "Introspect", &error, &reply,
                                "") >= 0);
        must(sd_bus_message_read(reply, "s", &xml) > 0);
        must(strstr(xml, "<method name=\"Drain\">") && strstr(xml, "<property name=\"Used\" type=\"t\""));
        f = popen("python3 -c 'import sys, xml.etree.ElementTree as e; e.parse(sys.stdin)'", "w");
        must(f && fputs(xml, f) >= 0 && pclose(f) == 0);
        sd_bus_message_unref(reply);
        for (unsigned i = 0; i < 2; i++) {
                snprintf(command, sizeof(command), "busctl --address=%s --timeout=%u %s >/dev/null", b.address,
                         CEILING_MS / 1000, i ? "introspect org.svmd1 /org/svmd1" : "tree org.svmd1");
                must(system(command) == 0);
        }
}

static void test_partitions(void) {
        sd_bus *bus = listen_to();

        is("", create(root, "train"));
        await_signal(bus, "InterfacesAdded", TRAIN);
        must(number(TRAIN, PARTITION, "Size", 't') == (uint64_t)GIB4 << 30);
        must(number(TRAIN, PARTITION, "Mode", 'u') == 0640);
        must(daemon_said(&b.svmd, "partition_create name=\"train\""));
        must(daemon_said(&b.svmd, "uid 0, in") && daemon_said(&b.svmd, "over D-Bus"));
        is("org.svmd1.Error.TAKEN", create(root, "train"));
        says("there is a partition named train already");

        is("", CALL(root, TRAIN, PARTITION, "Set", "a{sv}", 3, "Owner", "(uu)", 7, 8, "KeptMax", "t", 4096ull, "Limits",
                    "a(sst)", 2, "gpu0", "max", 1ull << 20, "gpu-1.x", "high", 2ull << 20));
        await_signal(bus, "PropertiesChanged", TRAIN);
        must(number(TRAIN, PARTITION, "Uid", 'u') == 7 && number(TRAIN, PARTITION, "Gid", 'u') == 8);
        must(number(TRAIN, PARTITION, "KeptMax", 't') == 4096);

        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        await_signal(bus, "InterfacesRemoved", TRAIN);
        is(SD_BUS_ERROR_UNKNOWN_OBJECT, CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        sd_bus_flush_close_unref(bus);
}

static void test_wrong(void) {
        is("", create(root, "train"));
        must(exists(TRAIN));
        is(SD_BUS_ERROR_INVALID_ARGS, CALL(root, ROOT, MANAGER, "CreatePartition", "s", "x"));
        is(SD_BUS_ERROR_INVALID_ARGS,
           CALL(root, ROOT, MANAGER, "CreatePartition", "sa{sv}", "x", 1, "Colour", "s", "red"));
        says("Colour");
        is(SD_BUS_ERROR_INVALID_ARGS,
           CALL(root, ROOT, MANAGER, "CreatePartition", "sa{sv}", "x", 1, "Size", "s", "4G"));
        says("Size takes a value of type t");
        is(SD_BUS_ERROR_INVALID_ARGS,
           CALL(root, ROOT, MANAGER, "CreatePartition", "sa{sv}", "x", 1, "Window", "s", "huge"));
        is(SD_BUS_ERROR_INVALID_ARGS,
           CALL(root, TRAIN, PARTITION, "Set", "a{sv}", 1, "Limits", "a(sst)", 1, "none", "max", 1ull));
        is(SD_BUS_ERROR_INVALID_ARGS,
           CALL(root, TRAIN, PARTITION, "Set", "a{sv}", 1, "Limits", "a(sst)", 1, "gpu0", "most", 1ull));
        is("org.svmd1.Error.NAME", create(root, "a b"));
        is("org.svmd1.Error.NAME", create(root, ""));
        is("org.svmd1.Error.NO_SUCH", CALL(root, ROOT, MANAGER, "KillSession", "t", 1234567ull));
        is("org.svmd1.Error.NO_SUCH", CALL(root, ROOT, MANAGER, "GetNode", "s", "none"));
        is("", CALL(root, ROOT, MANAGER, "Reload", ""));
        must(daemon_said(&b.svmd, "reload: done; asked by bus_bus"));
        is("", CALL(root, ROOT, MANAGER, "GetNode", "s", "gpu-1.x"));
        is(SD_BUS_ERROR_UNKNOWN_OBJECT, CALL(root, "/org/svmd1/node/none", NODE, "Drain", ""));
        is(SD_BUS_ERROR_UNKNOWN_METHOD, CALL(root, ROOT, MANAGER, "Explode", ""));
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        must(!exists(TRAIN));
}

/* The same rule as at the socket, then polkit's word. */
static void test_who_may(void) {
        struct actor stranger, member;
        struct message m = { .text = "" };

        actor_new(&stranger, STRANGER, STRANGER, 0);
        actor_new(&member, MEMBER, ADMIN_GROUP, 0);
        actor_call(&stranger, connect_actor, &m);
        actor_call(&member, connect_actor, &m);

        strcpy(m.text, "member");
        actor_call(&member, create_actor, &m);
        is("", m.text);
        must(daemon_said(&b.svmd, "uid 5, in"));
        strcpy(m.text, "stranger");
        actor_call(&stranger, create_actor, &m);
        is(SD_BUS_ERROR_ACCESS_DENIED, m.text);
        must(strstr(m.error, "only root and members"));

        bus_start_polkit(&b);
        b.polkit->answer = POLKIT_NO;
        strcpy(m.text, "stranger");
        actor_call(&stranger, create_actor, &m);
        is(SD_BUS_ERROR_ACCESS_DENIED, m.text);
        must(b.polkit->asked == 1 && b.polkit->flags == 0);
        is("org.svmd1.manage-partitions", (const char *)b.polkit->action);
        b.polkit->answer = POLKIT_CHALLENGE;
        strcpy(m.text, "stranger");
        actor_call(&stranger, create_actor, &m);
        is(SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, m.text);
        b.polkit->answer = POLKIT_YES;
        strcpy(m.text, "stranger");
        actor_call(&stranger, create_interactive, &m);
        is("", m.text);
        must(b.polkit->asked == 3 && b.polkit->flags == 1);
        must(daemon_said(&b.svmd, "partition_create name=\"stranger\"") && daemon_said(&b.svmd, "uid 65534, in"));
        strcpy(m.text, "other");
        actor_call(&member, create_actor, &m);
        is("", m.text);
        must(b.polkit->asked == 3);
        bus_stop_polkit(&b);
        actor_end(&stranger);
        actor_end(&member);
        is("", CALL(root, "/org/svmd1/partition/stranger", PARTITION, "Delete", "a{sv}", 0));
}

static void test_who_sees(void) {
        struct actor stranger, member;
        struct message m = { .text = "" };

        is("", create(root, "train"));
        must(exists(TRAIN));
        actor_new(&stranger, STRANGER, STRANGER, 0);
        actor_new(&member, MEMBER, ADMIN_GROUP, 0);
        actor_call(&stranger, connect_actor, &m);
        actor_call(&member, connect_actor, &m);
        actor_call(&stranger, look_actor, &m);
        must(m.n[0] == 1);
        actor_call(&member, look_actor, &m);
        must(m.n[0] == 15);
        actor_call(&stranger, listen_actor, &m);
        actor_call(&member, listen_actor, &m);
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        must(!exists(TRAIN));
        actor_call(&member, look_actor, &m); /* behind the signals */
        actor_call(&member, heard_actor, &m);
        must(m.n[0] > 0);
        actor_call(&stranger, look_actor, &m);
        actor_call(&stranger, heard_actor, &m);
        must(m.n[0] == 0);
        actor_end(&stranger);
        actor_end(&member);
}

static void test_nodes(void) {
        sd_bus *bus = listen_to();

        is("", CALL(root, GPU0, NODE, "Drain", ""));
        await_signal(bus, "PropertiesChanged", GPU0);
        must(number(GPU0, NODE, "Online", 'b') == 0);
        must(daemon_said(&b.svmd, "action=NODE_DRAIN"));
        is("", CALL(root, GPU0, NODE, "Online", ""));
        await_number(GPU0, NODE, "Online", 'b', 1);
        is("", CALL(root, GPU1, NODE, "DeclareLost", ""));
        await_signal(bus, "NodeLost", GPU1);
        await_number(GPU1, NODE, "Online", 'b', 0);
        is("", CALL(root, GPU1, NODE, "Online", ""));
        is("org.svmd1.Error.BUSY", CALL(root, "/org/svmd1/node/host0", NODE, "Offline", ""));
        sd_bus_flush_close_unref(bus);
}

static void test_pressure(void) {
        sd_bus *bus = listen_to();
        svmd_session *s;
        svmd_mem mem;

        is("", create(root, "train"));
        must(exists(TRAIN));
        is("", CALL(root, TRAIN, PARTITION, "Set", "a{sv}", 1, "Limits", "a(sst)", 1, "gpu0", "high", 1ull << 20));
        connect_to(&s, b.svmd.socket, "train");
        ok(svmd_mem_create(s, &mem, 4 << 20, (svmd_node)number(GPU0, NODE, "Id", 'u'), SVMD_MEM_PINNED));
        await_signal(bus, "Pressure", GPU0);
        svmd_disconnect(s);
        await_signal(bus, "GiveBack", GPU0);
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 1, "EndSessions", "b", 1));
        must(!exists(TRAIN));
        sd_bus_flush_close_unref(bus);
}

/* Who vanishes takes his calls along; who has too many is refused; and others are served meanwhile. */
static void test_vanished(void) {
        unsigned asked = b.polkit->asked, cancelled = b.polkit->cancelled;
        struct actor stranger;
        struct message m = { .text = "" };

        bus_start_polkit(&b);
        b.polkit->answer = POLKIT_SILENT;
        actor_new(&stranger, STRANGER, STRANGER, 0);
        actor_call(&stranger, connect_actor, &m);
        m.n[0] = 8;
        actor_call(&stranger, post_actor, &m);
        await_count(&b.polkit->asked, asked + 8);
        strcpy(m.text, "more");
        actor_call(&stranger, create_actor, &m);
        is(SD_BUS_ERROR_LIMITS_EXCEEDED, m.text);
        is("", create(root, "train"));
        actor_kill(&stranger);
        await_count(&b.polkit->cancelled, cancelled + 8);
        bus_stop_polkit(&b);
        must(!exists("/org/svmd1/partition/flood_2d0"));
        is("", CALL(root, ROOT, MANAGER, "GetPartition", "s", "train"));
        must(exists(TRAIN));
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        must(!exists(TRAIN));
}

static void test_flood(void) {
        struct actor floods[4];
        struct message m = { .text = "" };

        for (unsigned i = 0; i < 4; i++) {
                actor_new(&floods[i], STRANGER, STRANGER, 0);
                actor_call(&floods[i], connect_actor, &m);
                m.n[0] = 2000;
                actor_begin(&floods[i], post_actor, &m);
        }
        for (unsigned i = 0; i < 20; i++)
                is("org.svmd1.Error.NO_SUCH", CALL(root, ROOT, MANAGER, "KillSession", "t", 1234567ull));
        for (unsigned i = 0; i < 4; i++)
                actor_kill(&floods[i]);
        is("org.svmd1.Error.NO_SUCH", CALL(root, ROOT, MANAGER, "KillSession", "t", 1234567ull));
        must(process_fds_at_rest(b.program) < 32);
        must(process_rss(b.program) < RSS_MOST);
}

/* ---- what it would come to, and who is there ---- */

static sd_bus_message *ask_rows(const char *method, const char *types, ...) {
        sd_bus_message *m = NULL, *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        va_list ap;

        must(sd_bus_message_new_method_call(root, &m, NAME, TRAIN, PARTITION, method) >= 0);
        va_start(ap, types);
        must(sd_bus_message_appendv(m, types, ap) >= 0);
        va_end(ap);
        is("", result(sd_bus_call(root, m, 0, &error, &reply), &error));
        sd_bus_message_unref(m);
        return reply;
}

/* How many steps of that kind the plan has for this process, on that node. */
static unsigned steps_of(sd_bus_message *plan, const char *kind, const char *at) {
        const char *node, *what, *client;
        uint64_t bytes, session;
        unsigned n = 0;
        uint32_t pid;

        must(sd_bus_message_enter_container(plan, 'a', "(ssttus)") >= 0);
        while (sd_bus_message_read(plan, "(ssttus)", &node, &what, &bytes, &session, &pid, &client) > 0)
                n += strcmp(what, kind) == 0 && strcmp(node, at) == 0 && pid == (uint32_t)getpid() && session > 0;
        sd_bus_message_unref(plan);
        return n;
}

static void see_sessions(uint64_t memories) {
        sd_bus_message *m = ask_rows("ListSessions", "");
        uint64_t id, reservations, got, spaces, registered;
        uint32_t pid, uid, gid;
        const char *client;

        must(sd_bus_message_enter_container(m, 'a', "(tuuustttt)") >= 0);
        must(sd_bus_message_read(m, "(tuuustttt)", &id, &pid, &uid, &gid, &client, &reservations, &got, &spaces,
                                 &registered) > 0);
        must(id > 0 && pid == (uint32_t)getpid() && uid == geteuid() && got == memories);
        must(sd_bus_message_at_end(m, false) > 0);
        sd_bus_message_unref(m);
}

static void list_actor(struct message *m) {
        CALL(mine, TRAIN, PARTITION, "ListSessions", "");
        keep(m);
}

static void test_plans(void) {
        struct message m = { .text = "" };
        struct actor stranger;
        svmd_session *s;
        svmd_mem mem;

        is("", create(root, "train"));
        connect_to(&s, b.svmd.socket, "train");
        ok(svmd_mem_create(s, &mem, 4 << 20, (svmd_node)number(GPU0, NODE, "Id", 'u'), SVMD_MEM_PINNED));
        see_sessions(1);
        must(steps_of(ask_rows("PlanDelete", "a{sv}", 1, "EndSessions", "b", 1), "steal", "gpu0") == 1);
        must(steps_of(ask_rows("PlanSet", "a{sv}", 3, "Limits", "a(sst)", 1, "gpu0", "max", 1ull << 20, "DeadlineMs",
                               "t", 1000ull, "Steal", "b", 1),
                      "give-back", "gpu0") == 1);
        is("org.svmd1.Error.BUSY", CALL(root, TRAIN, PARTITION, "PlanDelete", "a{sv}", 0));
        is(SD_BUS_ERROR_INVALID_ARGS, CALL(root, TRAIN, PARTITION, "PlanSet", "a{sv}", 1, "Colour", "s", "red"));
        /* Nothing of it was done. */
        ok(svmd_mem_create(s, &mem, 4 << 20, (svmd_node)number(GPU0, NODE, "Id", 'u'), SVMD_MEM_PINNED));
        see_sessions(2);
        actor_new(&stranger, STRANGER, STRANGER, 0);
        actor_call(&stranger, connect_actor, &m);
        actor_call(&stranger, list_actor, &m);
        is(SD_BUS_ERROR_ACCESS_DENIED, m.text);
        actor_end(&stranger);
        svmd_disconnect(s);
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 1, "EndSessions", "b", 1));
        must(!exists(TRAIN));
}

/* ---- a second svmd's ---- */

static void look_at_two(struct message *m) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int running;

        m->n[0] = sd_bus_get_property_trivial(mine, NAME ".two", ROOT, MANAGER, "Running", NULL, 'b', &running) >= 0;
        m->n[0] |= 2u * (sd_bus_call_method(mine, NAME ".two", ROOT, "org.freedesktop.DBus.ObjectManager",
                                            "GetManagedObjects", &error, NULL, "") >= 0);
        sd_bus_error_free(&error);
}

static void test_instance(void) {
        static const char *const wrong[] = { "9x", "a.b", "a/b", "" };
        pid_t two = bus_start_instance(&b, "two");
        struct message m = { .text = "" };
        struct actor stranger;
        char said[1024];
        int running = 0, status;

        for (uint64_t end = now_ms() + CEILING_MS; !running; usleep(5000)) {
                must(now_ms() < end);
                must(sd_bus_get_property_trivial(root, NAME ".two", ROOT, MANAGER, "Running", NULL, 'b', &running) >=
                     0);
        }
        must(number(ROOT, MANAGER, "Running", 'b') == 1); /* the first one is there, too */
        actor_new(&stranger, STRANGER, STRANGER, 0);
        actor_call(&stranger, connect_actor, &m);
        actor_call(&stranger, look_at_two, &m);
        must(m.n[0] == 1);
        actor_end(&stranger);
        kill(two, SIGTERM);
        must(wait_end(two, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                const char *words[] = { BUS_PROGRAM, "--instance", wrong[i], NULL };

                must(bus_run_program(words, said, sizeof(said)) == 2);
                must(strstr(said, "cannot be on D-Bus"));
        }
}

static int on_created(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        *(int *)userdata = sd_bus_message_is_method_error(m, NULL) ? -1 : 1;
        return 0;
}

/* A call waits for the next svmd, as other clients do. Where there is none to come, it says so; and svmd-dbus goes on
 * by itself. */
static void test_svmd_goes(void) {
        uint64_t epoch = number(ROOT, MANAGER, "Epoch", 't');
        int created = 0;

        daemon_kill(&b.svmd);
        await_number(ROOT, MANAGER, "Running", 'b', 0);
        must(number(GPU0, NODE, "Capacity", 't') == 64ull << 20);
        must(sd_bus_call_method_async(root, NULL, NAME, ROOT, MANAGER, "CreatePartition", on_created, &created,
                                      "sa{sv}", "train", 1, "Size", "t", (uint64_t)GIB4 << 30) >= 0);
        sd_bus_flush(root);
        daemon_start(&b.svmd);
        await_number(ROOT, MANAGER, "Running", 'b', 1);
        must(number(ROOT, MANAGER, "Epoch", 't') == epoch + 1);
        while (created == 0)
                must(sd_bus_wait(root, UINT64_MAX) >= 0 && sd_bus_process(root, NULL) >= 0);
        must(created == 1);
        await_partition(TRAIN, true);

        daemon_kill(&b.svmd);
        daemon_kill_keeper(&b.svmd);
        await_number(ROOT, MANAGER, "Running", 'b', 0);
        is("org.svmd1.Error.GONE", create(root, "other"));
        daemon_start(&b.svmd);
        await_number(ROOT, MANAGER, "Running", 'b', 1);
        is("", CALL(root, TRAIN, PARTITION, "Delete", "a{sv}", 0));
        must(!exists(TRAIN));
}

static void test_without_a_bus(void) {
        const char *none[] = { BUS_PROGRAM, "--bus", "unix:path=/nonexistent/bus", NULL };
        const char *second[] = { BUS_PROGRAM, "--bus", b.address, "--socket", b.svmd.admin, NULL };
        const char *wrong[] = { BUS_PROGRAM, "--nonsense", NULL };
        char said[1024];

        must(bus_run_program(none, said, sizeof(said)) == 0);
        must(strstr(said, "svmd is not on D-Bus, and runs without"));
        must(bus_run_program(second, said, sizeof(said)) == 1);
        must(strstr(said, "svmd cannot be on D-Bus: File exists"));
        must(bus_run_program(wrong, said, sizeof(said)) == 2);
}

int main(void) {
        harness_begin("bus");
        if (harness_one_user())
                return 0;
        bus_new(&b);
        root = bus_connect(&b);
        test_shape();
        test_partitions();
        test_wrong();
        test_who_may();
        test_who_sees();
        test_nodes();
        test_pressure();
        test_plans();
        test_instance();
        test_vanished();
        test_flood();
        test_svmd_goes();
        test_without_a_bus();
        sd_bus_flush_close_unref(root);
        bus_end(&b);
        return 0;
}
