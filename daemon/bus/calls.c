#include "bus/calls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/text.h"
#include "bus/link.h"
#include "bus/names.h"
#include "bus/view.h"
#include "proto/status.h"

#define POLKIT         "org.freedesktop.PolicyKit1"
#define POLKIT_PATH    "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_FACE    "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_WAIT_US 120000000ull /* a person types a password */
#define BUS_WAIT_US    20000000ull

enum stage { HELLO, ACT_FOR, OPERATION, FENCE, DONE };

struct calls {
        sd_bus *bus;
        struct view *view;
        gid_t admin_gid;
        struct list all;
        uint64_t last; /* number of a call */
        unsigned count;
        char socket[108];
};

struct call {
        struct calls *calls;
        struct list link;
        sd_bus_message *message;
        sd_bus_message *rows; /* the reply that is being made, of REPLY_SESSIONS */
        const char *action;
        enum call_reply reply;
        uint64_t number, fence, copy; /* copy: of the view, that has what was done */
        void *op;
        size_t op_size;
        sd_bus_slot *gone, *question; /* who tells that the caller has gone; what the bus was asked */
        bool asks_polkit;
        struct link *svmd;
        enum stage stage;
        uint32_t uid, pid;
        bool known;
        char name[64];
};

/* ---- ends ---- */

static void cancel_id(const struct call *k, char *to, size_t size) {
        snprintf(to, size, "svmd-%" PRIu64, k->number);
}

static void call_free(struct call *k) {
        char id[32];

        cancel_id(k, id, sizeof(id));
        sd_bus_slot_unref(k->gone);
        sd_bus_slot_unref(k->question);
        if (k->asks_polkit)
                (void)sd_bus_call_method_async(k->calls->bus, NULL, POLKIT, POLKIT_PATH, POLKIT_FACE,
                                               "CancelCheckAuthorization", NULL, NULL, "s", id);
        link_free(k->svmd);
        list_remove(&k->link);
        k->calls->count--;
        sd_bus_message_unref(k->message);
        sd_bus_message_unref(k->rows);
        alloc_free(k->op);
        alloc_free(k);
}

static void refuse(struct call *k, const char *name, const char *text) {
        (void)sd_bus_reply_method_errorf(k->message, name, "%s", text);
        call_free(k);
}

static void refuse_code(struct call *k, unsigned code, const char *text) {
        char name[64];

        snprintf(name, sizeof(name), CALL_ERROR("%s"), status_name(code));
        refuse(k, name, text[0] ? text : status_text(code));
}

static void gone(struct call *k, const char *why) {
        char text[256];

        snprintf(text, sizeof(text), "svmd cannot be asked: %s%s", why,
                 k->stage >= OPERATION ? "; whether it was done is not known" : "");
        refuse_code(k, SVMD_STATUS_GONE, text);
}

static void answer(struct call *k) {
        char *path = NULL;

        if (k->reply != REPLY_PARTITION)
                (void)sd_bus_reply_method_return(k->message, NULL);
        else if (sd_bus_path_encode(BUS_PARTITIONS, k->name, &path) >= 0)
                (void)sd_bus_reply_method_return(k->message, "o", path);
        free(path);
        call_free(k);
}

/* ---- replies with rows ---- */

static const char *plan_word(Svmd__V1__PlanKind kind) {
        static const char *const words[] = { "give-back", "evict", "spill", "steal", "stays" };

        return (unsigned)kind < sizeof(words) / sizeof(words[0]) ? words[kind] : "unknown";
}

static int append_step(const struct call *k, sd_bus_message *m, const Svmd__V1__PlanStep *s) {
        const struct view_node *n = view_node_of(view_now(k->calls->view), s->node);

        return sd_bus_message_append(m, BUS_PLAN, n ? n->name : "", plan_word(s->kind), s->bytes, s->session, s->pid,
                                     s->client);
}

