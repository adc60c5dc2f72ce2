/*
 * The real svmd-keeper, and this program as svmd: what is put is there for the next svmd, whatever became of the one
 * before, and nothing that a peer sends ends the keeper.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "keeper/keeper.h"
#include "keeper/packet.h"

static uint64_t rng;

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static int seed_random(void **state) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        return 0;
}

static char dir[64];
static pid_t keeper_pid; /* of the keeper of this directory, as its socket says */
static char why[512];

static pid_t pid_behind(int fd) {
        struct ucred c;
        socklen_t size = sizeof(c);

        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &size), 0);
        return c.pid;
}

static struct keeper *connect_keeper(void) {
        struct keeper *k;
        int r = keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why));

        if (r)
                fail_msg("keeper_connect: %d %s", r, why);
        if (keeper_pid)
                assert_int_equal(pid_behind(keeper_fd(k)), keeper_pid);
        keeper_pid = pid_behind(keeper_fd(k));
        return k;
}

static int make_dir(void **state) {
        snprintf(dir, sizeof(dir), "/tmp/svmd-keeper-XXXXXX");
        keeper_pid = 0;
        why[0] = '\0';
        return mkdtemp(dir) ? 0 : -1;
}

static void unlink_in_dir(const char *name) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        unlink(path);
}

static bool process_is_there(pid_t pid) {
        char path[64], stat[512] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        f = fopen(path, "r");
        if (!f)
                return false;
        if (!fgets(stat, sizeof(stat), f))
                stat[0] = '\0';
        fclose(f);
        return stat[0] && !strstr(stat, ") Z ");
}

static void await_end_of(pid_t pid) {
        for (int i = 0; i < 3000 && process_is_there(pid); i++)
                poll(NULL, 0, 10);
        assert_false(process_is_there(pid));
}

static int remove_dir(void **state) {
        if (keeper_pid && process_is_there(keeper_pid)) {
                kill(keeper_pid, SIGTERM);
                kill(keeper_pid, SIGCONT);
                await_end_of(keeper_pid);
        }
        unlink_in_dir("keeper.sock");
        unlink_in_dir("keeper.lock");
        unlink_in_dir("keeper.log");
        return rmdir(dir);
}

/* How many descriptors the keeper has open. It is not dumpable, so only root can count. */
static long fds_of_keeper(void) {
        char path[64];
        long n = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/fd", (int)keeper_pid);
        d = opendir(path);
        if (!d)
                return -1;
        while (readdir(d))
                n++;
        closedir(d);
        return n - 2;
}

static void assert_fds_of_keeper(long expected) {
        if (geteuid() != 0) {
                printf("not applicable without root: counting the keeper's descriptors\n");
                return;
        }
        for (int i = 0; i < 300 && fds_of_keeper() != expected; i++)
                poll(NULL, 0, 100);
        assert_int_equal(fds_of_keeper(), expected);
}

static long fds_of_this(void) {
        pid_t keep = keeper_pid;
        long n;

        keeper_pid = getpid();
        n = fds_of_keeper();
        keeper_pid = keep;
        return n;
}

static int make_file(char mark) {
        int fd = memfd_create("kept", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, &mark, 1, 0), 1);
        return fd;
}

static void put_file(struct keeper *k, uint64_t key, char mark) {
        int fd = make_file(mark), r = keeper_put(k, key, fd);

        if (r)
                fail_msg("put: %s", strerror(-r));
        close(fd);
}

/* What a list gave: marks by key, for keys below 4096. */
struct listed {
        char mark[4096];
        unsigned count, stop_after;
};

