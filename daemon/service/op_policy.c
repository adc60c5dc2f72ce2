#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/rates.h"

/* What decides where pages go, and how much may move: set over the configuration, and shown. */
#define RATE_MAX (1ull << 60)

enum { ROWS = 64 };

static const enum setting_kind kinds[] = {
        [SVMD__V1__SETTING_KIND__SETTING_POLICY] = SETTING_POLICY,
        [SVMD__V1__SETTING_KIND__SETTING_PARTITION_POLICY] = SETTING_PARTITION_POLICY,
        [SVMD__V1__SETTING_KIND__SETTING_PARTITION_RATE] = SETTING_PARTITION_RATE,
        [SVMD__V1__SETTING_KIND__SETTING_LINK_RATE] = SETTING_LINK_RATE,
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* KINDS: one that the configuration alone has, and no message. */
static unsigned number_of(enum setting_kind kind) {
        unsigned i = 0;

        while (i < KINDS && kinds[i] != kind)
                i++;
        return i;
}

static bool has_profile(const struct setting *s) {
        return s->kind == SETTING_POLICY || s->kind == SETTING_PARTITION_POLICY;
}

/* ---- a change ---- */

static int check_node(struct call *c, const char *name) {
        if (strcmp(name, "*") == 0 || machine_find(c->svc->options.machine, name))
                return 0;
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %.40s; svmd-ctl node list shows them", name);
}

static int check_link(struct call *c, const Svmd__V1__SettingChange *m) {
        int r = 0;

        if (strcmp(m->name, m->other) == 0 && strcmp(m->name, "*") != 0)
                return refuse(c, SVMD_STATUS_INVALID, "a link is between two nodes, not of %.40s to itself", m->name);
        if (strlen(m->name) > NODE_NAME_MAX || strlen(m->other) > NODE_NAME_MAX)
                return refuse(c, SVMD_STATUS_NO_NODE, "the name of a node has %d bytes at most", NODE_NAME_MAX);
        if (!m->back) {
                r = check_node(c, m->name);
                if (r == 0)
                        r = check_node(c, m->other);
        }
        return r;
}

static int check_partition(struct call *c, const Svmd__V1__SettingChange *m) {
        if (strlen(m->name) > SETTING_NAME_MAX ||
            (!m->back && strcmp(m->name, "*") != 0 && !partition_find(&c->svc->state, m->name)))
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "there is no partition %.80s; svmd-ctl partition list shows them, and * is each of them",
                              m->name);
        return 0;
}

static int check_name(struct call *c, const Svmd__V1__SettingChange *m) {
        enum setting_kind kind = kinds[m->kind];

        if (kind == SETTING_LINK_RATE)
                return check_link(c, m);
        if (m->other[0] || (kind == SETTING_POLICY && m->name[0]))
                return refuse(c, SVMD_STATUS_INVALID, "%.80s is given, where nothing is to be named",
                              m->other[0] ? m->other : m->name);
        return kind == SETTING_POLICY ? 0 : check_partition(c, m);
}

static int take_value(struct call *c, const Svmd__V1__SettingChange *m, struct setting *s) {
        if (m->back)
                return 0;
        if (!has_profile(s)) {
                s->rate = m->rate;
                if (m->rate <= RATE_MAX)
                        return 0;
                return refuse(c, SVMD_STATUS_INVALID,
                              "%" PRIu64 " bytes a second are more than can be counted; 0 is no cap", m->rate);
        }
        s->profile = (struct policy_profile *)policy_profile_find(m->profile);
        if (s->profile)
                return 0;
        return refuse(
                c, SVMD_STATUS_INVALID,
                "there is no policy %.40s: expected balanced, throughput, latency or pinned; one of a file is set "
                "in svmd.conf",
                m->profile);
}

