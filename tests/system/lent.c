/*
 * What one container lends to another one, for tests/containers/run.py:
 *
 *      svmd-lent owner SOCKET PARTITION NAME     has a managed range of that name
 *      svmd-lent guest SOCKET PARTITION NAME     opens it, to read, when it is told to
 *
 * For each line of input it does what that says, and ends its answer with "done". It looks at no event but when it is
 * told to, as a guest that will not hear.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

enum { SIZE = 4 << 20, GRANULE = 64 << 10, WORDS = SIZE / 8 };

static svmd_session *mine;
static volatile uint64_t *words;
static const char *name;

static void reserve(void) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = name, .mode = 0600, .kind = SVMD_SHARED, .granule = GRANULE
        };
        void *at;

        ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        words = at;
}

static void open_range(void) {
        size_t size = 0;
        void *at = NULL;
        int r = svmd_address_open(mine, &at, &size, name, SVMD_ACCESS_READ);

        if (!r)
                words = at;
        printf("open %s\n", r ? svmd_status_name(r) : "OK");
}

/* ---- commands ---- */

static void fill(uint64_t seed) {
        for (size_t i = 0; i < WORDS; i++)
                words[i] = seed + i;
}

static void check(uint64_t seed) {
        size_t wrong = 0;

        for (size_t i = 0; i < WORDS; i++)
                wrong += words[i] != seed + i;
        printf("wrong %zu\n", wrong);
}

/* Of the range, in this process's page table. */
static void pages(void) {
        static uint64_t entry[SIZE / 4096];
        int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        size_t there = 0;

        must(fd >= 0);
        must(pread(fd, entry, sizeof(entry), (off_t)((uintptr_t)words / 4096 * 8)) == (ssize_t)sizeof(entry));
        close(fd);
        for (size_t i = 0; i < SIZE / 4096; i++)
                there += entry[i] >> 63;
        printf("pages %zu\n", there);
}

static pthread_t toucher;
static sigjmp_buf faulted;
static const char *volatile touched;

static void on_fault(int sig) {
        siglongjmp(faulted, 1);
}

static void *touch(void *userdata) {
        if (sigsetjmp(faulted, 1) == 0) {
                (void)words[WORDS / 2];
                touched = "has read";
        } else {
                touched = "found nothing";
        }
        return NULL;
}

static unsigned lost;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        lost += e->type == SVMD_EVENT_GONE && e->address == words;
}

/* A thread reads what is lost, and waits; then the process listens. */
static void hear(void) {
        struct sigaction a = { .sa_handler = on_fault };

        sigaction(SIGSEGV, &a, NULL);
        must(pthread_create(&toucher, NULL, touch, NULL) == 0);
        for (uint64_t end = now_ms() + CEILING_MS; lost == 0; usleep(2000)) {
                must(now_ms() < end);
                ok(svmd_dispatch(mine));
        }
        must(pthread_join(toucher, NULL) == 0);
        printf("a thread %s\n", touched);
}

static void obey(const char *command) {
        if (strncmp(command, "fill ", 5) == 0)
                fill(strtoull(command + 5, NULL, 10));
        else if (strncmp(command, "check ", 6) == 0)
                check(strtoull(command + 6, NULL, 10));
        else if (strcmp(command, "where") == 0)
                printf("at %p\n", (void *)(uintptr_t)words);
        else if (strcmp(command, "pages") == 0)
                pages();
        else if (strcmp(command, "hear") == 0)
                hear();
        else if (strcmp(command, "open") == 0)
                open_range();
        else
                fail_here("not a command");
}

int main(int argc, char **argv) {
        char line[64];

        if (argc != 5) {
                fprintf(stderr, "Usage: svmd-lent owner|guest SOCKET PARTITION NAME\n");
                return 2;
        }
        name = argv[4];
        connect_to(&mine, argv[2], argv[3]);
        ok(svmd_set_event_handler(mine, on_event, NULL));
        if (strcmp(argv[1], "owner") == 0)
                reserve();
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = 0;
                obey(line);
                printf("done\n");
                fflush(stdout);
        }
        svmd_disconnect(mine);
        return 0;
}
