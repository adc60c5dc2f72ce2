#include "fake.h"

#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verbs.h"

struct fake fake;
char *run_out, *run_err;

static int event_pipe[2] = { -1, -1 };
static svmd_event_fn event_handler;
static void *event_userdata;

void fake_reset(void) {
        fake = (struct fake){ .admin = 1, .error = "no sentence" };
        for (int i = 0; i < 2; i++) {
                if (event_pipe[i] >= 0)
                        close(event_pipe[i]);
        }
        if (pipe(event_pipe) != 0 || write(event_pipe[1], "", 1) != 1)
                abort();
}

/* Takes a line apart, in place. */
static int split(char *at, char **words) {
        int count = 0;

        words[count++] = (char *)"svmd-ctl";
        while (*at) {
                char end = *at == '\'' ? '\'' : ' ';

                at += end == '\'';
                words[count++] = at;
                at += strcspn(at, (char[]){ end, '\0' });
                while (*at == end || *at == ' ')
                        *at++ = '\0';
        }
        return count;
}

/* What is written as JSON goes to the end of the file $SVMD_CTL_JSON, too, for schema.py: the line, and what came. */
static void keep_json(const char *line, int status) {
        const char *path = getenv("SVMD_CTL_JSON");
        FILE *f = path && strstr(line, "--json") && !strstr(line, "--help") ? fopen(path, "ae") : NULL;

        if (!f)
                return;
        fprintf(f, "%d %s\n%s\x1e\n", status, line, run_out);
        fclose(f);
}

/* `err` NULL: into run_err. */
static int run_with(const char *line, FILE *err) {
        char *words[64], *copy = strdup(line);
        size_t out_size, err_size;
        FILE *out;
        int status;

        free(run_out);
        free(run_err);
        out = open_memstream(&run_out, &out_size);
        run_err = NULL;
        if (!err)
                err = open_memstream(&run_err, &err_size);
        status = verbs_main(split(copy, words), words, out, err);
        fclose(out);
        fclose(err);
        free(copy);
        keep_json(line, status);
        return status;
}

int run(const char *line) {
        return run_with(line, NULL);
}

int run_asked(const char *line, const char *answer) {
        int person, terminal, input = dup(STDIN_FILENO), status;
        ssize_t length;
        size_t at = 0;

        if (openpty(&person, &terminal, NULL, NULL, NULL) != 0 || dup2(terminal, STDIN_FILENO) < 0 ||
            write(person, answer, strlen(answer)) < 0)
                abort();
        clearerr(stdin);
        status = run_with(line, fdopen(terminal, "w"));
        run_err = calloc(1, 4096);
        if (dup2(input, STDIN_FILENO) < 0)
                abort();
        while (at < 4095 && (length = read(person, run_err + at, 4095 - at)) > 0)
                at += (size_t)length;
        close(input);
        close(person);
        return status;
}

const char *svmd_error(void) {
        return fake.error;
}

int svmd_connect(svmd_session **ret, const struct svmd_connect_options *opts) {
        int code = strstr(opts->socket, "admin.sock") ? fake.admin_code : fake.client_code;

        if (fake.connects < 2)
                snprintf(fake.connected[fake.connects], sizeof(fake.connected[0]), "%s", opts->socket);
        fake.connects++;
        if (code)
                return code;
        snprintf(fake.partition, sizeof(fake.partition), "%s", opts->partition ? opts->partition : "");
        if (opts->partition && strcmp(opts->partition, "low") == 0 && opts->window != SVMD_WINDOW_LOW)
                return SVMD_E_COLLISION;
        fake.attached = !(opts->flags & SVMD_CONNECT_NO_ATTACH);
        *ret = (svmd_session *)&fake;
        return SVMD_OK;
}

void svmd_disconnect(svmd_session *s) {
}

int svmd_session_info(svmd_session *s, struct svmd_session_info *info) {
        *info = (struct svmd_session_info){ .size = sizeof(*info), .id = 99, .admin = fake.admin };
        if (fake.attached && fake.partitions_count) {
                info->base = fake.partitions[0].base;
                info->length = fake.partitions[0].length;
                snprintf(info->partition, sizeof(info->partition), "%s", fake.partitions[0].name);
                snprintf(info->domain, sizeof(info->domain), "%s", fake.partitions[0].domain);
        }
        return SVMD_OK;
}

