#include "proto/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/limits.h"

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static long fail_malloc = -1; /* how many succeed before one fails; -1: all */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size) {
        if (fail_malloc >= 0 && fail_malloc-- == 0)
                return NULL;
        return __real_malloc(size);
}

static unsigned char wire[SVMD_PACKET_MAX + 1];

enum { OPS = 2 * SVMD_OPS_MAX };

struct request {
        Svmd__V1__Request m;
        Svmd__V1__Op *ops[OPS];
        Svmd__V1__Op op[OPS];
        Svmd__V1__Map map[OPS];
};

static struct request request;

static void fill_request(struct request *q, unsigned count) {
        svmd__v1__request__init(&q->m);
        q->m.id = rnd(UINT64_MAX) | 1;
        q->m.mode = SVMD__V1__MODE__ALL_OR_NOTHING;
        q->m.n_ops = count;
        q->m.ops = q->ops;
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__op__init(&q->op[i]);
                svmd__v1__map__init(&q->map[i]);
                q->map[i].address = SVMD_PRIMARY_START + rnd(1u << 20) * SVMD_PAGE;
                q->map[i].size = rnd(512) * SVMD_PAGE;
                q->map[i].memory = rnd(1000);
                q->map[i].access = (unsigned)rnd(4);
                q->op[i].op_case = SVMD__V1__OP__OP_MAP;
                q->op[i].map = &q->map[i];
                q->ops[i] = &q->op[i];
        }
}

static void assert_same(const Svmd__V1__Request *a, const struct request *q) {
        assert_non_null(a);
        assert_int_equal(a->id, q->m.id);
        assert_int_equal(a->mode, q->m.mode);
        assert_int_equal(a->n_ops, q->m.n_ops);
        for (size_t i = 0; i < a->n_ops; i++) {
                assert_int_equal(a->ops[i]->op_case, SVMD__V1__OP__OP_MAP);
                assert_int_equal(a->ops[i]->map->address, q->map[i].address);
                assert_int_equal(a->ops[i]->map->size, q->map[i].size);
                assert_int_equal(a->ops[i]->map->memory, q->map[i].memory);
                assert_int_equal(a->ops[i]->map->access, q->map[i].access);
        }
}

static void requests_come_back_as_they_were(void **state) {
        struct arena arena;

        arena_init(&arena);
        for (unsigned round = 0; round < 300; round++) {
                ssize_t n;

                fill_request(&request, (unsigned)rnd(SVMD_OPS_MAX) + 1);
                n = encode_request(&request.m, wire, sizeof(wire));
                assert_true(n > 0);
                assert_same(decode_request(&arena, wire, (size_t)n), &request);
                arena_reset(&arena);
        }
        arena_fini(&arena);
}

static void a_grown_arena_needs_no_malloc(void **state) {
        struct arena arena;
        ssize_t n;

        arena_init(&arena);
        fill_request(&request, SVMD_OPS_MAX);
        n = encode_request(&request.m, wire, sizeof(wire));
        assert_non_null(decode_request(&arena, wire, (size_t)n));
        assert_non_null(arena.extra);
        arena_reset(&arena);
        assert_null(arena.extra);
        fail_malloc = 0;
        assert_same(decode_request(&arena, wire, (size_t)n), &request);
        assert_int_equal(fail_malloc, 0);
        fail_malloc = -1;
        arena_fini(&arena);
}

static void every_failing_malloc_is_reported(void **state) {
        ssize_t n;
        bool done = false;

        fill_request(&request, 20);
        n = encode_request(&request.m, wire, sizeof(wire));
        for (long nth = 0; !done; nth++) {
                Svmd__V1__Request *m;
                struct arena arena;

                arena_init(&arena);
                fail_malloc = nth;
                m = decode_request(&arena, wire, (size_t)n);
                done = fail_malloc >= 0;
                fail_malloc = -1;
                if (!m)
                        assert_int_equal(errno, ENOMEM);
                assert_true(done == !!m);
                arena_reset(&arena);
                assert_same(decode_request(&arena, wire, (size_t)n), &request);
                arena_fini(&arena);
        }
}

static void a_reset_without_memory_keeps_the_old_block(void **state) {
        struct arena arena;
        char *block;

        arena_init(&arena);
        arena_take(&arena, 64);
        arena_reset(&arena);
        block = arena.block;
        assert_int_equal(arena.size, 64);
        assert_ptr_equal(arena_take(&arena, 60), block);
        assert_non_null(arena_take(&arena, 100));
        fail_malloc = 0;
        arena_reset(&arena);
        fail_malloc = -1;
        assert_ptr_equal(arena.block, block);
        assert_ptr_equal(arena_take(&arena, 1), block);
        assert_non_null(arena_take(&arena, 0));
        assert_null(arena_take(&arena, SIZE_MAX - 3));
        arena_fini(&arena);
}

