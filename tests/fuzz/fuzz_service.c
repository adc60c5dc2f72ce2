/*
 * The input is what five clients do with one service: requests of operations whose fields come from the input, though
 * mostly from what earlier replies gave (numbers, addresses), packets of raw bytes, descriptors, allocations that fail,
 * connections that end, another svmd that takes over. Afterwards everyone leaves, and nothing may be left: no object,
 * no charge, no page.
 *
 * The service lives on from input to input; its partitions are made new where an input has changed them.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "core/name.h"
#include "core/partition.h"
#include "fill.h"
#include "harness.h"
#include "proto/status.h"

#define KEPT_MAX (1ull << 30)
enum { CLIENTS = 5, ADMIN = 3, DOOR = 4, OPS = 8, KNOWN = 16 };

static struct world world;
static struct client clients[CLIENTS];
static bool open_now[CLIENTS], waits[CLIENTS];
static struct arena fields;
static int token = -1; /* a descriptor that came with a reply */

/* What replies gave: the last ones of each sort. */
enum sort { RESERVATION, MEMORY, SPACE, FENCE, ADDRESS, SORTS };
static struct {
        uint64_t of[KNOWN];
        unsigned next;
} known[SORTS];

static void remember(enum sort sort, uint64_t n) {
        known[sort].of[known[sort].next++ % KNOWN] = n;
}

/* ---- fields of operations ------------------------------------------------------------------------------------ */

enum meaning { SMALL, PAGES, VA, NODE, RIGHTS, MODE, USER, ID };

static const struct {
        const char *name;
        enum meaning meaning;
        enum sort sort;
} meanings[] = {
        { "size", PAGES, 0 },
        { "offset", PAGES, 0 },
        { "align", PAGES, 0 },
        { "address", VA, 0 },
        { "dst", VA, 0 },
        { "src", VA, 0 },
        { "from", VA, 0 },
        { "after", VA, 0 },
        { "node", NODE, 0 },
        { "access", RIGHTS, 0 },
        { "mode", MODE, 0 },
        { "uid", USER, 0 },
        { "gid", USER, 0 },
        { "space", ID, SPACE },
        { "memory", ID, MEMORY },
        { "fence", ID, FENCE },
        { "session", ID, FENCE },
        { "max", PAGES, 0 },
        { "reservation", ID, RESERVATION },
};

static uint64_t by_meaning(enum meaning meaning, enum sort sort, uint8_t how) {
        static const uint32_t modes[] = { 0600, 0640, 0660, 0666, 0, 0444, 0222, 07777 };

        switch (meaning) {
        case PAGES: return (uint64_t)(how % 64) * 4096;
        case VA: return known[ADDRESS].of[how % 8] + (how / 8) * 4096ull;
        case NODE: return how % (NODES + 1);
        case RIGHTS: return how % 5;
        case MODE: return modes[how % 8];
        case USER: return 1000 + how % 4;
        case ID: return sort == SPACE && how % 2 ? 0 : known[sort].of[how / 2 % KNOWN];
        case SMALL: break;
        }
        return how % 8;
}

static uint64_t any_value(struct bytes *b, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        static const uint64_t edges[] = { 0,          1,          UINT64_MAX, 1ull << 63,
                                          1ull << 47, 4ull << 30, 8ull << 30, 0x280000000000ull };
        uint8_t how = take_u8(b);

        if (how >= 0xf8)
                return take_number(b, 8);
        if (how >= 0xf0)
                return edges[how % 8];
        if (m->descriptor == &svmd__v1__partition_create__descriptor && strcmp(f->name, "size") == 0)
                return how % 4 * SVMD_PARTITION_UNIT;
        for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
                if (strcmp(meanings[i].name, f->name) == 0)
                        return by_meaning(meanings[i].meaning, meanings[i].sort, how);
        return how % 8;
}

