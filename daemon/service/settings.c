#include "service/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/rates.h"

static bool is_same(const struct setting *a, const struct setting *b) {
        if (a->kind != b->kind)
                return false;
        if (strcmp(a->name, b->name) == 0 && strcmp(a->other, b->other) == 0)
                return true;
        return a->kind == SETTING_LINK_RATE && strcmp(a->name, b->other) == 0 && strcmp(a->other, b->name) == 0;
}

static uint32_t find(const struct settings *s, const struct setting *setting) {
        uint32_t i = 0;

        while (i < s->count && !is_same(&s->rows[i].setting, setting))
                i++;
        return i;
}

static void take_out(struct settings *s, uint32_t i) {
        s->count--;
        memmove(&s->rows[i], &s->rows[i + 1], (s->count - i) * sizeof(*s->rows));
}

static void put_in(struct settings *s, uint32_t i, const struct settings_row *row) {
        memmove(&s->rows[i + 1], &s->rows[i], (s->count - i) * sizeof(*s->rows));
        s->rows[i] = *row;
        s->count++;
}

static int make_room(struct settings *s) {
        uint32_t room = s->room ? s->room * 2 : 8;
        struct settings_row *rows;

        if (s->count < s->room)
                return 0;
        rows = alloc_grow(s->rows, s->room * sizeof(*rows), room * sizeof(*rows));
        if (!rows)
                return -ENOMEM;
        s->rows = rows;
        s->room = room;
        return 0;
}

int settings_set(struct service *svc, const struct settings_row *row) {
        struct settings *s = &svc->settings;
        uint32_t at = find(s, &row->setting);
        struct settings_row before;
        bool had = at < s->count;
        int r;

        if (!had && s->count == SETTINGS_MAX)
                return SETTINGS_E_FULL;
        r = make_room(s);
        if (r < 0)
                return r;
        if (had) {
                before = s->rows[at];
                take_out(s, at);
        }
        put_in(s, s->count, row);
        r = rates_apply(svc);
        if (r == 0)
                return 0;
        s->count--;
        if (had)
                put_in(s, at, &before);
        (void)rates_apply(svc); /* what had a cap has what that needs */
        return r;
}

int settings_back(struct service *svc, const struct setting *setting) {
        struct settings *s = &svc->settings;
        uint32_t at = find(s, setting);
        struct settings_row row;
        int r;

        if (at == s->count)
                return SETTINGS_E_NONE;
        row = s->rows[at];
        take_out(s, at);
        r = rates_apply(svc);
        if (r == 0)
                return 0;
        put_in(s, at, &row);
        (void)rates_apply(svc);
        return r;
}

/* ---- journal ---- */

struct effect_setting effect_of_setting(const struct settings_row *row, bool back) {
        const struct setting *s = &row->setting;
        struct effect_setting e = {
                .kind = s->kind, .back = back, .rate = s->rate, .set_ns = row->set_ns, .uid = row->uid
        };

        text_copy(e.name, s->name);
        text_copy(e.other, s->other);
        if (s->profile)
                text_copy(e.profile, s->profile->name);
        return e;
}

static bool ends(const char *text, size_t size) {
        return memchr(text, 0, size) != NULL;
}

/* Text that ends, and of a policy one that there is. */
static bool is_right(const struct effect_setting *e) {
        bool policy = e->kind == SETTING_POLICY || e->kind == SETTING_PARTITION_POLICY;

        if (e->kind > SETTING_POLICY || !ends(e->name, sizeof(e->name)) || !ends(e->other, sizeof(e->other)) ||
            !ends(e->profile, sizeof(e->profile)))
                return false;
        return e->back || !policy || policy_profile_find(e->profile);
}

int settings_replay(struct service *svc, const void *bytes, char *why, size_t why_size) {
        const struct effect_setting *e = bytes;
        struct settings *s = &svc->settings;
        struct settings_row row = { .set_ns = e->set_ns, .uid = e->uid };
        uint32_t at;

        if (!is_right(e)) {
                snprintf(why, why_size, "something is set in the journal that svmd does not know, of kind %" PRIu32,
                         e->kind);
                return -EBADMSG;
        }
        row.setting.kind = (enum setting_kind)e->kind;
        row.setting.rate = e->rate;
        text_copy(row.setting.name, e->name);
        text_copy(row.setting.other, e->other);
        row.setting.profile = (struct policy_profile *)policy_profile_find(e->profile);
        at = find(s, &row.setting);
        if (at < s->count)
                take_out(s, at);
        if (e->back)
                return 0;
        if (make_room(s) < 0)
                return -ENOMEM;
        put_in(s, s->count, &row);
        return 0;
}

int settings_put(struct service *svc) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < svc->settings.count; i++) {
                struct effect_setting e = effect_of_setting(&svc->settings.rows[i], false);

                r = journal_snapshot_put(svc->journal, EFFECT_SETTING, &e, sizeof(e));
        }
        return r;
}

void settings_free(struct service *svc) {
        alloc_free(svc->settings.rows);
        svc->settings = (struct settings){ 0 };
}
