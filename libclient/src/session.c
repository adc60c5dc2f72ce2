#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "adopt.h"
#include "agent/cuda.h"
#include "agent/drm.h"
#include "agent/kfd.h"
#include "error.h"
#include "event.h"
#include "fence.h"
#include "grant.h"
#include "options.h"
#include "process.h"
#include "proto/limits.h"
#include "register.h"
#include "uffd.h"
#include "va.h"
#include "wire.h"

#define DEFAULT_SOCKET "/run/svmd/svmd.sock"

int session_check(const svmd_session *s) {
        if (!s)
                return fail(SVMD_E_INVALID, "no session was given; svmd_connect() makes one");
        if (atomic_load(&s->forked))
                return fail(SVMD_E_FORKED,
                            "the session belongs to the parent process; call svmd_connect() after fork()");
        return 0;
}

int descriptor_above(int fd, unsigned from) {
        int high = fd >= 0 && (unsigned)fd < from ? fcntl(fd, F_DUPFD_CLOEXEC, (int)from) : -1;

        if (high < 0)
                return fd;
        close(fd);
        return high;
}

/* ---- the socket ---- */

static int fail_connect(const char *path, int error) {
        switch (error) {
        case ENOENT:
                return fail(SVMD_E_SYSTEM,
                            "there is no socket %s; start svmd (systemctl start svmd), or name its socket in "
                            "SVMD_SOCKET",
                            path);
        case ECONNREFUSED:
                return fail(SVMD_E_SYSTEM, "svmd does not listen on %s any more; start it (systemctl start svmd)",
                            path);
        case EACCES:
                return fail(SVMD_E_SYSTEM,
                            "this user may not use the socket %s; ask for a partition whose socket you may use", path);
        default: return fail_errno(error, "the socket %s could not be connected to", path);
        }
}

static int open_socket(const char *path, unsigned from, int *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t length = strlen(path);
        int fd, r;

        if (length >= sizeof(address.sun_path))
                return fail(SVMD_E_INVALID, "the path of the socket has %zu bytes, %zu are possible: %s", length,
                            sizeof(address.sun_path) - 1, path);
        memcpy(address.sun_path, path, length);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return fail_errno(errno, "no socket could be made");
        do
                r = connect(fd, (const struct sockaddr *)&address, sizeof(address));
        while (r < 0 && errno == EINTR);
        if (r < 0) {
                r = fail_connect(path, errno);
                close(fd);
                return r;
        }
        *ret = descriptor_above(fd, from);
        return 0;
}

static const char *or_environment(const char *given, const char *variable, const char *otherwise) {
        const char *value = given ? given : getenv(variable);

        return value && (given || value[0]) ? value : otherwise;
}

/* ---- hello and attach ---- */

/* Present in a process that a sanitizer of this name watches. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));

static Svmd__V1__Window pick_window(unsigned window) {
        if (window == SVMD_WINDOW_AUTO)
                window = __tsan_init || __msan_init ? SVMD_WINDOW_LOW : SVMD_WINDOW_PRIMARY;
        return window == SVMD_WINDOW_LOW ? SVMD__V1__WINDOW__LOW : SVMD__V1__WINDOW__PRIMARY;
}

static void copy_name(char *ret, size_t room, const char *name) {
        size_t length = strnlen(name, room - 1);

        memcpy(ret, name, length);
        ret[length] = 0;
}

static int hello(svmd_session *s, const char *name) {
        char client[SVMD_NAME_MAX + 1];
        Svmd__V1__Hello body = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        copy_name(client, sizeof(client), name ? name : program_invocation_short_name);
        body.min_version = body.max_version = SVMD_PROTOCOL_VERSION;
        body.client = client;
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_HELLO) {
                pthread_mutex_lock(&s->lock);
                s->info.id = result->hello->session;
                if (s->info.epoch < result->hello->epoch)
                        s->info.epoch = result->hello->epoch;
                s->info.admin = result->hello->admin;
                pthread_mutex_unlock(&s->lock);
        } else {
                r = fail(SVMD_E_VERSION, "what listens on the socket does not speak svmd's protocol");
        }
        call_put(s, c);
        return r;
}

static int attach(svmd_session *s, const char *partition, const struct svmd_connect_options *opts) {
        unsigned window = opts->window;
        Svmd__V1__Attach body = SVMD__V1__ATTACH__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.partition = (char *)partition;
        body.window = pick_window(window);
        body.any_window = window == SVMD_WINDOW_AUTO && !__tsan_init && !__msan_init && !__asan_init;
        op.op_case = SVMD__V1__OP__OP_ATTACH;
        op.attach = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_ATTACH) {
                const Svmd__V1__AttachResult *a = result->attach;

                s->info.base = a->start;
                s->info.length = a->size;
                s->info.window = a->window == SVMD__V1__WINDOW__LOW ? SVMD_WINDOW_LOW : SVMD_WINDOW_PRIMARY;
                copy_name(s->info.partition, sizeof(s->info.partition), a->partition);
                copy_name(s->info.domain, sizeof(s->info.domain), a->domain);
        } else {
                r = fail(SVMD_E_VERSION, "svmd attached the session to a partition without saying which");
        }
        call_put(s, c);
        return r ? r : slice_get(s, opts->flags & SVMD_CONNECT_SLICE_KEPT);
}

/* ---- making and ending ---- */

