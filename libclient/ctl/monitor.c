#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "verbs.h"

static volatile sig_atomic_t interrupted;

struct monitor {
        struct ctl *ctl;
        uint64_t seen, most; /* events; most 0: no bound */
};

static uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

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

static void event_json(struct ctl *c, const struct svmd_event *e) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "event", e->what);
        json_add_count(o, "time_ns", e->time_ns);
        json_add_text(o, "partition", e->partition);
        json_add(o, "session", e->session ? json_object_new_uint64(e->session) : NULL);
        json_add(o, "pid", e->pid ? json_object_new_uint64(e->pid) : NULL);
        json_add_text(o, "text", e->text);
        json_print_line(c, o);
}

static void event_text(struct ctl *c, const struct svmd_event *e) {
        time_t seconds = (time_t)(e->time_ns / 1000000000ull);
        char clock[16] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        fprintf(c->out, "%s.%03u  %-16s", clock, (unsigned)(e->time_ns / 1000000 % 1000), e->what);
        if (*e->partition)
                fprintf(c->out, "  partition %s", e->partition);
        if (e->session)
                fprintf(c->out, "  session %llu", (unsigned long long)e->session);
        if (e->pid)
                fprintf(c->out, "  process %u", e->pid);
        if (*e->text)
                fprintf(c->out, "  %s", e->text);
        fputc('\n', c->out);
}

/* Events that were lost are told in the stream itself, and counted as one. */
static void on_event(svmd_session *s, const struct svmd_event *event, void *userdata) {
        struct monitor *m = userdata;
        struct svmd_event shown = *event;
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
        } else if (event->type != SVMD_EVENT_MONITOR) {
                return;
        }
        if (shown.time_ns == 0) {
                struct timespec ts;

                clock_gettime(CLOCK_REALTIME, &ts);
                shown.time_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
        }
        m->seen++;
        (m->ctl->json ? event_json : event_text)(m->ctl, &shown);
        fflush(m->ctl->out);
}

/* Waits for something to dispatch. False when the time is over or the person interrupts. */
static bool wait_readable(svmd_session *s, uint64_t deadline) {
        struct pollfd fd = { .fd = svmd_event_fd(s), .events = POLLIN };
        sigset_t blocked, old;
        struct timespec left;
        uint64_t now = now_ns();
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

int monitor_run(struct ctl *c, const struct args *a) {
        struct monitor m = { .ctl = c };
        uint64_t timeout = UINT64_MAX, deadline;
        int r = args_count(c, a, OPT_COUNT, 1, UINT64_MAX - 1, &m.most);

        if (r == EXIT_OK)
                r = args_seconds(c, a, OPT_TIMEOUT, &timeout);
        if (r != EXIT_OK)
                return r;
        deadline = timeout == UINT64_MAX ? UINT64_MAX : now_ns() + timeout;
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
