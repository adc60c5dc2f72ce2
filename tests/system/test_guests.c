/*
 * Two partitions with a container's view each: who comes through the socket of one can reach that one alone, until the
 * owner of a range in the other shares it. Then it is there at the same address, with the same bytes wherever they are,
 * also after svmd was killed; and gone again when the share is taken back, also from who will not hear of it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { OWNER = 2001, GUEST = 2002, STRANGER = 2003, GRANULE = 64 << 10, SIZE = 4 << 20, WORDS = SIZE / 8 };

static const char *const options[] = { "--host-capacity", "64M",     "--soft-node", "gpu0:size=32M,faults=on",
                                       "--log-level",     "warning", NULL };

static struct daemon d;
static svmd_session *watcher;

/* ---- in an actor ---- */

static svmd_session *mine;
static volatile uint64_t *words;
static unsigned lost;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        lost += e->type == SVMD_EVENT_GONE && e->address == words;
}

/* text: partition, n[0]: descriptor of the folder that its container would have mounted -> r */
static void come(struct message *m) {
        char socket[64];

        snprintf(socket, sizeof(socket), "/proc/self/fd/%d/svmd.sock", (int)m->n[0]);
        message_take(m, try_connect(&mine, socket, m->text, 0));
        if (!m->r)
                ok(svmd_set_event_handler(mine, on_event, NULL));
}

static void leave(struct message *m) {
        svmd_disconnect(mine);
}

/* -> n[0]: address */
static void make(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "weights", .mode = 0600, .kind = SVMD_SHARED, .granule = GRANULE
        };
        void *at;

        ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        words = at;
        m->n[0] = (uint64_t)(uintptr_t)at;
}

/* text: to, n[0]: access -> r */
static void share(struct message *m) {
        message_take(m, m->n[0] ? svmd_share(mine, "weights", m->text, (unsigned)m->n[0], NULL)
                                : svmd_unshare(mine, "weights", m->text, NULL));
}

/* n[0]: access -> r, n[0]: address */
static void open_range(struct message *m) {
        size_t size = 0;
        void *at = NULL;

        message_take(m, svmd_address_open(mine, &at, &size, "weights", (unsigned)m->n[0]));
        if (m->r)
                return;
        must(size == SIZE);
        words = at;
        m->n[0] = (uint64_t)(uintptr_t)at;
}

static uint64_t word_at(uint64_t seed, size_t i) {
        return (seed + i) * 0x9e3779b97f4a7c15ull | 1;
}

/* n[0]: seed */
static void fill(struct message *m) {
        for (size_t i = 0; i < WORDS; i++)
                words[i] = word_at(m->n[0], i);
}

/* n[0]: seed */
static void check(struct message *m) {
        for (size_t i = 0; i < WORDS; i++)
                must(words[i] == word_at(m->n[0], i));
}

/* text: node */
static void move(struct message *m) {
        ok(svmd_migrate(mine, NULL, (const void *)(uintptr_t)words, SIZE, node_named(mine, m->text)));
}

/* -> n[0]: the kernel lets this process write there */
static void probe_write(struct message *m) {
        int ends[2];

        must(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
        m->n[0] = read(ends[0], (void *)(uintptr_t)words, 1) == 1;
        close(ends[0]);
        close(ends[1]);
}

/* Until it is told that it lost the range. */
static void await_loss(struct message *m) {
        for (uint64_t end = now_ms() + CEILING_MS; lost == 0; usleep(2000)) {
                must(now_ms() < end);
                ok(svmd_dispatch(mine));
        }
}

/* -> n[0]: how many pages of the range are in this process's page table */
static void count_pages(struct message *m) {
        static uint64_t entry[SIZE / 4096];
        int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

        must(fd >= 0);
        must(pread(fd, entry, sizeof(entry), (off_t)((uintptr_t)words / 4096 * 8)) == (ssize_t)sizeof(entry));
        close(fd);
        m->n[0] = 0;
        for (size_t i = 0; i < SIZE / 4096; i++)
                m->n[0] += entry[i] >> 63;
}

static pthread_t toucher;
static sigjmp_buf faulted;
static volatile int touched; /* 1: it has read, 2: there was nothing */

static void on_fault(int sig) {
        siglongjmp(faulted, 1);
}

static void *touch(void *userdata) {
        if (sigsetjmp(faulted, 1)) {
                touched = 2;
                return NULL;
        }
        (void)words[WORDS / 2];
        touched = 1;
        return NULL;
}

/* It tries to read what it has lost, before it hears of that; the thread waits, and is told when this one listens. */
static void touch_what_is_lost(struct message *m) {
        struct sigaction a = { .sa_handler = on_fault };

        sigaction(SIGSEGV, &a, NULL);
        must(pthread_create(&toucher, NULL, touch, NULL) == 0);
}

static void await_loss_and_fault(struct message *m) {
        lost = 0;
        await_loss(m);
        must(pthread_join(toucher, NULL) == 0);
        must(touched == 2);
}

/* What a guest may not, whatever it asks for. */
static void overreach(struct message *m) {
        struct svmd_reserve_options named = { .size = sizeof(named), .name = "mine", .kind = SVMD_SHARED };
        svmd_mem mem;
        void *at;

        want(SVMD_E_DENIED, svmd_address_reserve(mine, &at, SIZE, 0, NULL, &named));
        want(SVMD_E_DENIED, svmd_mem_create(mine, &mem, GRANULE, 0, 0));
        want(SVMD_E_DENIED, svmd_query_reservations(mine, NULL, NULL, NULL));
        want(SVMD_E_DENIED, svmd_share(mine, "weights", "c", SVMD_ACCESS_READ, NULL));
        want(SVMD_E_DENIED, svmd_pin(mine, NULL, (const void *)(uintptr_t)words, GRANULE));
}

/* ---- in the test ---- */

static int folder(const char *partition) {
        char path[160];
        int fd;

        snprintf(path, sizeof(path), "%s/run/p/%s", d.dir, partition);
        fd = open(path, O_PATH | O_DIRECTORY); /* actors have it, as a container has its mount */
        must(fd >= 0);
        return fd;
}

static struct message call(struct actor *a, actor_fn fn, int code, uint64_t n, const char *text) {
        struct message m = { .n = { n } };

        snprintf(m.text, sizeof(m.text), "%s", text);
        actor_call(a, fn, &m);
        message_want(code, &m);
        return m;
}

static void restart_daemon(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void make_partition(const char *name, uint32_t uid) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0600, .uid = uid, .gid = uid
        };

        ok(svmd_partition_create(watcher, name, &o, NULL));
}

