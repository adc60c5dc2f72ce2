#include "main/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/message.h"
#include "service/service.h"

/* A keeper that ends within this time, so often in a row, is not tried again. */
#define SHORT_NS        (10 * 1000000000ull)
#define SHORT_LIVED_MAX 5

struct listing {
        struct holder *holder;
        keeper_fn fn;
        void *userdata;
};

static int on_item(void *userdata, uint64_t key, int fd) {
        struct listing *l = userdata;
        int r = held_put_unseen(&l->holder->held, key, fd);

        if (r < 0) {
                close(fd);
                return r;
        }
        return l->fn(l->userdata, key, fd);
}

int holder_open(struct holder *h, const char *runtime_dir, const char *program, keeper_fn fn, void *userdata, char *why,
                size_t why_size) {
        struct listing l = { h, fn, userdata };
        int r;

        h->runtime_dir = runtime_dir;
        h->program = alloc_string(program);
        if (!h->program)
                return -ENOMEM;
        r = keeper_connect(&h->keeper, runtime_dir, program, why, why_size);
        h->since_ns = clock_ns(CLOCK_MONOTONIC);
        return r == 0 ? keeper_list(h->keeper, on_item, &l) : r;
}

void holder_close(struct holder *h, bool quit) {
        if (h->keeper && quit)
                keeper_quit(h->keeper);
        keeper_disconnect(h->keeper);
        h->keeper = NULL;
        held_drop_all(&h->held);
        alloc_free(h->program);
        h->program = NULL;
}

/* ---- another one ---- */

static int is_journal(uint64_t key) {
        return KEEP_KIND(key) == KEEP_JOURNAL;
}

static int give(void *userdata, uint64_t key, int fd) {
        struct holder *h = userdata;

        return is_journal(key) ? 0 : keeper_put(h->keeper, key, fd);
}

/* A journal that names what the keeper has not could not be taken over. So it comes last, and when it has the effects
 * of this turn: what was dropped meanwhile is not in the other keeper. Should svmd be killed before, there is no
 * journal, and the next svmd begins with nothing. */
static int give_journal(void *userdata, uint64_t key, int fd) {
        struct holder *h = userdata;

        return is_journal(key) ? keeper_put(h->keeper, key, fd) : 0;
}

static int hand_over(struct holder *h) {
        int r = keeper_connect(&h->keeper, h->runtime_dir, h->program, h->why, sizeof(h->why));

        if (r < 0)
                return r;
        h->journal_due = true;
        r = held_each(&h->held, give, h);
        if (r < 0) {
                (void)keeper_quit(h->keeper); /* what holds a part would only keep clients waiting */
                keeper_disconnect(h->keeper);
                h->keeper = NULL;
                snprintf(h->why, sizeof(h->why), "another one cannot take everything: %s", strerror(-r));
        }
        return r;
}

static bool ends_too_often(struct holder *h) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        h->short_lived = now - h->since_ns < SHORT_NS ? h->short_lived + 1 : 0;
        h->since_ns = now;
        if (h->short_lived <= SHORT_LIVED_MAX)
                return false;
        snprintf(h->why, sizeof(h->why), "it has ended %u times within seconds", h->short_lived);
        return true;
}

void holder_replace(struct holder *h) {
        keeper_disconnect(h->keeper);
        h->keeper = NULL;
        if (!ends_too_often(h) && hand_over(h) == 0) {
                h->replaced++;
                message(MESSAGE_KEEPER_REPLACED, FIELDS(FIELD_NUMBER("SVMD_DESCRIPTORS", h->held.count)),
                        "svmd-keeper has ended; another svmd-keeper holds sessions and memory: %llu descriptors",
                        (unsigned long long)h->held.count);
        } else {
                message(MESSAGE_KEEPER_GONE, NO_FIELDS,
                        "there is no svmd-keeper: %s. Sessions and memory will not survive this svmd; restart it when "
                        "its clients allow",
                        h->why);
                held_drop_all(&h->held);
        }
        h->changed(h->userdata);
}

/* ---- going on ---- */

int holder_put(struct holder *h, uint64_t key, int fd) {
        int r;

        if (!h->keeper)
                return 0;
        r = held_put(&h->held, key, fd);
        if (r < 0)
                return r;
        r = keeper_put(h->keeper, key, fd);
        if (r == -EPIPE || r == -ECONNRESET) {
                holder_replace(h);
                return 0;
        }
        if (r < 0)
                held_drop(&h->held, key);
        return r;
}

void holder_drop(struct holder *h, uint64_t key) {
        held_drop(&h->held, key);
        if (h->keeper)
                keeper_drop(h->keeper, key);
}

void holder_flush(struct holder *h) {
        int r = 0;

        held_look(&h->held); /* of thousands at the start, which clients do not wait for */
        if (!h->keeper)
                return;
        if (h->journal_due)
                r = held_each(&h->held, give_journal, h);
        if (r == 0)
                h->journal_due = false;
        keeper_flush(h->keeper);
}

int holder_become(struct holder *h, const char *program, char *why, size_t why_size) {
        int r, fd = h->keeper ? open(program, O_PATH | O_CLOEXEC) : -1;

        if (fd < 0) {
                r = h->keeper ? -errno : -ENOENT;
                snprintf(why, why_size, "%s: %s", h->keeper ? program : "svmd-keeper is gone", strerror(-r));
                return r;
        }
        r = keeper_become(h->keeper, fd, why, why_size);
        close(fd);
        if (r == -EPIPE || r == -ECONNRESET)
                holder_replace(h);
        return r;
}
