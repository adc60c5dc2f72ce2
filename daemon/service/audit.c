#include "service/audit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "account/look.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/message.h"
#include "base/text.h"
#include "core/session.h"
#include "service/internal.h"

/*
 * The operation's arguments are what its message says: every field that is not zero, by the names of the protocol. So
 * an operation that is new needs nothing here but OP_AUDIT in its row.
 */

struct asker {
        uint32_t pid, uid;
        bool for_other; /* the session's own process asks for this one */
        char process[20], cgroup[WHERE_CGROUP];
};

/* ---- arguments ---- */

struct text {
        char bytes[512];
        size_t used;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *format, ...) {
        size_t room = sizeof(t->bytes) - t->used;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(t->bytes + t->used, room, format, ap);
        va_end(ap);
        if (n > 0)
                t->used += (size_t)n < room ? (size_t)n : room - 1;
}

/* Nobody writes lines of the log by what he calls things. */
static void put_string(struct text *t, const char *s) {
        put(t, "\"");
        for (; *s; s++)
                put(t, isprint((unsigned char)*s) && *s != '"' && *s != '\\' ? "%c" : "\\x%02x", (unsigned char)*s);
        put(t, "\"");
}

static void put_message(struct text *t, const ProtobufCMessage *m);

static size_t size_of(ProtobufCType type) {
        switch (type) {
        case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_UINT64: return sizeof(uint64_t);
        case PROTOBUF_C_TYPE_ENUM: return sizeof(int);
        case PROTOBUF_C_TYPE_UINT32: return sizeof(uint32_t);
        default: return sizeof(void *);
        }
}

/* False: it has no value. */
static bool put_value(struct text *t, const ProtobufCFieldDescriptor *f, const void *at, bool list) {
        const char *before = list ? "" : " ", *name = list ? "" : f->name, *equals = list ? "" : "=";
        const ProtobufCEnumValue *value;
        uint64_t number;

        if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE) {
                const void *pointer = *(void *const *)at;

                if (!pointer || (f->type == PROTOBUF_C_TYPE_STRING && !*(const char *)pointer))
                        return false;
                put(t, "%s%s%s", before, name, equals);
                if (f->type == PROTOBUF_C_TYPE_STRING)
                        put_string(t, pointer);
                else
                        put_message(t, pointer);
                return true;
        }
        number = f->type == PROTOBUF_C_TYPE_UINT64 ? *(const uint64_t *)at
                 : f->type == PROTOBUF_C_TYPE_BOOL ? (uint64_t) * (const protobuf_c_boolean *)at
                                                   : *(const uint32_t *)at;
        if (number == 0 && !list)
                return false;
        value = f->type == PROTOBUF_C_TYPE_ENUM ? protobuf_c_enum_descriptor_get_value(f->descriptor, (int)number)
                                                : NULL;
        if (value)
                put(t, "%s%s%s%s", before, name, equals, value->name);
        else if (f->type == PROTOBUF_C_TYPE_BOOL)
                put(t, "%s%s", before, name);
        else
                put(t, "%s%s%s%" PRIu64, before, name, equals, number);
        return true;
}

static void put_field(struct text *t, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        const char *at = (const char *)m + f->offset;
        size_t count;

        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
                put_value(t, f, at, false);
                return;
        }
        count = *(const size_t *)((const char *)m + f->quantifier_offset);
        if (count == 0)
                return;
        put(t, " %s=[", f->name);
        for (size_t i = 0; i < count && t->used < sizeof(t->bytes) - 1; i++) {
                put(t, i ? ", " : "");
                put_value(t, f, *(const char *const *)at + i * size_of(f->type), true);
        }
        put(t, "]");
}

static void put_fields(struct text *t, const ProtobufCMessage *m) {
        for (unsigned i = 0; i < m->descriptor->n_fields; i++)
                put_field(t, m, &m->descriptor->fields[i]);
}

static void put_message(struct text *t, const ProtobufCMessage *m) {
        put(t, "{");
        put_fields(t, m);
        put(t, " }");
}

static void describe(struct text *t, const Svmd__V1__Op *op) {
        const ProtobufCFieldDescriptor *f =
                protobuf_c_message_descriptor_get_field(&svmd__v1__op__descriptor, (unsigned)op->op_case);
        const ProtobufCMessage *const *m = f ? (const void *)((const char *)op + f->offset) : NULL;

        t->used = 0;
        t->bytes[0] = 0;
        if (m && *m)
                put_fields(t, *m);
}

/* ---- who asks ---- */

static int find_out(struct service *svc, struct session *s, uint32_t pid, uint32_t uid, bool for_other) {
        struct asker *a = alloc_zero(sizeof(*a));
        struct looked seen = { .process = "" };

        if (!a)
                return -ENOMEM;
        if (pid)
                look_at_process(svc->options.proc_root, pid, UINT64_MAX, &seen);
        *a = (struct asker){ .pid = pid, .uid = uid, .for_other = for_other };
        text_copy(a->process, seen.process[0] ? seen.process : "?");
        text_copy(a->cgroup, seen.where.cgroup[0] ? seen.where.cgroup : "?");
        audit_forget(s);
        s->asker = a;
        return 0;
}

