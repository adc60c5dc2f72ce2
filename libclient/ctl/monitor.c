#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "suggest.h"
#include "verbs.h"

static volatile sig_atomic_t interrupted;

/* Why svmd moves pages. */
static const char *const known_causes[] = { "fault",  "device", "prefetch", "eviction", "request",
                                            "advice", "drain",  "revoke",   "restart" };
enum { CAUSES = sizeof(known_causes) / sizeof(known_causes[0]) };

struct monitor {
        struct ctl *ctl;
        struct node_rows nodes;
        uint64_t seen, most;   /* events; most 0: no bound */
        const char *partition; /* NULL: of all, and of none */
        unsigned causes;       /* bit per known cause; 0: also what is no move */
};

static void on_interrupt(int signal) {
        interrupted = 1;
}

/* No SA_RESTART: the poll has to end. */
static void catch_interrupts(void) {
        struct sigaction action = { .sa_handler = on_interrupt };

        interrupted = 0;
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

static bool is_move(const struct svmd_event *e) {
        return e->cause && *e->cause;
}

static const char *node_name(const struct monitor *m, svmd_node node) {
        return node == SVMD_NODE_NONE ? NULL : rows_node_name(m->ctl, &m->nodes, node);
}

static void event_json(const struct monitor *m, const struct svmd_event *e) {
        struct json_object *o = json_object_new_object();
        bool move = is_move(e);

        json_add_text(o, "event", e->what);
        json_add_count(o, "time_ns", e->time_ns);
        json_add_text(o, "partition", e->partition);
        json_add(o, "session", e->session ? json_object_new_uint64(e->session) : NULL);
        json_add(o, "pid", e->pid ? json_object_new_uint64(e->pid) : NULL);
        json_add_text(o, "text", e->text);
        if (move)
                json_add_address(o, "address", (uint64_t)(uintptr_t)e->address);
        else
                json_add(o, "address", NULL);
        json_add(o, "length", move ? json_object_new_uint64(e->length) : NULL);
        json_add_text(o, "from", move ? node_name(m, e->from) : NULL);
        json_add_text(o, "to", move ? node_name(m, e->to) : NULL);
        json_add_text(o, "cause", move ? e->cause : NULL);
        json_print_line(m->ctl, o);
}

/* The sentence that svmd writes says the same at length. */
static void move_text(const struct monitor *m, const struct svmd_event *e) {
        const char *from = node_name(m, e->from), *to = node_name(m, e->to);
        struct ctl *c = m->ctl;

        fprintf(c->out, "  %s at %s  %s -> %s  %s", ctl_size(c, e->length),
                ctl_address(c, (uint64_t)(uintptr_t)e->address), from ? from : "zero", to ? to : "zero", e->cause);
}

static void other_text(const struct monitor *m, const struct svmd_event *e) {
        struct ctl *c = m->ctl;

        if (e->session)
                fprintf(c->out, "  session %llu", (unsigned long long)e->session);
        if (e->pid)
                fprintf(c->out, "  process %u", e->pid);
        if (*e->text)
                fprintf(c->out, "  %s", e->text);
}

static void event_text(const struct monitor *m, const struct svmd_event *e) {
        struct ctl *c = m->ctl;
        time_t seconds = (time_t)(e->time_ns / 1000000000ull);
        char clock[16] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        fprintf(c->out, "%s.%03u  %-16s", clock, (unsigned)(e->time_ns / 1000000 % 1000), e->what);
        if (*e->partition)
                fprintf(c->out, "  partition %s", e->partition);
        (is_move(e) ? move_text : other_text)(m, e);
        fputc('\n', c->out);
}

static bool is_wanted(const struct monitor *m, const struct svmd_event *e) {
        bool wanted = m->causes == 0;

        for (size_t i = 0; i < CAUSES && is_move(e); i++)
                wanted |= (m->causes & BIT(i)) && strcmp(known_causes[i], e->cause) == 0;
        return wanted && (!m->partition || strcmp(m->partition, e->partition) == 0);
}

/* Events that were lost are told in the stream itself, and counted as one. */
static void on_event(svmd_session *s, const struct svmd_event *event, void *userdata) {
        struct monitor *m = userdata;
        struct svmd_event shown = *event;
        void *mark = obstack_alloc(&m->ctl->pool, 0);
        char text[64];

        if (m->most && m->seen == m->most)
                return;
        if (event->type == SVMD_EVENT_DROPPED) {
                snprintf(text, sizeof(text), "%llu events came too fast and are lost",
                         (unsigned long long)event->generation);
                shown.what = "dropped";
                shown.text = text;
        } else if (event->type == SVMD_EVENT_EPOCH) {
                shown.what = "epoch";
                shown.text = "another svmd took over";
        } else if (event->type != SVMD_EVENT_MONITOR || !is_wanted(m, event)) {
                return;
        }
        if (shown.time_ns == 0) {
                struct timespec ts;

                clock_gettime(CLOCK_REALTIME, &ts);
                shown.time_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
        }
        m->seen++;
        (m->ctl->json ? event_json : event_text)(m, &shown);
        fflush(m->ctl->out);
        obstack_free(&m->ctl->pool, mark);
}

/* Waits for something to dispatch. False when the time is over or the person interrupts. */
static bool wait_readable(svmd_session *s, uint64_t deadline) {
        struct pollfd fd = { .fd = svmd_event_fd(s), .events = POLLIN };
        sigset_t blocked, old;
        struct timespec left;
        uint64_t now = ctl_now_ns();
        int r;

        if (now >= deadline)
                return false;
        left.tv_sec = (time_t)((deadline - now) / 1000000000ull);
        left.tv_nsec = (long)((deadline - now) % 1000000000ull);
        /* A signal between the test and ppoll() stays pending until ppoll() lets it in. */
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGINT);
        sigaddset(&blocked, SIGTERM);
        sigprocmask(SIG_BLOCK, &blocked, &old);
        r = interrupted ? -1 : ppoll(&fd, 1, deadline == UINT64_MAX ? NULL : &left, &old);
        sigprocmask(SIG_SETMASK, &old, NULL);
        return r > 0 || (r < 0 && !interrupted && errno == EINTR);
}

