#include "access.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap.h"
#include "raw.h"

/*
 * What the program changed with mprotect() in its segments (guard pages, code that it made), as the kernel lists it:
 * the child's copy gets the same, and while the copy is made all of it can be read. Reads the list by hand, because
 * nothing may be allocated within fork().
 */
struct part {
        uintptr_t start, end;
        int prot;
};

enum { PARTS = 4096, LINE = 64 };

static struct part parts[PARTS];
static size_t count;

static uintptr_t hex(const char **at) {
        uintptr_t n = 0;

        for (;; (*at)++) {
                unsigned c = (unsigned char)**at;

                if (c - '0' < 10)
                        n = n << 4 | (c - '0');
                else if (c - 'a' < 6)
                        n = n << 4 | (c - 'a' + 10);
                else
                        return n;
        }
}

/* "start-end rwxp ..." */
static void take_line(const char *line) {
        struct part p = { .start = hex(&line) };
        const struct segment *s;

        line++;
        p.end = hex(&line);
        p.prot =
                (line[1] == 'r' ? PROT_READ : 0) | (line[2] == 'w' ? PROT_WRITE : 0) | (line[3] == 'x' ? PROT_EXEC : 0);
        s = segment_of((const void *)p.start);
        if (s && s->protected && !s->snapshot && p.prot != (PROT_READ | PROT_WRITE) && count < PARTS)
                parts[count++] = p;
}

static bool is_wanted(void) {
        for (size_t i = 0; i < heap.count; i++)
                if (heap.segment[i].protected && !heap.segment[i].snapshot)
                        return true;
        return false;
}

void access_take(void) {
        char buffer[PAGE], line[LINE + 1] = "";
        size_t length = 0;
        ssize_t n;
        int fd;

        count = 0;
        if (!is_wanted())
                return;
        fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0)
                for (ssize_t i = 0; i < n; i++) {
                        if (buffer[i] != '\n' && length < LINE) {
                                line[length++] = buffer[i];
                        } else if (buffer[i] == '\n') {
                                line[length] = 0;
                                take_line(line);
                                length = 0;
                        }
                }
        if (fd >= 0)
                syscall(SYS_close, fd);
        for (size_t i = 0; i < count; i++)
                raw_mprotect((void *)parts[i].start, parts[i].end - parts[i].start, parts[i].prot | PROT_READ);
}

void access_show(void) {
        for (size_t i = 0; i < count; i++)
                raw_mprotect((void *)parts[i].start, parts[i].end - parts[i].start, parts[i].prot);
}
