/*
 * What a session may not do stays undone whatever way it is tried: by mprotect, by opening the file behind the memory
 * again as another user, by wrong and by stale tokens.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { SIZE = 64 * 1024, OWNER = 2001, MEMBER = 2002, OTHER = 2003, GROUP = 3000 };

static struct daemon d;
static svmd_session *watcher;

/* In an actor. */
static svmd_session *mine;
static svmd_mem mem;
static volatile uint64_t *at;

static void connect_actor(struct message *m) {
        message_take(m, try_connect(&mine, d.socket, m->text[0] ? m->text : "lab", 0));
}

/* text: name, n[0]: mode, n[1]: the first word */
static void publish(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = m->text, .mode = (unsigned)m->n[0] };
        void *p;

        ok(svmd_address_reserve(mine, &p, SIZE, 0, NULL, &o));
        ok(svmd_mem_create(mine, &mem, SIZE, node_named(mine, "host0"), SVMD_MEM_SHAREABLE));
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)p, SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        at = p;
        *at = m->n[1];
}

/* text: name, n[0]: access -> r */
static void open_named(struct message *m) {
        void *p = NULL;

        message_take(m, svmd_address_open(mine, &p, NULL, m->text, (unsigned)m->n[0]));
        if (!m->r)
                at = p;
}

static void close_named(struct message *m) {
        message_take(m, svmd_address_free(mine, (void *)at));
}

static void read_word(struct message *m) {
        m->n[0] = *at;
}

static void write_word(struct message *m) {
        *at = m->n[0];
}

/* The kernel writes there for us, so that a refusal is an errno and no signal. */
static bool can_write(void) {
        uint64_t now = *at;
        int p[2];
        bool can;

        must(pipe(p) == 0 && write(p[1], &now, sizeof(now)) == sizeof(now));
        can = read(p[0], (void *)at, sizeof(now)) == sizeof(now);
        must(can || errno == EFAULT);
        close(p[0]);
        close(p[1]);
        return can;
}

static bool reopen_refused(int fd) {
        static const int flags[] = { O_RDWR, O_WRONLY, O_RDWR | O_TRUNC };
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                if (open(path, flags[i] | O_CLOEXEC) >= 0 || errno != EACCES)
                        return false;
        return true;
}

static bool is_memory(int fd) {
        char path[64], target[128] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "memfd:svmd-memory");
}

/* A reader tries everything that it could with what libsvmd and the kernel gave it. */
static void reader_tries(struct message *m) {
        unsigned files = 0;

        must(!can_write());
        must(mprotect((void *)at, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
        for (int fd = 3; fd < 256; fd++) {
                if (!is_memory(fd))
                        continue;
                files++;
                must((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
                must(reopen_refused(fd));
                must(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
                must(ftruncate(fd, 0) < 0);
                must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) < 0);
        }
        must(!can_write());
        m->n[0] = files;
        m->n[1] = *at;
        must(svmd_mem_set_access(mine, SVMD_CPU, (uint64_t)at, SIZE, SVMD_ACCESS_READ_WRITE) != 0);
        must(!can_write());
}

/* The same with map_files, where the kernel shows what lies under a mapping. */
static void reader_tries_maps(struct message *m) {
        char path[96];

        snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + SIZE);
        must(open(path, O_RDWR | O_CLOEXEC) < 0);
}

static void actor_connected(struct actor *a, uint32_t uid, uint32_t gid, const char *partition) {
        struct message m = { 0 };

        actor_new(a, uid, gid, 0);
        snprintf(m.text, sizeof(m.text), "%s", partition);
        actor_call(a, connect_actor, &m);
        message_want(0, &m);
}

static struct message named(const char *name, uint64_t n) {
        struct message m = { .n = { n } };

        snprintf(m.text, sizeof(m.text), "%s", name);
        return m;
}

static void make_partition(const char *name, const char *domain, unsigned mode, uint32_t uid, uint32_t gid) {
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .domain = domain,
                                            .uid = uid,
                                            .gid = gid,
                                            .mode = mode };

        ok(svmd_partition_create(watcher, name, &o, NULL));
}

/* ---- named reservations ---- */

static void reader_stays_reader(struct actor *owner, struct actor *member) {
        struct message m = named("r", 0640);

        m.n[1] = 4711;
        actor_call(owner, publish, &m);
        m = named("r", SVMD_ACCESS_READ);
        actor_call(member, open_named, &m);
        message_want(0, &m);
        actor_call(member, reader_tries, &m);
        must(m.n[1] == 4711);
        printf("a reader has %llu descriptors of memory\n", (unsigned long long)m.n[0]);
        actor_call(member, reader_tries_maps, &m);
        actor_call(owner, read_word, &m);
        must(m.n[0] == 4711);
        m.n[0] = 4712;
        actor_call(owner, write_word, &m);
        actor_call(member, read_word, &m);
        must(m.n[0] == 4712);
        actor_call(member, close_named, &m);
        message_want(0, &m);
        actor_call(owner, close_named, &m);
        message_want(0, &m);
}

static bool allowed(unsigned mode, unsigned shift, unsigned access) {
        unsigned want = access == SVMD_ACCESS_READ ? 4 : 6;

        return ((mode >> shift) & want) == want;
}

/* As with a file: the owner's bits count for the owner, the group's for its members, and only else the others'. */
static void all_modes(struct actor *owner, struct actor *member, struct actor *other) {
        static const unsigned modes[] = { 0600, 0640, 0660, 0604, 0606, 0644, 0666, 0406, 0060, 0200 };
        struct actor *who[] = { member, other };
        static const unsigned shift[] = { 3, 0 };

        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                struct message m = named("modes", modes[i]);

                actor_call(owner, publish, &m);
                for (unsigned k = 0; k < 4; k++) {
                        unsigned access = k % 2 ? SVMD_ACCESS_READ_WRITE : SVMD_ACCESS_READ;
                        bool may = allowed(modes[i], shift[k / 2], access);

                        m = named("modes", access);
                        actor_call(who[k / 2], open_named, &m);
                        message_want(may ? 0 : SVMD_E_DENIED, &m);
                        if (may)
                                actor_call(who[k / 2], close_named, &m);
                }
                actor_call(owner, close_named, &m);
        }
}