/* Memory that the node could give is small: pages are taken and zeroed for real. Deadlines are awaited. */
static uint64_t take_value(struct bytes *b, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        uint64_t n = any_value(b, m, f);

        if (m->descriptor == &svmd__v1__mem_create__descriptor && n <= 8ull << 30 && n > 16 << 20)
                n = (16 << 20) + n % 4096;
        return strcmp(f->name, "deadline_ms") == 0 ? n % 8 : n; /* a partition waits so long for its sessions */
}

static char *take_name(struct bytes *b) {
        static const char *const names[] = { "", "alpha", "beta", "a", "b", "c", "no/name", "default" };
        uint8_t how = take_u8(b);
        struct bytes raw;
        char *name;

        if (how < 0xf0)
                return (char *)names[how % 8];
        raw = take_bytes(b, take_u8(b) % 68);
        name = arena_take(&fields, raw.left + 1);
        must(name);
        for (size_t i = 0; i < raw.left; i++)
                name[i] = (char)(raw.at[i] ? raw.at[i] : '0');
        name[raw.left] = 0;
        return name;
}

static const struct filler filler = { &fields, take_value, take_name };

static Svmd__V1__Op *take_op(struct bytes *b) {
        const ProtobufCMessageDescriptor *d = &svmd__v1__op__descriptor;
        Svmd__V1__Op *op = op_make(d->fields[take_u8(b) % d->n_fields].id);

        fill_message(&filler, b, &op->hello->base);
        return op;
}

/* ---- clients ------------------------------------------------------------------------------------------------- */

static const char *const partition_of[CLIENTS] = { "alpha", "alpha", "beta", NULL, "" };

static void come(int i) {
        static const uint32_t groups[] = { 1003, 7 };
        struct service_peer peer = {
                .pid = 100 + (uint32_t)i,
                .uid = i == ADMIN ? 0 : 1000 + (uint32_t)i,
                .gid = 1000,
                .groups = groups,
                .groups_count = i == 1 ? 2 : 0,
                .admin = i == ADMIN,
                .partition = i == DOOR ? partition_find(&world.svc->state, "alpha") : NULL,
        };

        if (open_now[i])
                client_close(&clients[i]);
        must(client_open_as(&world, &clients[i], &peer) == 0);
        open_now[i] = true;
        waits[i] = false;
}

static void learn_one(unsigned op_case, const Svmd__V1__Result *r) {
        switch (op_case) {
        case SVMD__V1__OP__OP_RESERVE:
        case SVMD__V1__OP__OP_OPEN:
                remember(RESERVATION, r->id);
                remember(ADDRESS, r->address);
                break;
        case SVMD__V1__OP__OP_MEM_CREATE:
        case SVMD__V1__OP__OP_MEM_IMPORT: remember(MEMORY, r->id); break;
        case SVMD__V1__OP__OP_SPACE_CREATE: remember(SPACE, r->id); break;
        case SVMD__V1__OP__OP_SUBMIT: remember(FENCE, r->id); break;
        default: break;
        }
}

/* What each operation of the client's last request was. */
static unsigned asked[CLIENTS][OPS];

static void answered(int i) {
        struct client *c = &clients[i];

        waits[i] = false;
        if (!c->session || !c->answered || !c->reply)
                return;
        for (size_t k = 0; k < c->reply->n_results && k < OPS; k++) {
                const Svmd__V1__Result *r = c->reply->results[k];

                must(r->code <= SVMD_STATUS_INVALID);
                must(r->code == 0 || r->text[0]);
                if (r->code == 0)
                        learn_one(asked[i][k], r);
        }
        if (c->fds.count) {
                if (token >= 0)
                        close(token);
                token = fcntl(c->fds.fd[0], F_DUPFD_CLOEXEC, 3);
        }
}

static void await(int i) {
        client_await(&clients[i]);
        answered(i);
}

/* A client that may send: connected, and not waiting for an answer. */
static struct client *ready(int i) {
        struct client *c = &clients[i];

        if (open_now[i] && c->session && waits[i])
                await(i);
        if (!open_now[i] || !c->session) {
                come(i);
                client_greet(c, NULL);
                if (partition_of[i] && partition_find(&world.svc->state, "alpha") &&
                    partition_find(&world.svc->state, "beta")) {
                        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ATTACH);

                        op->attach->partition = (char *)partition_of[i];
                        client_call(c, op);
                }
        }
        return c;
}

