/*
 * libsvmd against a svmd that says anything. All that the daemon will ever say is made of the input and lies in the
 * socket before the client begins, then the connection ends; so nothing waits and one thread does. Replies answer one
 * request after the other, as the client numbers them, unless the input says otherwise. Then the rest of the input says
 * what the client calls.
 */
#include <sys/mman.h>

#include "fill.h"

/* For session_new(), hello() and attach() without a socket of a name. */
#include "libclient/src/session.c"

#include "proto/socket.h"

#define SLICE   0x280000000000ull
#define PACKETS 48
#define CALLS   48

static struct arena fields;

static uint64_t number(struct bytes *b, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        uint8_t how = take_u8(b);

        if (how >= 0xfc)
                return take_number(b, 8);
        if (how >= 0xf8)
                return UINT64_MAX >> how % 4;
        switch (f->name[0]) {
        case 'a': return SLICE + how % 64 * 4096ull; /* address, access */
        case 's': return how % 32 * 4096ull;         /* size, session, start */
        case 'o': return how % 8 * 4096ull;          /* offset */
        default: return how % 8;
        }
}

static char *text(struct bytes *b) {
        struct bytes raw = take_bytes(b, take_u8(b) % 80);
        char *s = arena_take(&fields, raw.left + 1);

        must(s);
        for (size_t i = 0; i < raw.left; i++)
                s[i] = (char)(raw.at[i] ? raw.at[i] : ' ');
        s[raw.left] = 0;
        return s;
}

static const struct filler filler = { &fields, number, text };

/* What the client's first two calls have to get, else there is no session at all. */
static Svmd__V1__Result *greeting(uint64_t id) {
        Svmd__V1__Result *r = (void *)fill_new(&filler, &svmd__v1__result__descriptor);

        if (id == 1) {
                r->detail_case = SVMD__V1__RESULT__DETAIL_HELLO;
                r->hello = (void *)fill_new(&filler, &svmd__v1__hello_result__descriptor);
                r->hello->version = SVMD_PROTOCOL_VERSION;
        } else {
                r->detail_case = SVMD__V1__RESULT__DETAIL_ATTACH;
                r->attach = (void *)fill_new(&filler, &svmd__v1__attach_result__descriptor);
                r->attach->start = SLICE;
                r->attach->size = SVMD_PARTITION_UNIT;
        }
        return r;
}

/* Results without a code, mostly: an answer that says no more is soon looked through. */
static Svmd__V1__Reply *reply(struct bytes *b, uint64_t id, uint8_t how) {
        Svmd__V1__Reply *m = (void *)fill_new(&filler, &svmd__v1__reply__descriptor);

        m->id = id;
        m->n_results = how % 16 == 15 ? take_u8(b) % 8 : 1;
        m->results = fill_take(&filler, 8 * sizeof(*m->results));
        for (size_t i = 0; i < m->n_results; i++) {
                if (id <= 2 && how < 0x80) {
                        m->results[i] = greeting(id);
                        continue;
                }
                m->results[i] = (void *)fill_new(&filler, &svmd__v1__result__descriptor);
                fill_message(&filler, b, &m->results[i]->base);
                if (how & 16)
                        m->results[i]->code = 0;
        }
        return m;
}

static ssize_t make_packet(struct bytes *b, uint64_t *id, uint8_t how, uint8_t *packet) {
        Svmd__V1__Packet m = SVMD__V1__PACKET__INIT;
        struct bytes raw;

        switch (how / 32 % 4) {
        case 0:
        case 1:
                m.packet_case = SVMD__V1__PACKET__PACKET_REPLY;
                m.reply = reply(b, (*id)++, how);
                break;
        case 2:
                if (how & 16)
                        (*id)--; /* the same number again */
                m.packet_case = SVMD__V1__PACKET__PACKET_EVENT;
                m.event = (void *)fill_new(&filler, &svmd__v1__event__descriptor);
                fill_message(&filler, b, &m.event->base);
                break;
        default:
                raw = take_bytes(b, take_u8(b));
                if (raw.left)
                        memcpy(packet, raw.at, raw.left);
                return (ssize_t)raw.left;
        }
        return encode_packet(&m, packet, SVMD_PACKET_MAX);
}