static int cause_add(struct ctl *c, struct monitor *m, const char *cause) {
        const char *near, *all = "";

        for (size_t i = 0; i < CAUSES; i++) {
                if (strcmp(known_causes[i], cause) == 0) {
                        m->causes |= BIT(i);
                        return EXIT_OK;
                }
                all = ctl_text(c, "%s%s%s", all, *all ? ", " : "", known_causes[i]);
        }
        near = suggest(cause, known_causes, CAUSES);
        if (near)
                return ctl_fail(c, EXIT_USAGE, "--cause '%s': did you mean '%s'?", cause, near);
        return ctl_fail(c, EXIT_USAGE, "--cause '%s': expected some of %s, with commas between", cause, all);
}

static int causes_parse(struct ctl *c, struct monitor *m, const char *text) {
        char *rest = text ? ctl_copy(c, text) : NULL, *cause;
        int r = EXIT_OK;

        while (r == EXIT_OK && (cause = strsep(&rest, ",")))
                r = cause_add(c, m, cause);
        return r;
}

/* One that is created later is waited for, but a slip should be seen. */
static int look_for_partition(struct ctl *c, const char *name) {
        struct partition_rows partitions = { 0 };
        int r = name ? rows_partitions(c, name, &partitions) : SVMD_OK;

        if (r != SVMD_OK && r != SVMD_E_NO_SUCH)
                return r;
        if (name && partitions.count == 0)
                fprintf(c->err, "svmd-ctl: there is no partition '%s' yet\n", name);
        return SVMD_OK;
}

int monitor_run(struct ctl *c, const struct args *a) {
        struct monitor m = { .ctl = c, .partition = a->value[OPT_PARTITION] };
        uint64_t timeout = UINT64_MAX, deadline;
        int r = args_count(c, a, OPT_COUNT, 1, UINT64_MAX - 1, &m.most);

        if (r == EXIT_OK)
                r = args_seconds(c, a, OPT_TIMEOUT, &timeout);
        if (r == EXIT_OK)
                r = causes_parse(c, &m, a->value[OPT_CAUSE]);
        if (r == EXIT_OK)
                r = ctl_result(c, look_for_partition(c, m.partition));
        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &m.nodes));
        if (r != EXIT_OK)
                return r;
        deadline = timeout == UINT64_MAX ? UINT64_MAX : ctl_now_ns() + timeout;
        catch_interrupts();
        r = svmd_set_event_handler(c->session, on_event, &m);
        if (r == SVMD_OK)
                r = svmd_monitor(c->session, 1);
        while (r == SVMD_OK && (m.most == 0 || m.seen < m.most)) {
                if (!wait_readable(c->session, deadline))
                        break;
                r = svmd_dispatch(c->session);
        }
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (m.most && m.seen < m.most && !interrupted)
                return ctl_fail(c, EXIT_TIMEOUT, "the time is over: %llu of %llu events came",
                                (unsigned long long)m.seen, (unsigned long long)m.most);
        return EXIT_OK;
}
