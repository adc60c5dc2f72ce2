#include "options.h"

#include <string.h>

#include "error.h"
#include "svmd.h"

static int check_size(size_t size, const char *what) {
        if (size < sizeof(size_t) || size > 4096)
                return fail(SVMD_E_INVALID, "%s.size is %zu; set it to sizeof(struct %s)", what, size, what);
        return 0;
}

int options_take(void *ret, size_t known, const void *given, const char *what) {
        size_t size;
        int r;

        memset(ret, 0, known);
        memcpy(ret, &known, sizeof(known));
        if (!given)
                return 0;
        memcpy(&size, given, sizeof(size));
        r = check_size(size, what);
        if (r)
                return r;
        for (size_t i = known; i < size; i++) {
                if (((const unsigned char *)given)[i])
                        return fail(SVMD_E_UNSUPPORTED,
                                    "struct %s asks for something that libsvmd %s does not know; upgrade libsvmd", what,
                                    svmd_version());
        }
        memcpy(ret, given, size < known ? size : known);
        return 0;
}

int options_give(void *ret, const void *result, size_t known, const char *what) {
        size_t size;
        int r;

        if (!ret)
                return fail(SVMD_E_INVALID, "no struct %s was given to fill in", what);
        memcpy(&size, ret, sizeof(size));
        r = check_size(size, what);
        if (r)
                return r;
        if (size < known)
                known = size;
        memcpy((char *)ret + sizeof(size), (const char *)result + sizeof(size), known - sizeof(size));
        return 0;
}
