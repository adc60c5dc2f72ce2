#include "main/live.h"

#include <string.h>

#include "main/config.h"
#include "main/options.h"

/*
 * A configuration that was read again stands beside the one that counts. What can change now is exchanged; the rest of
 * the old one stays, so that the next comparison names it again.
 */
static const char *const live[] = {
        "default-partition-size",
        "max-sessions",
        "max-sessions-per-uid",
        "max-objects-per-session",
        "max-registered-per-session",
        "default-limit",
        "kept-max",
        "policy",
        "partition-policy",
        "link-rate",
        "partition-rate",
        "partition-userfaultfd",
        "log-level",
};

bool option_is_live(const char *name) {
        for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++)
                if (strcmp(live[i], name) == 0)
                        return true;
        return false;
}

/* ---- the same? ---- */

static size_t size_of(const struct option_desc *o) {
        switch (o->kind) {
        case OPTION_SWITCH: return sizeof(bool);
        case OPTION_COUNT: return sizeof(uint32_t);
        case OPTION_LEVEL: return sizeof(int);
        default: return sizeof(uint64_t);
        }
}

static bool same_text(const char *a, const char *b) {
        return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool same_profile(const struct policy_profile *a, const struct policy_profile *b) {
        for (size_t i = 0; i < profile_options_count; i++) {
                const struct option_desc *o = &profile_options[i];

                if (memcmp((const char *)a + o->offset, (const char *)b + o->offset, size_of(o)) != 0)
                        return false;
        }
        return strcmp(a->name, b->name) == 0;
}

static bool same_setting(const struct setting *a, const struct setting *b) {
        return strcmp(a->name, b->name) == 0 && strcmp(a->other, b->other) == 0 && a->rate == b->rate &&
               a->on == b->on && (!a->profile || same_profile(a->profile, b->profile));
}

static const struct setting *next_of(const struct config *c, enum setting_kind kind, uint32_t *at) {
        while (*at < c->settings_count) {
                const struct setting *s = &c->settings[(*at)++];

                if (s->kind == kind)
                        return s;
        }
        return NULL;
}

static bool same_settings(const struct config *a, const struct config *b, enum setting_kind kind) {
        uint32_t i = 0, k = 0;

        for (;;) {
                const struct setting *s = next_of(a, kind, &i), *t = next_of(b, kind, &k);

                if (!s || !t)
                        return !s && !t;
                if (!same_setting(s, t))
                        return false;
        }
}

static bool same_limits(const struct config *a, const struct config *b) {
        if (a->default_limits_count != b->default_limits_count)
                return false;
        for (uint32_t i = 0; i < a->default_limits_count; i++)
                if (strcmp(a->default_limits[i].node, b->default_limits[i].node) != 0 ||
                    a->default_limits[i].max != b->default_limits[i].max)
                        return false;
        return true;
}

static bool same_node(const struct node_desc *a, const struct node_desc *b) {
        return strcmp(a->name, b->name) == 0 && a->capacity == b->capacity && a->faults == b->faults &&
               a->managed == b->managed && strcmp(a->device, b->device) == 0 && strcmp(a->dmem, b->dmem) == 0;
}

/* Kinds without an option of their own are given by --soft-node. */
static enum node_kind option_of(enum node_kind kind) {
        for (size_t i = 0; i < options_count; i++)
                if (options[i].kind == OPTION_NODE && options[i].min == kind)
                        return kind;
        return NODE_SOFT;
}

/* All kinds are in one table. */
static const struct node_desc *next_node(const struct config *c, enum node_kind kind, uint32_t *at) {
        while (*at < c->soft.count) {
                const struct node_desc *n = &c->soft.nodes[(*at)++];

                if (option_of(n->kind) == kind)
                        return n;
        }
        return NULL;
}

static bool same_nodes(const struct config *a, const struct config *b, enum node_kind kind) {
        uint32_t i = 0, k = 0;

        for (;;) {
                const struct node_desc *n = next_node(a, kind, &i), *m = next_node(b, kind, &k);

                if (!n || !m)
                        return !n && !m;
                if (!same_node(n, m))
                        return false;
        }
}

static bool same(const struct config *a, const struct config *b, const struct option_desc *o) {
        const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;

        switch (o->kind) {
        case OPTION_TEXT: return same_text(*(char *const *)x, *(char *const *)y);
        case OPTION_PROFILE: return same_profile(&a->profile, &b->profile);
        case OPTION_SETTING: return same_settings(a, b, (enum setting_kind)o->min);
        case OPTION_LIMIT: return same_limits(a, b);
        case OPTION_NODE: return same_nodes(a, b, (enum node_kind)o->min);
        case OPTION_FLAG:
        case OPTION_HELP:
        case OPTION_VERSION: return true;
        default: return memcmp(x, y, size_of(o)) == 0;
        }
}

void config_compare(const struct config *c, const struct config *next, struct config_changes *ret) {
        *ret = (struct config_changes){ 0 };
        for (size_t i = 0; i < options_count && i < CONFIG_OPTIONS_MAX; i++) {
                if (same(c, next, &options[i]))
                        continue;
                if (option_is_live(options[i].name))
                        ret->changed[ret->changed_count++] = options[i].name;
                else
                        ret->restart[ret->restart_count++] = options[i].name;
        }
}

/* ---- exchange ---- */

static void swap(void *a, void *b, size_t size) {
        char *x = a, *y = b;

        for (size_t i = 0; i < size; i++) {
                char kept = x[i];

                x[i] = y[i];
                y[i] = kept;
        }
}

void config_exchange(struct config *c, struct config *next) {
        for (size_t i = 0; i < options_count; i++) {
                const struct option_desc *o = &options[i];
                bool plain = o->kind == OPTION_SWITCH || o->kind == OPTION_SIZE || o->kind == OPTION_COUNT ||
                             o->kind == OPTION_NUMBER || o->kind == OPTION_LEVEL;

                if (plain && option_is_live(o->name))
                        swap((char *)c + o->offset, (char *)next + o->offset, size_of(o));
        }
        swap(&c->profile, &next->profile, sizeof(c->profile));
        swap(&c->settings, &next->settings, sizeof(c->settings));
        swap(&c->settings_count, &next->settings_count, sizeof(c->settings_count));
        swap(&c->default_limits, &next->default_limits, sizeof(c->default_limits));
        swap(&c->default_limits_count, &next->default_limits_count, sizeof(c->default_limits_count));
}
