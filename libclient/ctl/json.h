#pragma once

#include <json-c/json_object.h>
#include <stdint.h>

struct ctl;

void json_add(struct json_object *o, const char *key, struct json_object *value);
/* "" is null. */
void json_add_text(struct json_object *o, const char *key, const char *text);
void json_add_count(struct json_object *o, const char *key, uint64_t n);
/* UINT64_MAX, no limit, is null. */
void json_add_limit(struct json_object *o, const char *key, uint64_t bytes);
/* "0x280000000000": text, as numbers this long lose digits in some readers. */
void json_add_address(struct json_object *o, const char *key, uint64_t address);
void json_add_flag(struct json_object *o, const char *key, int flag);
/* Octal text, "0640". */
void json_add_mode(struct json_object *o, const char *key, unsigned mode);
/* Number and name of an account; the name is null where there is none. */
void json_add_user(struct ctl *c, struct json_object *o, uint32_t uid);
void json_add_group(struct ctl *c, struct json_object *o, uint32_t gid);
/* Writes the value as indented text, and frees it. Returns EXIT_OK. */
int json_print(struct ctl *c, struct json_object *value);
/* The same on one line. */
int json_print_line(struct ctl *c, struct json_object *value);
