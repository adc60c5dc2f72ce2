#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/node.h"
#include "engine/hints.h"
#include "service/explain.h"
#include "service/lookup.h"

/*
 * What is advised about one granule: what counts, then each hint that speaks of it, with who said it and when, and what
 * became of each of its words. The ruling is policy_arbitrate()'s, as the engine goes by it.
 */
enum { TOLD = 16 };

struct hearing {
        const struct service *svc;
        const struct policy_voice *voices;
        uint32_t count;
        struct policy_ruling ruling;
};

static void add(char *text, size_t size, const char *between, const char *what) {
        size_t at = strlen(text);

        snprintf(text + at, size - at, "%s%s", at ? between : "", what);
}

/* ---- words ---- */

static const char *atomics(unsigned kind) {
        static const char *const names[] = { "any", "of one device", "of all devices and the CPU", "of the CPU" };

        return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static void fallbacks(const struct service *svc, const struct policy_advice *a, char *text, size_t size) {
        snprintf(text, size, "else");
        for (unsigned i = 0; i < POLICY_FALLBACKS && a->fallback[i]; i++)
                add(text, size, i ? ", then " : " on ", name_node(svc, a->fallback[i] - 1));
}

/* One attribute that it has something of. */
static void wish(const struct service *svc, const struct policy_advice *a, enum policy_attribute k, char *text,
                 size_t size) {
        char part[160];

        switch (k) {
        case POLICY_PREFERRED: snprintf(text, size, "preferred location %s", name_node(svc, a->preferred - 1)); break;
        case POLICY_ACCESSED_BY:
                name_nodes(svc, a->accessed_by, part, sizeof(part));
                snprintf(text, size, "accessed by %s", part);
                break;
        case POLICY_READ_MOSTLY: snprintf(text, size, "read mostly"); break;
        case POLICY_PINNED: snprintf(text, size, "pinned (policy leaves it where it is)"); break;
        case POLICY_GRANULARITY:
                granule_size(a->granularity, part, sizeof(part));
                snprintf(text, size, "moves %s at a time", part);
                break;
        case POLICY_FALLBACK: fallbacks(svc, a, text, size); break;
        case POLICY_ATOMICS: snprintf(text, size, "atomics %s", atomics(a->atomics)); break;
        case POLICY_COARSE: snprintf(text, size, "coarse-grained"); break;
        case POLICY_GROUP: snprintf(text, size, "moves with group %u", a->group); break;
        case _POLICY_ATTRIBUTE_N: break;
        }
}

static void wish_against(enum policy_attribute k, char *text, size_t size) {
        static const char *const none[_POLICY_ATTRIBUTE_N] = {
                [POLICY_PREFERRED] = "no preferred location",
                [POLICY_ACCESSED_BY] = "accessed by nobody in particular",
                [POLICY_READ_MOSTLY] = "not read mostly",
                [POLICY_PINNED] = "not pinned",
                [POLICY_GRANULARITY] = "moves as policy likes",
                [POLICY_FALLBACK] = "no other location",
                [POLICY_ATOMICS] = "any atomics",
                [POLICY_COARSE] = "not coarse-grained",
                [POLICY_GROUP] = "moves with no group",
        };

        snprintf(text, size, "%s", none[k]);
}

static void say_what_counts(struct sentences *s, const struct policy_advice *a) {
        char text[320] = "", part[200];

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++) {
                if (policy_is_zero(a, k))
                        continue;
                wish(s->call->svc, a, k, part, sizeof(part));
                add(text, sizeof(text), ", ", part);
        }
        if (text[0])
                sentence(s, "Advice that counts: %s.", text);
        else
                sentence(s, "Nothing is advised about it: policy decides by itself.");
}

/* ---- who ---- */

static const char *rank_name(enum policy_rank rank) {
        switch (rank) {
        case POLICY_READER: return "which may read it";
        case POLICY_LEFT: return "which has left it";
        case POLICY_WRITER: return "which may write it";
        case POLICY_OWNER: return "which owns it";
        case POLICY_ADMINISTRATOR: return "an administrator's";
        }
        return "?";
}