static int note(void *userdata, uint64_t key, int fd) {
        struct listed *l = userdata;

        assert_true(key < 4096);
        assert_int_equal(l->mark[key], 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(pread(fd, &l->mark[key], 1, 0), 1);
        close(fd);
        return ++l->count == l->stop_after ? 42 : 0;
}

static struct listed list_all(struct keeper *k) {
        struct listed l = { .stop_after = 0 };
        int r = keeper_list(k, note, &l);

        if (r)
                fail_msg("list: %s", strerror(-r));
        return l;
}

static void test_put_list_drop(void **state) {
        struct keeper *k = connect_keeper();
        struct listed l = list_all(k);
        long before = fds_of_this();

        assert_int_equal(l.count, 0);
        put_file(k, 1, 'a');
        put_file(k, 0, 'z');
        put_file(k, 2, 'b');
        l = list_all(k);
        assert_int_equal(l.count, 3);
        assert_memory_equal(l.mark, "zab", 4);
        put_file(k, 1, 'c');
        assert_memory_equal(list_all(k).mark, "zcb", 4);

        assert_int_equal(keeper_drop(k, 1), 0);
        assert_int_equal(keeper_drop(k, 77), 0);
        assert_memory_equal(list_all(k).mark, "z\0b", 4);
        /* A put takes the drop before it back. */
        assert_int_equal(keeper_drop(k, 2), 0);
        put_file(k, 2, 'd');
        l = list_all(k);
        assert_int_equal(l.count, 2);
        assert_int_equal(l.mark[2], 'd');
        assert_int_equal(fds_of_this(), before);
        keeper_disconnect(k);

        k = connect_keeper();
        assert_int_equal(list_all(k).count, 2);
        keeper_disconnect(k);
        keeper_disconnect(NULL);
}

static int note_highest(void *userdata, uint64_t key, int fd) {
        close(fd);
        *(uint64_t *)userdata = key > *(uint64_t *)userdata ? key : *(uint64_t *)userdata;
        return 0;
}

static void test_highest_key(void **state) {
        struct keeper *k = connect_keeper();
        uint64_t highest = 0;

        put_file(k, UINT64_MAX, 'x');
        assert_int_equal(keeper_list(k, note_highest, &highest), 0);
        assert_true(highest == UINT64_MAX);
        keeper_disconnect(k);
}

static void test_drops_are_gathered(void **state) {
        struct keeper *k = connect_keeper();
        long base = fds_of_keeper();
        struct listed l;

        for (uint64_t i = 0; i < 1300; i++)
                put_file(k, i, 'x');
        for (uint64_t i = 0; i < 1299; i++)
                assert_int_equal(keeper_drop(k, i), 0);
        put_file(k, 1300, 'y');
        assert_fds_of_keeper(base + 1301);
        assert_int_equal(keeper_drop(k, 1300), 0);
        assert_int_equal(keeper_flush(k), 0);
        assert_fds_of_keeper(base + 1);
        l = list_all(k);
        assert_int_equal(l.count, 1);
        assert_int_equal(l.mark[1299], 'x');
        keeper_disconnect(k);
}

static void test_list_can_be_ended(void **state) {
        struct keeper *k = connect_keeper();
        struct listed l = { .stop_after = 70 };
        long before = fds_of_this();

        for (uint64_t i = 0; i < 300; i++)
                put_file(k, i, 'x');
        assert_int_equal(keeper_list(k, note, &l), 42);
        assert_int_equal(l.count, 70);
        assert_int_equal(fds_of_this(), before);
        assert_int_equal(list_all(k).count, 300);
        keeper_disconnect(k);
}

static void test_list_without_room(void **state) {
        struct keeper *k = connect_keeper();
        struct listed l = { .stop_after = 0 };
        struct rlimit old, low;
        long before = fds_of_this();

        for (uint64_t i = 0; i < 200; i++)
                put_file(k, i, 'x');
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        low = (struct rlimit){ .rlim_cur = (rlim_t)before + 20, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        assert_int_equal(keeper_list(k, note, &l), -EMFILE);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(fds_of_this(), before);
        assert_int_equal(list_all(k).count, 200);
        keeper_disconnect(k);
}

static void child_puts_and_dies(unsigned count, bool asks_list) {
        struct keeper_message m;
        struct keeper *k;

        if (keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)))
                _exit(1);
        for (unsigned i = 0; i < count; i++) {
                int fd = make_file('k');

                if (asks_list && i == (count + 1) / 2) {
                        packet_init(&m, KEEPER_LIST, 0);
                        if (keeper_packet_send(keeper_fd(k), &m, NULL, 0))
                                _exit(2);
                }
                if (keeper_put(k, i, fd))
                        _exit(3);
                close(fd);
        }
        kill(getpid(), SIGKILL);
}

/* Also when it had asked for a list and died with the answer unread, which leaves an error on the socket. */
static void test_svmd_is_killed(void **state) {
        struct keeper *k = connect_keeper();

        keeper_disconnect(k);
        for (int round = 0; round < 200; round++) {
                unsigned count = 1 + (unsigned)next_random(100);
                bool asks_list = next_random(2);
                pid_t pid = fork();
                struct listed l;
                int status;

                if (pid == 0)
                        child_puts_and_dies(count, asks_list);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                k = connect_keeper();
                l = list_all(k);
                assert_int_equal(l.count, count);
                for (unsigned i = 0; i < count; i++)
                        assert_int_equal(keeper_drop(k, i), 0);
                assert_int_equal(keeper_flush(k), 0);
                keeper_disconnect(k);
        }
}

