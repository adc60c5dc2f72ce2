#include <string.h>
#include <time.h>

#include "args.h"
#include "ctl.h"
#include "guard.h"
#include "json.h"
#include "reach.h"
#include "verbs.h"

enum { POLL_NS = 10000000 };

/* That svmd answers again, at most: what it has to read is in memory. */
#define PATIENCE_NS (60 * 1000000000ull)

/*
 * svmd answers, and then becomes the other program. This connection is attached to no partition and ends with the old
 * one, so the first answer on a new connection is the new one's. An answer on this connection means that the old one
 * could not, and goes on.
 */
struct upgrade {
        struct svmd_status before, after;
        uint64_t away_ms;
};

static int status_of(struct ctl *c, struct svmd_status *ret) {
        ret->size = sizeof(*ret);
        return svmd_query_status(c->session, ret);
}

/* SVMD_OK: somebody has answered. */
static int ask_again(struct ctl *c, struct upgrade *u) {
        const char *why;
        int r;

        if (!c->session && reach_quietly(c, VERB_ADMIN, &why) != EXIT_OK)
                return SVMD_E_GONE;
        r = status_of(c, &u->after);
        if (r == SVMD_OK)
                return r;
        svmd_disconnect(c->session);
        c->session = NULL;
        return r;
}

static int await_next(struct ctl *c, struct upgrade *u) {
        const struct timespec pause = { .tv_nsec = POLL_NS };
        uint64_t begin = ctl_now_ns();

        guard_set(PATIENCE_NS);
        while (ask_again(c, u) != SVMD_OK) {
                if (ctl_now_ns() - begin >= PATIENCE_NS)
                        return ctl_fail(c, EXIT_TIMEOUT,
                                        "svmd has not come back; its log says why, and sessions wait for it");
                nanosleep(&pause, NULL);
        }
        guard_end();
        u->away_ms = (ctl_now_ns() - begin) / 1000000;
        if (u->after.epoch == u->before.epoch)
                return ctl_fail(c, EXIT_REFUSED,
                                "svmd could not become the other program and goes on as it was; its log says why");
        return EXIT_OK;
}

static int say_json(struct ctl *c, const struct upgrade *u, bool dry) {
        struct json_object *o = json_object_new_object();

        json_add_flag(o, "dry_run", dry);
        json_add_text(o, "before", u->before.version);
        if (!dry) {
                json_add_text(o, "after", u->after.version);
                json_add_count(o, "pid", u->after.pid);
                json_add_count(o, "epoch", u->after.epoch);
                json_add_count(o, "sessions", u->after.sessions);
                json_add_count(o, "away_ms", u->away_ms);
        }
        return json_print(c, o);
}

static void say(struct ctl *c, const struct upgrade *u) {
        unsigned long long sessions = u->after.sessions - (u->after.sessions > 0);

        fprintf(c->out, "svmd %s goes on as %s, still process %u: %llu session%s, away for %llu ms\n",
                u->before.version, u->after.version, u->after.pid, sessions, sessions == 1 ? "" : "s",
                (unsigned long long)u->away_ms);
}

static const char *question(struct ctl *c, const struct args *a, const struct svmd_status *s) {
        unsigned long long sessions = s->sessions - (s->sessions > 0);

        return ctl_text(c,
                        "The new program can take over. Have svmd %s%s go on as %s, with a pause for %llu session%s?",
                        s->version, a->value[OPT_KEEPER] ? " and svmd-keeper" : "",
                        a->value[OPT_BINARY] ? a->value[OPT_BINARY] : "it", sessions, sessions == 1 ? "" : "s");
}

/* Whoever is asked knows already that the program could. */
int upgrade_run(struct ctl *c, const struct args *a) {
        bool dry = a->value[OPT_DRY_RUN];
        unsigned flags = a->value[OPT_KEEPER] ? SVMD_UPGRADE_KEEPER : 0;
        struct upgrade u = { 0 };
        int r = status_of(c, &u.before);

        if (r == SVMD_OK && !dry && c->can_ask && !a->value[OPT_YES])
                r = svmd_upgrade(c->session, a->value[OPT_BINARY], flags | SVMD_UPGRADE_CHECK);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = dry ? EXIT_OK : args_agreed(c, a, question(c, a, &u.before));
        if (r != EXIT_OK)
                return r;
        r = svmd_upgrade(c->session, a->value[OPT_BINARY], flags | (dry ? SVMD_UPGRADE_CHECK : 0));
        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = dry ? EXIT_OK : await_next(c, &u);
        if (r != EXIT_OK)
                return r;
        if (c->json)
                return say_json(c, &u, dry);
        if (dry)
                fprintf(c->out, "svmd %s can be upgraded\n", u.before.version);
        else
                say(c, &u);
        return EXIT_OK;
}
