#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

Svmd__V1__Result *must(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

void must_not(struct client *c, Svmd__V1__Op *op, unsigned code, const char *says) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != code || !strstr(r->text, says))
                fail_msg("operation %d: %u %s, expected %u with \"%s\"", (int)op->op_case, r->code, r->text, code,
                         says);
}
