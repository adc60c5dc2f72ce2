#include <ctype.h>
#include <string.h>

#include "cdi.h"
#include "ctl.h"
#include "json.h"
#include "reach.h"

#define HOOK_PROGRAM "/usr/libexec/svmd-hook"
enum { HOOK_SECONDS = 10 }; /* the runtime's patience; svmd-hook's own is shorter */

static bool is_alnum(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool cdi_name_ok(const char *name) {
        size_t n = strlen(name);

        if (n == 0 || !is_alnum(name[0]) || !is_alnum(name[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(name[i]) && !strchr("-_.:", name[i]))
                        return false;
        return true;
}

/* All but names that begin with a digit was there from the beginning. */
const char *cdi_version(const char *const *names, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (isdigit((unsigned char)names[i][0]))
                        return "0.5.0";
        return "0.3.0";
}

static struct json_object *texts(const char *const *list, size_t count) {
        struct json_object *o = json_object_new_array();

        for (size_t i = 0; i < count; i++)
                json_object_array_add(o, json_object_new_string(list[i]));
        return o;
}

static struct json_object *mounts(struct ctl *c, const char *name) {
        static const char *const options[] = { "nosuid", "nodev", "noexec", "rbind", "rprivate" };
        struct json_object *list = json_object_new_array(), *o = json_object_new_object();

        json_add_text(o, "hostPath", ctl_text(c, "%s/p/%s", reach_folder(c), name));
        json_add_text(o, "containerPath", CDI_CONTAINER);
        json_add(o, "options", texts(options, sizeof(options) / sizeof(options[0])));
        json_object_array_add(list, o);
        return list;
}

static struct json_object *hook_of(struct ctl *c, const char *stage, const char *verb, const char *name) {
        const char *words[] = { "svmd-hook", verb, "--runtime-dir", reach_folder(c), name };
        struct json_object *o = json_object_new_object();

        json_add_text(o, "hookName", stage);
        json_add_text(o, "path", HOOK_PROGRAM);
        json_add(o, "args", texts(words, sizeof(words) / sizeof(words[0])));
        json_add_count(o, "timeout", HOOK_SECONDS);
        return o;
}

static struct json_object *device(struct ctl *c, const char *name, bool hook) {
        const char *env[] = { "SVMD_SOCKET=" CDI_CONTAINER "/svmd.sock", ctl_text(c, "SVMD_PARTITION=%s", name) };
        struct json_object *o = json_object_new_object(), *edits = json_object_new_object(), *hooks;

        json_add_text(o, "name", name);
        json_add(edits, "env", texts(env, sizeof(env) / sizeof(env[0])));
        json_add(edits, "mounts", mounts(c, name));
        if (hook) {
                hooks = json_object_new_array();
                json_object_array_add(hooks, hook_of(c, "createRuntime", "attach", name));
                json_object_array_add(hooks, hook_of(c, "poststop", "release", name));
                json_add(edits, "hooks", hooks);
        }
        json_add(o, "containerEdits", edits);
        return o;
}

struct json_object *cdi_spec(struct ctl *c, const char *const *names, size_t count, bool hook) {
        struct json_object *o = json_object_new_object(), *devices = json_object_new_array();

        json_add_text(o, "cdiVersion", cdi_version(names, count));
        json_add_text(o, "kind", CDI_KIND);
        for (size_t i = 0; i < count; i++)
                json_object_array_add(devices, device(c, names[i], hook));
        json_add(o, "devices", devices);
        json_add(o, "containerEdits", json_object_new_object());
        return o;
}
