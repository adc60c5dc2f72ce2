#include "base/message.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

static const struct message_desc descs[] = {
#define X(name, level, id) [MESSAGE_##name] = { id, level },
        MESSAGES(X)
#undef X
};

static message_sink taker;

const struct message_desc *message_desc(enum message m) {
        return &descs[m];
}

void message_set_sink(message_sink sink) {
        taker = sink;
}

void message(enum message m, const struct message_field *fields, size_t count, const char *format, ...) {
        const struct message_desc *desc = &descs[m];
        char text[1024];
        va_list ap;

        if (!log_wants(desc->level))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (!taker || !taker(desc, fields, count, text))
                log_line(desc->level, "%s", text);
}

bool message_passes(struct message_rate *r, uint64_t now_ns, uint64_t *ret_withheld) {
        if (r->begun_ns == 0 || now_ns - r->begun_ns >= MESSAGE_PERIOD_NS) {
                r->begun_ns = now_ns;
                r->passed = 0;
        }
        if (r->passed == MESSAGE_BURST) {
                r->withheld++;
                return false;
        }
        r->passed++;
        *ret_withheld = r->withheld;
        r->withheld = 0;
        return true;
}
