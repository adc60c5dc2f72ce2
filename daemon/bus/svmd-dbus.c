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
        const char *socket, *address, *group;
        sd_event *loop;
        sd_bus *bus;
        struct calls *calls;
        struct objects *objects;
        struct view *view;
};

static const struct option option_rows[] = {
        { "socket", required_argument, NULL, 's' },      { "bus", required_argument, NULL, 'b' },
        { "admin-group", required_argument, NULL, 'g' }, { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },           { NULL, 0, NULL, 0 },
};

static const char help[] = "svmd-dbus [OPTION...]\n"
                           "svmd on D-Bus, as org.svmd1.\n\n"
                           "  --socket PATH        svmd's socket for administrators (/run/svmd/admin.sock)\n"
                           "  --bus ADDRESS        this bus instead of the system's\n"
                           "  --admin-group GROUP  who may without polkit's word, beside root (svmd-admin)\n"
                           "  --help, --version    print that and end\n";

/* 0: go on; 1: done; 2: wrong. */
static int read_options(struct program *p, int argc, char **argv) {
        int c;

        while ((c = getopt_long(argc, argv, "", option_rows, NULL)) >= 0)
                switch (c) {
                case 's': p->socket = optarg; break;
                case 'b': p->address = optarg; break;
                case 'g': p->group = optarg; break;
                case 'h': fputs(help, stdout); return 1;
                case 'v': puts("svmd-dbus " SVMD_VERSION); return 1;
                default: return 2;
                }
        if (optind < argc) {
                fprintf(stderr, "svmd-dbus: %s is no option; see svmd-dbus --help\n", argv[optind]);
                return 2;
        }
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
        return sd_bus_request_name(p->bus, BUS_NAME, 0);
}

static void end(struct program *p) {
        view_free(p->view);
        calls_free(p->calls);
        sd_bus_flush_close_unref(p->bus);
        objects_free(p->objects);
        sd_event_unref(p->loop);
}

int main(int argc, char **argv) {
        struct program p = { .socket = "/run/svmd/admin.sock", .group = "svmd-admin" };
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
