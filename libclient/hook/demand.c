#include "demand.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/size.h"
#include "hook/state.h"

static int wrong(char why[DEMAND_WHY], const struct annotation *a, const char *what) {
        snprintf(why, DEMAND_WHY, "annotation org.svmd.%.60s '%.40s': %s", a->key, a->value, what);
        return -EINVAL;
}

static int take_size(const struct annotation *a, uint64_t *ret, char why[DEMAND_WHY]) {
        int r = size_parse(a->value, ret);

        return r == 0 ? 0 : wrong(why, a, size_problem(r));
}

static int take_limit(struct demand *d, const struct annotation *a, const char *node, bool min, char why[DEMAND_WHY]) {
        struct demand_limit *l = &d->limits[d->limits_count];

        if (!*node)
                return wrong(why, a, "the name of a node is missing");
        if (d->limits_count == DEMAND_LIMITS)
                return wrong(why, a, "there are too many limits");
        *l = (struct demand_limit){ node, UINT64_MAX, min };
        d->limits_count++;
        if (!min && strcmp(a->value, "none") == 0)
                return 0;
        return take_size(a, &l->bytes, why);
}

static int take_name(struct demand *d, const struct annotation *a, char why[DEMAND_WHY]) {
        if (!*a->value || strlen(a->value) >= sizeof(d->name) || strchr(a->value, '/'))
                return wrong(why, a, "this is not the name of a partition");
        snprintf(d->name, sizeof(d->name), "%s", a->value);
        return 0;
}

static int take_domain(struct demand *d, const struct annotation *a, char why[DEMAND_WHY]) {
        static const char behind[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
        size_t n = strlen(a->value);

        if (!isalnum((unsigned char)*a->value) || strspn(a->value, behind) != n || n >= sizeof(d->domain))
                return wrong(why, a,
                             "a domain has 1 to 63 letters, digits and . _ : - and begins with a letter or digit");
        snprintf(d->domain, sizeof(d->domain), "%s", a->value);
        return 0;
}

static int take(struct demand *d, const struct annotation *a, char why[DEMAND_WHY]) {
        if (strcmp(a->key, "partition") == 0)
                return take_name(d, a, why);
        if (strcmp(a->key, "name") == 0)
                return 0; /* called.h */
        d->makes = true;
        if (strcmp(a->key, "size") == 0)
                return take_size(a, &d->size, why);
        if (strcmp(a->key, "domain") == 0)
                return take_domain(d, a, why);
        if (strncmp(a->key, "max.", 4) == 0)
                return take_limit(d, a, a->key + 4, false, why);
        if (strncmp(a->key, "min.", 4) == 0)
                return take_limit(d, a, a->key + 4, true, why);
        return wrong(why, a, "svmd knows partition, size, domain, name, max.NODE and min.NODE");
}

/* Letters and digits at either end, and between them what names of partitions and CDI devices may have. */
void demand_name(char ret[DEMAND_NAME], const char *id) {
        size_t n = 0;

        for (; *id && n < DEMAND_NAME - 1; id++)
                if (isalnum((unsigned char)*id) || (n > 0 && strchr("-_.:", *id)))
                        ret[n++] = *id;
        while (n > 0 && !isalnum((unsigned char)ret[n - 1]))
                n--;
        ret[n] = 0;
}

int demand_of(struct demand *d, const struct state *s, const char *name, char why[DEMAND_WHY]) {
        *d = (struct demand){ 0 };
        for (size_t i = 0; i < s->annotations_count; i++) {
                int r = take(d, &s->annotations[i], why);

                if (r < 0)
                        return r;
        }
        if (name)
                snprintf(d->name, sizeof(d->name), "%s", name);
        if (!d->name[0] && d->makes) {
                demand_name(d->name, s->id);
                if (!d->name[0]) {
                        snprintf(why, DEMAND_WHY,
                                 "no partition can be named after container '%.60s'; give it "
                                 "org.svmd.partition",
                                 s->id);
                        return -EINVAL;
                }
        }
        return 0;
}
