/*
 * A libhsakmt that a program brings along: what it opens is counted, and all else is Debian's, which it is linked with.
 * Who takes Debian's by its name, where the program has this one, is not counted.
 */
#include <dlfcn.h>
#include <stdlib.h>

__attribute__((visibility("default"))) unsigned own_library_opened;

__attribute__((visibility("default"))) int hsaKmtOpenKFD(void);
__attribute__((visibility("default"))) int hsaKmtOpenKFD(void) {
        int (*next)(void) = NULL;

        *(void **)&next = dlsym(RTLD_NEXT, "hsaKmtOpenKFD");
        if (!next)
                abort();
        own_library_opened++;
        return next();
}
