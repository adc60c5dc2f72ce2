#include "backend/kfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/complain.h"

/*
 * A thread of its own reads what the child says, so nobody waits for it: not the start of svmd, nor its loop. The child
 * is ended when its time is up, when it says too much, and when svmd goes.
 */
struct kfd {
        pthread_t thread;
        pthread_mutex_t lock;
        pid_t pid;
        int out, stop; /* its output; an eventfd that is readable when svmd goes */
        unsigned patience_ms;
        enum kfd_state state; /* with the lock, and `why` */
        char why[160];
        size_t size;
        char text[KFD_TEXT_MAX + 1];
        struct kfd_report report;
};

enum heard { HEARD_ALL, HEARD_LATE, HEARD_FLOOD, HEARD_STOP };

static enum heard hear(struct kfd *k) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + k->patience_ms * 1000000ull;

        for (;;) {
                struct pollfd p[2] = { { .fd = k->out, .events = POLLIN }, { .fd = k->stop, .events = POLLIN } };
                uint64_t now = clock_ns(CLOCK_MONOTONIC);
                ssize_t n;

                if (now >= until)
                        return HEARD_LATE;
                if (poll(p, 2, (int)((until - now) / 1000000) + 1) <= 0)
                        continue;
                if (p[1].revents)
                        return HEARD_STOP;
                if (k->size == sizeof(k->text))
                        return HEARD_FLOOD;
                n = read(k->out, k->text + k->size, sizeof(k->text) - k->size);
                if (n == 0)
                        return HEARD_ALL;
                if (n > 0)
                        k->size += (size_t)n;
        }
}

/* It may have closed its output and go on. False: it had to be ended. */
static bool await_end(const struct kfd *k, int *ret_status) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + k->patience_ms * 1000000ull;

        for (;;) {
                struct pollfd p = { .fd = k->stop, .events = POLLIN };
                pid_t pid = waitpid(k->pid, ret_status, WNOHANG);

                if (pid == k->pid)
                        return true;
                if ((pid < 0 && errno != EINTR) || clock_ns(CLOCK_MONOTONIC) >= until || poll(&p, 1, 5) > 0)
                        return false;
        }
}

static int judge(struct kfd *k, enum heard heard, char *why, size_t why_size) {
        int status = 0;

        if (heard != HEARD_ALL || !await_end(k, &status)) {
                child_end(k->pid);
                return complain(why, why_size, -ETIMEDOUT,
                                heard == HEARD_FLOOD  ? "said more than %u KiB, and was ended"
                                : heard == HEARD_STOP ? "was not done when svmd ended"
                                                      : "was not done after %u ms, and was ended",
                                heard == HEARD_FLOOD ? KFD_TEXT_MAX / 1024u : k->patience_ms);
        }
        kill(-k->pid, SIGKILL); /* nothing that it started goes on */
        if (WIFSIGNALED(status))
                return complain(why, why_size, -EBADMSG, "was ended by signal %d (%s)", WTERMSIG(status),
                                strsignal(WTERMSIG(status)));
        if (WEXITSTATUS(status))
                return complain(why, why_size, -EBADMSG, "ended with exit status %d", WEXITSTATUS(status));
        return kfd_report_read(&k->report, k->text, k->size, why, why_size);
}

static void *run(void *userdata) {
        struct kfd *k = userdata;
        char why[sizeof(k->why)] = "";
        int r = judge(k, hear(k), why, sizeof(why));

        pthread_mutex_lock(&k->lock);
        k->state = r < 0 ? KFD_FAILED : KFD_TOLD;
        memcpy(k->why, why, sizeof(why));
        pthread_mutex_unlock(&k->lock);
        return NULL;
}

/* No thread was started; what can be said is why. */
static int fail(struct kfd *k, int r) {
        k->pid = 0;
        k->state = KFD_FAILED;
        return complain(k->why, sizeof(k->why), 0, "cannot be started: %s", strerror(-r));
}

int kfd_new(struct kfd **ret, const char *program, unsigned patience_ms) {
        struct kfd *k = alloc_zero(sizeof(*k));
        char *const argv[] = { (char *)program, NULL };
        int out[2], r;

        if (!k)
                return -ENOMEM;
        pthread_mutex_init(&k->lock, NULL);
        *k = (struct kfd){ .lock = k->lock, .out = -1, .patience_ms = patience_ms, .state = KFD_ASKED };
        *ret = k;
        k->stop = eventfd(0, EFD_CLOEXEC);
        if (k->stop < 0 || pipe2(out, O_CLOEXEC) < 0)
                return fail(k, -errno);
        k->out = out[0];
        r = child_spawn(program, argv, out[1], &k->pid);
        close(out[1]);
        if (r < 0)
                return fail(k, r);
        r = -pthread_create(&k->thread, NULL, run, k);
        if (r < 0) {
                child_end(k->pid);
                return fail(k, r);
        }
        return 0;
}

void kfd_stop(struct kfd *k) {
        uint64_t one = 1;

        if (!k || k->pid <= 0)
                return;
        (void)!write(k->stop, &one, sizeof(one));
        pthread_join(k->thread, NULL);
        k->pid = 0;
}

void kfd_free(struct kfd *k) {
        if (!k)
                return;
        kfd_stop(k);
        if (k->stop >= 0)
                close(k->stop);
        if (k->out >= 0)
                close(k->out);
        pthread_mutex_destroy(&k->lock);
        alloc_free(k);
}

enum kfd_state kfd_state(struct kfd *k, char *why, size_t why_size) {
        enum kfd_state state;

        if (!k)
                return KFD_ABSENT;
        pthread_mutex_lock(&k->lock);
        state = k->state;
        snprintf(why, why_size, "%s", k->why);
        pthread_mutex_unlock(&k->lock);
        return state;
}

const struct kfd_report *kfd_report(const struct kfd *k) {
        return &k->report;
}
