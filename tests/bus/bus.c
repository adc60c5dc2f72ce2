#include "bus.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- processes ---- */

static pid_t spawn(const char *const *words, int out) {
        pid_t pid = fork();

        must(pid >= 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (out >= 0) {
                        dup2(out, STDOUT_FILENO);
                        dup2(out, STDERR_FILENO);
                }
                execvp(words[0], (char *const *)words);
                _exit(127);
        }
        return pid;
}

static void stop(pid_t *pid, int how) {
        int status;

        if (*pid <= 0)
                return;
        kill(*pid, how);
        must(wait_end(*pid, &status));
        *pid = 0;
}

/* ---- the bus ---- */

/* svmd's policy, where svmd-dbus is root's and administrators are another group: a build machine has not the others. */
static void write_policy(const struct bus *b) {
        char command[512];

        snprintf(
                command, sizeof(command),
                "sed -e 's/user=\"svmd-dbus\"/user=\"root\"/; s/group=\"svmd-admin\"/group=\"games\"/' %s >%s/svmd1.conf",
                BUS_POLICY, b->svmd.dir);
        must(system(command) == 0);
        /* Of a second instance, as docs/operations.md has it. */
        snprintf(command, sizeof(command), "sed 's/\"org\\.svmd1\"/\"org.svmd1.two\"/g' %s/svmd1.conf >%s/two.conf",
                 b->svmd.dir, b->svmd.dir);
        must(system(command) == 0);
}

static void write_config(const struct bus *b) {
        char path[128];
        FILE *f;

        snprintf(path, sizeof(path), "%s/bus.conf", b->svmd.dir);
        f = fopen(path, "w");
        must(f);
        fprintf(f,
                "<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
                "<policy context=\"default\"><allow user=\"*\"/><deny own=\"*\"/><deny send_type=\"method_call\"/>"
                "<allow send_type=\"signal\"/><allow send_requested_reply=\"true\" send_type=\"method_return\"/>"
                "<allow send_requested_reply=\"true\" send_type=\"error\"/><allow receive_type=\"method_call\"/>"
                "<allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/>"
                "<allow send_destination=\"org.freedesktop.DBus\"/></policy>"
                "<policy user=\"root\"><allow own=\"org.freedesktop.PolicyKit1\"/>"
                "<allow send_destination=\"org.freedesktop.PolicyKit1\"/></policy>"
                "<include>%s/svmd1.conf</include><include>%s/two.conf</include></busconfig>",
                b->svmd.dir, b->svmd.dir, b->svmd.dir);
        fclose(f);
}

sd_bus *bus_connect(const struct bus *b) {
        sd_bus *bus = NULL;

        must(sd_bus_new(&bus) >= 0 && sd_bus_set_address(bus, b->address) >= 0 &&
             sd_bus_set_bus_client(bus, true) >= 0);
        /* Behind a flood, and on a slow machine, an answer may take longer than the library waits by itself. */
        must(sd_bus_set_method_call_timeout(bus, CEILING_MS * 1000ull) >= 0);
        if (sd_bus_start(bus) < 0)
                return sd_bus_unref(bus);
        return bus;
}

static void start_bus(struct bus *b) {
        char config[160];
        const char *words[] = { "dbus-daemon", config, "--nofork", "--nosyslog", NULL };
        uint64_t end = now_ms() + CEILING_MS;
        sd_bus *bus;

        write_policy(b);
        write_config(b);
        snprintf(config, sizeof(config), "--config-file=%s/bus.conf", b->svmd.dir);
        snprintf(b->address, sizeof(b->address), "unix:path=%s/bus", b->svmd.dir);
        b->daemon = spawn(words, -1);
        while (!(bus = bus_connect(b)) || sd_bus_get_unique_name(bus, &(const char *){ NULL }) < 0) {
                sd_bus_flush_close_unref(bus);
                must(now_ms() < end);
                usleep(5000);
        }
        sd_bus_flush_close_unref(bus);
}

static void await_name(const struct bus *b, const char *name) {
        uint64_t end = now_ms() + CEILING_MS;
        sd_bus *bus = bus_connect(b);

        while (sd_bus_get_name_creds(bus, name, 0, NULL) < 0) {
                must(now_ms() < end);
                usleep(5000);
        }
        sd_bus_flush_close_unref(bus);
}

static void await_running(const struct bus *b) {
        uint64_t end = now_ms() + CEILING_MS;
        sd_bus *bus = bus_connect(b);
        int running = 0;

        while (sd_bus_get_property_trivial(bus, "org.svmd1", "/org/svmd1", "org.svmd1.Manager", "Running", NULL, 'b',
                                           &running) < 0 ||
               !running) {
                must(now_ms() < end);
                usleep(5000);
        }
        sd_bus_flush_close_unref(bus);
}

