#include "harness.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

unsigned open_descriptors(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned count = 0;

        assert_non_null(d);
        while (readdir(d))
                count++;
        closedir(d);
        return count;
}

bool wait_descriptors(unsigned most) {
        for (int i = 0; i < 30000; i++) {
                if (open_descriptors() <= most)
                        return true;
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        return false;
}

svmd_session *connect_to(struct fake *f) {
        const struct svmd_connect_options opts = { .size = sizeof(opts), .socket = fake_path(f) };
        svmd_session *s;
        int r = svmd_connect(&s, &opts);

        if (r)
                fail_msg("%s", svmd_error());
        return s;
}

static struct world *start(fake_hook hook) {
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->descriptors = open_descriptors();
        w->fake = fake_start(hook, w);
        w->s = connect_to(w->fake);
        return w;
}

int world_new(void **state) {
        *state = start(NULL);
        return 0;
}

int world_end(void **state) {
        struct world *w = *state;
        unsigned before = w->descriptors;

        svmd_disconnect(w->s);
        fake_stop(w->fake);
        free(w);
        return open_descriptors() == before ? 0 : -1;
}

struct world *world_with(void **state, fake_hook hook) {
        assert_int_equal(world_end(state), 0);
        *state = start(hook);
        return *state;
}

void leave_in_child(svmd_session *s) {
#if !defined(__SANITIZE_ADDRESS__)
        svmd_disconnect(s);
#endif
}

char *reserve(svmd_session *s, size_t size) {
        void *at;

        assert_int_equal(svmd_address_reserve(s, &at, size, 0, NULL, NULL), 0);
        return at;
}

svmd_mem create(svmd_session *s, size_t size) {
        svmd_mem mem;

        assert_int_equal(svmd_mem_create(s, &mem, size, 0, SVMD_MEM_SHAREABLE), 0);
        return mem;
}

int can_read(const void *p) {
        char byte;
        struct iovec local = { &byte, 1 }, remote = { (void *)p, 1 };

        return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

int can_write(void *p) {
        char byte;
        struct iovec local = { &byte, 1 }, remote = { p, 1 };

        if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1)
                return 0;
        return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == 1;
}

bool have_userfaultfd(void) {
        const char *told = getenv("SVMD_TEST_NOT_ROOT");

        if (access("/dev/userfaultfd", R_OK | W_OK) == 0)
                return true;
        printf("/dev/userfaultfd cannot be opened: managed ranges are not tested in this run\n");
        if (!told || strcmp(told, "1") != 0) {
                printf("run it as root, or say with SVMD_TEST_NOT_ROOT=1 that this is known\n");
                exit(1);
        }
        return false;
}

static uint64_t random_state;

void seed_random(void) {
        const char *given = getenv("SVMD_SEED");

        random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) | 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
}

uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}
