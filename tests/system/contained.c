/*
 * What tests/containers has run inside of containers and beside them, told what to do by lines on standard input; each
 * is answered by lines, and "done" at last.
 *
 *      svmd-contained witness SOCKET PARTITION [ADMIN SVMD KEEPER]
 *              says where it is, and works until the input ends. "check": whether it has all that it had; on the host
 *              (with svmd's processes) also whether svmd has nothing of anybody else.
 *      svmd-contained hostile SOCKET UID SESSION ADDRESS SIZE HOST GPU
 *              aims at a witness of another partition, whose numbers these are. A line is the name of a family;
 *              "names NAME ...": looks for those names wherever svmd answers.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "hostile/families.h"
#include "hostile/names.h"
#include "hostile/witness.h"

static char line[512];

static bool has_line(void) {
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* False: the input has ended. It is not read ahead, so that poll() says what there is. */
static bool take_line(void) {
        size_t n = 0;

        while (n < sizeof(line) - 1 && read(STDIN_FILENO, line + n, 1) == 1)
                if (line[n++] == '\n') {
                        line[n - 1] = 0;
                        return true;
                }
        return false;
}

static void done(void) {
        printf("done\n");
        alarm(280); /* the harness's ceiling is for one order */
}

static uint64_t number(const char *text) {
        return strtoull(text, NULL, 0);
}

/* ---- the witness ---- */

static int witness_main(int argc, char **argv) {
        struct daemon d = { 0 };
        struct svmd_session_info info = { .size = sizeof(info) };
        struct witness w;

        snprintf(d.socket, sizeof(d.socket), "%s", argv[2]);
        snprintf(d.admin, sizeof(d.admin), "%s", argc > 4 ? argv[4] : argv[2]);
        d.pid = argc > 5 ? (pid_t)number(argv[5]) : 0;
        d.keeper = argc > 6 ? (pid_t)number(argv[6]) : 0;
        witness_new(&w, &d, argv[3]);
        ok(svmd_session_info(w.s, &info));
        printf("at session=%llu address=%llu size=%u host=%u gpu=%u\n", (unsigned long long)info.id,
               (unsigned long long)(uintptr_t)w.range, WITNESS_RANGE, node_named(w.s, "host0"), w.gpu);
        done();
        for (;;) {
                if (!has_line()) {
                        witness_step(&w);
                        continue;
                }
                if (!take_line())
                        break;
                if (strcmp(line, "note") == 0)
                        witness_note(&w);
                else
                        witness_check(&w);
                printf("steps %llu\n", (unsigned long long)w.steps);
                done();
        }
        witness_free(&w);
        return 0;
}

/* ---- the hostile one ---- */

static void meanwhile(void) {
        usleep(1000);
}

static void afterwards(void) {
}

static void look_for_names(char *rest) {
        const char *names[16];
        unsigned count = 0;

        for (char *name; count < 16 && (name = strsep(&rest, " "));)
                names[count++] = name;
        printf("%u answers\n", names_search(target.socket, names, count));
}

static int hostile_main(char **argv) {
        const struct hostile_beside beside = { (uint32_t)number(argv[3]), meanwhile, afterwards };

        target = (struct hostile_target){
                .socket = argv[2],
                .admin = "/run/svmd/admin.sock",
                .dir = "",
                .session = number(argv[4]),
                .ids = number(argv[4]) + 32,
                .address = number(argv[5]),
                .size = number(argv[6]),
                .host = (uint32_t)number(argv[7]),
                .gpu = (uint32_t)number(argv[8]),
        };
        hostile_come(beside.uid);
        done();
        while (take_line()) {
                if (strncmp(line, "names ", 6) == 0)
                        look_for_names(line + 6);
                else
                        must(hostile_run(line, &beside) > 0);
                done();
        }
        return 0;
}

int main(int argc, char **argv) {
        harness_begin("svmd-contained");
        if (argc >= 4 && strcmp(argv[1], "witness") == 0)
                return witness_main(argc, argv);
        must(argc == 9 && strcmp(argv[1], "hostile") == 0);
        return hostile_main(argv);
}