void bus_start_program(struct bus *b) {
        const char *words[] = { BUS_PROGRAM,   "--bus",         b->address, "--socket",
                                b->svmd.admin, "--admin-group", "games",    NULL };

        b->program = spawn(words, -1);
        await_name(b, "org.svmd1");
        await_running(b);
}

pid_t bus_start_instance(struct bus *b, const char *instance) {
        const char *words[] = { BUS_PROGRAM,     "--bus", b->address,   "--socket", b->svmd.admin,
                                "--admin-group", "games", "--instance", instance,   NULL };
        char name[64];
        pid_t pid = spawn(words, -1);

        snprintf(name, sizeof(name), "org.svmd1.%s", instance);
        await_name(b, name);
        return pid;
}

void bus_stop_program(struct bus *b) {
        int status;

        kill(b->program, SIGTERM);
        must(wait_end(b->program, &status));
        must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        b->program = 0;
}

int bus_run_program(const char *const *words, char *said, size_t size) {
        int ends[2], status;
        ssize_t n = 0, k;
        pid_t pid;

        must(pipe2(ends, O_CLOEXEC) == 0);
        pid = spawn(words, ends[1]);
        close(ends[1]);
        while ((k = read(ends[0], said + n, size - 1 - (size_t)n)) > 0)
                n += k;
        said[n] = 0;
        close(ends[0]);
        must(wait_end(pid, &status));
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- polkit ---- */

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct polkit *p = userdata;
        const char *kind, *name, *action, *id;
        uint32_t flags;

        must(sd_bus_message_enter_container(m, 'r', "sa{sv}") > 0 && sd_bus_message_read(m, "s", &kind) > 0 &&
             strcmp(kind, "system-bus-name") == 0);
        must(sd_bus_message_enter_container(m, 'a', "{sv}") > 0 && sd_bus_message_enter_container(m, 'e', "sv") > 0 &&
             sd_bus_message_read(m, "s", &name) > 0 && strcmp(name, "name") == 0 &&
             sd_bus_message_read(m, "v", "s", &name) > 0);
        must(sd_bus_message_exit_container(m) >= 0 && sd_bus_message_exit_container(m) >= 0 &&
             sd_bus_message_exit_container(m) >= 0);
        must(sd_bus_message_read(m, "s", &action) > 0 && sd_bus_message_skip(m, "a{ss}") > 0 &&
             sd_bus_message_read(m, "us", &flags, &id) > 0);
        snprintf(p->action, sizeof(p->action), "%s", action);
        snprintf(p->subject, sizeof(p->subject), "%s", name);
        p->flags = flags;
        __atomic_add_fetch(&p->asked, 1, __ATOMIC_SEQ_CST);
        if (p->answer == POLKIT_SILENT)
                return 1;
        return sd_bus_reply_method_return(m, "(bba{ss})", p->answer == POLKIT_YES, p->answer == POLKIT_CHALLENGE, 0);
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct polkit *p = userdata;

        __atomic_add_fetch(&p->cancelled, 1, __ATOMIC_SEQ_CST);
        return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable authority[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CancelCheckAuthorization", "s", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

void bus_start_polkit(struct bus *b) {
        b->authority = fork();
        must(b->authority >= 0);
        if (b->authority == 0) {
                sd_bus *bus;

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                bus = bus_connect(b);
                must(sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                              "org.freedesktop.PolicyKit1.Authority", authority, b->polkit) >= 0);
                must(sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0) >= 0);
                while (sd_bus_process(bus, NULL) >= 0)
                        sd_bus_wait(bus, UINT64_MAX);
                _exit(0);
        }
        await_name(b, "org.freedesktop.PolicyKit1");
}

void bus_stop_polkit(struct bus *b) {
        stop(&b->authority, SIGKILL);
}

/* ---- all of it ---- */

void bus_new(struct bus *b) {
        static const char *const options[] = { "--soft-node",      "gpu0:size=64M",   "--soft-node",
                                               "gpu-1.x:size=64M", "--host-capacity", "256M",
                                               "--admin-group",    "games",           NULL };

        memset(b, 0, sizeof(*b));
        b->polkit = mmap(NULL, sizeof(*b->polkit), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(b->polkit != MAP_FAILED);
        daemon_new(&b->svmd, options);
        start_bus(b);
        bus_start_program(b);
}

void bus_end(struct bus *b) {
        bus_stop_polkit(b);
        if (b->program)
                bus_stop_program(b);
        stop(&b->daemon, SIGTERM);
        daemon_end(&b->svmd);
        munmap(b->polkit, sizeof(*b->polkit));
}
