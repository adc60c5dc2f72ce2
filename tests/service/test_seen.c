/*
 * A Status request reads no file in the loop's thread, however many there are in a request; what it says of the
 * machine's files is no older than SEEN_AGE_MS when it is asked. Calls into file systems are counted, not timed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

static struct world w;
static struct client admin;
static pthread_t loop;
static unsigned in_loop, elsewhere;

static void count(void) {
        unsigned *to = pthread_equal(pthread_self(), loop) ? &in_loop : &elsewhere;

        __atomic_add_fetch(to, 1, __ATOMIC_RELAXED);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);
int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);

FILE *__wrap_fopen(const char *path, const char *mode) {
        count();
        return __real_fopen(path, mode);
}

int __wrap_access(const char *path, int mode) {
        count();
        return __real_access(path, mode);
}

int __wrap_memfd_create(const char *name, unsigned flags) {
        count();
        return __real_memfd_create(name, flags);
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2]) {
        count();
        return __real_socketpair(domain, type, protocol, ends);
}

static int set_up(void **state) {
        ops_reset();
        loop = pthread_self();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        return 0;
}

static int tear_down(void **state) {
        client_close(&admin);
        world_settle(&w);
        world_close(&w);
        return 0;
}

/* The text of the finding of that name in an answer. */
static const char *finding(const char *id) {
        Svmd__V1__Result *r = client_call(&admin, op_make(SVMD__V1__OP__OP_STATUS));

        assert_int_equal(r->code, 0);
        for (size_t i = 0; i < r->status->n_findings; i++)
                if (strcmp(r->status->findings[i]->id, id) == 0)
                        return r->status->findings[i]->text;
        fail_msg("there is no finding %s", id);
        return "";
}

/* As if it had been read that long ago. */
static void grow_old(void) {
        w.svc->seen.read_ns -= (SEEN_AGE_MS + 1000) * 1000000ull;
}

static void test_fresh(void **state) {
        in_loop = elsewhere = 0;
        w.svc->seen.read_ns = UINT64_MAX / 2; /* fresh for as long as this takes, on any machine */
        for (unsigned i = 0; i < 200; i++)
                finding("max-map-count");
        assert_int_equal(in_loop, 0);
        assert_int_equal(elsewhere, 0);
}

static void test_old(void **state) {
        unsigned once;

        in_loop = elsewhere = 0;
        grow_old();
        finding("max-map-count");
        assert_int_equal(in_loop, 0);
        once = elsewhere;
        assert_true(once > 0 && once < 10);
        w.svc->seen.read_ns = UINT64_MAX / 2;
        finding("max-map-count");
        assert_int_equal(elsewhere, once);
}

static void test_many_in_one(void **state) {
        Svmd__V1__Op *ops[20];
        Svmd__V1__Reply *r;

        for (unsigned i = 0; i < 20; i++)
                ops[i] = op_make(SVMD__V1__OP__OP_STATUS);
        in_loop = elsewhere = 0;
        grow_old();
        r = client_send(&admin, SVMD__V1__MODE__BEST_EFFORT, ops, 20, NULL, 0);
        assert_non_null(r);
        for (size_t i = 0; i < r->n_results; i++)
                assert_int_equal(r->results[i]->code, 0);
        assert_int_equal(in_loop, 0);
        assert_true(elsewhere > 0 && elsewhere < 10);
}

/* Two files of /proc that say something else, one after the other. */
static void write_count(const char *root, const char *text) {
        char command[320];

        snprintf(command, sizeof(command), "mkdir -p %s/sys/vm && echo %s >%s/sys/vm/max_map_count", root, text, root);
        assert_int_equal(system(command), 0);
}

static void test_changes_are_seen(void **state) {
        static char root[80];

        snprintf(root, sizeof(root), "%s/proc", w.dir);
        w.svc->options.proc_root = root;
        write_count(root, "1111");
        grow_old();
        assert_non_null(strstr(finding("max-map-count"), "1111"));
        write_count(root, "2222");
        grow_old();
        assert_non_null(strstr(finding("max-map-count"), "2222"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_fresh, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_old, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_many_in_one, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_changes_are_seen, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
