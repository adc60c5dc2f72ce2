#include "error.h"
#include "query.h"
#include "wire.h"

/* What svmd goes by: set, shown, and read again. */

static int change(svmd_session *s, Svmd__V1__SettingChange *m, unsigned kind, const char *name, const char *other) {
        Svmd__V1__Policy body = SVMD__V1__POLICY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        m->kind = (Svmd__V1__SettingKind)kind;
        if (name)
                m->name = (char *)name;
        if (other)
                m->other = (char *)other;
        body.change = m;
        op.op_case = SVMD__V1__OP__OP_POLICY;
        op.policy = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

int svmd_policy_set(svmd_session *s, unsigned kind, const char *name, const char *other, const char *profile,
                    uint64_t rate) {
        Svmd__V1__SettingChange m = SVMD__V1__SETTING_CHANGE__INIT;

        if (profile)
                m.profile = (char *)profile;
        m.rate = rate;
        return change(s, &m, kind, name, other);
}

int svmd_policy_unset(svmd_session *s, unsigned kind, const char *name, const char *other) {
        Svmd__V1__SettingChange m = SVMD__V1__SETTING_CHANGE__INIT;

        m.back = true;
        return change(s, &m, kind, name, other);
}

static int setting_row(struct walk *w, const void *data) {
        const Svmd__V1__Setting *m = data;
        const struct svmd_setting_row row = {
                .kind = (unsigned)m->kind,
                .name = m->name,
                .other = m->other,
                .profile = m->profile,
                .rate = m->rate,
                .set = m->set,
                .set_ns = m->set_ns,
                .uid = m->uid,
        };

        w->op.policy->from++;
        return w->fn.setting(&row, w->userdata);
}

int svmd_query_policy(svmd_session *s, svmd_setting_fn fn, void *userdata) {
        Svmd__V1__Policy body = SVMD__V1__POLICY__INIT;
        struct walk w;

        walk_begin(&w, SVMD__V1__OP__OP_POLICY, &body, setting_row, userdata);
        w.fn.setting = fn;
        return walk_run(s, &w);
}

static int tell(const Svmd__V1__ReloadResult *m, svmd_reload_fn fn, void *userdata) {
        int r = 0;

        for (size_t i = 0; !r && i < m->n_changed; i++)
                r = fn(m->changed[i], 0, userdata);
        for (size_t i = 0; !r && i < m->n_restart; i++)
                r = fn(m->restart[i], 1, userdata);
        return r;
}

int svmd_reload(svmd_session *s, svmd_reload_fn fn, void *userdata) {
        Svmd__V1__Reload body = SVMD__V1__RELOAD__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        op.op_case = SVMD__V1__OP__OP_RELOAD;
        op.reload = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (fn && result->detail_case == SVMD__V1__RESULT__DETAIL_RELOAD)
                r = tell(result->reload, fn, userdata);
        call_put(s, c);
        return session_leave(s, r);
}