static int refuse_setting(struct call *c, int r) {
        switch (r) {
        case SETTINGS_E_NONE:
                return refuse(c, SVMD_STATUS_NO_SUCH, "that is not set; svmd-ctl policy show lists what is");
        case SETTINGS_E_FULL:
                return refuse(c, SVMD_STATUS_QUOTA, "%d things are set, which is all that can be; take some back",
                              SETTINGS_MAX);
        default: return r;
        }
}

static int change(struct call *c, const Svmd__V1__SettingChange *m) {
        struct settings_row row = { .set_ns = clock_ns(CLOCK_REALTIME), .uid = c->session->who.uid };
        struct effect_setting e;
        int r;

        if ((unsigned)m->kind >= KINDS)
                return refuse(c, SVMD_STATUS_INVALID, "%d is nothing that can be set: 0 to %d are", (int)m->kind,
                              KINDS - 1);
        row.setting.kind = kinds[m->kind];
        r = check_name(c, m);
        if (r == 0)
                r = take_value(c, m, &row.setting);
        if (r != 0)
                return r;
        text_copy(row.setting.name, m->name);
        text_copy(row.setting.other, m->other);
        r = m->back ? settings_back(c->svc, &row.setting) : settings_set(c->svc, &row);
        if (r != 0)
                return refuse_setting(c, r);
        e = effect_of_setting(&row, m->back);
        tx_effect(c->tx, EFFECT_SETTING, &e, sizeof(e));
        return 0;
}

/* ---- the list ---- */

static int add_row(struct call *c, Svmd__V1__PolicyResult *result, const struct setting *s,
                   const struct settings_row *set) {
        Svmd__V1__Setting *row = call_take(c, sizeof(*row));

        if (!row)
                return -ENOMEM;
        svmd__v1__setting__init(row);
        row->kind = (Svmd__V1__SettingKind)number_of(s->kind);
        row->name = call_string(c, s->name);
        row->other = call_string(c, s->other);
        row->rate = s->rate;
        if (s->profile)
                row->profile = call_string(c, s->profile->name);
        row->set = set != NULL;
        row->set_ns = set ? set->set_ns : 0;
        row->uid = set ? set->uid : 0;
        result->settings[result->n_settings++] = row;
        return 0;
}

/* A page of the list that is walked: rows from `from` on, as many as have a place. */
struct page {
        struct call *call;
        Svmd__V1__PolicyResult *result;
        uint32_t from, at;
};

static int pass(struct page *p, const struct setting *s, const struct settings_row *set) {
        if (number_of(s->kind) == KINDS || p->at++ < p->from)
                return 0;
        if (p->result->n_settings < ROWS)
                return add_row(p->call, p->result, s, set);
        p->call->result->more = true;
        return 0;
}

/* The machine's own, of the configuration; the rest of that; and what was set. */
static int pass_all(struct page *p) {
        const struct service_options *o = &p->call->svc->options;
        const struct settings *set = &p->call->svc->settings;
        const struct setting machine = { .kind = SETTING_POLICY, .profile = (struct policy_profile *)o->policy };
        int r = pass(p, &machine, NULL);

        for (uint32_t i = 0; r == 0 && i < o->settings_count; i++)
                r = pass(p, &o->settings[i], NULL);
        for (uint32_t i = 0; r == 0 && i < set->count; i++)
                r = pass(p, &set->rows[i].setting, &set->rows[i]);
        return r;
}

static int list(struct call *c, uint32_t from) {
        struct page p = { .call = c, .result = call_take(c, sizeof(*p.result)), .from = from };

        if (!p.result)
                return -ENOMEM;
        svmd__v1__policy_result__init(p.result);
        p.result->settings = call_take(c, ROWS * sizeof(*p.result->settings));
        if (!p.result->settings)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_POLICY;
        c->result->policy = p.result;
        return pass_all(&p);
}

int op_policy(struct call *c) {
        const Svmd__V1__Policy *m = c->op->policy;

        return m->change ? change(c, m->change) : list(c, m->from);
}
