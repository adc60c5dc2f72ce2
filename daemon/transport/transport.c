#include "transport/transport.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "transport/internal.h"

/* The loop itself, and what the service asks of it. */

#define SOON_S 0.01

/* Operations, docs/security.md has the bound that follows: what a round gives each user, and after what the loop looks
 * anew who is ready. One packet may go beyond either. */
#define QUANTUM  32
#define TURN_OPS 128

/* ---- hooks ---- */

static void on_reply(void *userdata, struct session *s, const void *bytes, size_t size, struct fdlist *fds) {
        struct conn *c = session_connection(s);

        if (c)
                conn_reply(c, bytes, size, fds);
}

static bool on_event(void *userdata, struct session *s, const void *bytes, size_t size) {
        struct conn *c = session_connection(s);

        return c && conn_event(c, bytes, size);
}

static void on_session_gone(void *userdata, struct session *s) {
        struct transport *t = userdata;
        struct conn *c = session_connection(s);

        if (!c)
                return;
        service_commit(t->svc);
        conn_free(c);
}

static void partition_path(const struct transport *t, const struct partition *p, char *path, size_t size, bool socket) {
        snprintf(path, size, "%s/p/%s%s", t->options.runtime_dir, partition_name(p), socket ? "/svmd.sock" : "");
}

static int on_partition_up(void *userdata, struct partition *p) {
        struct transport *t = userdata;
        struct listener *l;
        char path[512];
        int r;

        partition_path(t, p, path, sizeof(path), false);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return -errno;
        partition_path(t, p, path, sizeof(path), true);
        r = listener_new(t, path, 0666, false, p, &l);
        if (r == 0) {
                partition_set_listener(p, l);
                listener_watch(l);
        }
        return r;
}

static void on_partition_down(void *userdata, struct partition *p) {
        struct transport *t = userdata;
        struct listener *l = partition_listener(p);
        char path[512];

        if (!l)
                return;
        listener_free(l, t->keep_sockets);
        partition_set_listener(p, NULL);
        if (t->keep_sockets)
                return;
        partition_path(t, p, path, sizeof(path), false);
        rmdir(path);
}

static int on_keep(void *userdata, uint64_t key, int fd) {
        struct transport *t = userdata;

        return t->options.keep(t->options.userdata, key, fd);
}

static void on_unkeep(void *userdata, uint64_t key) {
        struct transport *t = userdata;

        t->options.unkeep(t->options.userdata, key);
}

static int on_keep_session(void *userdata, struct session *s) {
        struct transport *t = userdata;
        struct conn *c = session_connection(s);

        return t->options.keep(t->options.userdata, KEEP_KEY(KEEP_SESSION, session_id(s)), conn_fd(c));
}

static int on_kill(void *userdata, struct session *s) {
        struct conn *c = session_connection(s);

        return c ? peer_kill(conn_fd(c)) : -ESRCH;
}

static void on_flush(void *userdata) {
        struct transport *t = userdata;

        while (!list_empty(&t->dirty))
                conn_flush(container_of(t->dirty.next, struct conn, dirty));
}

static void on_wake(void *userdata) {
        struct transport *t = userdata;

        ev_async_send(t->loop, &t->wake);
}

static void on_wake_soon(void *userdata) {
        struct transport *t = userdata;

        if (ev_is_active(&t->soon))
                return;
        ev_timer_set(&t->soon, SOON_S, 0);
        ev_timer_start(t->loop, &t->soon);
}

static void on_wake_in(void *userdata, uint64_t ms) {
        struct transport *t = userdata;

        ev_now_update(t->loop);
        /* Several ask, and whoever is early asks again. */
        if (ev_is_active(&t->later) && ev_timer_remaining(t->loop, &t->later) * 1000 <= (double)ms)
                return;
        ev_timer_stop(t->loop, &t->later);
        ev_timer_set(&t->later, (double)ms / 1000, 0);
        ev_timer_start(t->loop, &t->later);
}

static int on_upgrade_check(void *userdata, const char *binary, bool keeper, char *why, size_t why_size) {
        struct transport *t = userdata;

        return t->options.upgrade_check(t->options.userdata, binary, keeper, why, why_size);
}

static int on_upgrade(void *userdata, const char *binary, bool keeper, char *why, size_t why_size) {
        struct transport *t = userdata;
        int r = t->options.upgrade(t->options.userdata, binary, keeper, why, why_size);

        if (r == 0)
                t->outcome = TRANSPORT_E_UPGRADE;
        return r;
}

static int on_reload_read(void *userdata, void **ret, char *why, size_t why_size) {
        struct transport *t = userdata;

        return t->options.reload_read(t->options.userdata, ret, why, why_size);
}

