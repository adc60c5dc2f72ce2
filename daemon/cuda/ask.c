#include "cuda/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/connect.h"
#include "cuda/wire.h"

/* The lock is held from question to answer, and while staging has the bytes of one. */
struct cuda_agent {
        pthread_mutex_t lock;
        int fd;
        bool gone;
        void *staging;
};

/* With the lock. */
static int lose(struct cuda_agent *a) {
        __atomic_store_n(&a->gone, true, __ATOMIC_RELEASE);
        return -EIO;
}

/* With the lock: what it answered. A descriptor comes with what is asked for one, and with nothing else. */
static int ask(struct cuda_agent *a, enum cuda_question question, uint32_t slot, const char *device, int *ret_fd,
               struct cuda_answer *ret) {
        struct cuda_ask q = cuda_wire_ask(question, slot, device);
        int fd = -1, n, k;

        if (a->gone)
                return -EIO;
        if (cuda_wire_send(a->fd, &q, sizeof(q), -1))
                return lose(a);
        n = cuda_wire_receive(a->fd, ret, sizeof(*ret), &fd);
        if (n <= 0)
                return lose(a);
        k = cuda_wire_answered(ret, (size_t)n);
        if ((fd >= 0) != (!k && ret_fd)) {
                if (fd >= 0)
                        close(fd);
                k = k ? k : -EBADMSG;
        } else if (fd >= 0)
                *ret_fd = fd;
        return k == -EIO || k == -EBADMSG ? lose(a) : k;
}

static int map_staging(struct cuda_agent *a, int fd) {
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0 || st.st_size != (off_t)CUDA_SLOT || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
                return -EBADMSG;
        p = mmap(NULL, CUDA_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        a->staging = p;
        return 0;
}

static int hello(struct cuda_agent *a, const char *device, char *why, size_t why_size) {
        struct cuda_answer answer = { 0 };
        int fd, k = ask(a, CUDA_ASK_HELLO, 0, device, &fd, &answer);

        if (k) {
                snprintf(why, why_size, "%s",
                         answer.why[0] && cuda_wire_answered(&answer, sizeof(answer)) == answer.error
                                 ? answer.why
                                 : "svmd-cuda does not answer: see systemctl status svmd-cuda");
                return k;
        }
        k = map_staging(a, fd);
        close(fd);
        if (k)
                snprintf(why, why_size, "svmd-cuda's staging memory cannot be mapped: %s", strerror(-k));
        return k;
}

int cuda_agent_new(struct cuda_agent **ret, const char *socket_path, const char *device, unsigned patience_ms,
                   char *why, size_t why_size) {
        struct cuda_agent *a = alloc_zero(sizeof(*a));
        int k = a ? connect_packets(socket_path, patience_ms, &a->fd) : -ENOMEM;

        if (k) {
                snprintf(why, why_size,
                         "nobody answers at %s: %s; svmd-cuda is started by systemctl enable --now "
                         "svmd-cuda.socket",
                         socket_path, strerror(-k));
                alloc_free(a);
                return k;
        }
        pthread_mutex_init(&a->lock, NULL);
        k = hello(a, device, why, why_size);
        if (k) {
                cuda_agent_free(a);
                return k;
        }
        *ret = a;
        return 0;
}

void cuda_agent_free(struct cuda_agent *a) {
        if (!a)
                return;
        if (a->staging)
                munmap(a->staging, CUDA_SLOT);
        close(a->fd);
        pthread_mutex_destroy(&a->lock);
        alloc_free(a);
}

bool cuda_agent_is_gone(const struct cuda_agent *a) {
        return __atomic_load_n(&a->gone, __ATOMIC_ACQUIRE);
}

int cuda_agent_fd(const struct cuda_agent *a) {
        return a->fd;
}

static int about(struct cuda_agent *a, enum cuda_question question, uint32_t slot, int *ret_fd) {
        struct cuda_answer answer;
        int k;

        pthread_mutex_lock(&a->lock);
        k = ask(a, question, slot, "", ret_fd, &answer);
        pthread_mutex_unlock(&a->lock);
        return k;
}

int cuda_agent_create(struct cuda_agent *a, uint32_t slot, int *ret_fd) {
        return about(a, CUDA_ASK_CREATE, slot, ret_fd);
}

int cuda_agent_export(struct cuda_agent *a, uint32_t slot, int *ret_fd) {
        return about(a, CUDA_ASK_EXPORT, slot, ret_fd);
}

int cuda_agent_release(struct cuda_agent *a, uint32_t slot) {
        return about(a, CUDA_ASK_RELEASE, slot, NULL);
}

/* What staging has after the answer. */
static int take(struct cuda_agent *a, enum cuda_question question, uint32_t slot, void *to, size_t size) {
        struct cuda_answer answer;
        int k;

        pthread_mutex_lock(&a->lock);
        k = ask(a, question, slot, "", NULL, &answer);
        if (!k)
                memcpy(to, a->staging, size);
        pthread_mutex_unlock(&a->lock);
        return k;
}

int cuda_agent_read(struct cuda_agent *a, uint32_t slot, void *to) {
        return take(a, CUDA_ASK_READ, slot, to, CUDA_SLOT);
}

int cuda_agent_write(struct cuda_agent *a, uint32_t slot, const void *from) {
        struct cuda_answer answer;
        int k;

        pthread_mutex_lock(&a->lock);
        memcpy(a->staging, from, CUDA_SLOT);
        k = ask(a, CUDA_ASK_WRITE, slot, "", NULL, &answer);
        pthread_mutex_unlock(&a->lock);
        return k;
}

int cuda_agent_list(struct cuda_agent *a, uint64_t *ret_bits, uint32_t slots) {
        return take(a, CUDA_ASK_LIST, 0, ret_bits, (slots + 63) / 64 * sizeof(uint64_t));
}