static void one_large_packet_does_not_keep_its_memory(void **state) {
        struct arena arena;

        arena_init(&arena);
        for (int i = 0; i < 64; i++)
                memset(arena_take(&arena, 1u << 20), i, 1u << 20);
        arena_reset(&arena);
        assert_true(arena.size <= 4u << 20);
        assert_null(arena.extra);
        arena_fini(&arena);
}

static void truncated_requests_are_refused(void **state) {
        struct arena arena;
        unsigned refused = 0;
        ssize_t n;

        arena_init(&arena);
        fill_request(&request, 8);
        n = encode_request(&request.m, wire, sizeof(wire));
        for (ssize_t cut = 1; cut < n; cut++) {
                const Svmd__V1__Request *m;
                unsigned char *copy = malloc((size_t)cut); /* so that a sanitizer sees a read past its end */

                memcpy(copy, wire, (size_t)cut);
                m = decode_request(&arena, copy, (size_t)cut);
                free(copy);
                if (!m) {
                        assert_int_equal(errno, EBADMSG);
                        refused++;
                } else {
                        assert_true(m->n_ops < 8); /* a cut between two fields is a shorter message */
                }
                arena_reset(&arena);
        }
        assert_true(refused > n / 2);
        arena_fini(&arena);
}

static void too_many_operations_are_refused(void **state) {
        struct arena arena;
        ssize_t n;

        arena_init(&arena);
        fill_request(&request, SVMD_OPS_MAX);
        n = encode_request(&request.m, wire, sizeof(wire));
        assert_non_null(decode_request(&arena, wire, (size_t)n));
        fill_request(&request, SVMD_OPS_MAX + 1);
        n = encode_request(&request.m, wire, sizeof(wire));
        assert_null(decode_request(&arena, wire, (size_t)n));
        assert_int_equal(errno, EBADMSG);
        arena_fini(&arena);
}

static void a_packet_of_empty_operations_is_refused(void **state) {
        struct arena arena;

        arena_init(&arena);
        for (size_t i = 0; i < SVMD_PACKET_MAX; i += 2) {
                wire[i] = 3 << 3 | 2; /* field 3, length-delimited */
                wire[i + 1] = 0;
        }
        assert_null(decode_request(&arena, wire, SVMD_PACKET_MAX));
        assert_int_equal(errno, EBADMSG);
        assert_null(decode_request(&arena, wire, SVMD_PACKET_MAX + 1));
        assert_int_equal(errno, EBADMSG);
        arena_fini(&arena);
}

static const Svmd__V1__Request *decode_named(struct arena *arena, Svmd__V1__Op__OpCase op_case, void *body) {
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[] = { &op };
        ssize_t n;

        op.op_case = op_case;
        op.hello = body;
        m.id = 1;
        m.n_ops = 1;
        m.ops = ops;
        n = encode_request(&m, wire, sizeof(wire));
        assert_true(n > 0);
        return decode_request(arena, wire, (size_t)n);
}

static void check_name(char **name, Svmd__V1__Op__OpCase op_case, void *body) {
        char text[SVMD_NAME_MAX + 2];
        struct arena arena;

        arena_init(&arena);
        memset(text, 'n', sizeof(text));
        text[SVMD_NAME_MAX + 1] = 0;
        *name = text;
        assert_null(decode_named(&arena, op_case, body));
        assert_int_equal(errno, EBADMSG);
        text[SVMD_NAME_MAX] = 0;
        assert_non_null(decode_named(&arena, op_case, body));
        arena_fini(&arena);
}

static void names_that_are_too_long_are_refused(void **state) {
        Svmd__V1__Hello hello = SVMD__V1__HELLO__INIT;
        Svmd__V1__Attach attach = SVMD__V1__ATTACH__INIT;
        Svmd__V1__Reserve reserve = SVMD__V1__RESERVE__INIT;
        Svmd__V1__MemExport export = SVMD__V1__MEM_EXPORT__INIT;
        Svmd__V1__PartitionCreate create = SVMD__V1__PARTITION_CREATE__INIT;

        check_name(&hello.client, SVMD__V1__OP__OP_HELLO, &hello);
        check_name(&attach.partition, SVMD__V1__OP__OP_ATTACH, &attach);
        check_name(&reserve.name, SVMD__V1__OP__OP_RESERVE, &reserve);
        check_name(&export.name, SVMD__V1__OP__OP_MEM_EXPORT, &export);
        check_name(&create.name, SVMD__V1__OP__OP_PARTITION_CREATE, &create);
        check_name(&create.domain, SVMD__V1__OP__OP_PARTITION_CREATE, &create);
}

