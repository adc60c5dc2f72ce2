#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json_tokener.h>

#include "fake.h"

void expect(const char *line, int status, const char *out, const char *err) {
        int got = run(line);

        if (got != status || strcmp(run_out, out) != 0 || strcmp(run_err, err) != 0)
                fail_msg("'%s' ended with %d\n--- out\n%s--- instead of %d\n%s--- err\n%s--- instead of\n%s", line, got,
                         run_out, status, out, run_err, err);
}

void expect_part(const char *line, int status, const char *out, const char *err) {
        int got = run(line);

        if (got != status || !strstr(run_out, out) || !strstr(run_err, err))
                fail_msg("'%s' ended with %d, not %d\n--- out\n%s--- err\n%s", line, got, status, run_out, run_err);
}

struct json_object *run_json(const char *line, int status) {
        struct json_object *o;
        int got = run(line);

        o = json_tokener_parse(run_out);
        if (got != status || !o)
                fail_msg("'%s' ended with %d: %s%s", line, got, run_out, run_err);
        return o;
}

void expect_json(struct json_object *o, const char *path, const char *want) {
        char copy[128], *rest = copy;
        struct json_object *at = o;

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *key; (key = strsep(&rest, "."));) {
                if (json_object_is_type(at, json_type_array))
                        at = json_object_array_get_idx(at, (size_t)atoi(key));
                else if (!json_object_object_get_ex(at, key, &at))
                        fail_msg("there is no '%s' in %s", path, json_object_to_json_string(o));
        }
        if (strcmp(at ? json_object_get_string(at) : "null", want) != 0)
                fail_msg("%s is %s, not %s", path, json_object_get_string(at), want);
}
