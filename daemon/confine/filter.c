#include "confine/filter.h"

#include <errno.h>
#include <stdbool.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = true };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif
#else
enum { SANITIZED = false };
#endif

static int allow(scmp_filter_ctx ctx, const char *name, unsigned count, const struct scmp_arg_cmp *conditions) {
        int nr = seccomp_syscall_resolve_name(name);

        return nr < 0 ? 0 : seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, count, conditions);
}

static int fill(scmp_filter_ctx ctx, const struct filter *f) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < f->names_count; i++)
                r = allow(ctx, f->names[i], 0, NULL);
        for (size_t i = 0; r == 0 && i < f->calls_count; i++)
                r = allow(ctx, f->calls[i].name, f->calls[i].count, f->calls[i].conditions);
        return r;
}

int filter_install(const struct filter *f) {
        scmp_filter_ctx ctx;
        int r;

        if (SANITIZED)
                return -EOPNOTSUPP;
        ctx = seccomp_init(f->otherwise);
        if (!ctx)
                return -ENOMEM;
        r = fill(ctx, f);
        if (r == 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r;
}