static void an_unknown_operation_is_well_formed(void **state) {
        static const unsigned char bytes[] = { 8, 7, 26, 3, 0xfa, 0x7f, 0 }; /* id 7, one op with field 2047 */
        const Svmd__V1__Request *m;
        struct arena arena;

        arena_init(&arena);
        m = decode_request(&arena, bytes, sizeof(bytes));
        assert_non_null(m);
        assert_int_equal(m->n_ops, 1);
        assert_int_equal(m->ops[0]->op_case, SVMD__V1__OP__OP__NOT_SET);
        arena_fini(&arena);
}

static void packets_come_back_as_they_were(void **state) {
        Svmd__V1__Packet packet = SVMD__V1__PACKET__INIT;
        Svmd__V1__Reply reply = SVMD__V1__REPLY__INIT;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT, *results[SVMD_OPS_MAX + 1];
        const Svmd__V1__Packet *m;
        struct arena arena;
        ssize_t n;

        arena_init(&arena);
        result.code = 14;
        result.text = (char *)"2 GiB asked for, 1 GiB free";
        for (unsigned i = 0; i < SVMD_OPS_MAX + 1; i++)
                results[i] = &result;
        reply.id = 9;
        reply.n_results = SVMD_OPS_MAX;
        reply.results = results;
        packet.packet_case = SVMD__V1__PACKET__PACKET_REPLY;
        packet.reply = &reply;
        n = encode_packet(&packet, wire, sizeof(wire));
        m = decode_packet(&arena, wire, (size_t)n);
        assert_non_null(m);
        assert_int_equal(m->reply->n_results, SVMD_OPS_MAX);
        assert_string_equal(m->reply->results[SVMD_OPS_MAX - 1]->text, result.text);
        reply.n_results++;
        n = encode_packet(&packet, wire, sizeof(wire));
        assert_null(decode_packet(&arena, wire, (size_t)n));
        assert_int_equal(errno, EBADMSG);
        arena_fini(&arena);
}

static void what_does_not_fit_is_not_written(void **state) {
        ssize_t n;

        fill_request(&request, 100);
        n = encode_request(&request.m, wire, sizeof(wire));
        memset(wire, 0x5a, sizeof(wire));
        assert_int_equal(encode_request(&request.m, wire, (size_t)n - 1), -EMSGSIZE);
        for (size_t i = 0; i < sizeof(wire); i++)
                assert_int_equal(wire[i], 0x5a);
        assert_int_equal(encode_request(&request.m, wire, (size_t)n), n);
}

/* ---- what is written without the general encoder has its bytes ---- */

static void fill_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        static char longer[200];
        char *at = (char *)m + f->offset;

        memset(longer, 'n', sizeof(longer) - 1);
        if (f->label == PROTOBUF_C_LABEL_REPEATED || (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || !rnd(3))
                return;
        switch (f->type) {
        case PROTOBUF_C_TYPE_UINT32: *(uint32_t *)at = (uint32_t)(rnd(UINT32_MAX) >> rnd(32)); break;
        case PROTOBUF_C_TYPE_UINT64: *(uint64_t *)at = rnd(UINT64_MAX) >> rnd(64); break;
        case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)at = true; break;
        case PROTOBUF_C_TYPE_STRING: *(const char **)at = rnd(2) ? "a name" : longer; break;
        default: break;
        }
}

/* Any operation of those that there are. */
static void fill_any(Svmd__V1__Op *op) {
        const ProtobufCMessageDescriptor *d = &svmd__v1__op__descriptor;
        const ProtobufCFieldDescriptor *f = &d->fields[rnd(d->n_fields)];
        const ProtobufCMessageDescriptor *body = f->descriptor;
        ProtobufCMessage *m = calloc(1, body->sizeof_message);

        svmd__v1__op__init(op);
        assert_non_null(m);
        protobuf_c_message_init(body, m);
        for (unsigned i = 0; i < body->n_fields; i++)
                fill_field(m, &body->fields[i]);
        op->op_case = (Svmd__V1__Op__OpCase)f->id;
        op->hello = (void *)m;
}

static void assert_as_protobuf_writes(const Svmd__V1__Request *m) {
        static uint8_t theirs[sizeof(wire)];
        size_t size = protobuf_c_message_get_packed_size(&m->base);
        ssize_t n = encode_request(m, wire, size);

        assert_true(size <= sizeof(wire));
        assert_int_equal(n, size);
        assert_int_equal(protobuf_c_message_pack(&m->base, theirs), size);
        assert_memory_equal(wire, theirs, size);
        assert_int_equal(encode_request(m, wire, size - 1), -EMSGSIZE);
        assert_int_equal(encode_request(m, wire, rnd(size)), -EMSGSIZE);
}

