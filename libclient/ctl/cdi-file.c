#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json_util.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "cdi.h"
#include "ctl.h"
#include "json.h"

/* Specifications as files. What is not of our kind is passed over; what cannot be read is, too: it is another's. */

int cdi_folders(struct ctl *c, const struct args *a, struct cdi_folders *ret) {
        const char *own = getenv("XDG_RUNTIME_DIR"), *said = a->value[OPT_CDI_DIR];

        if (!said && geteuid() == 0) {
                *ret = (struct cdi_folders){ "/etc/cdi", "/var/run/cdi" };
                return EXIT_OK;
        }
        if (!said && (!own || *own != '/'))
                return ctl_fail(c, EXIT_USAGE,
                                "where do specifications of CDI go? XDG_RUNTIME_DIR is not set; say it with --cdi-dir");
        ret->fixed = ret->transient = said ? said : ctl_text(c, "%s/cdi", own);
        return EXIT_OK;
}

const char *cdi_path(struct ctl *c, const struct cdi_folders *f, const char *name) {
        if (name)
                return ctl_text(c, "%s/" CDI_FILE "_%s.json", f->transient, name);
        return ctl_text(c, "%s/" CDI_FILE ".json", f->fixed);
}

/* ---- reading ---- */

static const char *text_of(struct json_object *o, const char *key) {
        struct json_object *value;

        if (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, json_type_string))
                return "";
        return json_object_get_string(value);
}

/* NULL: it is not of our kind. */
static struct json_object *load(const char *path, struct json_object **ret_devices) {
        struct json_object *o = json_object_from_file(path);

        if (json_object_is_type(o, json_type_object) && strcmp(text_of(o, "kind"), CDI_KIND) == 0 &&
            json_object_object_get_ex(o, "devices", ret_devices) && json_object_is_type(*ret_devices, json_type_array))
                return o;
        json_object_put(o);
        return NULL;
}

static void add(struct ctl *c, struct cdi_devices *d, struct cdi_device row) {
        if (d->count == d->room) {
                struct cdi_device *rows = ctl_alloc(c, 2 * (d->room + 8) * sizeof(*rows));

                if (d->count)
                        memcpy(rows, d->rows, d->count * sizeof(*rows));
                d->rows = rows;
                d->room = 2 * (d->room + 8);
        }
        d->rows[d->count++] = row;
}

/* The folder in front of "/p/NAME" in its first mount: of one of several svmds on the machine. */
static const char *folder_of(struct ctl *c, struct json_object *device) {
        struct json_object *o;
        const char *path, *end;

        if (!json_object_object_get_ex(device, "containerEdits", &o) || !json_object_object_get_ex(o, "mounts", &o) ||
            !json_object_is_type(o, json_type_array) || json_object_array_length(o) == 0)
                return "";
        path = text_of(json_object_array_get_idx(o, 0), "hostPath");
        end = strstr(path, "/p/");
        return end ? ctl_text(c, "%.*s", (int)(end - path), path) : "";
}

static void read_file(struct ctl *c, const char *folder, const char *file, struct cdi_devices *ret) {
        const char *path = ctl_text(c, "%s/%s", folder, file);
        struct json_object *devices, *o = load(path, &devices);
        struct cdi_device row = { .path = path };

        if (!o)
                return;
        row.version = ctl_copy(c, text_of(o, "cdiVersion"));
        row.transient = strncmp(file, CDI_FILE "_", strlen(CDI_FILE "_")) == 0;
        row.owned = row.transient || strcmp(file, CDI_FILE ".json") == 0;
        for (size_t i = 0; i < json_object_array_length(devices); i++) {
                struct json_object *device = json_object_array_get_idx(devices, i);

                row.name = ctl_copy(c, text_of(device, "name"));
                row.folder = folder_of(c, device);
                add(c, ret, row);
        }
        json_object_put(o);
}

static int is_specification(const struct dirent *e) {
        const char *dot = strrchr(e->d_name, '.');

        return e->d_name[0] != '.' && dot && strcmp(dot, ".json") == 0;
}

static int read_folder(struct ctl *c, const char *folder, struct cdi_devices *ret) {
        struct dirent **entries;
        int n = scandir(folder, &entries, is_specification, alphasort);

        if (n < 0 && errno != ENOENT)
                return ctl_fail(c, EXIT_REFUSED, "cannot read %s: %m", folder);
        for (int i = 0; i < n; i++) {
                read_file(c, folder, entries[i]->d_name, ret);
                free(entries[i]);
        }
        if (n >= 0)
                free(entries);
        return EXIT_OK;
}

int cdi_read(struct ctl *c, const struct cdi_folders *f, struct cdi_devices *ret) {
        int r;

        *ret = (struct cdi_devices){ 0 };
        r = read_folder(c, f->fixed, ret);
        if (r == EXIT_OK && strcmp(f->fixed, f->transient) != 0)
                r = read_folder(c, f->transient, ret);
        return r;
}

bool cdi_has(const struct cdi_devices *d, const char *name, bool transient) {
        for (size_t i = 0; i < d->count; i++)
                if (d->rows[i].transient == transient && strcmp(d->rows[i].name, name) == 0)
                        return true;
        return false;
}

/* ---- writing ---- */