int audit_act_for(struct service *svc, struct session *s, uint32_t pid, uint32_t uid) {
        return find_out(svc, s, pid, uid, true);
}

void audit_forget(struct session *s) {
        alloc_free(s->asker);
        s->asker = NULL;
}

/* What a client does with its own is no administration. */
static bool concerns(const struct session *s, unsigned flags) {
        return (flags & OP_AUDIT) && ((flags & OP_ADMIN) || (s->admin && !s->partition));
}

int audit_begin(struct service *svc, struct session *s, unsigned flags) {
        if (!concerns(s, flags) || s->asker)
                return 0;
        return find_out(svc, s, s->pid, s->who.uid, false);
}

/* A list is no change. */
static bool only_asks(const Svmd__V1__Op *op) {
        return op->op_case == SVMD__V1__OP__OP_POLICY && !op->policy->change;
}

void audit_end(struct service *svc, const struct session *s, const struct call *c) {
        const struct op_row *row = op_row(c->op->op_case);
        const struct asker *a = s->asker;
        unsigned code = c->result->code;
        uint64_t withheld = 0;
        char more[64] = "";
        struct text t;

        if (!row || !a || !concerns(s, row->flags) || only_asks(c->op))
                return;
        if (code != 0 && !message_passes(&svc->rates.refused, clock_ns(CLOCK_MONOTONIC), &withheld))
                return;
        if (withheld > 0)
                snprintf(more, sizeof(more), " (%" PRIu64 " more were refused, and not told)", withheld);
        describe(&t, c->op);
        message(code == 0 ? MESSAGE_CHANGED : MESSAGE_CHANGE_REFUSED,
                FIELDS(FIELD_TEXT("SVMD_OPERATION", row->name), FIELD_TEXT("SVMD_ARGUMENTS", t.used ? t.bytes + 1 : ""),
                       FIELD_TEXT("SVMD_RESULT", status_name(code)), FIELD_NUMBER("SVMD_ASKER_PID", a->pid),
                       FIELD_NUMBER("SVMD_ASKER_UID", a->uid), FIELD_TEXT("SVMD_ASKER_COMM", a->process),
                       FIELD_TEXT("SVMD_ASKER_CGROUP", a->cgroup),
                       FIELD_NUMBER("SVMD_THROUGH_PID", a->for_other ? s->pid : 0),
                       FIELD_NUMBER("SVMD_SESSION", s->object.id)),
                "%s%s: %s; asked by %s (pid %u, uid %u, in %s)%s%s", row->name, t.bytes,
                code == 0 ? "done" : status_name(code), a->process, a->pid, a->uid, a->cgroup,
                a->for_other ? " over D-Bus" : "", more);
}

void audit_withheld(struct service *svc, const struct session *s, const char *node, const char *why) {
        struct looked seen = { .process = "" };
        uint64_t withheld = 0;
        char more[64] = "";

        if (!message_passes(&svc->rates.withheld, clock_ns(CLOCK_MONOTONIC), &withheld))
                return;
        if (withheld > 0)
                snprintf(more, sizeof(more), " (%" PRIu64 " more of these were not told)", withheld);
        if (s->pid)
                look_at_process(svc->options.proc_root, s->pid, UINT64_MAX, &seen);
        message(MESSAGE_PAGES_WITHHELD,
                FIELDS(FIELD_TEXT("SVMD_NODE", node), FIELD_NUMBER("SVMD_SESSION", s->object.id),
                       FIELD_NUMBER("SVMD_SESSION_PID", s->pid), FIELD_NUMBER("SVMD_SESSION_UID", s->who.uid),
                       FIELD_TEXT("SVMD_SESSION_COMM", seen.process[0] ? seen.process : "?"),
                       FIELD_TEXT("SVMD_SESSION_CGROUP", seen.where.cgroup[0] ? seen.where.cgroup : "?")),
                "session %" PRIu64
                " did not give back managed pages of %s: %s; pid %u (uid %u, %s) gets no more there, "
                "and others go on without what its GPU still writes%s",
                s->object.id, node, why, s->pid, s->who.uid, seen.process[0] ? seen.process : "?", more);
}

int op_act_for(struct call *c) {
        const struct session *s = c->session;

        if (!s->who.superuser && s->who.uid != c->svc->options.bus_uid)
                return refuse(c, SVMD_STATUS_DENIED,
                              "only root, svmd's own user and the one of svmd-dbus may ask for another process");
        return audit_act_for(c->svc, c->session, c->op->act_for->pid, c->op->act_for->uid);
}
