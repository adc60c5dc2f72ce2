/* What svmd-smi says: streams with their GPUs, or why there is none; nothing else goes through. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smi/wire.h"

enum { ROUNDS = 20000 };

static char packet[SMI_WIRE_ROOM + 4];

static struct smi_answer answer_of(uint32_t count, int error) {
        struct smi_answer a = { .error = error, .count = count };

        for (uint32_t i = 0; i < count; i++)
                a.gpus[i] = 1000 + i;
        return a;
}

static void test_through(void **state) {
        static const uint32_t counts[] = { 0, 1, 8, SMI_STREAMS_MAX };

        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct smi_answer a = answer_of(counts[i], -(int)i), got;
                size_t n = smi_wire_put(packet, &a);

                assert_int_equal(smi_wire_get(packet, n, a.count, &got), 0);
                assert_int_equal(got.error, -(int)i);
                assert_int_equal(got.count, a.count);
                assert_memory_equal(got.gpus, a.gpus, a.count * sizeof(a.gpus[0]));
        }
}

/* Cut off anywhere, longer, with another number of descriptors, of another version. */
static void test_shapes(void **state) {
        struct smi_answer a = answer_of(3, 0), got;
        size_t n = smi_wire_put(packet, &a);

        for (size_t i = 0; i < n; i++)
                assert_int_equal(smi_wire_get(packet, i, 3, &got), -EBADMSG);
        assert_int_equal(smi_wire_get(packet, n + 1, 3, &got), -EBADMSG);
        assert_int_equal(smi_wire_get(packet, n, 2, &got), -EBADMSG);
        assert_int_equal(smi_wire_get(packet, n, 4, &got), -EBADMSG);
        packet[4]++;
        assert_int_equal(smi_wire_get(packet, n, 3, &got), -EPROTONOSUPPORT);
        packet[0]++;
        assert_int_equal(smi_wire_get(packet, n, 3, &got), -EBADMSG);
}

static void assert_bad(const struct smi_answer *a) {
        struct smi_answer got;

        assert_int_equal(smi_wire_get(packet, smi_wire_put(packet, a), a->count, &got), -EBADMSG);
}

static void test_values(void **state) {
        struct smi_answer a = answer_of(2, 0);

        a.gpus[1] = a.gpus[0];
        assert_bad(&a);
        a.gpus[1] = 0;
        assert_bad(&a);
        a = answer_of(2, 1);
        assert_bad(&a);
        a.error = -4096;
        assert_bad(&a);
}

/* More than there is room for, with as many descriptors. */
static void test_too_many(void **state) {
        struct smi_answer a = answer_of(SMI_STREAMS_MAX, 0), got;
        size_t n = smi_wire_put(packet, &a);
        uint32_t more = SMI_STREAMS_MAX + 1;

        memcpy(packet + 12, &more, sizeof(more));
        memcpy(packet + n, &more, sizeof(more));
        assert_int_equal(smi_wire_get(packet, n + 4, more, &got), -EBADMSG);
}

static void test_random(void **state) {
        uint64_t seed = getenv("SVMD_SEED") ? strtoull(getenv("SVMD_SEED"), NULL, 0) : (uint64_t)getpid();
        struct smi_answer a = answer_of(4, -EPERM), got;
        unsigned passed = 0;

        printf("seed %llu\n", (unsigned long long)seed);
        srandom((unsigned)seed);
        for (unsigned i = 0; i < ROUNDS; i++) {
                size_t n = smi_wire_put(packet, &a);

                packet[(size_t)random() % n] = (char)random();
                if (smi_wire_get(packet, n, 4, &got) != 0)
                        continue;
                passed++;
                assert_int_equal(got.count, 4);
                assert_true(got.error <= 0 && got.error > -4096);
                for (uint32_t k = 0; k < 4; k++)
                        for (uint32_t j = 0; j < k; j++)
                                assert_true(got.gpus[j] && got.gpus[j] != got.gpus[k]);
        }
        assert_true(passed > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_through),  cmocka_unit_test(test_shapes), cmocka_unit_test(test_values),
                cmocka_unit_test(test_too_many), cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
