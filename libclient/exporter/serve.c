#include "serve.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "accept.h"
#include "expose.h"
#include "need.h"
#include "page.h"

/*
 * HTTP by libmicrohttpd, in one thread: while svmd is asked nobody else is answered, and what was learnt serves whoever
 * asks within a second, so however many ask, svmd is asked once a second. An svmd that does not answer in time ends the
 * exporter (SIGALRM); the next connection starts another one.
 */
enum { LISTENERS_MAX = 8, CONNECTIONS = 32, PATIENCE_S = 10, MEMORY = 32 << 10, FRESH_MS = 1000 };

struct server {
        const struct serve_options *o;
        struct MHD_Daemon *daemons[LISTENERS_MAX];
        size_t count;
        struct scrape *scrape; /* NULL: svmd did not answer */
        double scrape_s;
        uint64_t scraped_ms; /* 0: never */
};

static uint64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The same trouble is said once. */
static void complain(const char *why) {
        static char said[512];

        if (strcmp(said, why) == 0)
                return;
        snprintf(said, sizeof(said), "%s", why);
        if (*why)
                fprintf(stderr, "svmd-exporter: %s\n", why);
}

static struct scrape *ask(const struct serve_options *o, double *ret_s) {
        uint64_t before = now_ms();
        const char *why = "";
        struct scrape *s;

        alarm(o->ask_s);
        s = scrape_take(&o->scrape, &why);
        alarm(0);
        complain(why);
        *ret_s = (double)(now_ms() - before) / 1e3;
        return s;
}

static char *page_new(const struct scrape *s, const struct page_options *o, size_t *ret_size) {
        char *text = NULL;
        FILE *out = need(open_memstream(&text, ret_size));

        page_write(out, s, o);
        if (fclose(out) != 0)
                need(NULL);
        return need(text);
}

int serve_once(const struct serve_options *o, int open_metrics) {
        struct page_options page = { .open_metrics = open_metrics != 0, .partitions = o->scrape.partitions };
        struct scrape *s = ask(o, &page.scrape_s);
        int status = s ? 0 : 1;

        page_write(stdout, s, &page);
        scrape_free(s);
        return fflush(stdout) ? 1 : status;
}

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, char *text, size_t size,
                              enum MHD_ResponseMemoryMode mode) {
        struct MHD_Response *r = MHD_create_response_from_buffer(size, text, mode);
        enum MHD_Result done;

        if (!r)
                return MHD_NO;
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        if (status == MHD_HTTP_OK)
                MHD_add_response_header(r, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT);
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        done = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
        return done;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *text) {
        return answer(c, status, "text/plain; charset=utf-8", (char *)text, strlen(text), MHD_RESPMEM_PERSISTENT);
}

static void refresh(struct server *v) {
        uint64_t now = now_ms();

        if (v->scraped_ms && now - v->scraped_ms < FRESH_MS)
                return;
        scrape_free(v->scrape);
        v->scrape = ask(v->o, &v->scrape_s);
        v->scraped_ms = now_ms();
}

static enum MHD_Result answer_metrics(struct server *v, struct MHD_Connection *c) {
        const char *wish = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
        struct page_options page = { .open_metrics = accept_open_metrics(wish), .partitions = v->o->scrape.partitions };
        size_t size;
        char *text;

        refresh(v);
        page.scrape_s = v->scrape_s;
        text = page_new(v->scrape, &page, &size);
        return answer(c, MHD_HTTP_OK, expose_content_type(page.open_metrics), text, size, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_size, void **state) {
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        if (strcmp(url, "/metrics") == 0)
                return answer_metrics(userdata, c);
        return say(c, MHD_HTTP_NOT_FOUND, "there is /metrics here, and nothing else\n");
}

/* ---- listening ---- */

static int listen_all(struct server *v) {
        for (; v->count < v->o->count && v->count < LISTENERS_MAX; v->count++) {
                v->daemons[v->count] = MHD_start_daemon(
                        MHD_USE_EPOLL, 0, NULL, NULL, on_request, v, MHD_OPTION_LISTEN_SOCKET, v->o->fds[v->count],
                        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                        (unsigned)PATIENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
                if (!v->daemons[v->count])
                        return errno ? -errno : -EIO;
        }
        return 0;
}

static bool is_busy(const struct server *v) {
        for (size_t i = 0; i < v->count; i++) {
                const union MHD_DaemonInfo *info =
                        MHD_get_daemon_info(v->daemons[i], MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

                if (info && info->num_connections)
                        return true;
        }
        return false;
}

/* Until something is to be done, at most a second. */
static int await(const struct server *v) {
        struct pollfd fds[LISTENERS_MAX];
        int wait_ms = 1000;

        for (size_t i = 0; i < v->count; i++) {
                const union MHD_DaemonInfo *info = MHD_get_daemon_info(v->daemons[i], MHD_DAEMON_INFO_EPOLL_FD);
                MHD_UNSIGNED_LONG_LONG ms;

                fds[i] = (struct pollfd){ .fd = info ? info->epoll_fd : -1, .events = POLLIN };
                if (MHD_get_timeout(v->daemons[i], &ms) == MHD_YES && ms < (unsigned)wait_ms)
                        wait_ms = (int)ms;
        }
        return poll(fds, v->count, wait_ms) < 0 && errno != EINTR ? -errno : 0;
}

static int answer_all(struct server *v) {
        uint64_t used_ms = now_ms();
        int r = 0;

        while (r == 0) {
                r = await(v);
                for (size_t i = 0; r == 0 && i < v->count; i++)
                        if (MHD_run(v->daemons[i]) != MHD_YES)
                                r = -EIO;
                if (is_busy(v))
                        used_ms = now_ms();
                if (v->o->idle_s && now_ms() - used_ms >= v->o->idle_s * 1000ull)
                        break;
        }
        return r;
}

int serve(const struct serve_options *o) {
        struct server v = { .o = o };
        int r = listen_all(&v);

        if (r == 0)
                r = answer_all(&v);
        for (size_t i = 0; i < v.count; i++) {
                MHD_quiesce_daemon(v.daemons[i]); /* who connects now is for the next exporter */
                MHD_stop_daemon(v.daemons[i]);
        }
        scrape_free(v.scrape);
        return r;
}
