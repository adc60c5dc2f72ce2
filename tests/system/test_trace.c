/*
 * Recordings of a real svmd: what was done is in them, in order, and nothing of other partitions; they end as they
 * should when they are stopped, when who made them vanishes, when the file takes no more, and when svmd is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "proto/trace.h"

enum { GRANULE = 65536, GRANULES = 64, SIZE = GRANULES * GRANULE };

static const char *const options[] = { "--host-capacity", "64M",     "--soft-node", "gpu0:size=64M,faults=on",
                                       "--log-level",     "warning", NULL };

static struct daemon d;
static svmd_session *admin, *watcher, *one, *two;
static svmd_node gpu;
static char *at_one, *at_two;

static void partition_new(const char *name, svmd_session **s, char **ret) {
        struct svmd_reserve_options r = { .size = sizeof(r), .kind = SVMD_SHARED, .granule = GRANULE };
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0666
        };
        void *at;

        ok(svmd_partition_create(watcher, name, &o, 0));
        connect_to(s, d.socket, name);
        ok(svmd_address_reserve(*s, &at, SIZE, 0, NULL, &r));
        *ret = at;
}

static void touch(char *at, unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; i++)
                ((volatile char *)at)[(size_t)i * GRANULE] = (char)i;
}

static void move(svmd_session *s, char *at, unsigned first, unsigned count, svmd_node node) {
        ok(svmd_migrate(s, NULL, at + (size_t)first * GRANULE, (size_t)count * GRANULE, node));
}

/* ---- files ---- */

static int file_new(const char *name) {
        int fd = memfd_create(name, MFD_ALLOW_SEALING);

        must(fd >= 0);
        return fd;
}

static struct svmd_trace await_ended(svmd_session *s) {
        struct svmd_trace t = { .size = sizeof(t) };
        uint64_t until = now_ms() + CEILING_MS;

        for (;;) {
                ok(svmd_query_trace(s, &t));
                if (t.ended)
                        return t;
                must(now_ms() < until);
                usleep(1000);
        }
}

static struct svmd_trace stop(svmd_session *s) {
        ok(svmd_trace_stop(s));
        return await_ended(s);
}

struct found {
        unsigned of[_TRACE_TYPES];
        unsigned ranges;
        uint64_t addresses[8];
        unsigned written[GRANULES], moved_to[2];
        struct trace_event last;
};

static void count(struct found *f, const struct trace_event *e) {
        f->of[e->type]++;
        f->last = *e;
        if (e->type == TRACE_RANGE)
                f->addresses[f->ranges++ % 8] = e->address;
        if (e->type == TRACE_FAULT && e->flags & TRACE_WRITE)
                f->written[e->first % GRANULES]++;
        if (e->type == TRACE_MOVED && e->node < 2)
                f->moved_to[e->node] += e->count;
}

static void read_file(int fd, struct found *f) {
        struct trace_reader t;
        struct trace_event e;
        struct stat st;
        void *bytes;
        int k;

        *f = (struct found){ 0 };
        must(fstat(fd, &st) == 0 && st.st_size > 0);
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        must(bytes != MAP_FAILED);
        k = trace_open(&t, bytes, (size_t)st.st_size);
        while (!k && (k = trace_next(&t, &e)) == 1) {
                count(f, &e);
                k = 0;
        }
        if (k)
                fail_here(t.why);
        trace_close(&t);
        munmap(bytes, (size_t)st.st_size);
        close(fd);
}

static bool has_address(const struct found *f, const char *at) {
        for (unsigned i = 0; i < f->ranges; i++)
                if (f->addresses[i] == (uintptr_t)at)
                        return true;
        return false;
}

static void await_file_end(int fd, struct found *f) {
        uint64_t until = now_ms() + CEILING_MS;

        for (;;) {
                struct stat st;
                uint8_t unit[TRACE_UNIT];

                must(fstat(fd, &st) == 0);
                if (st.st_size > TRACE_HEADER && pread(fd, unit, sizeof(unit), st.st_size - TRACE_UNIT) == TRACE_UNIT &&
                    unit[0] == TRACE_END)
                        break;
                must(now_ms() < until);
                usleep(1000);
        }
        read_file(fd, f);
}