static void take_fds(struct bytes *b, unsigned count, int *fds) {
        for (unsigned i = 0; i < count; i++) {
                switch (take_u8(b) % 4) {
                case 0: fds[i] = eventfd(0, EFD_CLOEXEC); break;
                case 1: fds[i] = memfd_create("fuzz", MFD_CLOEXEC); break;
                case 2: fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC); break;
                default: fds[i] = token < 0 ? eventfd(0, EFD_CLOEXEC) : fcntl(token, F_DUPFD_CLOEXEC, 3);
                }
                must(fds[i] >= 0);
        }
}

/* A negative outcome ends the connection, as the transport would. */
static void sent(int i, int r, bool wait) {
        struct client *c = &clients[i];

        if (r < 0 && c->session) {
                service_session_end(world.svc, c->session);
                c->session = NULL;
        }
        waits[i] = r == SERVICE_E_LATER;
        if (r == 0 && c->answered) /* what is on its way already is not answered again */
                await(i);
        else if (waits[i] && wait)
                await(i);
}

enum { ODD_FDS = 12, SAME_ID = 16, FAIL_ALLOCATION = 32, DO_NOT_WAIT = 64 };

static void send_request(struct bytes *b, int i) {
        static uint8_t packet[SVMD_PACKET_MAX];
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        struct client *c = ready(i);
        uint8_t how = take_u8(b), fail = how & FAIL_ALLOCATION ? take_u8(b) : 0;
        Svmd__V1__Op *ops[OPS];
        int fds[OPS], r;
        unsigned fds_count = 0;
        ssize_t n;

        m.id = how & SAME_ID ? c->request : ++c->request;
        m.mode = (Svmd__V1__Mode)(how % 4);
        m.ops = ops;
        m.n_ops = 1 + take_u8(b) % OPS;
        for (size_t k = 0; k < m.n_ops; k++) {
                ops[k] = take_op(b);
                asked[i][k] = ops[k]->op_case;
                fds_count += op_fds(ops[k]);
        }
        if ((how & ODD_FDS) == ODD_FDS)
                fds_count = take_u8(b) % (OPS + 1);
        take_fds(b, fds_count, fds);
        n = encode_request(&m, packet, sizeof(packet));
        must(n > 0);
        if (fail)
                alloc_fail_at(fail);
        r = client_raw(c, packet, (size_t)n, fds, fds_count);
        alloc_fail_off();
        sent(i, r, !(how & DO_NOT_WAIT));
}

static void send_raw(struct bytes *b, int i) {
        struct client *c = ready(i);
        struct bytes raw = take_bytes(b, take_u8(b));

        memset(asked[i], 0, sizeof(asked[i]));
        sent(i, client_raw(c, raw.at, raw.left, NULL, 0), true);
}

static void turn(void) {
        service_collect(world.svc);
        service_commit(world.svc);
        for (int i = 0; i < CLIENTS; i++)
                if (open_now[i] && waits[i] && (clients[i].answered || !clients[i].session))
                        clients[i].session ? await(i) : (void)(waits[i] = false);
}

static void settle(void) {
        for (int i = 0; i < CLIENTS; i++)
                if (open_now[i] && clients[i].session && waits[i])
                        await(i);
        world_settle(&world);
}

/* Another svmd over the same journal and files has the same state. */
static void take_over(void) {
        struct client *all[CLIENTS];
        struct service *old;
        char *before, *after;

        settle();
        before = digest(&world, false);
        for (int i = 0; i < CLIENTS; i++)
                all[i] = &clients[i];
        old = world_restart(&world, all, CLIENTS);
        after = digest(&world, false);
        if (strcmp(before, after) != 0)
                fprintf(stderr, "before:\n%s\nafter:\n%s\n", before, after);
        must(strcmp(before, after) == 0);
        free(before);
        free(after);
        world_bury(old);
}