static int make_folder(const char *path) {
        char *folder = strndup(path, (size_t)(strrchr(path, '/') - path));
        int r = folder && (mkdir(folder, 0755) == 0 || errno == EEXIST) ? 0 : -1;

        free(folder);
        return r;
}

static bool is_others(const char *path) {
        struct json_object *devices, *o;

        if (access(path, F_OK) != 0)
                return false;
        o = load(path, &devices);
        json_object_put(o);
        return !o;
}

static int write_beside(const char *path, char *beside, const char *text) {
        int fd = mkostemp(beside, O_CLOEXEC), failed;
        size_t size = strlen(text);

        if (fd < 0)
                return -1;
        failed = write(fd, text, size) != (ssize_t)size || fchmod(fd, 0644) != 0 || fsync(fd) != 0;
        failed |= close(fd) != 0;
        if (!failed && rename(beside, path) == 0)
                return 0;
        failed = errno;
        unlink(beside);
        errno = failed;
        return -1;
}

int cdi_write(struct ctl *c, const char *path, struct json_object *spec) {
        const char *text = json_object_to_json_string_ext(spec, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                        JSON_C_TO_STRING_NOSLASHESCAPE);
        int r = EXIT_OK;

        if (is_others(path))
                r = ctl_fail(c, EXIT_REFUSED, "%s is not of kind " CDI_KIND ", so it is left as it is; move it away",
                             path);
        else if (make_folder(path) != 0 ||
                 write_beside(path, ctl_text(c, "%s.XXXXXX", path), ctl_text(c, "%s\n", text)) != 0)
                r = ctl_fail(c, EXIT_REFUSED, "cannot write %s: %m", path);
        json_object_put(spec);
        return r;
}

static bool is_gone(const struct cdi_devices *d, const bool *gone, const char *path, const char *name) {
        for (size_t i = 0; i < d->count; i++)
                if (gone[i] && strcmp(d->rows[i].path, path) == 0 && strcmp(d->rows[i].name, name) == 0)
                        return true;
        return false;
}

/* The others stay as they stand, in the version that they need. */
static int rewrite(struct ctl *c, const struct cdi_devices *d, const bool *gone, const char *path) {
        struct json_object *devices, *o = load(path, &devices), *left = json_object_new_array();
        const char **names = ctl_alloc(c, (o ? json_object_array_length(devices) : 0) * sizeof(*names) + 1);
        size_t count = 0;
        int r = EXIT_OK;

        for (size_t i = 0; o && i < json_object_array_length(devices); i++) {
                struct json_object *device = json_object_array_get_idx(devices, i);

                if (is_gone(d, gone, path, text_of(device, "name")))
                        continue;
                names[count++] = ctl_copy(c, text_of(device, "name"));
                json_object_array_add(left, json_object_get(device));
        }
        if (count) {
                json_add(o, "devices", left);
                json_add_text(o, "cdiVersion", cdi_version(names, count));
                return cdi_write(c, path, o);
        }
        if (o && unlink(path) != 0 && errno != ENOENT)
                r = ctl_fail(c, EXIT_REFUSED, "cannot remove %s: %m", path);
        json_object_put(left);
        json_object_put(o);
        return r;
}

int cdi_take(struct ctl *c, const struct cdi_devices *d, const bool *gone) {
        const char *last = "";
        int r = EXIT_OK;

        for (size_t i = 0; i < d->count && r == EXIT_OK; i++) {
                if (!gone[i] || strcmp(last, d->rows[i].path) == 0)
                        continue;
                last = d->rows[i].path;
                if (!d->rows[i].owned)
                        r = ctl_fail(c, EXIT_REFUSED, "%s was not written by svmd-ctl; remove %s there by hand", last,
                                     d->rows[i].name);
                else
                        r = rewrite(c, d, gone, last);
        }
        return r;
}

/* ---- with a partition of its own ---- */

int cdi_partition_check(struct ctl *c, const struct args *a, const char *name) {
        struct cdi_folders f;

        if (!a->value[OPT_CDI])
                return EXIT_OK;
        if (!cdi_name_ok(name))
                return ctl_fail(c, EXIT_USAGE,
                                "'%s' cannot be a CDI device: its name has to begin and end with a letter or a digit, "
                                "and have only those and - _ . : between",
                                name);
        return cdi_folders(c, a, &f);
}

int cdi_partition_made(struct ctl *c, const struct args *a, const char *name, const char **ret_path) {
        struct cdi_folders f;
        int r = cdi_folders(c, a, &f);

        if (r != EXIT_OK)
                return r;
        *ret_path = cdi_path(c, &f, name);
        return cdi_write(c, *ret_path, cdi_spec(c, &name, 1, a->value[OPT_HOOK]));
}

/* Where users' folder is not known they have written nothing into it. */
int cdi_partition_gone(struct ctl *c, const struct args *a, const char *name) {
        struct cdi_folders f;
        const char *path;

        if (!a->value[OPT_CDI_DIR] && geteuid() != 0 && !getenv("XDG_RUNTIME_DIR"))
                return EXIT_OK;
        if (cdi_folders(c, a, &f) != EXIT_OK)
                return EXIT_USAGE;
        path = cdi_path(c, &f, name);
        if (is_others(path) || unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
                return EXIT_OK;
        return ctl_fail(c, EXIT_REFUSED, "cannot remove %s: %m", path);
}
