#include "dmirror_mock.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "backend/hmm.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static uint64_t space;
static uint8_t place[MOCK_PAGES];
static unsigned long failing;
static int failure;
static unsigned failures, waiting;
static bool held;
static int (*kernel)(int fd, unsigned long request, struct dmirror_cmd *cmd);

static unsigned device_of(int fd) {
        struct stat st;

        fstat(fd, &st);
        return minor(st.st_rdev) == 5;
}

static bool is_elsewhere(uint8_t p, unsigned k) {
        return p >= MOCK_DEVICE && p != MOCK_DEVICE + k && p != MOCK_EXCLUSIVE + k;
}

static int to_device(unsigned k, uint8_t *p, uint64_t n) {
        bool all = true;

        for (uint64_t i = 0; i < n; i++) {
                if (p[i] == MOCK_UNMAPPED)
                        return -EINVAL;
                if (p[i] == MOCK_SYSTEM || p[i] == MOCK_NONE)
                        p[i] = (uint8_t)(MOCK_DEVICE + k);
                all &= p[i] == MOCK_DEVICE + k;
        }
        return all ? 0 : -ENOENT;
}

static int to_system(unsigned k, uint8_t *p, uint64_t n, uint64_t *ret_done) {
        for (uint64_t i = 0; i < n; i++) {
                if (p[i] == MOCK_UNMAPPED)
                        return -EINVAL;
                *ret_done += p[i] == MOCK_DEVICE + k;
                if (p[i] == MOCK_DEVICE + k)
                        p[i] = MOCK_SYSTEM;
        }
        return 0;
}

static int touch(unsigned k, uint8_t *p, uint64_t n) {
        for (uint64_t i = 0; i < n; i++) {
                if (p[i] == MOCK_UNMAPPED)
                        return -EFAULT;
                if (is_elsewhere(p[i], k))
                        p[i] = MOCK_SYSTEM;
        }
        return 0;
}

static int take(unsigned k, uint8_t *p, uint64_t n) {
        for (uint64_t i = 0; i < n; i++) {
                if (p[i] == MOCK_PINNED || p[i] == MOCK_UNMAPPED)
                        return -EBUSY;
                p[i] = (uint8_t)(MOCK_EXCLUSIVE + k);
        }
        return 0;
}

static int check(unsigned k, const uint8_t *p, uint64_t n) {
        return memchr(p, (int)(MOCK_EXCLUSIVE + k), n) ? -EPERM : 0;
}

static int snapshot(unsigned k, const uint8_t *p, uint64_t n, uint8_t *ret) {
        for (uint64_t i = 0; i < n; i++)
                ret[i] = p[i] == MOCK_UNMAPPED                        ? DMIRROR_PAGE_ERROR
                         : p[i] == MOCK_DEVICE + k                    ? DMIRROR_PAGE_PRIVATE_LOCAL | DMIRROR_PAGE_WRITE
                         : p[i] == MOCK_SYSTEM || p[i] == MOCK_PINNED ? DMIRROR_PAGE_WRITE
                                                                      : DMIRROR_PAGE_NONE;
        return 0;
}

static int do_call(unsigned k, unsigned long request, struct dmirror_cmd *cmd) {
        uint8_t *p = place + (cmd->address - space) / 4096;

        if (cmd->address < space || cmd->address + cmd->pages * 4096 > space + sizeof(place) * 4096)
                return -EINVAL;
        switch (request) {
        case DMIRROR_TO_DEVICE: return to_device(k, p, cmd->pages);
        case DMIRROR_TO_SYSTEM: return to_system(k, p, cmd->pages, &cmd->done);
        case DMIRROR_READ: return touch(k, p, cmd->pages);
        case DMIRROR_EXCLUSIVE: return take(k, p, cmd->pages);
        case DMIRROR_CHECK_EXCLUSIVE: return check(k, p, cmd->pages);
        case DMIRROR_SNAPSHOT: return snapshot(k, p, cmd->pages, (uint8_t *)(uintptr_t)cmd->buffer);
        default: return -ENOTTY;
        }
}

static int mock_call(int fd, unsigned long request, struct dmirror_cmd *cmd) {
        int r;

        pthread_mutex_lock(&lock);
        waiting++;
        while (held)
                pthread_cond_wait(&released, &lock);
        waiting--;
        if (failures && request == failing) {
                failures--;
                r = failure;
        } else {
                r = do_call(device_of(fd), request, cmd);
        }
        pthread_mutex_unlock(&lock);
        return r;
}

void mock_begin(uint64_t base) {
        pthread_mutex_lock(&lock);
        space = base;
        memset(place, MOCK_SYSTEM, sizeof(place));
        failures = 0;
        pthread_mutex_unlock(&lock);
        if (!kernel) {
                kernel = hmm_call;
                hmm_call = mock_call;
        }
}

void mock_end(void) {
        if (kernel)
                hmm_call = kernel;
        kernel = NULL;
}

void mock_set(unsigned first, unsigned count, unsigned to) {
        pthread_mutex_lock(&lock);
        memset(place + first, (int)to, count);
        pthread_mutex_unlock(&lock);
}

unsigned mock_get(unsigned page) {
        unsigned p;

        pthread_mutex_lock(&lock);
        p = place[page];
        pthread_mutex_unlock(&lock);
        return p;
}

void mock_touch(unsigned first, unsigned count) {
        pthread_mutex_lock(&lock);
        for (unsigned i = first; i < first + count; i++)
                if (place[i] >= MOCK_DEVICE || place[i] == MOCK_NONE)
                        place[i] = MOCK_SYSTEM;
        pthread_mutex_unlock(&lock);
}

void mock_fail(unsigned long request, int error, unsigned times) {
        pthread_mutex_lock(&lock);
        failing = request;
        failure = error;
        failures = times;
        pthread_mutex_unlock(&lock);
}

void mock_hold(void) {
        pthread_mutex_lock(&lock);
        held = true;
        pthread_mutex_unlock(&lock);
}

void mock_release(void) {
        pthread_mutex_lock(&lock);
        held = false;
        pthread_cond_broadcast(&released);
        pthread_mutex_unlock(&lock);
}

unsigned mock_waiting(void) {
        unsigned n;

        pthread_mutex_lock(&lock);
        n = waiting;
        pthread_mutex_unlock(&lock);
        return n;
}