static void partition_modes(void) {
        static const struct {
                const char *name;
                uint32_t uid, gid;
                int code;
        } cases[] = {
                { "of-owner", OWNER, 77, 0 },
                { "of-owner", MEMBER, GROUP, SVMD_E_DENIED },
                { "of-group", MEMBER, GROUP, 0 },
                { "of-group", OTHER, 77, SVMD_E_DENIED },
                { "nowhere", OWNER, GROUP, SVMD_E_NO_SUCH },
        };

        make_partition("of-owner", NULL, 0400, OWNER, 0);
        make_partition("of-group", NULL, 0440, OWNER, GROUP);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct actor a;
                struct message m = named(cases[i].name, 0);

                actor_new(&a, cases[i].uid, cases[i].gid, 0);
                actor_call(&a, connect_actor, &m);
                message_want(cases[i].code, &m);
                actor_end(&a);
        }
}

/* ---- tokens ---- */

/* n[0]: access -> fd */
static void export_token(struct message *m) {
        int fd = -1;

        ok(svmd_mem_create(mine, &mem, SIZE, node_named(mine, "host0"), SVMD_MEM_SHAREABLE));
        ok(svmd_mem_export_fd(mine, &fd, mem, (unsigned)m->n[0]));
        m->fd[0] = fd;
        m->fds_count = 1;
}

/* fd, n[0]: access -> r; when imported, mapped and looked at: n[0] says whether it can be written */
static void import_token(struct message *m) {
        unsigned access = (unsigned)m->n[0];
        svmd_mem got;
        size_t size;
        void *p;

        message_take(m, svmd_mem_import_fd(mine, &got, &size, m->fd[0], access));
        close(m->fd[0]);
        m->fds_count = 0;
        if (m->r)
                return;
        must(size == SIZE);
        ok(svmd_address_reserve(mine, &p, SIZE, 0, NULL, NULL));
        at = p;
        if (access == SVMD_ACCESS_READ)
                must(svmd_mem_map(mine, SVMD_CPU, (uint64_t)p, SIZE, 0, got, SVMD_ACCESS_READ_WRITE, 0) != 0);
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)p, SIZE, 0, got, access, 0));
        m->n[0] = can_write();
        must(m->n[0] || (mprotect(p, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES));
        ok(svmd_mem_release(mine, got));
        ok(svmd_address_free(mine, p));
}

static void release_memory(struct message *m) {
        ok(svmd_mem_release(mine, mem));
}