static void add_files(struct fdlist *fds, unsigned count) {
        while (count--) {
                int fd = memfd_create("fuzz", MFD_CLOEXEC);

                must(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
                must(fdlist_add(fds, fd) == 0);
        }
}

/* False: the input is used up, or the socket full. */
static bool say(struct bytes *b, int socket, uint64_t *id) {
        static uint8_t packet[SVMD_PACKET_MAX];
        struct fdlist fds;
        uint8_t how;
        ssize_t n;
        int r;

        if (!b->left)
                return false;
        how = take_u8(b);
        if (how == 0xff)
                return false;
        arena_reset(&fields);
        fdlist_init(&fds);
        n = make_packet(b, id, how, packet);
        add_files(&fds, how % 16 >= 12 ? how % 4 : 0);
        r = n > 0 ? packet_send(socket, packet, (size_t)n, &fds, MSG_DONTWAIT) : 0;
        fdlist_close(&fds);
        return r == 0;
}

/* ---- the client ---------------------------------------------------------------------------------------------- */

static void *place(struct bytes *b) {
        return (void *)(SLICE + take_u8(b) % 64 * 4096ull);
}

static size_t pages(struct bytes *b) {
        return take_u8(b) % 32 * 4096ul;
}

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        must(e->what && e->partition && e->text);
}

static int on_node(const struct svmd_node_row *row, void *userdata) {
        must(row->name && row->model);
        return 0;
}

static int on_use(const struct svmd_use_row *row, void *userdata) {
        must(row->partition && row->client);
        return 0;
}

static int on_link(const struct svmd_link_row *row, void *userdata) {
        must(row->type);
        return 0;
}

static int on_finding(const char *id, unsigned level, const char *what, void *userdata) {
        must(id && what);
        return 0;
}

static int on_partition(const struct svmd_partition_row *row, void *userdata) {
        must(row->name && row->domain);
        for (size_t i = 0; i < row->nodes_count; i++)
                on_use(&row->nodes[i], NULL);
        return 0;
}

static int on_session(const struct svmd_session_row *row, void *userdata) {
        must(row->partition && row->client);
        return 0;
}

static int on_reservation(const struct svmd_reservation_row *row, void *userdata) {
        must(row->name && row->partition);
        return 0;
}

static int call_query(svmd_session *s, struct bytes *b) {
        struct svmd_status status = { .size = sizeof(status) };
        struct svmd_address_info info = { .size = sizeof(info) };
        struct svmd_translation t = { .size = sizeof(t) };

        switch (take_u8(b) % 10) {
        case 0: return svmd_query_nodes(s, on_node, NULL);
        case 1: return svmd_query_links(s, take_u8(b) % 4, on_link, NULL);
        case 2: return svmd_query_limits(s, on_use, NULL);
        case 3: return svmd_query_status(s, &status);
        case 4: return svmd_query_findings(s, on_finding, NULL);
        case 5: return svmd_query_partitions(s, NULL, on_partition, NULL);
        case 6: return svmd_query_sessions(s, NULL, on_session, NULL);
        case 7: return svmd_query_reservations(s, NULL, on_reservation, NULL);
        case 8: return svmd_query_usage(s, NULL, on_use, NULL);
        default:
                if (take_u8(b) % 2)
                        return svmd_address_query(s, place(b), &info);
                return svmd_translate(s, 1 + take_u8(b) % 4, (uint64_t)place(b), &t);
        }
}

static int call_submit(svmd_session *s, struct bytes *b) {
        struct svmd_device_op op = { .size = sizeof(op), .op = take_u8(b) % 7, .flags = take_u8(b) % 2, .space = 1 };
        svmd_fence *fence;
        int r = svmd_submit(s, &fence, &op);

        if (r)
                return r;
        svmd_fence_eventfd(fence);
        r = svmd_fence_wait(fence, 0, NULL);
        if (take_u8(b) % 2)
                svmd_fence_free(fence);
        return r;
}