/* What is dropped, and not flushed by the time svmd dies, is what the journal still has. */
static void test_drops_wait_for_the_flush(void **state) {
        struct keeper *k = connect_keeper();

        put_file(k, 1, 'a');
        put_file(k, 2, 'b');
        assert_int_equal(keeper_drop(k, 1), 0);
        put_file(k, 3, 'c');
        keeper_disconnect(k);
        k = connect_keeper();
        assert_memory_equal(list_all(k).mark + 1, "abc", 4);
        keeper_disconnect(k);
}

/* A put counts from its return, even when the keeper has not looked yet. */
static void test_killed_before_keeper_looks(void **state) {
        struct keeper *k = connect_keeper();
        pid_t pid;
        int status;

        keeper_disconnect(k);
        /* The child's greeting needs a keeper that runs; it stops it then. */
        pid = fork();
        if (pid == 0) {
                k = connect_keeper();
                put_file(k, 0, 'x');
                kill(keeper_pid, SIGSTOP);
                for (unsigned i = 1; i < 40; i++)
                        put_file(k, i, 'x');
                kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        kill(keeper_pid, SIGCONT);
        k = connect_keeper();
        assert_int_equal(list_all(k).count, 40);
        keeper_disconnect(k);
}

/* A full socket is waited for, within bounds. */
static void test_stopped_keeper(void **state) {
        struct keeper *k = connect_keeper();
        int fd = make_file('x'), r = 0, status;
        unsigned n = 0;
        pid_t pid;

        assert_int_equal(keeper_put(k, 0, fd), 0);
        kill(keeper_pid, SIGSTOP);
        while (n < 100000 && (r = keeper_put(k, n + 1, fd)) == 0)
                n++;
        assert_int_equal(r, -ETIMEDOUT);
        assert_true(n > 10);

        pid = fork();
        if (pid == 0) {
                poll(NULL, 0, 200);
                kill(keeper_pid, SIGCONT);
                _exit(0);
        }
        for (unsigned i = 0; i < 2000; i++)
                assert_int_equal(keeper_put(k, i, fd), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(list_all(k).count, n + 1 > 2000 ? n + 1 : 2000);
        close(fd);
        keeper_disconnect(k);
}

/* Where another user may run it, whoever may look into the build's folder. */
static void copy_keeper(char *path, size_t size) {
        char command[512];

        snprintf(path, size, "%s/keeper-copy", dir);
        snprintf(command, sizeof(command), "install -m 0755 '%s' '%s'", KEEPER_PROGRAM, path);
        assert_int_equal(system(command), 0);
}

static void crowd(const char *program) {
        struct rlimit l = { 0 };
        struct keeper *k;
        int fd, r = 0;
        unsigned n;
        pid_t pid;

        if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
                _exit(9);
        if (getrlimit(RLIMIT_NOFILE, &l) || keeper_connect(&k, dir, program, why, sizeof(why)))
                _exit(8);
        keeper_pid = pid_behind(keeper_fd(k));
        fd = make_file('x');
        if (keeper_put(k, 0, fd))
                _exit(7);
        l.rlim_cur = 40; /* so many may be on their way */
        if (setrlimit(RLIMIT_NOFILE, &l))
                _exit(6);
        kill(keeper_pid, SIGSTOP);
        for (n = 0; n < 1000 && (r = keeper_put(k, n, fd)) == 0; n++)
                ;
        if (r != -ETIMEDOUT || n > 60)
                _exit(5);
        pid = fork();
        if (pid == 0) {
                poll(NULL, 0, 200);
                kill(keeper_pid, SIGCONT);
                _exit(0);
        }
        for (n = 0; n < 1000 && r != 0; n++)
                r = keeper_put(k, n, fd);
        if (r || waitpid(pid, NULL, 0) != pid || keeper_quit(k))
                _exit(4);
        _exit(0);
}

/* The kernel carries no more descriptors of a user than that user may have open: that is waited for too. */
static void test_too_many_on_their_way(void **state) {
        char program[128];
        int status;
        pid_t pid;

        copy_keeper(program, sizeof(program));
        if (geteuid() == 0)
                assert_int_equal(chown(dir, 65534, 65534), 0);
        pid = fork();
        if (pid == 0)
                crowd(program);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        unlink(program);
        assert_int_equal(status, 0);
}

static void test_second_svmd_is_refused(void **state) {
        struct keeper *k = connect_keeper(), *other;
        char pid[32];

        snprintf(pid, sizeof(pid), "process %d", (int)getpid());
        for (int i = 0; i < 3; i++) {
                why[0] = '\0';
                assert_int_equal(keeper_connect(&other, dir, KEEPER_PROGRAM, why, sizeof(why)), -EBUSY);
                assert_non_null(strstr(why, pid));
        }
        put_file(k, 1, 'x');
        assert_int_equal(list_all(k).count, 1);
        keeper_disconnect(k);
        k = connect_keeper();
        assert_int_equal(list_all(k).count, 1);
        keeper_disconnect(k);
}

static int raw_connect(void) {
        struct sockaddr_un a;
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct timeval ceiling = { .tv_sec = 30 };

        assert_true(fd >= 0);
        assert_int_equal(packet_address(&a, dir), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &ceiling, sizeof(ceiling)), 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        return fd;
}

static struct keeper_head raw_read(int fd) {
        struct keeper_head h = { 0 };

        assert_int_equal(recv(fd, &h, sizeof(h), 0), sizeof(h));
        return h;
}

static void raw_send(int fd, const void *bytes, size_t size, int attached, unsigned copies) {
        union {
                struct cmsghdr head;
                char space[CMSG_SPACE(250 * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (copies) {
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(copies * sizeof(int));
                control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                                 .cmsg_type = SCM_RIGHTS,
                                                 .cmsg_len = CMSG_LEN(copies * sizeof(int)) };
                for (unsigned i = 0; i < copies; i++)
                        memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &attached, sizeof(int));
        }
        assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), size);
}

/* Almost a message: one that is right but for a bit, a length, or the descriptors with it. */
static size_t random_garbage(struct keeper_message *m, unsigned *copies) {
        size_t size;

        packet_init(m, (enum keeper_type)next_random(14), next_random(2) ? 0 : next_random(UINT64_MAX));
        m->head.count = (uint16_t)(next_random(4) ? next_random(5) : next_random(65536));
        if (m->head.type == KEEPER_QUIT) /* a right one would end it, as it should */
                m->head.count = 1;
        for (unsigned i = 0; i < KEEPER_DROPS; i++)
                m->key[i] = 1000 + next_random(100);
        *copies = (unsigned)(next_random(3) ? next_random(4) : next_random(250));
        size = keeper_message_size(&m->head);
        if (next_random(3) == 0)
                ((unsigned char *)m)[next_random(4)] ^= 1u << next_random(8);
        if (size > sizeof(*m) || next_random(3) == 0)
                size = next_random(sizeof(*m) + 1);
        return size;
}

static void test_garbage(void **state) {
        struct keeper_message m;
        struct keeper *k = connect_keeper();
        long base = fds_of_keeper();
        int fd = make_file('g');

        put_file(k, 1, 'a');
        put_file(k, 2, 'b');
        keeper_disconnect(k);
        for (int round = 0; round < 1000; round++) {
                int s = raw_connect();
                unsigned copies;
                size_t size = random_garbage(&m, &copies);

                assert_int_equal(raw_read(s).type, KEEPER_HELLO);
                raw_send(s, &m, size, fd, copies);
                close(s);
        }
        close(fd);
        k = connect_keeper(); /* the same process: connect_keeper() compares */
        for (uint64_t key = 1000; key < 1100; key++)
                assert_int_equal(keeper_drop(k, key), 0);
        assert_memory_equal(list_all(k).mark + 1, "ab", 3);
        assert_fds_of_keeper(base + 2);
        keeper_disconnect(k);
}

static void test_malformed_ends_the_connection(void **state) {
        struct keeper *k = connect_keeper();
        char byte;
        int s;

        keeper_disconnect(k);
        s = raw_connect();
        raw_read(s);
        raw_send(s, "nonsense", 8, -1, 0);
        assert_int_equal(recv(s, &byte, 1, 0), 0);
        close(s);
        keeper_disconnect(connect_keeper());
}

static void test_other_user_is_refused(void **state) {
        struct keeper *k;
        char path[128];
        int status;
        pid_t pid;

        if (geteuid() != 0) {
                printf("not applicable without root: connecting as another user\n");
                return;
        }
        k = connect_keeper();
        keeper_disconnect(k);
        snprintf(path, sizeof(path), "%s/keeper.sock", dir);
        pid = fork();
        if (pid == 0) { /* the mode of the socket refuses */
                if (chmod(dir, 0755) || setuid(65534))
                        _exit(9);
                _exit(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)) == -EACCES ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);

        assert_int_equal(chmod(path, 0666), 0);
        pid = fork();
        if (pid == 0) { /* and if it did not, the keeper does */
                if (setuid(65534))
                        _exit(9);
                _exit(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)) == -EACCES &&
                                      strstr(why, "another user")
                              ? 0
                              : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        keeper_disconnect(connect_keeper());
}