/* The token, kept as this process's descriptor. */
static int token_of(struct actor *a, unsigned access) {
        struct message m = { .n = { access } };

        actor_call(a, export_token, &m);
        must(m.fds_count == 1);
        return m.fd[0];
}

static void import_expect(struct actor *a, int token, unsigned access, int code) {
        struct message m = { .n = { access }, .fd = { token }, .fds_count = 1 };

        actor_call(a, import_token, &m);
        message_want(code, &m);
        if (code == 0)
                must(m.n[0] == (access == SVMD_ACCESS_READ_WRITE));
}

static void tokens(struct actor *owner, struct actor *other) {
        struct actor abroad;
        int reading = token_of(owner, SVMD_ACCESS_READ), writing;

        import_expect(other, reading, SVMD_ACCESS_READ, 0);
        import_expect(other, reading, SVMD_ACCESS_READ_WRITE, SVMD_E_DENIED);
        must(reopen_refused(reading) || geteuid() == 0);
        actor_call(owner, release_memory, &(struct message){ 0 });
        import_expect(other, reading, SVMD_ACCESS_READ, SVMD_E_NO_SUCH);
        close(reading);

        writing = token_of(owner, SVMD_ACCESS_READ_WRITE);
        import_expect(other, writing, SVMD_ACCESS_READ_WRITE, 0);
        import_expect(other, writing, SVMD_ACCESS_READ, 0);
        make_partition("same", NULL, 0444, 0, 0);
        make_partition("abroad", "elsewhere", 0444, 0, 0);
        actor_connected(&abroad, OTHER, 77, "same");
        import_expect(&abroad, writing, SVMD_ACCESS_READ, 0);
        actor_end(&abroad);
        actor_connected(&abroad, OTHER, 77, "abroad");
        import_expect(&abroad, writing, SVMD_ACCESS_READ, SVMD_E_DENIED);
        actor_end(&abroad);
        daemon_kill(&d);
        daemon_start(&d);
        import_expect(other, writing, SVMD_ACCESS_READ_WRITE, 0);
        close(writing);
}

static int forged(const void *bytes, size_t size, unsigned seals) {
        int fd = memfd_create("svmd-token", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
        must(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

static void wrong_tokens(struct actor *owner, struct actor *other) {
        const unsigned all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
        int real = token_of(owner, SVMD_ACCESS_READ_WRITE), pipes[2], pair[2], fd;
        unsigned char bytes[64];
        ssize_t n = pread(real, bytes, sizeof(bytes), 0);

        must(n > 16);
        must(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        const int wrong[] = { pipes[0],          pair[0],
                              eventfd(0, 0),     open("/dev/null", O_RDWR),
                              open("/", O_PATH), memfd_create("svmd-token", MFD_ALLOW_SEALING) };
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                must(wrong[i] >= 0);
                import_expect(other, wrong[i], SVMD_ACCESS_READ, SVMD_E_FD_KIND);
                close(wrong[i]);
        }
        close(pipes[1]);
        close(pair[1]);
        fd = forged(bytes, (size_t)n, 0); /* right, but its holder could change it under svmd's eyes */
        import_expect(other, fd, SVMD_ACCESS_READ, SVMD_E_FD_KIND);
        close(fd);
        fd = forged(bytes, (size_t)n - 1, all);
        import_expect(other, fd, SVMD_ACCESS_READ, SVMD_E_FD_KIND);
        close(fd);
        for (unsigned i = 0; i < 32; i++) {
                size_t bit = 64 + random_below(((size_t)n - 8) * 8);

                bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
                fd = forged(bytes, (size_t)n, all);
                import_expect(other, fd, SVMD_ACCESS_READ, SVMD_E_NO_SUCH);
                close(fd);
                bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        fd = forged(bytes, (size_t)n, all); /* it is the secret that counts, not the file */
        import_expect(other, fd, SVMD_ACCESS_READ, 0);
        close(fd);
        close(real);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=16M", "--log-level", "warning", NULL };
        struct actor owner, member, other;

        harness_begin("system_rights");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        make_partition("lab", NULL, 0444, 0, 0);
        actor_connected(&owner, OWNER, GROUP, "lab");
        actor_connected(&member, MEMBER, GROUP, "lab");
        actor_connected(&other, OTHER, 77, "lab");
        reader_stays_reader(&owner, &member);
        all_modes(&owner, &member, &other);
        partition_modes();
        wrong_tokens(&owner, &other);
        tokens(&owner, &other);
        actor_end(&other);
        actor_end(&member);
        actor_end(&owner);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