void session_free(svmd_session *s) {
        fence_free_all(s);
        event_fini(s);
        heads_free(s);
        registrations_free(s);
        grants_free(s);
        uffd_close(s);
        wire_fini(s);
        pthread_mutex_destroy(&s->lock);
        if (!s->forked) /* a thread that is not in the child may have held it */
                pthread_mutex_destroy(&s->va_lock);
        free(s);
}

static int session_new(svmd_session **ret, int socket, unsigned descriptors_from) {
        svmd_session *s = calloc(1, sizeof(*s));

        if (!s) {
                close(socket);
                return fail_memory();
        }
        pthread_mutex_init(&s->lock, NULL);
        pthread_mutex_init(&s->va_lock, NULL);
        event_init(s);
        s->uffd = -1;
        s->descriptors_from = descriptors_from;
        if (wire_init(s, socket) < 0) {
                session_free(s);
                return fail_memory();
        }
        process_lock();
        process_add(s);
        process_unlock();
        *ret = s;
        return 0;
}

static int check_options(const struct svmd_connect_options *opts) {
        if (opts->flags & ~(unsigned)(SVMD_CONNECT_NO_ATTACH | SVMD_CONNECT_SLICE_KEPT))
                return fail(SVMD_E_INVALID, "svmd_connect_options.flags is %#x; they are SVMD_CONNECT_*", opts->flags);
        if (opts->descriptors_from > INT_MAX)
                return fail(SVMD_E_INVALID,
                            "svmd_connect_options.descriptors_from is %u; no descriptor has that number",
                            opts->descriptors_from);
        if (opts->window > SVMD_WINDOW_LOW)
                return fail(SVMD_E_INVALID, "svmd_connect_options.window is %u; it is one of SVMD_WINDOW_*",
                            opts->window);
        return 0;
}

/* One connection, greeted and attached, or nothing. */
static int connect_once(svmd_session **ret, const struct svmd_connect_options *opts) {
        svmd_session *s = NULL;
        int socket = -1, r;

        r = open_socket(or_environment(opts->socket, "SVMD_SOCKET", DEFAULT_SOCKET), opts->descriptors_from, &socket);
        if (!r)
                r = session_new(&s, socket, opts->descriptors_from);
        if (r)
                return r;
        r = hello(s, opts->name);
        if (!r && !(opts->flags & SVMD_CONNECT_NO_ATTACH))
                r = attach(s, or_environment(opts->partition, "SVMD_PARTITION", ""), opts);
        if (r) {
                svmd_disconnect(s);
                return r;
        }
        *ret = s;
        return 0;
}

/* svmd keeps a session from its attachment on. One that it had only greeted ends when it is restarted: then the next
 * svmd is asked. */
#define CONNECT_TRIES 4

int svmd_connect(svmd_session **ret, const struct svmd_connect_options *given) {
        struct svmd_connect_options opts;
        int r;

        r = options_take(&opts, sizeof(opts), given, "svmd_connect_options");
        if (!r)
                r = check_options(&opts);
        if (r)
                return r;
        for (int i = 0; i < CONNECT_TRIES; i++) {
                r = connect_once(ret, &opts);
                if (r != SVMD_E_GONE)
                        break;
        }
        return r;
}

void svmd_disconnect(svmd_session *s) {
        if (!s)
                return;
        managed_lock();
        adopt_end_all(s);
        managed_unlock();
        cuda_end(s);
        kfd_end(s);
        drm_end(s);
        va_fini(s);
        session_free(s);
}

int svmd_session_info(svmd_session *s, struct svmd_session_info *info) {
        struct svmd_session_info now;
        int r = session_check(s);

        if (r)
                return r;
        pthread_mutex_lock(&s->lock);
        now = s->info;
        pthread_mutex_unlock(&s->lock);
        return options_give(info, &now, sizeof(now), "svmd_session_info");
}
