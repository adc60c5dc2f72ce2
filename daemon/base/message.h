#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

/*
 * What an administrator looks for in the log: each kind of message has a number that never changes, and fields beside
 * its text. systemd/svmd.catalog says of each what it means and what to do; a test compares the two.
 *
 * Numbers are never used again for something else.
 */
#define MESSAGES(X)                                                                                                    \
        X(STARTED, LOG_INFO, "b266df4b2f044f3a847126084978492d")                                                       \
        X(RESTORED, LOG_NOTICE, "4ff6fe1b4a554fd7999d2fccfae4064c")                                                    \
        X(LOST, LOG_ERR, "33231c1f68e047d7a9534c162bd8b1d4")                                                           \
        X(RELOADED, LOG_NOTICE, "943684dfc30146a9a1a3b5ea3c0aca50")                                                    \
        X(BECOMING, LOG_NOTICE, "4254ec98010e49929c66171eb6c593fe")                                                    \
        X(KEEPER_REPLACED, LOG_ERR, "f9151bfd61e94182920e477f0d67044f")                                                \
        X(KEEPER_GONE, LOG_ERR, "d20c6aef6d19482a8a7946e45e829e09")                                                    \
        X(CHANGED, LOG_NOTICE, "ff3c7865b2d541d68c4afdada86e70a3")                                                     \
        X(CHANGE_REFUSED, LOG_WARNING, "901d5a3d96e1468199ebef3b3d44c1f8")                                             \
        X(NODE_LOST, LOG_ERR, "c51146b02f584a8ca75e91a3a39ac48f")                                                      \
        X(PRESSURE, LOG_INFO, "85d7f0fd68a44e7aa3add0087acbed53")                                                      \
        X(LEFT_ABOVE, LOG_WARNING, "d345b4554a284312afb19162c3739835")                                                 \
        X(LIMIT_REFUSED, LOG_INFO, "42eef359ac7241308245d27818703ca3")                                                 \
        X(THRASH, LOG_INFO, "57ec2d0cd9bb42988bf92c6b798984cc")                                                        \
        X(DRIFT, LOG_WARNING, "88b8fbe581b146afb05874411922edd3")                                                      \
        X(DRIFT_ENDED, LOG_NOTICE, "684a9a02ed094551919549f8b624ba5f")                                                 \
        X(SESSION_KILLED, LOG_WARNING, "d80e6a6099094de3876c432d961f9a53")                                             \
        X(NO_DESCRIPTORS, LOG_WARNING, "1a07da4d0c6f4cdaaac1843b506423be")                                             \
        X(RELOAD_FAILED, LOG_ERR, "7c2bfa785d844617aa1ba5a20adfa3c8")                                                  \
        X(GROUP_FULL, LOG_WARNING, "5f1d1f2b9c2a4a0db7c40f8a6d3e9127")                                                 \
        X(GROUP_FULL_ENDED, LOG_NOTICE, "c1f0a7be1f5248d18e7d1f0b64a5b3d9")                                            \
        X(PAGES_WITHHELD, LOG_WARNING, "f3c2c915900843b7b87b8549b2f2bd43")

enum message {
#define X(name, level, id) MESSAGE_##name,
        MESSAGES(X)
#undef X
                MESSAGE_COUNT,
};

struct message_desc {
        const char *id; /* 32 hexadecimal digits */
        int level;
};
const struct message_desc *message_desc(enum message m);

/* A field is in capitals and begins with SVMD_. `text` NULL: the number counts. */
struct message_field {
        const char *name, *text;
        uint64_t number;
};
#define FIELD_TEXT(field, value)                                                                                       \
        { .name = (field), .text = (value) }
#define FIELD_NUMBER(field, value)                                                                                     \
        { .name = (field), .number = (value) }
#define FIELDS(...)                                                                                                    \
        (const struct message_field[]){ __VA_ARGS__ },                                                                 \
                sizeof((const struct message_field[]){ __VA_ARGS__ }) / sizeof(struct message_field)
#define NO_FIELDS NULL, 0

/* Its line, and its fields where something takes them. */
void message(enum message m, const struct message_field *fields, size_t count, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* Who takes messages with their fields: false where it could not, and the line goes to standard error. NULL: nobody. */
typedef bool (*message_sink)(const struct message_desc *m, const struct message_field *fields, size_t count,
                             const char *text);
void message_set_sink(message_sink sink);

/*
 * So many messages of a kind in a time. Who may cause one as often as he likes must not fill the log: what is too much
 * is counted, and the next one that passes says how many there were.
 */
struct message_rate {
        uint64_t begun_ns;
        uint32_t passed;
        uint64_t withheld;
};
enum { MESSAGE_BURST = 10 };
#define MESSAGE_PERIOD_NS 10000000000ull
/* Whether it may be said now; then `ret_withheld` is how many were not since the last one. Pure. */
bool message_passes(struct message_rate *r, uint64_t now_ns, uint64_t *ret_withheld);
