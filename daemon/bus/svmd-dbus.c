#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "bus/calls.h"
#include "bus/names.h"
#include "bus/objects.h"
#include "bus/view.h"

/*
 * svmd on D-Bus: a client of svmd's socket for administrators that the bus knows as org.svmd1.
 *
 * A program of its own: what strangers send over the bus is parsed by a process without rights, and a call goes the
 * same way as a packet, through the table of svmd's service. What it needs besides is whether the caller may, which the
 * bus and polkit say.
 */

struct program {
        const char *socket, *address, *group, *name;
        char instance_name[256], instance_socket[108];
        sd_event *loop;
        sd_bus *bus;
        struct calls *calls;
        struct objects *objects;
        struct view *view;
};

static const struct option option_rows[] = {
        { "socket", required_argument, NULL, 's' },
        { "bus", required_argument, NULL, 'b' },
        { "admin-group", required_argument, NULL, 'g' },
        { "instance", required_argument, NULL, 'i' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 },
};

static const char help[] = "svmd-dbus [OPTION...]\n"
                           "svmd on D-Bus, as org.svmd1.\n\n"
                           "  --socket PATH        svmd's socket for administrators (/run/svmd/admin.sock)\n"
                           "  --instance NAME      of svmd@NAME: on the bus as org.svmd1.NAME, and its socket\n"
                           "  --bus ADDRESS        this bus instead of the system's\n"
                           "  --admin-group GROUP  who may without polkit's word, beside root (svmd-admin)\n"
                           "  --help, --version    print that and end\n";

/* The svmd of svmd@NAME.service. What cannot be part of a name on the bus is refused. */
static int set_instance(struct program *p, const char *instance) {
        int n = snprintf(p->instance_name, sizeof(p->instance_name), BUS_NAME ".%s", instance);
        int k = snprintf(p->instance_socket, sizeof(p->instance_socket), "/run/svmd-%s/admin.sock", instance);

        if (n >= (int)sizeof(p->instance_name) || k >= (int)sizeof(p->instance_socket) || strchr(instance, '.') ||
            strchr(instance, '/') || sd_bus_service_name_is_valid(p->instance_name) <= 0) {
                fprintf(stderr,
                        "svmd-dbus: %s cannot be on D-Bus: an instance has letters, digits, _ and -, and does not begin "
                        "with a digit\n",
                        instance);
                return 2;
        }
        p->name = p->instance_name;
        if (!p->socket)
                p->socket = p->instance_socket;
        return 0;
}

/* 0: go on; 1: done; 2: wrong. */
static int read_options(struct program *p, int argc, char **argv) {
        const char *instance = NULL;
        int c;

        while ((c = getopt_long(argc, argv, "", option_rows, NULL)) >= 0)
                switch (c) {
                case 's': p->socket = optarg; break;
                case 'b': p->address = optarg; break;
                case 'g': p->group = optarg; break;
                case 'i': instance = optarg; break;
                case 'h': fputs(help, stdout); return 1;
                case 'v': puts("svmd-dbus " SVMD_VERSION); return 1;
                default: return 2;
                }
        if (optind < argc) {
                fprintf(stderr, "svmd-dbus: %s is no option; see svmd-dbus --help\n", argv[optind]);
                return 2;
        }
        if (instance)
                return set_instance(p, instance);
        if (!p->socket)
                p->socket = "/run/svmd/admin.sock";
        return 0;
}

static gid_t gid_of(const char *group) {
        const struct group *g = getgrnam(group);

        return g ? g->gr_gid : (gid_t)-1;
}

static int open_bus(struct program *p) {
        int r;

        if (!p->address)
                return sd_bus_open_system(&p->bus);
        r = sd_bus_new(&p->bus);
        if (r >= 0)
                r = sd_bus_set_address(p->bus, p->address);
        if (r >= 0)
                r = sd_bus_set_bus_client(p->bus, true);
        return r < 0 ? r : sd_bus_start(p->bus);
}

/* The loop ends with the bus. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct program *p = userdata;

        log_info("the bus has ended the connection");
        return sd_event_exit(p->loop, 0);
}

static int start_loop(struct program *p) {
        static const int signals[] = { SIGTERM, SIGINT };
        sigset_t set;
        int r = sd_event_default(&p->loop);

        sigemptyset(&set);
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                sigaddset(&set, signals[i]);
        sigprocmask(SIG_BLOCK, &set, NULL);
        for (size_t i = 0; r >= 0 && i < sizeof(signals) / sizeof(signals[0]); i++)
                r = sd_event_add_signal(p->loop, NULL, signals[i], NULL, NULL);
        if (r >= 0)
                r = sd_event_set_watchdog(p->loop, true);
        return r;
}

/* The name comes last: who finds it finds everything. */
static int start(struct program *p) {
        struct calls_options options = { .bus = p->bus, .socket = p->socket, .admin_gid = gid_of(p->group) };
        struct view_hooks hooks;
        int r = sd_bus_attach_event(p->bus, p->loop, SD_EVENT_PRIORITY_NORMAL);

        if (r >= 0)
                r = sd_bus_match_signal_async(p->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                                              "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, p);
        if (r >= 0)
                r = calls_new(&p->calls, &options);
        if (r >= 0)
                r = objects_new(&p->objects, p->bus, p->calls);
        if (r < 0)
                return r;
        objects_hooks(p->objects, &hooks);
        r = view_new(&p->view, p->loop, p->socket, &hooks);
        if (r < 0)
                return r;
        objects_set_view(p->objects, p->view);
        calls_set_view(p->calls, p->view);
        return sd_bus_request_name(p->bus, p->name, 0);
}

static void end(struct program *p) {
        view_free(p->view);
        calls_free(p->calls);
        sd_bus_flush_close_unref(p->bus);
        objects_free(p->objects);
        sd_event_unref(p->loop);
}

int main(int argc, char **argv) {
        struct program p = { .group = "svmd-admin", .name = BUS_NAME };
        int r = read_options(&p, argc, argv);

        if (r != 0)
                return r == 1 ? 0 : 2;
        r = start_loop(&p);
        if (r >= 0 && open_bus(&p) < 0) {
                log_info("there is no bus to be on; svmd is not on D-Bus, and runs without");
                end(&p);
                return 0;
        }
        if (r >= 0)
                r = start(&p);
        if (r < 0)
                log_error("svmd cannot be on D-Bus: %s", strerror(-r));
        else
                r = sd_event_loop(p.loop);
        end(&p);
        return r < 0 ? 1 : 0;
}