static void requests_are_written_as_protobuf_writes_them(void **state) {
        enum { MOST = 40 };
        static Svmd__V1__Op op[MOST], *ops[MOST];
        Svmd__V1__GrantDone done = SVMD__V1__GRANT_DONE__INIT, *dones[] = { &done };

        done.grant = 300;
        for (unsigned round = 0; round < 3000; round++) {
                Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
                unsigned count = 1 + (unsigned)rnd(MOST), nothing = rnd(20) ? MOST : (unsigned)rnd(count);

                for (unsigned i = 0; i < count; i++) {
                        fill_any(&op[i]);
                        ops[i] = &op[i];
                }
                m.id = rnd(2) ? 0 : rnd(UINT64_MAX);
                m.mode = (Svmd__V1__Mode)rnd(3);
                m.n_ops = count;
                m.ops = ops;
                m.n_done = !rnd(10);
                m.done = dones;
                if (nothing < count) {
                        free(op[nothing].hello);
                        svmd__v1__op__init(&op[nothing]);
                }
                assert_as_protobuf_writes(&m);
                for (unsigned i = 0; i < count; i++)
                        free(op[i].hello);
        }
}

/* Neither a crash nor a read outside (a sanitizer says), and what is accepted keeps the bounds. */
static void try_garbage(struct arena *arena, const unsigned char *bytes, size_t size) {
        unsigned char *copy = malloc(size + !size);
        const Svmd__V1__Request *q;

        memcpy(copy, bytes, size);
        q = decode_request(arena, copy, size);
        if (q)
                assert_true(q->n_ops <= SVMD_OPS_MAX);
        else
                assert_int_equal(errno, EBADMSG);
        if (!decode_packet(arena, copy, size))
                assert_int_equal(errno, EBADMSG);
        free(copy);
        arena_reset(arena);
}

static void garbage_is_survived(void **state) {
        struct arena arena;
        unsigned char bytes[300];
        ssize_t n;

        arena_init(&arena);
        for (unsigned round = 0; round < 20000; round++) {
                size_t size = rnd(sizeof(bytes));

                for (size_t i = 0; i < size; i++)
                        bytes[i] = (unsigned char)rnd(256);
                try_garbage(&arena, bytes, size);
        }
        fill_request(&request, 10);
        n = encode_request(&request.m, wire, sizeof(wire));
        assert_true(n < (ssize_t)sizeof(bytes));
        for (unsigned round = 0; round < 20000; round++) {
                memcpy(bytes, wire, (size_t)n);
                for (unsigned flips = (unsigned)rnd(4) + 1; flips; flips--)
                        bytes[rnd((uint64_t)n)] ^= (unsigned char)(1u << rnd(8));
                try_garbage(&arena, bytes, (size_t)n);
        }
        arena_fini(&arena);
}

/* As many as decoding finds, whatever the fields' order; and of anything else a number that is in bounds. */
static void test_operations_are_counted(void **state) {
        for (unsigned i = 0; i < 3000; i++) {
                unsigned count = 1 + (unsigned)rnd(i % 10 ? 8 : SVMD_OPS_MAX);
                ssize_t n;

                fill_request(&request, count);
                n = encode_request(&request.m, wire, sizeof(wire));
                if (n < 0)
                        continue;
                assert_int_equal(count_operations(wire, (size_t)n), count);
                assert_in_range(count_operations(wire, (size_t)rnd((uint64_t)n)), 1, count);
                for (unsigned k = 0; k < 4; k++)
                        wire[rnd((uint64_t)n)] = (unsigned char)rnd(256);
                assert_in_range(count_operations(wire, (size_t)n), 1, SVMD_OPS_MAX);
        }
        assert_int_equal(count_operations(wire, 0), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(requests_come_back_as_they_were),
                cmocka_unit_test(a_grown_arena_needs_no_malloc),
                cmocka_unit_test(every_failing_malloc_is_reported),
                cmocka_unit_test(a_reset_without_memory_keeps_the_old_block),
                cmocka_unit_test(one_large_packet_does_not_keep_its_memory),
                cmocka_unit_test(truncated_requests_are_refused),
                cmocka_unit_test(too_many_operations_are_refused),
                cmocka_unit_test(a_packet_of_empty_operations_is_refused),
                cmocka_unit_test(names_that_are_too_long_are_refused),
                cmocka_unit_test(an_unknown_operation_is_well_formed),
                cmocka_unit_test(packets_come_back_as_they_were),
                cmocka_unit_test(what_does_not_fit_is_not_written),
                cmocka_unit_test(requests_are_written_as_protobuf_writes_them),
                cmocka_unit_test(garbage_is_survived),
                cmocka_unit_test(test_operations_are_counted),
        };
        const char *given = getenv("SVMD_SEED");

        random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) | 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
