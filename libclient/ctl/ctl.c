#include "ctl.h"

#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "size.h"

static void *pool_chunk(size_t size) {
        return malloc(size);
}

#define obstack_chunk_alloc pool_chunk
#define obstack_chunk_free  free

static void pool_failed(void) {
        fputs("svmd-ctl: out of memory\n", stderr);
        _exit(EXIT_REFUSED);
}

static unsigned columns_of(int fd) {
        const char *text = getenv("COLUMNS");
        struct winsize size;

        if (text && atoi(text) > 0)
                return (unsigned)atoi(text);
        if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                return size.ws_col;
        return 80;
}

void ctl_init(struct ctl *c, FILE *out, FILE *err) {
        const char *no_color = getenv("NO_COLOR");

        *c = (struct ctl){ .out = out, .err = err };
        obstack_alloc_failed_handler = pool_failed;
        obstack_init(&c->pool);
        c->terminal = isatty(fileno(out));
        c->watched = isatty(fileno(err));
        c->can_ask = isatty(STDIN_FILENO) && c->watched;
        c->color = c->terminal && !(no_color && *no_color);
        c->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        c->width = columns_of(fileno(out));
}

void ctl_fini(struct ctl *c) {
        svmd_disconnect(c->session);
        obstack_free(&c->pool, NULL);
}

int ctl_fail(struct ctl *c, int status, const char *format, ...) {
        va_list args;

        va_start(args, format);
        fflush(c->out);
        fputs("svmd-ctl: ", c->err);
        vfprintf(c->err, format, args);
        fputc('\n', c->err);
        va_end(args);
        return status;
}

int ctl_result(struct ctl *c, int code) {
        if (code == SVMD_OK)
                return EXIT_OK;
        return ctl_fail(c, code == SVMD_E_GONE ? EXIT_UNREACHED : EXIT_REFUSED, "%s", svmd_error());
}

bool ctl_confirm(struct ctl *c, const char *question) {
        char answer[16];

        if (!c->can_ask)
                return true;
        fflush(c->out);
        fprintf(c->err, "%s [y/N] ", question);
        fflush(c->err);
        return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

void *ctl_alloc(struct ctl *c, size_t size) {
        return obstack_alloc(&c->pool, size);
}

char *ctl_text(struct ctl *c, const char *format, ...) {
        va_list args;

        va_start(args, format);
        obstack_vprintf(&c->pool, format, args);
        va_end(args);
        obstack_1grow(&c->pool, '\0');
        return obstack_finish(&c->pool);
}

char *ctl_copy(struct ctl *c, const char *text) {
        return obstack_copy0(&c->pool, text ? text : "", text ? strlen(text) : 0);
}

const char *ctl_size(struct ctl *c, uint64_t bytes) {
        char text[SIZE_TEXT];

        size_format(text, bytes);
        return ctl_copy(c, text);
}

const char *ctl_limit(struct ctl *c, uint64_t bytes) {
        return bytes == UINT64_MAX ? "-" : ctl_size(c, bytes);
}

const char *ctl_address(struct ctl *c, uint64_t address) {
        return ctl_text(c, "0x%012llx", (unsigned long long)address);
}

const char *ctl_duration(struct ctl *c, uint64_t ms) {
        unsigned long long s = ms / 1000;

        if (s < 60)
                return ctl_text(c, "%llu s", s);
        if (s < 3600)
                return ctl_text(c, "%llu min %llu s", s / 60, s % 60);
        if (s < 86400)
                return ctl_text(c, "%llu h %llu min", s / 3600, s / 60 % 60);
        return ctl_text(c, "%llu d %llu h", s / 86400, s / 3600 % 24);
}

uint64_t ctl_now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}
