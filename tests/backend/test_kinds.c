#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/private.h"

/* All rows of the table: what svmd relies on without asking again. */
static void test_told_apart(void **state) {
        const struct backend *a, *b;

        for (unsigned i = 0; (a = backend_at(i)); i++)
                for (unsigned k = 0; k < i; k++) {
                        b = backend_at(k);
                        assert_int_not_equal(a->kind, b->kind);
                        assert_string_not_equal(a->name, b->name);
                        if (a->device && b->device)
                                assert_true(strncmp(a->device, b->device, strlen(a->device)) != 0 &&
                                            strncmp(a->device, b->device, strlen(b->device)) != 0);
                }
}

static void test_found(void **state) {
        const struct backend *b;

        for (unsigned i = 0; (b = backend_at(i)); i++) {
                assert_ptr_equal(backend_for(b->kind), b);
                assert_int_equal(!b->device, !b->example);
                if (b->device)
                        assert_ptr_equal(backend_of_device(b->example), b);
        }
        assert_null(backend_for((enum node_kind)99));
        assert_null(backend_of_device("nothing"));
}

static void test_complete(void **state) {
        const struct backend *b;

        for (unsigned i = 0; (b = backend_at(i)); i++) {
                assert_true(b->granularity >= 4096 && (b->granularity & (b->granularity - 1)) == 0);
                assert_true(b->device_new && b->device_free && b->ops_done && b->attrs_ok);
                if (b->has_spaces)
                        assert_true(b->space_new && b->space_free && b->map && b->unmap && b->protect && b->sparse &&
                                    b->translate && b->submit);
                assert_int_equal(!b->range_new, !b->range_free);
                if (b->range_new)
                        assert_true(b->range_map && b->range_invalidate);
                if (b->range_new && !b->slots)
                        assert_true(b->range_answer && b->space_show && b->space_hide && backend_has_pool(b));
                if (b->slots)
                        assert_true(b->range_new && b->slots->bytes && b->slots->make && b->slots->release &&
                                    b->slots->read && b->slots->write && b->slots->has && b->slots->fd &&
                                    b->slots->watch);
                if (b->private_ops)
                        assert_true(!b->has_spaces && b->private_ops->file_ok && b->private_ops->move &&
                                    b->private_ops->look);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_told_apart),
                cmocka_unit_test(test_found),
                cmocka_unit_test(test_complete),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