static void when(uint64_t said_ns, char *text, size_t size) {
        uint64_t now = clock_ns(CLOCK_REALTIME), ms = said_ns && now > said_ns ? (now - said_ns) / 1000000 : 0;

        if (said_ns == 0)
                snprintf(text, size, "before this svmd");
        else if (ms < 1000)
                snprintf(text, size, "%" PRIu64 " ms ago", ms);
        else if (ms < 120 * 1000)
                snprintf(text, size, "%" PRIu64 ".%" PRIu64 " s ago", ms / 1000, ms % 1000 / 100);
        else
                snprintf(text, size, "%" PRIu64 " min ago", ms / 60000);
}

static void fate(const struct hearing *h, uint32_t voice, enum policy_attribute k, char *text, size_t size) {
        enum policy_fate what = policy_fate(h->voices, &h->ruling, voice, k);
        uint32_t winner = h->ruling.winner[k];
        uint64_t by = winner == POLICY_NOBODY ? 0 : hint_party_of(&h->voices[winner])->session;

        switch (what) {
        case POLICY_SILENT: text[0] = 0; break;
        case POLICY_WON: snprintf(text, size, " (counts)"); break;
        case POLICY_AGREES: snprintf(text, size, " (agrees with what counts)"); break;
        case POLICY_OUTRANKED: snprintf(text, size, " (session %" PRIu64 " goes before it)", by); break;
        case POLICY_OVERTAKEN: snprintf(text, size, " (session %" PRIu64 " spoke later)", by); break;
        case POLICY_MOOT: snprintf(text, size, " (moot: another location counts)"); break;
        }
}

static void say_hint(struct sentences *s, const struct hearing *h, uint32_t voice) {
        const struct hint_party *party = hint_party_of(&h->voices[voice]);
        const struct hint *hint = hint_of(&h->voices[voice]);
        char text[300] = "", part[200], became[64], ago[48];

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++) {
                if (!(h->voices[voice].says >> k & 1))
                        continue;
                if (policy_is_zero(&hint->policy.advice, k))
                        wish_against(k, part, sizeof(part));
                else
                        wish(h->svc, &hint->policy.advice, k, part, sizeof(part));
                fate(h, voice, k, became, sizeof(became));
                add(text, sizeof(text), ", ", part);
                add(text, sizeof(text), "", became);
        }
        when(hint->said_ns, ago, sizeof(ago));
        sentence(s, "Session %" PRIu64 " (pid %u, uid %u, %s), %s, said %s: %s.", party->session, party->pid,
                 party->uid, party->client, rank_name(party->policy.rank), ago, text);
}

/* ---- both ---- */

static bool counts(const struct hearing *h, uint32_t voice) {
        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                if (h->ruling.winner[k] == voice)
                        return true;
        return false;
}

static int put(struct sentences *s, const struct managed_reservation *m, const struct hearing *h, uint32_t voice,
               Svmd__V1__ExplainResult *result) {
        Svmd__V1__AdviceHint *row;

        if (!h->voices[voice].says || result->n_hints == SVMD_ROWS_MAX)
                return 0;
        row = hint_row(s->call, m, hint_of(&h->voices[voice]));
        if (!row)
                return -ENOMEM;
        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                hint_row_fate(row, policy_fate(h->voices, &h->ruling, voice, k), 1u << k);
        result->hints[result->n_hints++] = row;
        if (result->n_hints <= TOLD)
                say_hint(s, h, voice);
        return 0;
}

/* Those that count come first, and both in the order in which they are kept. */
int explain_hints(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                  Svmd__V1__ExplainResult *result) {
        struct hearing h = { .svc = s->call->svc };
        uint32_t next;
        int r = 0;

        h.voices = hints_at(m->hints, granule, granule + 1, &h.count, &next);
        policy_arbitrate(h.voices, h.count, &h.ruling);
        say_what_counts(s, &h.ruling.advice);
        result->hints = call_take(s->call, (h.count + 1) * sizeof(*result->hints));
        if (!result->hints)
                return -ENOMEM;
        for (unsigned losers = 0; losers < 2; losers++)
                for (uint32_t i = 0; i < h.count && r == 0; i++)
                        if (counts(&h, i) == !losers)
                                r = put(s, m, &h, i, result);
        if (result->n_hints > TOLD)
                sentence(s, "%zu sessions' hints more speak of it: svmd-ctl explain --json has them all.",
                         result->n_hints - TOLD);
        return r;
}