static void step(struct bytes *b, bool *may_restart) {
        uint8_t what = take_u8(b);
        int i = what % CLIENTS;

        switch (what / CLIENTS) {
        default: send_request(b, i); break;
        case 40: send_raw(b, i); break;
        case 41:
        case 42: turn(); break;
        case 43: settle(); break;
        case 44: come(i); break;
        case 45:
                if (open_now[i])
                        clients[i].deaf = !clients[i].deaf;
                if (open_now[i] && clients[i].session && !clients[i].deaf)
                        service_session_writable(world.svc, clients[i].session);
                break;
        case 46:
                if (open_now[i])
                        client_close(&clients[i]);
                open_now[i] = false;
                break;
        case 47:
                if (*may_restart)
                        take_over();
                *may_restart = false;
        }
}

/* ---- between inputs ------------------------------------------------------------------------------------------ */

static void base_partitions(struct client *admin) {
        if (!partition_find(&world.svc->state, "alpha"))
                must(client_call(admin, mk_partition("alpha", 8ull << 30, "", 1000, 0666))->code == 0);
        if (!partition_find(&world.svc->state, "beta"))
                must(client_call(admin, mk_partition("beta", 8ull << 30, "other", 1002, 0666))->code == 0);
}

static bool as_made(const struct partition *p) {
        bool alpha = strcmp(p->name->text, "alpha") == 0, beta = strcmp(p->name->text, "beta") == 0;

        for (uint32_t n = 0; n < NODES; n++)
                if (p->accounts[n].max != ACCOUNT_NO_LIMIT)
                        return false;
        if (p->kept_max != KEPT_MAX)
                return false;
        return (alpha && p->name->mode == 0666 && p->name->uid == 1000 && p->slice.size == 8ull << 30) ||
               (beta && p->name->mode == 0666 && p->name->uid == 1002 && p->slice.size == 8ull << 30);
}

static void delete_others(struct client *admin) {
        char name[64] = "";
        struct partition *p;

        while ((p = partition_after(&world.svc->state, name))) {
                snprintf(name, sizeof(name), "%s", p->name->text);
                ops_reset();
                if (!as_made(p)) {
                        Svmd__V1__Op *op = mk_delete(name, true);

                        op->partition_delete->drop_kept = true;
                        must(client_call(admin, op)->code == 0);
                }
        }
}

static void clean_up(void) {
        struct client admin;

        client_open(&world, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        delete_others(&admin);
        ops_reset();
        base_partitions(&admin);
        client_close(&admin);
        world_settle(&world);
}

static void check_empty(void) {
        const struct state *s = &world.svc->state;

        must(s->sessions_count == 0 && s->reservations_count == 0 && s->memories_count == 0);
        must(s->spaces_count == 0 && s->mappings_count == 0);
        for (uint32_t node = 0; node < NODES; node++) {
                must(ledger_bytes(&world, node) == 0);
                must(file_bytes(&world, node) == 0);
        }
}

static void end(void) {
        world_close(&world);
}

/* With the first input, in the process that takes it: AFL++ forks before, and threads would stay behind. */
static void begin(void) {
        static bool begun;

        if (begun)
                return;
        begun = true;
        log_set_level(LOG_ERR);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a check of the harness that fails aborts */
        world_open(&world, 0);
        world.options.kept_max = world.svc->options.kept_max = KEPT_MAX;
        atexit(end);
        clean_up();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes b = { bytes, size };
        bool may_restart = true;

        begin();
        memset(known, 0, sizeof(known));
        memset(asked, 0, sizeof(asked));
        for (unsigned n = 0; b.left && n < 100; n++) {
                ops_reset();
                arena_reset(&fields);
                step(&b, &may_restart);
        }
        settle();
        check_world(&world);
        for (int i = 0; i < CLIENTS; i++) {
                if (open_now[i])
                        client_close(&clients[i]);
                open_now[i] = false;
        }
        if (token >= 0)
                close(token);
        token = -1;
        check_world(&world);
        keepings_end(world.svc, NULL);
        world_settle(&world);
        check_empty();
        clean_up();
        if (size && bytes[size - 1] % 16 == 0)
                take_over();
        check_world(&world);
        return 0;
}