static int on_reload(void *userdata, void *read, struct service_reloaded *ret) {
        struct transport *t = userdata;

        return t->options.reload(t->options.userdata, read, ret);
}

void transport_hooks(struct transport *t, struct service_hooks *hooks) {
        *hooks = (struct service_hooks){
                .userdata = t,
                .reply = on_reply,
                .event = on_event,
                .session_gone = on_session_gone,
                .partition_up = on_partition_up,
                .partition_down = on_partition_down,
                .keep = on_keep,
                .unkeep = on_unkeep,
                .keep_session = on_keep_session,
                .kill = on_kill,
                .flush = on_flush,
                .wake = on_wake,
                .wake_soon = on_wake_soon,
                .wake_in = on_wake_in,
                .upgrade_check = on_upgrade_check,
                .upgrade = on_upgrade,
                .reload_read = on_reload_read,
                .reload = on_reload,
        };
}

/* ---- the loop ---- */

static void on_async(struct ev_loop *loop, ev_async *async, int events) {
        struct transport *t = container_of(async, struct transport, wake);

        service_collect(t->svc);
}

static void on_soon(struct ev_loop *loop, ev_timer *timer, int events) {
        struct transport *t = container_of(timer, struct transport, soon);

        service_collect(t->svc);
}

static void on_beat(struct ev_loop *loop, ev_timer *timer, int events) {
        struct transport *t = container_of(timer, struct transport, beat);

        t->options.beat(t->options.userdata);
}

static void on_later(struct ev_loop *loop, ev_timer *timer, int events) {
        struct transport *t = container_of(timer, struct transport, later);

        service_collect(t->svc);
}

/* What was served becomes part of the journal, then its replies leave. */
static void finish(struct transport *t) {
        service_commit(t->svc);
        t->options.before_sleep(t->options.userdata);
        on_flush(t);
}

/* A turn: after the events that the loop has found, in rounds. Between two of them replies leave, and who was served
 * may be served again; after the last one on_prepare() sees to that. */
static void on_serve(struct ev_loop *loop, ev_check *check, int events) {
        struct transport *t = container_of(check, struct transport, serve);
        unsigned cost = 0;

        turns_begin(&t->turns);
        while (cost < TURN_OPS && t->outcome != TRANSPORT_E_UPGRADE) {
                struct turns_member *m = turns_next(&t->turns);

                if (m) {
                        cost += conn_serve(container_of(m, struct conn, member));
                        continue;
                }
                if (!turns_round(&t->turns))
                        return;
                if (!list_empty(&t->dirty))
                        finish(t);
        }
}

/* Before the loop sleeps. */
static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events) {
        struct transport *t = container_of(prepare, struct transport, flush);

        finish(t);
        if (t->outcome == TRANSPORT_E_UPGRADE)
                ev_break(loop, EVBREAK_ALL);
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events) {
        struct transport *t = ev_userdata(loop);

        t->outcome = signal->signum == SIGINT ? TRANSPORT_E_END : TRANSPORT_E_KEEP;
        ev_break(loop, EVBREAK_ALL);
}

static void on_hangup(struct ev_loop *loop, ev_signal *signal, int events) {
        struct transport *t = ev_userdata(loop);

        service_reload(t->svc);
}

static void on_watch(struct ev_loop *loop, ev_io *io, int events) {
        struct watch *w = container_of(io, struct watch, io);

        w->fn(w->userdata);
}

int transport_new(struct transport **ret, const struct transport_options *options) {
        struct transport *t = alloc_zero(sizeof(*t));
        char path[512];

        if (!t)
                return -ENOMEM;
        t->options = *options;
        list_init(&t->conns);
        list_init(&t->dirty);
        list_init(&t->listeners);
        turns_init(&t->turns, QUANTUM);
        t->queued = (struct queued){
                .most = options->queued_most, .exempt = geteuid(), .wake = conn_wake, .name = conn_name
        };
        t->buffer = alloc_zero(SVMD_PACKET_MAX);
        t->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
        if (!t->buffer || !t->loop) {
                transport_free(t, true);
                return -ENOMEM;
        }
        ev_set_userdata(t->loop, t);
        snprintf(path, sizeof(path), "%s/p", options->runtime_dir);
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
                int r = -errno;

                transport_free(t, true);
                return r;
        }
        ev_async_init(&t->wake, on_async);
        ev_timer_init(&t->soon, on_soon, SOON_S, 0);
        ev_timer_init(&t->later, on_later, SOON_S, 0);
        ev_timer_init(&t->beat, on_beat, (double)options->beat_ms / 1000, (double)options->beat_ms / 1000);
        ev_prepare_init(&t->flush, on_prepare);
        ev_check_init(&t->serve, on_serve);
        ev_set_priority(&t->serve, EV_MINPRI); /* behind everything that the loop has found */
        ev_async_start(t->loop, &t->wake);
        *ret = t;
        return 0;
}

