/* svmd-cuda as a process: each question and each refusal, the bytes of its slots seen through their descriptors, and
 * who comes and goes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.h"
#include "cuda/ask.h"
#include "cuda/wire.h"

enum { WORDS = CUDA_SLOT / 8, OTHER_USER = 65534, PATIENCE_MS = 30000 };

static struct agent a;
static struct cuda_agent *k;
static uint64_t bytes[WORDS];
static char why[CUDA_WIRE_WHY];

static struct cuda_agent *connect_to(const char *device) {
        struct cuda_agent *ret = NULL;

        assert_int_equal(cuda_agent_new(&ret, a.path, device, PATIENCE_MS, why, sizeof(why)), 0);
        return ret;
}

static int set_up(void **state) {
        agent_listen(&a);
        agent_start(&a, NULL, NULL, AGENT_STANDIN);
        k = connect_to("cuda:0");
        return 0;
}

static int tear_down(void **state) {
        cuda_agent_free(k);
        k = NULL;
        agent_close(&a);
        return 0;
}

static void fill(uint64_t seed) {
        for (uint64_t i = 0; i < WORDS; i++)
                bytes[i] = seed ? seed * 0x9e3779b97f4a7c15ull + i : 0;
}

static void assert_filled(const uint64_t *with, uint64_t seed) {
        for (uint64_t i = 0; i < WORDS; i++)
                assert_int_equal(with[i], seed ? seed * 0x9e3779b97f4a7c15ull + i : 0);
}

static void assert_slot(uint32_t slot, uint64_t seed) {
        memset(bytes, 0xa5, sizeof(bytes));
        assert_int_equal(cuda_agent_read(k, slot, bytes), 0);
        assert_filled(bytes, seed);
}

/* What a process has that the descriptor was given to. */
static uint64_t *map(int fd) {
        uint64_t *p = mmap(NULL, CUDA_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        assert_true(p != MAP_FAILED);
        close(fd);
        return p;
}

static uint64_t *create(uint32_t slot) {
        int fd;

        assert_int_equal(cuda_agent_create(k, slot, &fd), 0);
        return map(fd);
}

static void write_slot(uint32_t slot, uint64_t seed) {
        fill(seed);
        assert_int_equal(cuda_agent_write(k, slot, bytes), 0);
}

/* ---- cases ---- */

static void test_bytes(void **state) {
        uint64_t *first = create(3), *far = create(5000), *again;
        int fd;

        assert_filled(first, 0);
        assert_slot(3, 0);
        write_slot(3, 1);
        write_slot(5000, 2);
        assert_filled(first, 1);
        assert_filled(far, 2);
        first[7] = 42; /* the GPU */
        assert_int_equal(cuda_agent_read(k, 3, bytes), 0);
        assert_int_equal(bytes[7], 42);
        assert_int_equal(cuda_agent_export(k, 3, &fd), 0);
        again = map(fd);
        assert_int_equal(again[7], 42);
        assert_slot(5000, 2);
        munmap(first, CUDA_SLOT);
        munmap(again, CUDA_SLOT);
        munmap(far, CUDA_SLOT);
}

static void test_released(void **state) {
        uint64_t *old = create(1), *new;

        write_slot(1, 9);
        assert_int_equal(cuda_agent_release(k, 1), 0);
        assert_int_equal(cuda_agent_read(k, 1, bytes), -ENOENT);
        new = create(1);
        assert_filled(new, 0);
        write_slot(1, 10);
        assert_filled(old, 9); /* who did not unmap it has what he had, and sees nobody else's */
        old[0] = 1;
        assert_slot(1, 10);
        munmap(old, CUDA_SLOT);
        munmap(new, CUDA_SLOT);
}

static void test_refusals(void **state) {
        int fd = -7;

        munmap(create(0), CUDA_SLOT);
        assert_int_equal(cuda_agent_create(k, 0, &fd), -EEXIST);
        assert_int_equal(cuda_agent_create(k, CUDA_SLOTS_MAX, &fd), -EINVAL);
        assert_int_equal(cuda_agent_export(k, 1, &fd), -ENOENT);
        assert_int_equal(cuda_agent_export(k, 1u << 31, &fd), -EINVAL);
        assert_int_equal(fd, -7);
        assert_int_equal(cuda_agent_release(k, 1), -ENOENT);
        assert_int_equal(cuda_agent_read(k, 1, bytes), -ENOENT);
        assert_int_equal(cuda_agent_write(k, 1023, bytes), -ENOENT);
        assert_int_equal(cuda_agent_release(k, 1024), -ENOENT);
        assert_false(cuda_agent_is_gone(k));
        assert_slot(0, 0);
}

static void test_full(void **state) {
        int fd;

        for (uint32_t i = 0; i < 32; i++) /* 64 MiB */
                munmap(create(i), CUDA_SLOT);
        assert_int_equal(cuda_agent_create(k, 32, &fd), -ENOMEM);
        assert_int_equal(cuda_agent_read(k, 32, bytes), -ENOENT);
        assert_int_equal(cuda_agent_release(k, 17), 0);
        munmap(create(32), CUDA_SLOT);
        assert_int_equal(cuda_agent_create(k, 17, &fd), -ENOMEM);
        assert_false(cuda_agent_is_gone(k));
}

static bool listed(const uint64_t *bits, uint32_t slot) {
        return bits[slot / 64] >> slot % 64 & 1;
}

/* The next svmd finds the slots; also when the last one was killed in the middle. */
static void test_svmd_comes_back(void **state) {
        uint64_t bits[64];
        int fd;

        munmap(create(2), CUDA_SLOT);
        munmap(create(1500), CUDA_SLOT);
        write_slot(2, 5);
        write_slot(1500, 6);
        cuda_agent_free(k);
        k = connect_to("cuda:0");
        assert_int_equal(cuda_agent_list(k, bits, 64 * 64), 0);
        for (uint32_t i = 0; i < 64 * 64; i++)
                assert_int_equal(listed(bits, i), i == 2 || i == 1500);
        assert_slot(2, 5);
        assert_slot(1500, 6);
        assert_int_equal(cuda_agent_create(k, 2, &fd), -EEXIST);
}

static void *leaves_later(void *userdata) {
        usleep(200000);
        cuda_agent_free(userdata);
        return NULL;
}

/* One at a time: the second waits, and not for ever. */
static void test_two_at_once(void **state) {
        struct cuda_agent *other = NULL;
        pthread_t thread;

        assert_int_equal(cuda_agent_new(&other, a.path, "cuda:0", PATIENCE_MS, why, sizeof(why)), -EBUSY);
        assert_non_null(strstr(why, "another svmd"));
        assert_int_equal(pthread_create(&thread, NULL, leaves_later, k), 0);
        k = connect_to("cuda:0");
        pthread_join(thread, NULL);
}

static void test_devices(void **state) {
        struct cuda_agent *other = NULL;

        assert_int_equal(cuda_agent_new(&other, a.path, "cuda:1", PATIENCE_MS, why, sizeof(why)), -ENODEV);
        assert_non_null(strstr(why, "CUDA_ERROR_INVALID_DEVICE"));
        assert_int_equal(cuda_agent_new(&other, a.path, "cuda:", PATIENCE_MS, why, sizeof(why)), -ENODEV);
        assert_int_equal(cuda_agent_new(&other, a.path, "soft:0", PATIENCE_MS, why, sizeof(why)), -ENODEV);
        other = connect_to("cuda:0000:01:00.0"); /* in the stand-in the same by another name: slots are by name */
        assert_int_equal(cuda_agent_read(other, 0, bytes), -ENOENT);
        cuda_agent_free(other);
        assert_int_equal(cuda_agent_new(&other, "/nonexistent/cuda.sock", "cuda:0", 1, why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, "systemctl enable --now svmd-cuda.socket"));
}

static void test_killed(void **state) {
        uint64_t *p = create(0);
        int fd;

        agent_kill(&a);
        assert_int_equal(cuda_agent_read(k, 0, bytes), -EIO);
        assert_true(cuda_agent_is_gone(k));
        assert_int_equal(cuda_agent_create(k, 1, &fd), -EIO);
        agent_start(&a, NULL, NULL, AGENT_STANDIN);
        assert_int_equal(cuda_agent_read(k, 0, bytes), -EIO); /* for good */
        cuda_agent_free(k);
        k = connect_to("cuda:0");
        assert_int_equal(cuda_agent_read(k, 0, bytes), -ENOENT);
        munmap(p, CUDA_SLOT);
}

static void test_silent(void **state) {
        struct cuda_agent *other = NULL;

        cuda_agent_free(k);
        k = NULL;
        agent_stop(&a);
        assert_int_equal(cuda_agent_new(&other, a.path, "cuda:0", 50, why, sizeof(why)), -EIO);
        assert_non_null(strstr(why, "does not answer"));
        assert_int_equal(kill(a.pid, SIGCONT), 0);
}

static void test_no_library(void **state) {
        struct cuda_agent *other = NULL;

        if (access("/usr/lib/x86_64-linux-gnu/libcuda.so.1", F_OK) == 0)
                skip();
        agent_kill(&a);
        agent_start(&a, NULL, NULL, AGENT_NONE);
        assert_int_equal(cuda_agent_new(&other, a.path, "cuda:0", PATIENCE_MS, why, sizeof(why)), -EOPNOTSUPP);
        assert_non_null(strstr(why, "libcuda.so.1"));
}

/* ---- what is no question ---- */

static int raw(void) {
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        snprintf(at.sun_path, sizeof(at.sun_path), "%s", a.path);
        assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        return fd;
}

static int said(const void *packet, size_t size) {
        struct cuda_answer answer;
        int fd = raw(), came = -1, n;

        assert_int_equal(cuda_wire_send(fd, packet, size, fd), 0); /* a descriptor that nobody asked for, too */
        n = cuda_wire_receive(fd, &answer, sizeof(answer), &came);
        assert_int_equal(n, sizeof(answer));
        assert_int_equal(came, -1);
        assert_int_equal(cuda_wire_receive(fd, &answer, sizeof(answer), &came), 0); /* and then it ends */
        close(fd);
        return cuda_wire_answered(&answer, (size_t)n);
}

static void test_no_questions(void **state) {
        struct cuda_ask q = cuda_wire_ask(CUDA_ASK_READ, 0, "");
        char more[sizeof(q) + 1] = { 0 };

        assert_int_equal(said(&q, sizeof(q)), -EBADMSG); /* before HELLO */
        assert_int_equal(said(&q, sizeof(q) - 1), -EBADMSG);
        memcpy(more, &q, sizeof(q));
        assert_int_equal(said(more, sizeof(more)), -EBADMSG);
        q.question = _CUDA_ASK_N;
        assert_int_equal(said(&q, sizeof(q)), -EBADMSG);
        q = cuda_wire_ask(CUDA_ASK_HELLO, 0, "cuda:0");
        q.version++;
        assert_int_equal(said(&q, sizeof(q)), -EPROTONOSUPPORT);
        q = cuda_wire_ask(CUDA_ASK_HELLO, 0, "cuda:0");
        memset(q.device, '0', sizeof(q.device));
        assert_int_equal(said(&q, sizeof(q)), -EBADMSG);
        q = cuda_wire_ask(CUDA_ASK_HELLO, 0, "cuda:0");
        q.magic++;
        assert_int_equal(said(&q, sizeof(q)), -EBADMSG);
        munmap(create(0), CUDA_SLOT);
        assert_slot(0, 0);
}

/* Who is neither svmd nor root. */
static void test_strangers(void **state) {
        struct cuda_ask q = cuda_wire_ask(CUDA_ASK_HELLO, 0, "cuda:0");
        int status;
        pid_t pid;

        if (getuid() != 0)
                skip();
        cuda_agent_free(k);
        k = NULL;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct cuda_answer answer;
                int fd, came, n;

                if (setresuid(OTHER_USER, OTHER_USER, OTHER_USER) < 0)
                        _exit(2);
                fd = raw();
                (void)cuda_wire_send(fd, &q, sizeof(q), -1);
                n = cuda_wire_receive(fd, &answer, sizeof(answer), &came);
                _exit(n == sizeof(answer) && came == -1 && answer.error == -EPERM ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        agent_kill(&a);
        agent_start(&a, "65534", NULL, AGENT_STANDIN);
        k = connect_to("cuda:0"); /* root may */
}

/* ---- an agent that answers nonsense ---- */

static struct {
        int fd, staging;
        bool fd_with_all;
        size_t short_by;
        int32_t error;
        uint32_t magic;
} liar;

static void *lie(void *userdata) {
        struct cuda_ask q;
        int fd = accept(liar.fd, NULL, NULL), came;

        while (cuda_wire_receive(fd, &q, sizeof(q), &came) > 0) {
                struct cuda_answer answer = cuda_wire_answer(liar.error, "no");

                answer.magic += liar.magic;
                (void)cuda_wire_send(fd, &answer, sizeof(answer) - liar.short_by,
                                     q.question == CUDA_ASK_HELLO || liar.fd_with_all ? liar.staging : -1);
        }
        close(fd);
        return NULL;
}

static int lied_to(int *ret_then) {
        struct cuda_agent *other = NULL;
        pthread_t thread;
        int r;

        assert_int_equal(pthread_create(&thread, NULL, lie, NULL), 0);
        r = cuda_agent_new(&other, a.path, "cuda:0", PATIENCE_MS, why, sizeof(why));
        if (!r)
                *ret_then = cuda_agent_release(other, 0);
        cuda_agent_free(other);
        pthread_join(thread, NULL);
        return r;
}

static void test_liars(void **state) {
        int then;

        cuda_agent_free(k);
        k = NULL;
        agent_kill(&a);
        assert_int_equal(fcntl(a.listener, F_SETFL, 0), 0); /* the program waits on it with poll() */
        liar.fd = a.listener;
        liar.staging = memfd_create("staging", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(liar.staging, CUDA_SLOT), 0);
        assert_int_equal(lied_to(&then), -EBADMSG); /* memory that can be cut */
        assert_int_equal(fcntl(liar.staging, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        assert_int_equal(lied_to(&then), 0);
        assert_int_equal(then, 0);
        liar.fd_with_all = true;
        assert_int_equal(lied_to(&then), 0);
        assert_int_equal(then, -EIO);
        liar.short_by = 1;
        assert_int_equal(lied_to(&then), -EIO);
        liar.short_by = 0;
        liar.magic = 1;
        assert_int_equal(lied_to(&then), -EIO);
        liar.magic = 0;
        liar.error = 5;
        assert_int_equal(lied_to(&then), -EIO);
        close(liar.staging);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_released, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_svmd_comes_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_two_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_devices, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_silent, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_library, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_questions, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_strangers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_liars, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