static int append_session(sd_bus_message *m, const Svmd__V1__Session *s) {
        return sd_bus_message_append(m, BUS_SESSIONS, s->id, s->pid, s->uid, s->gid, s->client, s->reservations,
                                     s->memories, s->spaces, s->registered);
}

static int open_rows(struct call *k, const char *type) {
        int r = k->rows ? 0 : sd_bus_message_new_method_return(k->message, &k->rows);

        return r < 0 ? r : sd_bus_message_open_container(k->rows, 'a', type);
}

/* The reply is complete, or cannot be made. */
static void send_rows(struct call *k, int r) {
        if (r >= 0)
                r = sd_bus_message_close_container(k->rows);
        if (r >= 0)
                r = sd_bus_send(k->calls->bus, k->rows, NULL);
        if (r < 0)
                refuse(k, SD_BUS_ERROR_NO_MEMORY, "svmd-dbus has no memory left");
        else
                call_free(k);
}

static void answer_plan(struct call *k, const Svmd__V1__PlanResult *plan) {
        int r = open_rows(k, BUS_PLAN);

        for (size_t i = 0; r >= 0 && plan && i < plan->n_steps; i++)
                r = append_step(k, k->rows, plan->steps[i]);
        send_rows(k, r);
}

static int ask_sessions(struct call *k, uint64_t after) {
        Svmd__V1__SessionList m = SVMD__V1__SESSION_LIST__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        m.partition = k->name;
        m.after = after;
        op.op_case = SVMD__V1__OP__OP_SESSION_LIST;
        op.session_list = &m;
        return link_send(k->svmd, &op);
}

/* A page of them; negative: the next one cannot be asked for. */
static int answer_sessions(struct call *k, const Svmd__V1__Result *result) {
        const Svmd__V1__SessionsResult *page = result->sessions;
        size_t count = page ? page->n_sessions : 0;
        int r = k->rows ? 0 : open_rows(k, BUS_SESSIONS);

        for (size_t i = 0; r >= 0 && i < count; i++)
                r = append_session(k->rows, page->sessions[i]);
        if (r >= 0 && result->more && count > 0)
                return ask_sessions(k, page->sessions[count - 1]->id);
        send_rows(k, r);
        return 0;
}

/* svmd has done it. */
static void done(struct call *k) {
        k->stage = DONE;
        k->copy = view_after(k->calls->view);
        if (k->copy == view_number(k->calls->view))
                answer(k);
}

void calls_seen(struct calls *c) {
        list_for_each_safe (l, &c->all) {
                struct call *k = container_of(l, struct call, link);

                if (k->stage == DONE && k->copy <= view_number(c->view))
                        answer(k);
        }
}

void calls_set_view(struct calls *c, struct view *v) {
        c->view = v;
}

/* ---- svmd ---- */

static int send_act_for(struct call *k) {
        Svmd__V1__ActFor m = SVMD__V1__ACT_FOR__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        m.pid = k->pid;
        m.uid = k->uid;
        op.op_case = SVMD__V1__OP__OP_ACT_FOR;
        op.act_for = &m;
        return link_send(k->svmd, &op);
}

static void on_reply(void *userdata, const Svmd__V1__Result *result) {
        struct call *k = userdata;
        int r = 0;

        if (result->code != 0) {
                refuse_code(k, result->code, result->text);
                return;
        }
        switch (k->stage) {
        case HELLO:
                k->stage = ACT_FOR;
                r = send_act_for(k);
                break;
        case ACT_FOR:
                k->stage = OPERATION;
                r = link_send_packed(k->svmd, k->op, k->op_size, k->reply == REPLY_PLAN);
                break;
        case OPERATION:
                if (k->reply == REPLY_PLAN) {
                        answer_plan(k, result->plan);
                        return;
                }
                if (k->reply == REPLY_SESSIONS) {
                        r = answer_sessions(k, result);
                        break;
                }
                if (k->reply != REPLY_FENCE || result->id == 0) {
                        done(k);
                        return;
                }
                k->stage = FENCE;
                k->fence = result->id;
                break;
        case FENCE:
        case DONE: break;
        }
        if (r < 0)
                gone(k, strerror(-r));
}