static void test_socket_is_private(void **state) {
        struct keeper *k = connect_keeper();
        char path[128];
        struct stat st;

        snprintf(path, sizeof(path), "%s/keeper.sock", dir);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        keeper_disconnect(k);
}

/* The last copy of the writing end is the keeper's. */
static void test_quit(void **state) {
        struct keeper *k = connect_keeper();
        pid_t first = keeper_pid;
        int ends[2];
        char byte;

        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(keeper_put(k, 5, ends[1]), 0);
        close(ends[1]);
        assert_int_equal(keeper_flush(k), 0);
        assert_int_equal(read(ends[0], &byte, 1), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(keeper_quit(k), 0);
        assert_int_equal(read(ends[0], &byte, 1), 0);
        close(ends[0]);
        keeper_disconnect(k);
        await_end_of(first);
        keeper_pid = 0;
        k = connect_keeper();
        assert_true(keeper_pid != first);
        assert_int_equal(list_all(k).count, 0);
        keeper_disconnect(k);
}

static void test_end_of_keeper_is_seen(void **state) {
        struct keeper *k = connect_keeper();
        struct pollfd p = { .fd = keeper_fd(k), .events = POLLIN };
        int fd = make_file('x');

        assert_int_equal(poll(&p, 1, 0), 0);
        kill(keeper_pid, SIGTERM);
        assert_int_equal(poll(&p, 1, 30000), 1);
        await_end_of(keeper_pid);
        keeper_pid = 0;
        assert_int_equal(keeper_put(k, 1, fd), -EPIPE);
        keeper_disconnect(k);
        close(fd);
        k = connect_keeper(); /* its socket file was left behind */
        assert_int_equal(list_all(k).count, 0);
        keeper_disconnect(k);
}

static void test_starting_fails(void **state) {
        char long_dir[200];
        struct keeper *k = NULL;

        assert_int_equal(keeper_connect(&k, dir, "/nonexistent/svmd-keeper", why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, "/nonexistent/svmd-keeper"));
        assert_int_equal(keeper_connect(&k, dir, "/bin/true", why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, "does not listen"));
        memset(long_dir, 'd', sizeof(long_dir) - 1);
        long_dir[sizeof(long_dir) - 1] = '\0';
        assert_int_equal(keeper_connect(&k, long_dir, KEEPER_PROGRAM, why, sizeof(why)), -ENAMETOOLONG);
        alloc_fail_at(1);
        assert_int_equal(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)), -ENOMEM);
        alloc_fail_off();
        assert_null(k);
}