/* What is looked at by the recording's own thread comes a little later. */
static void await_record(int fd, enum trace_type type) {
        uint64_t until = now_ms() + CEILING_MS;
        uint8_t bytes[65536];
        bool found = false;

        while (!found) {
                ssize_t n = pread(fd, bytes, sizeof(bytes), 0);

                must(n >= 0 && n < (ssize_t)sizeof(bytes));
                for (size_t at = TRACE_HEADER, end = trace_whole(bytes, (size_t)n); at < end;
                     at += trace_record_size(bytes + at))
                        found |= bytes[at] == type;
                must(now_ms() < until);
                usleep(1000);
        }
}

/* ---- tests ---- */

static void expect_end(const struct found *f, enum trace_end why) {
        must(f->of[TRACE_END] == 1);
        must(f->last.type == TRACE_END);
        must(f->last.flags == why);
}

/* Of two recorders one hears of everything, and the other of one partition. */
static void test_content(void) {
        int all = file_new("all"), some = file_new("some");
        struct svmd_advice advice = { .size = sizeof(advice), .what = SVMD_ADVISE_PREFERRED, .preferred = gpu };
        struct svmd_trace t;
        struct found f;

        touch(at_one, 0, 8); /* before: they lie on the host when it is looked at */
        ok(svmd_trace_start(admin, NULL, 0, all));
        ok(svmd_trace_start(watcher, "one", 0, some));
        want(SVMD_E_TAKEN, svmd_trace_start(watcher, "one", 0, some));
        touch(at_one, 8, 24);
        touch(at_two, 0, 16);
        move(one, at_one, 0, 32, gpu);
        move(two, at_two, 0, 4, gpu);
        touch(at_one, 0, 4);
        ok(svmd_advise(one, at_one, SIZE, &advice));
        await_record(all, TRACE_ADVISE);
        await_record(some, TRACE_ADVISE);
        t = stop(admin);
        must(!t.error && !t.dropped && t.records > 0);
        read_file(all, &f);
        expect_end(&f, TRACE_STOPPED);
        must(f.of[TRACE_NODE] == 2);
        must(has_address(&f, at_one) && has_address(&f, at_two));
        must(f.of[TRACE_MIGRATE] == 2);
        stop(watcher);
        read_file(some, &f);
        expect_end(&f, TRACE_STOPPED);
        must(f.ranges == 1 && has_address(&f, at_one));
        must(f.of[TRACE_MIGRATE] == 1);
        must(f.of[TRACE_LIES] > 0);
        must(f.of[TRACE_ADVISE] > 0);
        for (unsigned i = 8; i < 32; i++)
                must(f.written[i] == 1);
        must(f.moved_to[1] == 32);
        must(f.moved_to[0] > 0);
        want(SVMD_E_NO_SUCH, svmd_trace_stop(watcher));
}

/* Four at a time; requests alone have no faults. */
static void test_requests(void) {
        svmd_session *more[4];
        int files[4], fd = file_new("requests");
        struct found f;

        for (unsigned i = 0; i < 3; i++) {
                connect_watcher(&more[i], d.admin);
                ok(svmd_trace_start(more[i], "two", 0, files[i] = file_new("more")));
        }
        ok(svmd_trace_start(watcher, NULL, SVMD_TRACE_REQUESTS, fd));
        connect_watcher(&more[3], d.admin);
        want(SVMD_E_QUOTA, svmd_trace_start(more[3], NULL, 0, files[3] = file_new("quota")));
        move(one, at_one, 0, 16, gpu);
        touch(at_one, 0, 4);
        move(one, at_one, 0, 16, gpu);
        stop(watcher);
        read_file(fd, &f);
        must(f.of[TRACE_MIGRATE] == 2);
        must(f.of[TRACE_FAULT] == 0 && f.of[TRACE_USE] == 0);
        for (unsigned i = 0; i < 4; i++)
                svmd_disconnect(more[i]);
        for (unsigned i = 0; i < 3; i++) {
                await_file_end(files[i], &f);
                expect_end(&f, TRACE_GONE);
                must(!has_address(&f, at_one));
        }
        close(files[3]);
}

