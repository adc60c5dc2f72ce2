/*
 * The index without svmd: `demo-plain-index DIR` builds it in a memfd at a fixed address, and a child that has
 * none of it maps the same file there, read-only, and prints of each word how many lines and files have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "index.h"
#include "text.h"

/* Where a sanitizer leaves room; none leaves the same as the other. */
#ifdef __SANITIZE_THREAD__
#define PLAIN_ADDRESS ((char *)0x2000000000)
#else
#define PLAIN_ADDRESS ((char *)0x290000000000)
#endif
#define PLAIN_CHUNK (64 * 1024) /* small, so that records come to lie across growths */

struct plain {
        int fd;
        size_t size;
};

static int map(int fd, size_t offset, size_t size, int prot) {
        void *at = mmap(PLAIN_ADDRESS + offset, size, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, (off_t)offset);

        return at == MAP_FAILED ? -errno : 0;
}

static int grow(void *userdata, char *address, size_t *size) {
        size_t more = (*size + PLAIN_CHUNK - 1) / PLAIN_CHUNK * PLAIN_CHUNK;
        struct plain *plain = userdata;
        int r;

        if (ftruncate(plain->fd, (off_t)(plain->size + more)) < 0)
                return -errno;
        r = map(plain->fd, plain->size, more, PROT_READ | PROT_WRITE);
        if (r < 0)
                return r;
        plain->size += more;
        *size = more;
        return 0;
}

static void no_progress(void *userdata, const struct text_progress *progress) {
}

static int answer_all(const struct plain *plain) {
        const struct index_word *w, *last;
        const struct index *index;
        uint64_t words = 0;

        if (munmap(PLAIN_ADDRESS, plain->size) < 0 || map(plain->fd, 0, plain->size, PROT_READ) < 0)
                return 1;
        index = index_at(PLAIN_ADDRESS);
        if (!index)
                return 1;
        for (w = index->first; w; w = w->next) {
                struct index_answer a = index_answer(index_find(index, w->text, w->length));

                printf("%s %" PRIu64 " %" PRIu64 "\n", w->text, a.lines, a.files);
                words++;
        }
        if (index_chase(index, &last) != words || words != index->words || last != index->last)
                return 1;
        return index_find(index, "", 0) || fflush(stdout) != 0;
}

int main(int argc, char **argv) {
        struct plain plain = { .fd = memfd_create("plain-index", MFD_CLOEXEC) };
        struct text_progress progress;
        struct index_builder b;
        int r, status;
        pid_t child;

        if (argc != 2) {
                fprintf(stderr, "usage: demo-plain-index DIR\n");
                return 2;
        }
        r = index_begin(&b, PLAIN_ADDRESS, 1024, grow, &plain);
        if (!r)
                r = text_read_tree(&b, argv[1], no_progress, NULL, &progress);
        if (r) {
                fprintf(stderr, "%s could not be read: %s\n", argv[1], strerror(-r));
                return 1;
        }
        child = fork();
        if (child == 0)
                _exit(answer_all(&plain));
        if (child < 0 || waitpid(child, &status, 0) < 0)
                return 1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