static void be_old_keeper(int listener) {
        struct keeper_head h = { .magic = KEEPER_MAGIC, .version = 0, .type = KEEPER_HELLO };
        int fd = accept(listener, NULL, NULL);

        _exit(send(fd, &h, sizeof(h), 0) == sizeof(h) && recv(fd, &h, sizeof(h), 0) == 0 ? 0 : 1);
}

static void test_older_keeper(void **state) {
        int status, listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct sockaddr_un a;
        struct keeper *k;
        pid_t pid;

        assert_int_equal(packet_address(&a, dir), 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 1), 0);
        pid = fork();
        if (pid == 0)
                be_old_keeper(listener);
        assert_int_equal(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)), -EPROTO);
        assert_non_null(strstr(why, "version 0"));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close(listener);
}

static int open_program(const char *path) {
        int fd = open(path, O_PATH | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

/* How many filters of system calls the keeper is under; -1 where the kernel does not say. */
static int filters_of_keeper(void) {
        char path[64], line[128];
        int n = -1;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)keeper_pid);
        f = fopen(path, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "Seccomp_filters: %d", &n) == 1)
                        break;
        fclose(f);
        return n;
}

/* One more than this process, and another one with each program that it becomes; none with a sanitizer. */
static void test_is_confined(void **state) {
        int program = open_program(KEEPER_PROGRAM), before;
        struct keeper *k = connect_keeper();

        (void)list_all(k); /* it serves, so it is confined */
        before = filters_of_keeper();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        assert_true(before >= 1);
#endif
        assert_int_equal(keeper_become(k, program, why, sizeof(why)), 0);
        (void)list_all(k);
        assert_int_equal(filters_of_keeper(), before > 0 ? before + 1 : before);
        keeper_disconnect(k);
        close(program);
}

