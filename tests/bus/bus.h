#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "../system/daemon.h"
#include "../system/harness.h"

/*
 * A bus of the test's own: a real dbus-daemon with svmd's policy, svmd, svmd-dbus, and a polkit that answers as the
 * test says.
 */
enum { ADMIN_GROUP = 60 }; /* "games", which Debian has */

enum polkit_answer { POLKIT_NO, POLKIT_YES, POLKIT_CHALLENGE, POLKIT_SILENT };

/* Shared with the polkit's process. */
struct polkit {
        volatile int answer;
        volatile unsigned asked, cancelled, flags;
        char action[128], subject[64];
};

struct bus {
        struct daemon svmd;
        char address[128];
        pid_t daemon, program, authority;
        struct polkit *polkit;
};

void bus_new(struct bus *b);
void bus_end(struct bus *b);
/* svmd-dbus alone. */
void bus_start_program(struct bus *b);
void bus_stop_program(struct bus *b);
/* Another one, which is not stopped by bus_end(). */
pid_t bus_start_instance(struct bus *b, const char *instance);
void bus_start_polkit(struct bus *b);
void bus_stop_polkit(struct bus *b);

/* A connection of this process. */
sd_bus *bus_connect(const struct bus *b);
/* Runs svmd-dbus with these words (ended by NULL) until it ends, and gives its status and what it said. */
int bus_run_program(const char *const *words, char *said, size_t size);