void transport_set_kept(struct transport *t, struct service_kept *kept, size_t count) {
        t->kept = kept;
        t->kept_count = count;
}

static int resume_session(void *userdata, struct session *s) {
        struct transport *t = userdata;

        for (size_t i = 0; i < t->kept_count; i++) {
                struct conn *c;

                if (t->kept[i].key != KEEP_KEY(KEEP_SESSION, session_id(s)) || t->kept[i].fd < 0)
                        continue;
                c = conn_resume(t, t->kept[i].fd, s);
                if (!c)
                        return -ENOMEM;
                t->kept[i].fd = -1;
                service_session_resumed(t->svc, s, c);
                return 0;
        }
        return 0;
}

static void close_leftovers(struct transport *t) {
        for (size_t i = 0; i < t->kept_count; i++) {
                if (t->kept[i].fd < 0)
                        continue;
                close(t->kept[i].fd);
                t->kept[i].fd = -1;
                t->options.unkeep(t->options.userdata, t->kept[i].key);
        }
        t->kept = NULL;
        t->kept_count = 0;
}

static int open_sockets(struct transport *t, char *why, size_t why_size) {
        struct listener *l;
        char path[512];
        int r;

        snprintf(path, sizeof(path), "%s/svmd.sock", t->options.runtime_dir);
        r = listener_new(t, path, 0666, false, NULL, &l);
        if (r == 0) {
                snprintf(path, sizeof(path), "%s/admin.sock", t->options.runtime_dir);
                r = listener_new(t, path, 0660, true, NULL, &l);
        }
        if (r == 0 && t->options.admin_gid != (gid_t)-1 && chown(path, (uid_t)-1, t->options.admin_gid) < 0)
                log_warning("%s cannot be given to its group: %s; only root and svmd's own user administer", path,
                            strerror(errno));
        if (r < 0)
                snprintf(why, why_size, "%s cannot be opened: %s", path, strerror(-r));
        return r;
}

int transport_start(struct transport *t, struct service *svc, char *why, size_t why_size) {
        int r;

        t->svc = svc;
        r = open_sockets(t, why, why_size);
        if (r < 0)
                return r;
        r = service_each_session(svc, resume_session, t);
        if (r < 0) {
                snprintf(why, why_size, "sessions cannot be resumed: %s", strerror(-r));
                return r;
        }
        close_leftovers(t);
        list_for_each (l, &t->listeners)
                listener_start(container_of(l, struct listener, link));
        ev_prepare_start(t->loop, &t->flush);
        ev_check_start(t->loop, &t->serve);
        if (t->options.beat_ms)
                ev_timer_start(t->loop, &t->beat);
        ev_signal_init(&t->term, on_signal, SIGTERM);
        ev_signal_init(&t->interrupt, on_signal, SIGINT);
        ev_signal_start(t->loop, &t->term);
        ev_signal_start(t->loop, &t->interrupt);
        ev_signal_init(&t->hangup, on_hangup, SIGHUP);
        ev_signal_start(t->loop, &t->hangup);
        return 0;
}

int transport_run(struct transport *t) {
        t->outcome = TRANSPORT_E_KEEP;
        t->keep_sockets = false; /* an upgrade that did not begin had set it */
        ev_run(t->loop, 0);
        t->keep_sockets = t->outcome != TRANSPORT_E_END;
        return t->outcome;
}

void transport_watch(struct transport *t, enum transport_watched what, int fd, void (*fn)(void *userdata),
                     void *userdata) {
        struct watch *w = &t->watches[what];

        w->fn = fn;
        w->userdata = userdata;
        ev_io_init(&w->io, on_watch, fd, EV_READ);
        ev_io_start(t->loop, &w->io);
}

void transport_unwatch(struct transport *t, enum transport_watched what) {
        if (t->watches[what].fn)
                ev_io_stop(t->loop, &t->watches[what].io);
}

void transport_free(struct transport *t, bool keep_sockets) {
        if (!t)
                return;
        list_for_each_safe (l, &t->listeners)
                listener_free(container_of(l, struct listener, link), keep_sockets);
        if (t->loop)
                ev_loop_destroy(t->loop);
        turns_fini(&t->turns);
        alloc_free(t->buffer);
        alloc_free(t);
}