/* It goes on as another program, in the same process and on the same connection, and has everything. */
static void test_becomes_another(void **state) {
        int program = open_program(KEEPER_PROGRAM);
        struct keeper *k = connect_keeper();
        struct listed l;
        long base;

        for (uint64_t i = 0; i < 500; i++)
                put_file(k, i, (char)('a' + i % 26));
        assert_int_equal(list_all(k).count, 500);
        base = fds_of_keeper();
        for (int round = 0; round < 3; round++) {
                assert_int_equal(keeper_drop(k, (uint64_t)(100 + round)), 0);
                put_file(k, (uint64_t)(1000 + round), 'n');
                assert_int_equal(keeper_become(k, program, why, sizeof(why)), 0);
                l = list_all(k);
                assert_int_equal(l.count, 500);
                for (uint64_t i = 0; i < 100; i++)
                        assert_int_equal(l.mark[i], (char)('a' + i % 26));
                assert_int_equal(l.mark[1000 + round], 'n');
                assert_fds_of_keeper(base);
        }
        keeper_disconnect(k);
        k = connect_keeper(); /* the same listener, the same process */
        assert_int_equal(list_all(k).count, 500);
        keeper_disconnect(k);
        close(program);
}

/* A file that is no program, and one that is only half: it stays what it was, and says why. */
static void test_cannot_become(void **state) {
        int text = open_program("/etc/passwd"), folder = open_program("/"), half = memfd_create("half", MFD_CLOEXEC);
        struct keeper *k = connect_keeper();
        long base;

        assert_int_equal(write(half, "\177ELF", 4), 4);
        for (uint64_t i = 0; i < 200; i++)
                put_file(k, i, 'x');
        assert_int_equal(list_all(k).count, 200);
        base = fds_of_keeper();
        assert_int_equal(keeper_become(k, text, why, sizeof(why)), -EACCES);
        assert_non_null(strstr(why, "stays what it is"));
        assert_int_equal(keeper_become(k, folder, why, sizeof(why)), -EACCES);
        assert_int_equal(keeper_become(k, half, why, sizeof(why)), -ENOEXEC);
        assert_int_equal(list_all(k).count, 200);
        assert_fds_of_keeper(base);
        put_file(k, 200, 'y');
        keeper_disconnect(k);
        k = connect_keeper();
        assert_int_equal(list_all(k).count, 201);
        keeper_disconnect(k);
        close(text);
        close(folder);
        close(half);
}

/* svmd asks, and is killed before it reads the answer: the next one finds everything. */
static void test_becomes_without_svmd(void **state) {
        int program = open_program(KEEPER_PROGRAM), status;
        pid_t pid = fork();
        struct keeper *k;

        if (pid == 0) {
                struct keeper_message m;

                k = connect_keeper();
                for (uint64_t i = 0; i < 300; i++)
                        put_file(k, i, 'x');
                packet_init(&m, KEEPER_BECOME, 0);
                _exit(keeper_packet_send(keeper_fd(k), &m, &program, 1));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        k = connect_keeper();
        assert_int_equal(list_all(k).count, 300);
        keeper_disconnect(k);
        close(program);
}

static void be_keeper_of_version_1(int listener) {
        struct keeper_head h = { .magic = KEEPER_MAGIC, .version = 1, .type = KEEPER_HELLO };
        int fd = accept(listener, NULL, NULL);

        _exit(send(fd, &h, sizeof(h), 0) == sizeof(h) && recv(fd, &h, sizeof(h), 0) == 0 ? 0 : 1);
}

/* What it does not know it is not asked. */
static void test_keeper_of_version_1(void **state) {
        int status, listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
                    program = open_program(KEEPER_PROGRAM);
        struct sockaddr_un a;
        struct keeper *k;
        pid_t pid;

        assert_int_equal(packet_address(&a, dir), 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 1), 0);
        pid = fork();
        if (pid == 0)
                be_keeper_of_version_1(listener);
        assert_int_equal(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)), 0);
        assert_int_equal(keeper_become(k, program, why, sizeof(why)), -EOPNOTSUPP);
        assert_non_null(strstr(why, "too old"));
        keeper_disconnect(k);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close(listener);
        close(program);
}