static int count_guests(const struct svmd_share_row *row, void *userdata) {
        *(unsigned *)userdata += row->guests;
        return 0;
}

static unsigned guests(void) {
        unsigned n = 0;

        ok(svmd_query_shares(watcher, NULL, count_guests, &n));
        return n;
}

static void test_sharing(struct actor *owner, struct actor *guest, struct actor *stranger, int b, int c) {
        uint64_t at = call(owner, make, 0, 0, "").n[0];

        call(owner, fill, 0, 1, "");
        call(guest, come, SVMD_E_NO_SUCH, (uint64_t)b, "a");
        call(owner, share, 0, SVMD_ACCESS_READ, "b");
        call(guest, come, 0, (uint64_t)b, "a");
        call(stranger, come, SVMD_E_NO_SUCH, (uint64_t)c, "a");
        call(guest, open_range, SVMD_E_DENIED, SVMD_ACCESS_READ_WRITE, "");
        must(call(guest, open_range, 0, SVMD_ACCESS_READ, "").n[0] == at);
        call(guest, check, 0, 1, "");
        must(!call(guest, probe_write, 0, 0, "").n[0]);
        call(guest, overreach, 0, 0, "");
        for (uint64_t round = 2; round < 6; round++) {
                call(owner, move, 0, 0, "gpu0");
                if (round % 2)
                        restart_daemon();
                call(guest, check, 0, round - 1, "");
                call(owner, fill, 0, round, "");
                call(guest, check, 0, round, "");
        }
        must(guests() == 1);
        call(owner, share, 0, 0, "b");
        actor_call(guest, await_loss, &(struct message){ 0 });
        call(guest, open_range, SVMD_E_NO_SUCH, SVMD_ACCESS_READ, "");
        call(owner, check, 0, 5, "");
        must(guests() == 0);
}

static void test_writer(struct actor *owner, struct actor *guest) {
        call(owner, share, 0, SVMD_ACCESS_READ_WRITE, "b");
        call(guest, open_range, 0, SVMD_ACCESS_READ_WRITE, "");
        call(guest, check, 0, 5, "");
        call(guest, fill, 0, 6, "");
        call(owner, move, 0, 0, "gpu0");
        restart_daemon();
        call(owner, check, 0, 6, "");
        call(guest, leave, 0, 0, "");
        call(owner, check, 0, 6, "");
        must(guests() == 0);
}

static uint64_t pages_of(struct actor *a) {
        return call(a, count_pages, 0, 0, "").n[0];
}

static void await_no_pages(struct actor *a) {
        for (uint64_t end = now_ms() + CEILING_MS; pages_of(a) > 0; usleep(2000))
                must(now_ms() < end);
}

/* A guest that looks at no event: its pages are taken from it, and no other one is served. */
static void test_deaf_guest(struct actor *owner, struct actor *guest, int b) {
        call(guest, come, 0, (uint64_t)b, "a");
        call(guest, open_range, 0, SVMD_ACCESS_READ_WRITE, "");
        call(guest, check, 0, 6, "");
        call(guest, fill, 0, 7, "");
        call(owner, check, 0, 7, "");
        must(pages_of(guest) == SIZE / 4096);
        call(owner, share, 0, 0, "b");
        await_no_pages(guest);
        call(owner, check, 0, 7, "");
        call(owner, fill, 0, 8, "");
        call(guest, touch_what_is_lost, 0, 0, "");
        restart_daemon();
        call(owner, check, 0, 8, "");
        must(pages_of(guest) == 0);
        call(guest, await_loss_and_fault, 0, 0, "");
        call(owner, check, 0, 8, "");
}

int main(void) {
        struct actor owner, guest, stranger;
        int a, b, c;

        harness_begin("system_guests");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        make_partition("a", OWNER);
        make_partition("b", GUEST);
        make_partition("c", STRANGER);
        a = folder("a");
        b = folder("b");
        c = folder("c");
        actor_new(&owner, OWNER, OWNER, 0);
        actor_new(&guest, GUEST, GUEST, 0);
        actor_new(&stranger, STRANGER, STRANGER, 0);
        call(&owner, come, 0, (uint64_t)a, "");
        test_sharing(&owner, &guest, &stranger, b, c);
        test_writer(&owner, &guest);
        test_deaf_guest(&owner, &guest, b);
        actor_end(&stranger);
        actor_end(&guest);
        actor_end(&owner);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
