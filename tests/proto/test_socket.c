#include "proto/socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/fdlist.h"

static unsigned open_descriptors(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned count = 0;

        assert_non_null(d);
        while (readdir(d))
                count++;
        closedir(d);
        return count;
}

struct pair {
        int fd[2];
        unsigned before;
};

static int make_pair(void **state) {
        static struct pair p;

        p.before = open_descriptors();
        *state = &p;
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p.fd);
}

/* Every test ends with the descriptors that it began with. */
static int close_pair(void **state) {
        struct pair *p = *state;

        close(p->fd[0]);
        close(p->fd[1]);
        return open_descriptors() == p->before ? 0 : -1;
}

static void fill(struct fdlist *l, unsigned count) {
        fdlist_init(l);
        for (unsigned i = 0; i < count; i++) {
                int fd = eventfd(i, 0);

                assert_true(fd >= 0);
                assert_int_equal(fdlist_add(l, fd), 0);
        }
}

static void a_list_owns_what_nobody_steals(void **state) {
        unsigned before = open_descriptors();
        struct fdlist l;
        int first, extra;

        fill(&l, SVMD_FDS_MAX);
        assert_int_equal(open_descriptors(), before + SVMD_FDS_MAX);
        extra = eventfd(0, 0);
        assert_int_equal(fdlist_add(&l, extra), -EMFILE);
        assert_int_equal(close(extra), 0);
        first = fdlist_steal(&l);
        assert_int_equal(fdlist_left(&l), SVMD_FDS_MAX - 1);
        fdlist_close(&l);
        assert_int_equal(open_descriptors(), before + 1);
        assert_int_equal(close(first), 0);
        assert_int_equal(fdlist_steal(&l), -1);
}

static void descriptors_arrive_in_order_and_close_on_exec(void **state) {
        struct pair *p = *state;
        struct fdlist out, in;
        char bytes[16];

        fill(&out, 5);
        fdlist_init(&in);
        close(fdlist_steal(&out)); /* what was stolen is not sent */
        assert_int_equal(packet_send(p->fd[0], "hello", 5, &out, 0), 0);
        assert_int_equal(fdlist_left(&out), 4);
        fdlist_close(&out);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), 5);
        assert_memory_equal(bytes, "hello", 5);
        assert_int_equal(fdlist_left(&in), 4);
        for (uint64_t i = 1; i < 5; i++) {
                uint64_t value;
                int fd = fdlist_steal(&in);

                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
                assert_int_equal(value, i);
                close(fd);
        }
}

static void a_full_list_of_descriptors_passes(void **state) {
        struct pair *p = *state;
        struct fdlist out, in;
        char bytes[1];

        fill(&out, SVMD_FDS_MAX);
        fdlist_init(&in);
        assert_int_equal(packet_send(p->fd[0], "x", 1, &out, 0), 0);
        assert_int_equal(packet_recv(p->fd[1], bytes, 1, &in, 0), 1);
        assert_int_equal(fdlist_left(&in), SVMD_FDS_MAX);
        fdlist_close(&out);
        fdlist_close(&in);
}

static void send_many(int socket, unsigned count) {
        char control[CMSG_SPACE(200 * sizeof(int))] = { 0 };
        struct iovec iov = { .iov_base = (char *)"x", .iov_len = 1 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
        struct cmsghdr *c;

        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (unsigned i = 0; i < count; i++)
                memcpy(CMSG_DATA(c) + i * sizeof(int), &(int){ 0 }, sizeof(int));
        assert_int_equal(sendmsg(socket, &msg, 0), 1);
}

static void too_many_descriptors_are_refused_and_closed(void **state) {
        static const unsigned counts[] = { SVMD_FDS_MAX + 1, SVMD_FDS_MAX + 8, SVMD_FDS_MAX + 9, 200 };
        struct pair *p = *state;
        unsigned before = open_descriptors();
        char bytes[4];

        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct fdlist in;

                fill(&in, i % 2);
                send_many(p->fd[0], counts[i]);
                assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), -EBADMSG);
                assert_int_equal(in.count, i % 2); /* what was on the list stays */
                fdlist_close(&in);
                assert_int_equal(open_descriptors(), before);
        }
        assert_int_equal(packet_send(p->fd[0], "ok", 2, NULL, 0), 0);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &(struct fdlist){ 0 }, 0), 2);
}

static void descriptors_with_credentials_pass(void **state) {
        struct pair *p = *state;
        struct fdlist out, in;
        char bytes[1];

        assert_int_equal(setsockopt(p->fd[1], SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)), 0);
        fill(&out, SVMD_FDS_MAX);
        fdlist_init(&in);
        assert_int_equal(packet_send(p->fd[0], "x", 1, &out, 0), 0);
        assert_int_equal(packet_recv(p->fd[1], bytes, 1, &in, 0), 1);
        assert_int_equal(fdlist_left(&in), SVMD_FDS_MAX);
        fdlist_close(&out);
        fdlist_close(&in);
}

static void a_packet_that_is_too_long_is_refused(void **state) {
        struct pair *p = *state;
        struct fdlist out, in;
        char bytes[8];

        fill(&out, 2);
        fdlist_init(&in);
        assert_int_equal(packet_send(p->fd[0], "123456789", 9, &out, 0), 0);
        assert_int_equal(packet_send(p->fd[0], "12345678", 8, NULL, 0), 0);
        fdlist_close(&out);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), -EMSGSIZE);
        assert_int_equal(in.count, 0);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), 8);
}

static void the_end_is_zero_and_an_empty_socket_is_again(void **state) {
        struct pair *p = *state;
        struct fdlist in, out;
        char bytes[8];

        fdlist_init(&in);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, MSG_DONTWAIT), -EAGAIN);
        fill(&out, 1);
        assert_int_equal(packet_send(p->fd[0], "", 0, &out, 0), 0);
        fdlist_close(&out);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), 0);
        assert_int_equal(in.count, 0);
        shutdown(p->fd[0], SHUT_RDWR);
        assert_int_equal(packet_recv(p->fd[1], bytes, sizeof(bytes), &in, 0), 0);
        assert_int_equal(packet_send(p->fd[1], "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
}

static void a_full_socket_is_again(void **state) {
        static const char block[32 * 1024];
        struct pair *p = *state;
        int r = 0;

        for (unsigned i = 0; !r; i++) {
                assert_true(i < 10000);
                r = packet_send(p->fd[0], block, sizeof(block), NULL, MSG_DONTWAIT);
        }
        assert_int_equal(r, -EAGAIN);
}

#define pair_test(f) cmocka_unit_test_setup_teardown(f, make_pair, close_pair)

int main(void) {
        const struct CMUnitTest tests[] = {
                pair_test(a_list_owns_what_nobody_steals),
                pair_test(descriptors_arrive_in_order_and_close_on_exec),
                pair_test(a_full_list_of_descriptors_passes),
                pair_test(too_many_descriptors_are_refused_and_closed),
                pair_test(descriptors_with_credentials_pass),
                pair_test(a_packet_that_is_too_long_is_refused),
                pair_test(the_end_is_zero_and_an_empty_socket_is_again),
                pair_test(a_full_socket_is_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
