#include "work.h"

#include "args.h"
#include "ctl.h"

enum { FIRST_MS = 500, NEXT_MS = 100, LONGEST_MS = 1000000000 };

/* Looking takes svmd time when much is managed: at most a tenth of all time. */
enum { LOOK_SHARE = 10 };

int work_deadline(struct ctl *c, const struct args *a, uint64_t *ret_ns) {
        uint64_t timeout = UINT64_MAX;
        int r = args_seconds(c, a, OPT_TIMEOUT, &timeout);

        if (r == EXIT_OK)
                *ret_ns = timeout == UINT64_MAX ? UINT64_MAX : ctl_now_ns() + timeout;
        return r;
}

/* Up to the deadline, rounded up, so that it has passed afterwards. */
static int most_ms(uint64_t deadline, int most) {
        uint64_t now = ctl_now_ns(), left;

        if (deadline == UINT64_MAX)
                return most;
        left = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
        return left < (uint64_t)most ? (int)left : most;
}

/* Writes the line, and returns when to write the next. "\033[K" clears what is left of a longer line before it. */
static int show(struct ctl *c, const struct work *w) {
        void *mark = obstack_alloc(&c->pool, 0);
        uint64_t begin = ctl_now_ns(), took_ms;
        const char *line = w->how_far(c, w->userdata);

        if (line)
                fprintf(c->err, "\r%.*s\033[K", (int)c->width - 1, line);
        fflush(c->err);
        obstack_free(&c->pool, mark);
        took_ms = (ctl_now_ns() - begin) / 1000000;
        return took_ms > NEXT_MS / LOOK_SHARE ? (int)took_ms * LOOK_SHARE : NEXT_MS;
}

int work_wait(struct ctl *c, const struct work *w, const char **ret_why) {
        bool watched = c->watched && w->how_far, shown = false;
        int next = watched ? FIRST_MS : LONGEST_MS, r = SVMD_OK;

        fflush(c->out);
        while (w->fence) {
                r = svmd_fence_wait(w->fence, most_ms(w->deadline_ns, next), NULL);
                if (r != SVMD_E_TIMEOUT || ctl_now_ns() >= w->deadline_ns)
                        break;
                if (watched)
                        next = show(c, w);
                shown = watched;
        }
        *ret_why = r == SVMD_E_TIMEOUT ? "the time is over" : r ? ctl_copy(c, svmd_error()) : "";
        svmd_fence_free(w->fence);
        if (shown) {
                fputs("\r\033[K", c->err);
                fflush(c->err);
        }
        return r;
}

int work_result(struct ctl *c, int code, const char *why) {
        switch (code) {
        case SVMD_OK: return EXIT_OK;
        case SVMD_E_TIMEOUT: return ctl_fail(c, EXIT_TIMEOUT, "%s", why);
        default: return ctl_fail(c, code == SVMD_E_GONE ? EXIT_UNREACHED : EXIT_REFUSED, "%s", why);
        }
}
