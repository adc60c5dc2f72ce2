#include "state.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define OURS "org.svmd."

static int wrong(char why[STATE_WHY], const char *format, const char *what) __attribute__((format(printf, 2, 0)));
static int wrong(char why[STATE_WHY], const char *format, const char *what) {
        snprintf(why, STATE_WHY, format, what);
        return -EINVAL;
}

/* A string without NUL in it. NULL: it is something else. */
static const char *text_of(struct json_object *o) {
        if (!json_object_is_type(o, json_type_string) ||
            strlen(json_object_get_string(o)) != (size_t)json_object_get_string_len(o))
                return NULL;
        return json_object_get_string(o);
}

static int take_annotations(struct state *s, struct json_object *o, char why[STATE_WHY]) {
        if (!json_object_is_type(o, json_type_object))
                return wrong(why, "%s is no object", "annotations");
        json_object_object_foreach(o, key, value) {
                if (strncmp(key, OURS, strlen(OURS)) != 0)
                        continue;
                if (!text_of(value))
                        return wrong(why, "annotation %.100s is no string", key);
                if (s->annotations_count == STATE_ANNOTATIONS)
                        return wrong(why, "there are too many annotations %s", OURS "*");
                s->annotations[s->annotations_count++] = (struct annotation){ key + strlen(OURS), text_of(value) };
        }
        return 0;
}

static int take(struct state *s, char why[STATE_WHY]) {
        struct json_object *value;

        if (!json_object_is_type(s->json, json_type_object))
                return wrong(why, "%s is no object", "it");
        if (!json_object_object_get_ex(s->json, "id", &value) || !text_of(value) || !*text_of(value))
                return wrong(why, "it has no %s, which is the name of a container", "id");
        s->id = text_of(value);
        s->bundle = "";
        if (json_object_object_get_ex(s->json, "bundle", &value) && !(s->bundle = text_of(value)))
                return wrong(why, "%s is no string", "bundle");
        if (json_object_object_get_ex(s->json, "pid", &value)) {
                if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
                    json_object_get_int64(value) > INT_MAX)
                        return wrong(why, "%s is not the number of a process", "pid");
                s->pid = (uint32_t)json_object_get_int64(value);
        }
        if (json_object_object_get_ex(s->json, "annotations", &value) && value)
                return take_annotations(s, value, why);
        return 0;
}

int state_parse(struct state *s, const char *text, size_t size, char why[STATE_WHY]) {
        struct json_tokener *tokener = json_tokener_new();
        int r;

        *s = (struct state){ 0 };
        if (!tokener || size > INT_MAX) {
                json_tokener_free(tokener);
                return wrong(why, "there is no memory for %s", "it");
        }
        s->json = json_tokener_parse_ex(tokener, text, (int)size);
        if (!s->json)
                r = wrong(why, "it is no JSON: %s", json_tokener_error_desc(json_tokener_get_error(tokener)));
        else
                r = take(s, why);
        json_tokener_free(tokener);
        if (r < 0)
                state_free(s);
        return r;
}

const char *state_annotation(const struct state *s, const char *key) {
        struct json_object *all, *value;

        if (!json_object_object_get_ex(s->json, "annotations", &all) || !json_object_object_get_ex(all, key, &value))
                return NULL;
        return text_of(value);
}

void state_free(struct state *s) {
        json_object_put(s->json);
        *s = (struct state){ 0 };
}