static void on_event(void *userdata, const Svmd__V1__Event *event) {
        struct call *k = userdata;

        if (k->stage != FENCE || event->event_case != SVMD__V1__EVENT__EVENT_FENCE || event->fence->fence != k->fence ||
            !event->fence->result)
                return;
        if (event->fence->result->code != 0)
                refuse_code(k, event->fence->result->code, event->fence->result->text);
        else
                done(k);
}

static void on_ended(void *userdata, const char *why) {
        struct call *k = userdata;

        if (k->stage == DONE)
                answer(k);
        else
                gone(k, why);
}

static void begin(struct call *k) {
        const struct link_hooks hooks = { k, on_reply, on_event, on_ended };
        int r = link_new(&k->svmd, sd_bus_get_event(k->calls->bus), k->calls->socket, &hooks);

        if (r < 0)
                gone(k, strerror(-r));
}

/* ---- may he ---- */

/* (bba{ss}): yes, it takes a person's word, details */
static int on_polkit(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        struct call *k = userdata;
        int yes = 0, challenge = 0;

        k->asks_polkit = false;
        k->question = sd_bus_slot_unref(k->question);
        if (error && strcmp(error->name, SD_BUS_ERROR_SERVICE_UNKNOWN) != 0 &&
            strcmp(error->name, SD_BUS_ERROR_NAME_HAS_NO_OWNER) != 0) {
                refuse(k, SD_BUS_ERROR_ACCESS_DENIED, error->message ? error->message : "polkit does not answer");
                return 0;
        }
        if (error) {
                refuse(k, SD_BUS_ERROR_ACCESS_DENIED,
                       "only root and members of the group of administrators may do this");
                return 0;
        }
        if (sd_bus_message_enter_container(m, 'r', "bba{ss}") < 0 || sd_bus_message_read(m, "bb", &yes, &challenge) < 0)
                yes = challenge = 0;
        if (yes)
                begin(k);
        else if (challenge)
                refuse(k, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                       "somebody has to authenticate for this, and the call does not let him");
        else
                refuse(k, SD_BUS_ERROR_ACCESS_DENIED, "polkit does not allow it");
        return 0;
}

static int ask_polkit(struct call *k) {
        sd_bus_message *m = NULL;
        char id[32];
        int r;

        cancel_id(k, id, sizeof(id));
        r = sd_bus_message_new_method_call(k->calls->bus, &m, POLKIT, POLKIT_PATH, POLKIT_FACE, "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(
                        m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", sd_bus_message_get_sender(k->message),
                        k->action, 0, sd_bus_message_get_allow_interactive_authorization(k->message) > 0 ? 1u : 0u, id);
        if (r >= 0)
                r = sd_bus_call_async(k->calls->bus, &k->question, m, on_polkit, k, POLKIT_WAIT_US);
        sd_bus_message_unref(m);
        k->asks_polkit = r >= 0;
        return r;
}

/* ---- who is it ---- */

static bool has_group(sd_bus_message *m, gid_t gid) {
        const uint32_t *groups;
        size_t size;

        if (sd_bus_message_enter_container(m, 'v', "au") < 0 ||
            sd_bus_message_read_array(m, 'u', (const void **)&groups, &size) < 0)
                return false;
        sd_bus_message_exit_container(m);
        for (size_t i = 0; i < size / sizeof(*groups); i++)
                if (groups[i] == gid && gid != (gid_t)-1)
                        return true;
        return false;
}

