#include "hostile/names.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "hostile/raw.h"

/* Requests as bytes, so that there is one for each operation that the protocol has or may yet have. */
enum { OPERATIONS = 130, FIELDS = 8 };

struct answer {
        unsigned code; /* UINT_MAX: the connection ended */
        char text[512];
};

static uint8_t *put_varint(uint8_t *to, uint64_t n) {
        for (; n >= 0x80; n >>= 7)
                *to++ = (uint8_t)n | 0x80;
        *to++ = (uint8_t)n;
        return to;
}

/* A field that has bytes in it. */
static uint8_t *put_bytes(uint8_t *to, unsigned field, const void *bytes, size_t size) {
        to = put_varint(to, (uint64_t)field << 3 | 2);
        to = put_varint(to, size);
        memcpy(to, bytes, size);
        return to + size;
}

/* A request of one operation, whose field has the text; without a text nothing is in it. */
static size_t request(uint8_t *to, uint64_t id, unsigned operation, unsigned field, const char *text) {
        uint8_t body[256], op[300], *end = body;

        if (text)
                end = put_bytes(end, field, text, strlen(text));
        end = put_bytes(op, operation, body, (size_t)(end - body));
        to[0] = 1 << 3;
        return (size_t)(put_bytes(put_varint(to + 1, id), 3, op, (size_t)(end - op)) - to);
}

/* Whoever may see one partition only, with his names. */
struct search {
        const char *socket, *const *names;
        unsigned count, answers;
        struct raw raw;
};

static void must_not_have(const struct search *s, size_t size, const char *but, unsigned operation) {
        char text[160];

        for (unsigned i = 0; i < s->count; i++) {
                if (s->names[i] == but || !memmem(raw_buffer, size, s->names[i], strlen(s->names[i])))
                        continue;
                snprintf(text, sizeof(text), "the answer to operation %u has the name %s", operation, s->names[i]);
                fail_here(text);
        }
}

/* `name`: the one of the names that the request has, or NULL; `said` is what stands in its place. */
static void ask(struct search *s, unsigned operation, unsigned field, const char *name, const char *said,
                struct answer *ret) {
        const Svmd__V1__Packet *p;
        uint8_t bytes[512];
        size_t n;

        if (s->raw.fd < 0)
                raw_attach(&s->raw, s->socket, "");
        n = request(bytes, ++s->raw.id, operation, field, said);
        must(send(s->raw.fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
        do {
                memset(raw_buffer, 0, sizeof(raw_buffer));
                p = raw_take(&s->raw);
                must_not_have(s, sizeof(raw_buffer), name, operation);
        } while (p && p->packet_case != SVMD__V1__PACKET__PACKET_REPLY);
        s->answers++;
        *ret = (struct answer){ .code = UINT_MAX };
        if (!p) {
                raw_close(&s->raw);
                return;
        }
        if (s->raw.passed >= 0)
                close(s->raw.passed);
        must(p->reply->n_results == 1);
        ret->code = p->reply->results[0]->code;
        snprintf(ret->text, sizeof(ret->text), "%s", p->reply->results[0]->text);
}

static void blot(struct answer *a, const char *name) {
        for (char *at; (at = strstr(a->text, name));)
                memset(at, '*', strlen(name));
}

/* As it would be of a name of the same length that is nobody's. */
static void compare(struct search *s, unsigned operation, unsigned field, const char *name) {
        struct answer real, none;
        char nobody[64], text[1400];

        snprintf(nobody, sizeof(nobody), "%s", name);
        memset(nobody, 'q', strlen(nobody));
        ask(s, operation, field, name, name, &real);
        ask(s, operation, field, NULL, nobody, &none);
        blot(&real, name);
        blot(&none, nobody);
        if (real.code == none.code && strcmp(real.text, none.text) == 0)
                return;
        snprintf(text, sizeof(text), "operation %u, field %u, tells %s from a name that is nobody's: %u %s; %u %s",
                 operation, field, name, real.code, real.text, none.code, none.text);
        fail_here(text);
}

unsigned names_search(const char *socket, const char *const *names, unsigned count) {
        struct search s = { .socket = socket, .names = names, .count = count, .raw = { .fd = -1 } };
        struct answer a;

        for (unsigned operation = 3; operation < OPERATIONS; operation++) {
                ask(&s, operation, 0, NULL, NULL, &a);
                for (unsigned field = 1; field <= FIELDS; field++)
                        for (unsigned i = 0; i < count; i++)
                                compare(&s, operation, field, names[i]);
                if (s.raw.fd >= 0)
                        raw_close(&s.raw);
        }
        return s.answers;
}