static void test_refused(void) {
        int fds[2], file = file_new("full");

        must(pipe(fds) == 0);
        want(SVMD_E_FD_KIND, svmd_trace_start(watcher, NULL, 0, fds[1]));
        must(write(file, "x", 1) == 1);
        want(SVMD_E_FD_KIND, svmd_trace_start(watcher, NULL, 0, file));
        want(SVMD_E_NO_SUCH, svmd_trace_start(watcher, "none", 0, file));
        want(SVMD_E_DENIED, svmd_trace_start(one, NULL, 0, file));
        close(fds[0]);
        close(fds[1]);
        close(file);
}

/* Touches till svmd has found that the file takes no more. */
static struct svmd_trace fill(svmd_session *s) {
        struct svmd_trace t = { .size = sizeof(t) };
        uint64_t until = now_ms() + CEILING_MS;

        while (!t.ended) {
                move(one, at_one, 0, GRANULES, gpu);
                touch(at_one, 0, GRANULES);
                ok(svmd_query_trace(s, &t));
                must(now_ms() < until);
        }
        return t;
}

static void expect_failed(int fd, const struct svmd_trace *t, int error) {
        struct found f;

        must(t->error == error);
        must(t->dropped > 0);
        read_file(fd, &f);
        expect_end(&f, TRACE_FAILED);
        must((int)f.last.first == error);
}

static void test_file_ends(void) {
        int fd = file_new("sealed");
        struct svmd_trace t;

        ok(svmd_trace_start(watcher, "one", 0, fd));
        must(ftruncate(fd, 12288) == 0);
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
        t = fill(watcher);
        expect_failed(fd, &t, EPERM);
}

static void test_full_disk(void) {
        char path[96];
        struct svmd_trace t;
        int fd;

        if (harness_one_user())
                return;
        snprintf(path, sizeof(path), "%s/small", d.dir);
        must(mkdir(path, 0700) == 0);
        must(mount("none", path, "tmpfs", 0, "size=16k") == 0);
        snprintf(path, sizeof(path), "%s/small/trace", d.dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        must(fd >= 0);
        ok(svmd_trace_start(watcher, "one", 0, fd));
        t = fill(watcher);
        expect_failed(fd, &t, ENOSPC);
        snprintf(path, sizeof(path), "%s/small", d.dir);
        must(umount2(path, MNT_DETACH) == 0);
        must(rmdir(path) == 0);
}

/* What svmd left is good, and is ended by whoever recorded. */
static void test_restart(void) {
        struct svmd_trace t = { .size = sizeof(t) };
        int fd = file_new("restart"), copy = dup(fd), stopped = file_new("stopped");
        struct found f;

        ok(svmd_trace_start(watcher, NULL, 0, fd));
        ok(svmd_trace_start(admin, NULL, 0, stopped));
        touch(at_one, 0, GRANULES);
        do
                ok(svmd_query_trace(watcher, &t));
        while (t.bytes <= TRACE_HEADER);
        daemon_kill(&d);
        must(svmd_query_trace(watcher, &t) != SVMD_OK);
        must(pwrite(fd, "\x07torn", 5, lseek(fd, 0, SEEK_END)) == 5);
        ok(svmd_trace_close(fd));
        ok(svmd_trace_close(fd)); /* once more is harmless */
        read_file(fd, &f);
        expect_end(&f, TRACE_DAEMON);
        must(has_address(&f, at_one));
        close(copy);
        close(stopped);
        daemon_start(&d);
        svmd_disconnect(watcher);
        svmd_disconnect(admin);
        connect_watcher(&watcher, d.admin);
        connect_watcher(&admin, d.admin);
        fd = file_new("again");
        ok(svmd_trace_start(watcher, NULL, 0, fd));
        move(one, at_one, 0, 8, gpu);
        daemon_stop(&d); /* an orderly end writes its own */
        await_file_end(fd, &f);
        expect_end(&f, TRACE_DAEMON);
        daemon_start(&d);
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

int main(int argc, char **argv) {
        harness_begin("system_trace");
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        connect_watcher(&admin, d.admin);
        gpu = node_named(watcher, "gpu0");
        partition_new("one", &one, &at_one);
        partition_new("two", &two, &at_two);
        test_content();
        test_requests();
        test_refused();
        test_file_ends();
        test_full_disk();
        test_restart();
        svmd_disconnect(one);
        svmd_disconnect(two);
        svmd_disconnect(admin);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