int svmd_query_status(svmd_session *s, struct svmd_status *ret) {
        if (fake.gone > 0) {
                fake.gone--;
                return SVMD_E_GONE;
        }
        if (fake.code == SVMD_OK)
                *ret = fake.status;
        return fake.code;
}

#define ROWS(list)                                                                                                     \
        fake.queries++;                                                                                                \
        if (fake.code)                                                                                                 \
                return fake.code;                                                                                      \
        for (size_t i = 0; i < fake.list##_count; i++)                                                                 \
                if (matches(&fake.list[i], wanted))                                                                    \
                        fn(&fake.list[i], userdata);                                                                   \
        return SVMD_OK

static int query_nodes(svmd_node_fn fn, void *userdata) {
#define matches(row, wanted) 1
        ROWS(nodes);
}

int svmd_query_nodes(svmd_session *s, svmd_node_fn fn, void *userdata) {
        const struct svmd_node_row *before = fake.nodes;
        int r;

        if (fake.done && fake.nodes_then)
                fake.nodes = fake.nodes_then;
        r = query_nodes(fn, userdata);
        fake.nodes = before;
        return r;
}

int svmd_query_limits(svmd_session *s, svmd_use_fn fn, void *userdata) {
        ROWS(use);
#undef matches
}

int svmd_query_links(svmd_session *s, svmd_node wanted, svmd_link_fn fn, void *userdata) {
#define matches(row, wanted) ((row)->from == (wanted))
        ROWS(links);
#undef matches
}

int svmd_query_findings(svmd_session *s, svmd_finding_fn fn, void *userdata) {
        for (size_t i = 0; i < fake.findings_count; i++)
                fn(fake.findings[i].id, fake.findings[i].level, fake.findings[i].text, userdata);
        return fake.code;
}

int svmd_query_partitions(svmd_session *s, const char *wanted, svmd_partition_fn fn, void *userdata) {
        if (fake.queries < fake.appear_after) {
                fake.queries++;
                return SVMD_E_NO_SUCH;
        }
#define matches(row, wanted) (!(wanted) || strcmp((row)->name, (wanted)) == 0)
        ROWS(partitions);
#undef matches
}

int svmd_query_sessions(svmd_session *s, const char *wanted, svmd_session_fn fn, void *userdata) {
#define matches(row, wanted) (!(wanted) || strcmp((row)->partition, (wanted)) == 0)
        ROWS(sessions);
}

int svmd_query_reservations(svmd_session *s, const char *wanted, svmd_reservation_fn fn, void *userdata) {
        ROWS(reservations);
}

int svmd_query_grants(svmd_session *s, const char *wanted, svmd_grant_fn fn, void *userdata) {
        ROWS(grants);
}

int svmd_query_leases(svmd_session *s, const char *wanted, svmd_lease_fn fn, void *userdata) {
        ROWS(leases);
}

int svmd_query_shares(svmd_session *s, const char *wanted, svmd_share_fn fn, void *userdata) {
        ROWS(shares);
}

int svmd_query_kept(svmd_session *s, const char *wanted, svmd_kept_fn fn, void *userdata) {
        ROWS(kept);
}

int svmd_query_metrics(svmd_session *s, svmd_metric_fn fn, void *userdata) {
#undef matches
#define matches(row, wanted) 1
        ROWS(metrics);
#undef matches
#define matches(row, wanted) (!(wanted) || strcmp((row)->partition, (wanted)) == 0)
}

int svmd_query_usage(svmd_session *s, const char *wanted, svmd_use_fn fn, void *userdata) {
        ROWS(use);
}

int svmd_query_holders(svmd_session *s, const char *wanted, svmd_holder_fn fn, void *userdata) {
        ROWS(holders);
#undef matches
}

#define matches(row, wanted) 1
static int give_history(svmd_history_fn fn, void *userdata) {
        ROWS(history);
}

int svmd_query_history(svmd_session *s, const struct svmd_history_options *o, struct svmd_history_span *ret,
                       svmd_history_fn fn, void *userdata) {
        fake.history_asked = *o;
        *ret = fake.history_span;
        return give_history(fn, userdata);
}

int svmd_query_drift(svmd_session *s, svmd_drift_fn fn, void *userdata) {
        ROWS(drift);
#undef matches
}

static void keep_options(const char *name, const struct svmd_partition_options *opts) {
        fake.options = *opts;
        fake.options.domain = NULL;
        snprintf(fake.domain, sizeof(fake.domain), "%s", opts->domain ? opts->domain : "");
        for (size_t i = 0; i < opts->limits_count && i < 8; i++)
                fake.limits[i] = opts->limits[i];
        snprintf(fake.name, sizeof(fake.name), "%s", name);
        fake.changes++;
}

int svmd_partition_create(svmd_session *s, const char *name, const struct svmd_partition_options *opts,
                          uint64_t *ret_base) {
        keep_options(name, opts);
        if (fake.code == SVMD_OK)
                *ret_base = 0x280000000000;
        return fake.code;
}

int svmd_partition_set(svmd_session *s, const char *name, const struct svmd_partition_options *opts, unsigned set) {
        keep_options(name, opts);
        fake.set = set;
        return fake.code;
}

int svmd_partition_plan(svmd_session *s, const char *name, const struct svmd_partition_options *opts, svmd_plan_fn fn,
                        void *userdata) {
        int r = 0;

        if (fake.changes > fake.plan_until)
                return 0;
        for (size_t i = 0; r == 0 && i < fake.plan_count; i++)
                r = fn(&fake.plan[i], userdata);
        return r;
}

int svmd_node_plan(svmd_session *s, svmd_node node, unsigned action, svmd_plan_fn fn, void *userdata) {
        fake.planned_action = action;
        if (fake.start_code)
                return fake.start_code;
        return svmd_partition_plan(s, "", NULL, fn, userdata);
}

static int keep_limits(const char *name, uint64_t session, const struct svmd_limit_options *opts) {
        fake.limit_options = *opts;
        fake.limited_session = session;
        for (size_t i = 0; i < opts->limits_count && i < 8; i++)
                fake.limits[i] = opts->limits[i];
        snprintf(fake.name, sizeof(fake.name), "%s", name);
        fake.changes++;
        return fake.code;
}

int svmd_session_limit(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts) {
        return keep_limits("", session, opts);
}

int svmd_cgroup_limit(svmd_session *s, const char *path, const struct svmd_limit_options *opts) {
        return keep_limits(path, 0, opts);
}

int svmd_session_plan(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                      void *userdata) {
        return svmd_partition_plan(s, "", NULL, fn, userdata);
}

int svmd_cgroup_plan(svmd_session *s, const char *path, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                     void *userdata) {
        return svmd_partition_plan(s, "", NULL, fn, userdata);
}

static int each_limited(uint64_t session, bool groups, svmd_limited_fn fn, void *userdata) {
        for (size_t i = 0; i < fake.limited_count && fake.code == SVMD_OK; i++)
                if (groups ? !fake.limited[i].session : fake.limited[i].session == session)
                        fn(&fake.limited[i], userdata);
        return fake.code;
}

int svmd_query_session(svmd_session *s, uint64_t session, svmd_limited_fn fn, void *userdata) {
        return each_limited(session, false, fn, userdata);
}

int svmd_query_cgroups(svmd_session *s, const char *path, svmd_limited_fn fn, void *userdata) {
        return each_limited(0, true, fn, userdata);
}

int svmd_partition_delete_by(svmd_session *s, const char *name, unsigned flags, uint64_t deadline_ms, int dry_run) {
        fake.deadline_ms = deadline_ms;
        snprintf(fake.name, sizeof(fake.name), "%s", name);
        fake.end_sessions = flags & SVMD_DELETE_END_SESSIONS;
        fake.drop_kept = (flags & SVMD_DELETE_DROP_KEPT) != 0;
        fake.dry_run = dry_run;
        fake.changes++;
        return fake.code;
}

int svmd_kept_remove(svmd_session *s, const char *partition, unsigned kind, const char *name) {
        snprintf(fake.partition, sizeof(fake.partition), "%s", partition ? partition : "");
        snprintf(fake.name, sizeof(fake.name), "%s", name);
        fake.kind = kind;
        fake.changes++;
        return fake.code;
}

static int share(const char *name, const char *to, unsigned access, const struct svmd_share_options *opts) {
        snprintf(fake.share_asked, sizeof(fake.share_asked), "%s %s %u %d %s", name, to, access, opts->memory,
                 opts->partition ? opts->partition : "-");
        fake.changes++;
        return fake.code;
}

int svmd_share(svmd_session *s, const char *name, const char *to, unsigned access,
               const struct svmd_share_options *opts) {
        return share(name, to, access, opts);
}

int svmd_unshare(svmd_session *s, const char *name, const char *to, const struct svmd_share_options *opts) {
        return share(name, to, 0, opts);
}

int svmd_session_kill(svmd_session *s, uint64_t session, int dry_run) {
        fake.killed = session;
        fake.dry_run = dry_run;
        fake.changes++;
        return fake.code;
}

int svmd_monitor(svmd_session *s, int on) {
        return fake.code;
}

int svmd_set_event_handler(svmd_session *s, svmd_event_fn fn, void *userdata) {
        event_handler = fn;
        event_userdata = userdata;
        return SVMD_OK;
}

/* Readable while events are left. */
int svmd_event_fd(svmd_session *s) {
        char byte;

        if (fake.events_sent == fake.events_count && read(event_pipe[0], &byte, 1) != 1)
                abort();
        return event_pipe[0];
}

int svmd_dispatch(svmd_session *s) {
        event_handler(s, &fake.events[fake.events_sent++], event_userdata);
        return SVMD_OK;
}

static void keep_asked(const char *what, const char *partition, uint64_t address, uint64_t size) {
        fake.asked = what;
        snprintf(fake.asked_partition, sizeof(fake.asked_partition), "%s", partition ? partition : "");
        fake.asked_address = address;
        fake.asked_size = size;
}

/* What svmd says of [address, address + size): rows are cut to it, as runs are. */
int svmd_query_residency(svmd_session *s, const char *partition, uint64_t address, uint64_t size, int counters,
                         svmd_residency_fn fn, void *userdata) {
        const struct svmd_residency_row *rows = fake.done ? fake.moved : fake.residency;
        size_t count = fake.done ? fake.moved_count : fake.residency_count;

        fake.queries++;
        fake.asked_counters = counters;
        for (size_t i = 0; i < count && fake.code == SVMD_OK; i++) {
                struct svmd_residency_row row = rows[i];
                uint64_t end = row.address + row.length < address + size ? row.address + row.length : address + size;

                row.address = row.address > address ? row.address : address;
                if (row.address >= end)
                        continue;
                row.length = end - row.address;
                fn(&row, userdata);
        }
        return fake.code;
}

int svmd_explain(svmd_session *s, const char *partition, uint64_t address, svmd_explain_fn fn, void *userdata) {
        keep_asked("explain", partition, address, 0);
        if (fake.code)
                return fake.code;
        return fake.explanation ? fn(fake.explanation, userdata) : SVMD_E_NO_SUCH;
}

int svmd_query_advice(svmd_session *s, const char *partition, uint64_t address, size_t size, svmd_advice_fn fn,
                      void *userdata) {
        keep_asked("advice", partition, address, size);
        for (size_t i = 0; i < fake.reports_count && fake.code == SVMD_OK; i++)
                fn(&fake.reports[i], userdata);
        return fake.code;
}

int svmd_advise_judged(svmd_session *s, const char *partition, uint64_t address, size_t size,
                       const struct svmd_advice *advice, svmd_verdict_fn fn, void *userdata, unsigned *ret_overruled) {
        keep_asked("advise", partition, address, size);
        fake.advised = *advice;
        *ret_overruled = fake.overruled;
        for (size_t i = 0; i < fake.verdicts_count && fake.code == SVMD_OK; i++)
                fn(&fake.verdicts[i], userdata);
        return fake.code;
}

int svmd_policy_set(svmd_session *s, unsigned kind, const char *name, const char *other, const char *profile,
                    uint64_t rate) {
        size_t n = strlen(fake.set_asked);

        snprintf(fake.set_asked + n, sizeof(fake.set_asked) - n, "set %u %s:%s %s %llu;", kind, name ? name : "-",
                 other ? other : "-", profile ? profile : "-", (unsigned long long)rate);
        return fake.code;
}

int svmd_policy_unset(svmd_session *s, unsigned kind, const char *name, const char *other) {
        size_t n = strlen(fake.set_asked);

        snprintf(fake.set_asked + n, sizeof(fake.set_asked) - n, "unset %u %s:%s;", kind, name ? name : "-",
                 other ? other : "-");
        return fake.code;
}

int svmd_query_policy(svmd_session *s, svmd_setting_fn fn, void *userdata) {
        for (size_t i = 0; i < fake.settings_count && fake.code == SVMD_OK; i++)
                fn(&fake.settings[i], userdata);
        return fake.code;
}

int svmd_reload(svmd_session *s, svmd_reload_fn fn, void *userdata) {
        for (unsigned i = 0; i < 4 && fake.reloaded[i] && fake.code == SVMD_OK; i++)
                fn(fake.reloaded[i], 0, userdata);
        for (unsigned i = 0; i < 4 && fake.needs_restart[i] && fake.code == SVMD_OK; i++)
                fn(fake.needs_restart[i], 1, userdata);
        return fake.code;
}

static int start(svmd_fence **ret) {
        fake.changes++;
        if (fake.start_code)
                return fake.start_code;
        fake.fences++;
        *ret = (svmd_fence *)&fake.waits;
        return SVMD_OK;
}

int svmd_partition_migrate(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size,
                           svmd_node node) {
        keep_asked("migrate", partition, address, size);
        fake.asked_node = node;
        return start(ret);
}

int svmd_partition_evict(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        keep_asked("evict", partition, address, size);
        return start(ret);
}

int svmd_partition_discard(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        keep_asked("discard", partition, address, size);
        return start(ret);
}

int svmd_partition_revoke(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, int off) {
        keep_asked("revoke", partition, address, 0);
        fake.asked_action = (unsigned)off;
        return start(ret);
}

int svmd_node_set(svmd_session *s, svmd_fence **ret, svmd_node node, unsigned action) {
        keep_asked("node", NULL, 0, 0);
        fake.asked_node = node;
        fake.asked_action = action;
        return start(ret);
}

int svmd_upgrade(svmd_session *s, const char *binary, unsigned flags) {
        snprintf(fake.binary, sizeof(fake.binary), "%s", binary ? binary : "");
        fake.upgrade_flags = flags;
        if (fake.code != SVMD_OK || flags & SVMD_UPGRADE_CHECK || !fake.upgraded)
                return fake.code;
        snprintf(fake.status.version, sizeof(fake.status.version), "%s", fake.upgraded);
        fake.status.epoch++;
        fake.gone = 2;
        return SVMD_OK;
}

int svmd_trace_start(svmd_session *s, const char *partition, unsigned flags, int fd) {
        snprintf(fake.partition, sizeof(fake.partition), "%s", partition ? partition : "");
        fake.trace_flags = flags;
        fake.trace_stopped = false;
        return fake.code;
}

int svmd_trace_stop(svmd_session *s) {
        fake.trace_stopped = true;
        return SVMD_OK;
}

int svmd_query_trace(svmd_session *s, struct svmd_trace *ret) {
        *ret = fake.trace;
        ret->ended |= fake.trace_stopped;
        return fake.trace_code;
}

int svmd_trace_close(int fd) {
        fake.trace_closed++;
        return SVMD_OK;
}

int svmd_fence_wait(svmd_fence *f, int timeout_ms, struct svmd_fence_result *ret) {
        if (fake.waits++ < fake.fence_after)
                return SVMD_E_TIMEOUT;
        fake.done = true;
        return fake.fence_code;
}

void svmd_fence_free(svmd_fence *f) {
        fake.fences -= f != NULL;
}

const char *svmd_status_name(int code) {
        return code == SVMD_OK ? "OK" : code == SVMD_E_NO_ROOM ? "NO_ROOM" : code == SVMD_E_TIMEOUT ? "TIMEOUT" : "?";
}

int svmd_partition_observe(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        return SVMD_E_INVALID; /* nothing here is private */
}