static int call_batch(svmd_session *s, struct bytes *b) {
        struct svmd_result results[3];
        svmd_batch *batch;
        int r = svmd_batch_new(s, &batch);

        if (r)
                return r;
        svmd_batch_reserve(batch, pages(b), 0, NULL);
        svmd_batch_map(batch, SVMD_CPU, (uint64_t)place(b), pages(b), 0, 1 + take_u8(b) % 8, 3, 0);
        svmd_batch_unmap(batch, SVMD_CPU, (uint64_t)place(b), pages(b));
        r = svmd_batch_submit(batch, take_u8(b) % 3, results);
        svmd_batch_free(batch);
        return r;
}

static int call_memory(svmd_session *s, struct bytes *b) {
        svmd_mem mem;
        size_t size;
        int fd, r;

        switch (take_u8(b) % 5) {
        case 0: return svmd_mem_create(s, &mem, pages(b), take_u8(b) % 3, take_u8(b) % 2);
        case 1: return svmd_mem_release(s, take_u8(b) % 8);
        case 2: return svmd_mem_export(s, take_u8(b) % 8, "name", 0600);
        case 3: return svmd_mem_import(s, &mem, &size, "name", 3);
        default:
                r = svmd_mem_export_fd(s, &fd, take_u8(b) % 8, 3);
                if (r == 0)
                        close(fd);
                return r;
        }
}

static int call(svmd_session *s, struct bytes *b) {
        const struct svmd_reserve_options named = { .size = sizeof(named), .name = "name" };
        svmd_space space;
        size_t size;
        void *at;

        switch (take_u8(b) % 16) {
        case 0: return svmd_dispatch(s);
        case 1: return svmd_address_reserve(s, &at, pages(b), 0, NULL, take_u8(b) % 2 ? &named : NULL);
        case 2: return svmd_address_open(s, &at, &size, "name", take_u8(b) % 2 ? 1 : 3);
        case 3: return svmd_address_free(s, place(b));
        case 4:
        case 5:
                return svmd_mem_map(s, take_u8(b) % 4 == 0, (uint64_t)place(b), pages(b), pages(b), take_u8(b) % 8,
                                    take_u8(b) % 4, take_u8(b) % 2);
        case 6: return svmd_mem_unmap(s, SVMD_CPU, (uint64_t)place(b), pages(b));
        case 7: return svmd_mem_set_access(s, SVMD_CPU, (uint64_t)place(b), pages(b), take_u8(b) % 4);
        case 8: return svmd_sparse_map(s, take_u8(b) % 2, (uint64_t)place(b), pages(b), 2);
        case 9: return svmd_sparse_unmap(s, SVMD_CPU, (uint64_t)place(b), pages(b));
        case 10: return svmd_space_create(s, &space, take_u8(b) % 3);
        case 11: return call_submit(s, b);
        case 12: return call_batch(s, b);
        case 13: return call_memory(s, b);
        case 14: return svmd_event_fd(s) < 0 ? svmd_dispatch(s) : svmd_monitor(s, 1);
        default: return call_query(s, b);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        const struct svmd_connect_options opts = { .size = sizeof(opts), .window = SVMD_WINDOW_PRIMARY };
        struct bytes b = { bytes, size };
        uint64_t id = 1;
        svmd_session *s;
        int ends[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        for (unsigned n = 0; n < PACKETS && say(&b, ends[0], &id); n++)
                ;
        must(shutdown(ends[0], SHUT_WR) == 0);
        must(session_new(&s, ends[1], 0) == 0);
        svmd_set_event_handler(s, on_event, NULL);
        if (hello(s, "fuzz") == 0 && attach(s, "", &opts) == 0)
                for (unsigned n = 0; n < CALLS && !s->ended; n++)
                        if (call(s, &b) != 0)
                                must(svmd_error()[0]);
        svmd_dispatch(s);
        svmd_disconnect(s);
        close(ends[0]);
        return 0;
}