/* Two that start at the same time share one keeper, and one of them is told of the other. */
static void test_two_start_at_once(void **state) {
        int go[2], busy = 0, status;
        pid_t pid[4];

        assert_int_equal(pipe(go), 0);
        for (int i = 0; i < 4; i++) {
                pid[i] = fork();
                if (pid[i] == 0) {
                        struct keeper *k;
                        char byte;
                        int r;

                        close(go[1]);
                        if (read(go[0], &byte, 1) != 0)
                                _exit(9);
                        r = keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why));
                        poll(NULL, 0, r ? 0 : 1000); /* stays connected while the others try */
                        _exit(r == 0 ? 0 : r == -EBUSY ? 1 : 2);
                }
        }
        close(go[0]);
        close(go[1]);
        for (int i = 0; i < 4; i++) {
                assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
                busy += WEXITSTATUS(status);
        }
        assert_true(busy <= 3);
        keeper_disconnect(connect_keeper());
}

static int count_and_close(void *userdata, uint64_t key, int fd) {
        unsigned char *seen = userdata;

        assert_int_equal(seen[key], 0);
        seen[key] = 1;
        close(fd);
        return 0;
}

static unsigned fill(struct keeper *k, unsigned most, int *ret) {
        int fd = make_file('m');
        unsigned n = 0;

        while (n < most && (*ret = keeper_put(k, n, fd)) == 0)
                n++;
        close(fd);
        return n;
}

/* As many as the hard limit allows, but no more than 30,000. */
static void test_many(void **state) {
        static unsigned char seen[30000];
        struct keeper *k = connect_keeper();
        long base = fds_of_keeper();
        struct rlimit l;
        unsigned n;
        int r = 0;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
        n = fill(k, sizeof(seen), &r);
        printf("%u descriptors kept, the hard limit is %llu\n", n, (unsigned long long)l.rlim_max);
        if (l.rlim_max < sizeof(seen)) {
                assert_int_equal(r, -EMFILE);
                assert_true(n + 200 > l.rlim_max);
        } else {
                assert_int_equal(n, sizeof(seen));
        }
        keeper_disconnect(k);
        k = connect_keeper();
        assert_int_equal(keeper_list(k, count_and_close, seen), 0);
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(seen[i], 1);
        assert_fds_of_keeper(base + n);

        for (unsigned i = 0; i < n; i++)
                assert_int_equal(keeper_drop(k, i), 0);
        assert_int_equal(keeper_flush(k), 0);
        assert_fds_of_keeper(base);
        assert_int_equal(fill(k, 100, &r), 100);
        keeper_disconnect(k);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_DIR(test_put_list_drop),
                IN_DIR(test_highest_key),
                IN_DIR(test_drops_are_gathered),
                IN_DIR(test_drops_wait_for_the_flush),
                IN_DIR(test_list_can_be_ended),
                IN_DIR(test_list_without_room),
                IN_DIR(test_svmd_is_killed),
                IN_DIR(test_killed_before_keeper_looks),
                IN_DIR(test_stopped_keeper),
                IN_DIR(test_too_many_on_their_way),
                IN_DIR(test_second_svmd_is_refused),
                IN_DIR(test_garbage),
                IN_DIR(test_malformed_ends_the_connection),
                IN_DIR(test_other_user_is_refused),
                IN_DIR(test_socket_is_private),
                IN_DIR(test_quit),
                IN_DIR(test_end_of_keeper_is_seen),
                IN_DIR(test_starting_fails),
                IN_DIR(test_older_keeper),
                IN_DIR(test_is_confined),
                IN_DIR(test_becomes_another),
                IN_DIR(test_cannot_become),
                IN_DIR(test_becomes_without_svmd),
                IN_DIR(test_keeper_of_version_1),
                IN_DIR(test_two_start_at_once),
                IN_DIR(test_many),
        };
        return cmocka_run_group_tests(tests, seed_random, NULL);
}
