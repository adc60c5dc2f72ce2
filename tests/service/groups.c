#include "groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[96];

void groups_open(struct world *w) {
        snprintf(root, sizeof(root), "%s/proc", w->dir);
        assert_int_equal(mkdir(root, 0700), 0);
        w->options.proc_root = w->svc->options.proc_root = root;
}

void groups_put(struct world *w, uint32_t pid, const char *path) {
        char name[128];
        FILE *f;

        snprintf(name, sizeof(name), "%s/%u", root, pid);
        mkdir(name, 0700);
        snprintf(name, sizeof(name), "%s/%u/cgroup", root, pid);
        unlink(name);
        if (!path)
                return;
        f = fopen(name, "w");
        assert_non_null(f);
        fprintf(f, "1:name=systemd:/other\n0::%s\n", path);
        assert_int_equal(fclose(f), 0);
}
