#include "json.h"

#include <grp.h>
#include <pwd.h>

#include "ctl.h"

void json_add(struct json_object *o, const char *key, struct json_object *value) {
        if (json_object_object_add(o, key, value) != 0)
                obstack_alloc_failed_handler();
}

void json_add_text(struct json_object *o, const char *key, const char *text) {
        json_add(o, key, text && *text ? json_object_new_string(text) : NULL);
}

void json_add_count(struct json_object *o, const char *key, uint64_t n) {
        json_add(o, key, json_object_new_uint64(n));
}

void json_add_limit(struct json_object *o, const char *key, uint64_t bytes) {
        json_add(o, key, bytes == UINT64_MAX ? NULL : json_object_new_uint64(bytes));
}

void json_add_address(struct json_object *o, const char *key, uint64_t address) {
        char text[32];

        snprintf(text, sizeof(text), "0x%012llx", (unsigned long long)address);
        json_add_text(o, key, text);
}

void json_add_flag(struct json_object *o, const char *key, int flag) {
        json_add(o, key, json_object_new_boolean(flag));
}

void json_add_mode(struct json_object *o, const char *key, unsigned mode) {
        char text[16];

        snprintf(text, sizeof(text), "%04o", mode);
        json_add_text(o, key, text);
}

void json_add_user(struct ctl *c, struct json_object *o, uint32_t uid) {
        const struct passwd *pw = getpwuid(uid);

        json_add_count(o, "uid", uid);
        json_add_text(o, "user", pw ? pw->pw_name : NULL);
}

void json_add_group(struct ctl *c, struct json_object *o, uint32_t gid) {
        const struct group *gr = getgrgid(gid);

        json_add_count(o, "gid", gid);
        json_add_text(o, "group", gr ? gr->gr_name : NULL);
}

static int print(struct ctl *c, struct json_object *value, int flags) {
        fprintf(c->out, "%s\n", json_object_to_json_string_ext(value, flags | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(value);
        return EXIT_OK;
}

int json_print(struct ctl *c, struct json_object *value) {
        return print(c, value, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
}

int json_print_line(struct ctl *c, struct json_object *value) {
        return print(c, value, JSON_C_TO_STRING_PLAIN);
}