/* a{sv}. Negative: without a user nobody is served. */
static int read_credentials(struct call *k, sd_bus_message *m, bool *ret_admin) {
        bool admin = false, has_uid = false;
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0 && strcmp(name, "UnixUserID") == 0) {
                        r = sd_bus_message_read(m, "v", "u", &k->uid);
                        has_uid = r >= 0;
                } else if (r >= 0 && strcmp(name, "ProcessID") == 0) {
                        r = sd_bus_message_read(m, "v", "u", &k->pid);
                } else if (r >= 0 && strcmp(name, "UnixGroupIDs") == 0) {
                        admin |= has_group(m, k->calls->admin_gid);
                } else if (r >= 0) {
                        r = sd_bus_message_skip(m, "v");
                }
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        *ret_admin = admin || (has_uid && k->uid == 0);
        return r < 0 ? r : has_uid ? 0 : -ENODATA;
}

static bool user_has_too_many(const struct call *k) {
        unsigned n = 0;

        list_for_each (l, &k->calls->all) {
                const struct call *other = container_of(l, struct call, link);

                n += other->known && other->uid == k->uid;
        }
        return n > CALLS_A_USER && k->uid != 0;
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        struct call *k = userdata;
        bool admin;

        k->question = sd_bus_slot_unref(k->question);
        if (sd_bus_message_get_error(m) || read_credentials(k, m, &admin) < 0) {
                refuse(k, SD_BUS_ERROR_ACCESS_DENIED, "the bus does not say who the caller is");
                return 0;
        }
        k->known = true;
        if (user_has_too_many(k))
                refuse(k, SD_BUS_ERROR_LIMITS_EXCEEDED, "this user waits for too many calls already");
        else if (admin)
                begin(k);
        else if (ask_polkit(k) < 0)
                refuse(k, SD_BUS_ERROR_NO_MEMORY, "svmd-dbus has no memory left");
        return 0;
}

static int on_gone(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        call_free(userdata);
        return 0;
}

/* It is told that the caller goes from before it is asked who he is: in between he cannot vanish unseen. */
static int ask_who(struct call *k) {
        const char *sender = sd_bus_message_get_sender(k->message);
        char match[320];
        int r;

        snprintf(match, sizeof(match),
                 "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                 "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s',arg2=''",
                 sender);
        r = sd_bus_add_match_async(k->calls->bus, &k->gone, match, on_gone, NULL, k);
        if (r < 0)
                return r;
        return sd_bus_call_method_async(k->calls->bus, &k->question, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "GetConnectionCredentials", on_credentials, k, "s",
                                        sender);
}

/* ---- calls ---- */

static unsigned count_of(const struct calls *c, const char *sender) {
        unsigned n = 0;

        list_for_each (l, &c->all)
                n += strcmp(sd_bus_message_get_sender(container_of(l, struct call, link)->message), sender) == 0;
        return n;
}

int call_begin(struct calls *c, sd_bus_message *m, const struct call_desc *desc, const Svmd__V1__Op *op,
               sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(m);
        struct call *k;
        int r;

        if (!sender)
                return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "the caller is on no bus");
        if (c->count >= CALLS_MAX || count_of(c, sender) >= CALLS_A_SENDER)
                return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many calls wait already");
        k = alloc_zero(sizeof(*k));
        if (!k)
                return -ENOMEM;
        k->calls = c;
        k->message = sd_bus_message_ref(m);
        k->action = desc->action;
        k->reply = desc->reply;
        k->number = ++c->last;
        text_copy(k->name, desc->name ? desc->name : "");
        list_push_back(&c->all, &k->link);
        c->count++;
        r = op_pack(op, &k->op, &k->op_size);
        if (r >= 0)
                r = ask_who(k);
        if (r < 0) {
                call_free(k);
                return r;
        }
        return 1;
}

int calls_new(struct calls **ret, const struct calls_options *options) {
        struct calls *c = alloc_zero(sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->bus = options->bus;
        c->admin_gid = options->admin_gid;
        text_copy(c->socket, options->socket);
        list_init(&c->all);
        *ret = c;
        return 0;
}

void calls_free(struct calls *c) {
        if (!c)
                return;
        list_for_each_safe (l, &c->all)
                call_free(container_of(l, struct call, link));
        alloc_free(c);
}
