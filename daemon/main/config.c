/*
 * Sources are read one after the other, each over what the ones before said: the defaults of the table, the file, its
 * drop-ins, the command line. Within one source a node may be made once; a later source may change it.
 *
 * inih splits keys from values and strips comments. It does not hand over line numbers nor sections without keys, so
 * lines pass through next_line() here on their way to it, which counts them and sees where sections begin.
 */
#include "main/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "main/live.h"
#include "main/options.h"
#include "main/profile.h"

/* A software device shows every address a process can map. */
#define VA_START 0x10000ull
#define VA_END   (1ull << 47)

enum { WHERE = PATH_MAX + 16 };

struct loading {
        struct config c;
        FILE *err;
        int result; /* of the source that is being read; nothing more is read when it is not 0 */

        unsigned source;  /* the source that is being read, from 1 */
        const char *file; /* NULL: the command line */
        int line;
        const struct option_desc *option; /* of the command line, for complaints */
        enum { SECTION_NONE, SECTION_SVMD, SECTION_NODE } section;
        uint32_t node; /* of the section */

        struct {
                unsigned source;
                char where[WHERE];
        } origin[NODE_MAX]; /* of c.soft.nodes: who made or changed it last */

        FILE *stream;
        char *text; /* the line that is being read */
        size_t text_size;
};

static void describe_place(const struct loading *l, char *to, size_t size) {
        if (l->file)
                snprintf(to, size, "%s:%d", l->file, l->line);
        else if (l->option)
                snprintf(to, size, "svmd: --%s", l->option->name);
        else
                snprintf(to, size, "svmd");
}

static int __attribute__((format(printf, 2, 3))) bad(struct loading *l, const char *format, ...) {
        char place[WHERE];
        va_list ap;

        describe_place(l, place, sizeof(place));
        fprintf(l->err, "%s: ", place);
        va_start(ap, format);
        vfprintf(l->err, format, ap);
        va_end(ap);
        fputc('\n', l->err);
        return l->result = CONFIG_E_BAD;
}

static int no_memory(struct loading *l) {
        return l->result = -ENOMEM;
}

static int set_value(struct loading *l, const struct option_desc *o, void *base, const char *text) {
        char why[256];
        int r = option_read(o, (char *)base + o->offset, text, why, sizeof(why));

        if (r < 0)
                return no_memory(l);
        if (r > 0)
                return l->option == o ? bad(l, "%s", why) : bad(l, "%s: %s", o->name, why);
        return 0;
}

static int set_limit(struct loading *l, const char *text) {
        static const struct option_desc size = { .kind = OPTION_SIZE, .max = UINT64_MAX, .multiple = 4096 };
        const char *eq = strchr(text, '=');
        struct default_limit *d = NULL;
        char why[256];
        uint64_t max;
        int r;

        if (!eq || eq == text || eq - text > NODE_NAME_MAX)
                return bad(l, "%sexpected NODE=SIZE, such as gpu0=1G or *=512M, found \"%s\"",
                           l->option ? "" : "default-limit: ", text);
        r = option_read(&size, &max, eq + 1, why, sizeof(why));
        if (r)
                return bad(l, "%s%s", l->option ? "" : "default-limit: ", why);
        for (uint32_t i = 0; i < l->c.default_limits_count && !d; i++)
                if (strncmp(l->c.default_limits[i].node, text, eq - text) == 0 &&
                    !l->c.default_limits[i].node[eq - text])
                        d = &l->c.default_limits[i];
        if (!d) {
                size_t n = l->c.default_limits_count;

                d = alloc_grow(l->c.default_limits, n * sizeof(*d), (n + 1) * sizeof(*d));
                if (!d)
                        return no_memory(l);
                l->c.default_limits = d;
                d += l->c.default_limits_count++;
                memcpy(d->node, text, eq - text);
        }
        d->max = max;
        return 0;
}

/* NAME=VALUE, for a link NODE:NODE=VALUE: in `s`, with the value at *ret_value. */
static int split_setting(struct loading *l, const struct option_desc *o, const char *text, struct setting *s,
                         const char **ret_value) {
        bool link = s->kind == SETTING_LINK_RATE;
        const char *eq = strchr(text, '='), *colon = link && eq ? memchr(text, ':', (size_t)(eq - text)) : NULL;
        const char *end = link ? colon : eq;

        if (!eq || !end || end == text || end - text > (link ? NODE_NAME_MAX : SETTING_NAME_MAX) ||
            (link && (eq - colon < 2 || eq - colon - 1 > NODE_NAME_MAX)))
                return bad(l, "%s%sexpected %s, found \"%s\"", l->option ? "" : o->name, l->option ? "" : ": ",
                           o->value, text);
        memcpy(s->name, text, (size_t)(end - text));
        if (link)
                memcpy(s->other, colon + 1, (size_t)(eq - colon) - 1);
        *ret_value = eq + 1;
        return 0;
}

static int set_profile(struct loading *l, const struct option_desc *o, struct policy_profile *to, const char *text) {
        char why[1024];
        int r = profile_load(to, text, why, sizeof(why));

        if (r > 0)
                return bad(l, "%s%s%s", l->option ? "" : o->name, l->option ? "" : ": ", why);
        return r < 0 ? no_memory(l) : 0;
}

static int set_setting(struct loading *l, const struct option_desc *o, const char *text) {
        static const struct option_desc size = { .kind = OPTION_SIZE, .max = 1ull << 60, .multiple = 1 };
        static const struct option_desc on_off = { .kind = OPTION_SWITCH };
        struct setting s = { .kind = (enum setting_kind)o->min }, *grown;
        size_t n = l->c.settings_count;
        const char *value = NULL;
        char why[256];
        int r = 0;

        if (split_setting(l, o, text, &s, &value))
                return l->result;
        if (s.kind == SETTING_PARTITION_POLICY) {
                s.profile = alloc_zero(sizeof(*s.profile));
                r = s.profile ? set_profile(l, o, s.profile, value) : -ENOMEM;
        } else if (s.kind == SETTING_PARTITION_UFFD) {
                if (option_read(&on_off, &s.on, value, why, sizeof(why)))
                        return bad(l, "%s%s%s", l->option ? "" : o->name, l->option ? "" : ": ", why);
        } else if (option_read(&size, &s.rate, value, why, sizeof(why))) {
                return bad(l, "%s%s%s", l->option ? "" : o->name, l->option ? "" : ": ", why);
        }
        grown = r ? NULL : alloc_grow(l->c.settings, n * sizeof(s), (n + 1) * sizeof(s));
        if (!grown) {
                alloc_free(s.profile);
                return r > 0 ? r : no_memory(l);
        }
        grown[n] = s;
        l->c.settings = grown;
        l->c.settings_count++;
        return 0;
}

static bool valid_name(const char *name) {
        if (!isalnum((unsigned char)name[0]) || strlen(name) > NODE_NAME_MAX)
                return false;
        for (const char *p = name; *p; p++)
                if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
                        return false;
        return true;
}

/* Fresh or changed by this source: its index in `l->node`. */
static int begin_node(struct loading *l, const char *name) {
        struct node_desc *n = machine_find(&l->c.soft, name);

        if (!valid_name(name))
                return bad(l, "expected a name of at most %d letters, digits, '.', '_' and '-', found \"%s\"",
                           NODE_NAME_MAX, name);
        if (strncmp(name, "host", 4) == 0)
                return bad(l,
                           "\"%s\" is no name for a device: names that start with \"host\" are memory of this machine",
                           name);
        if (n && l->origin[n - l->c.soft.nodes].source == l->source)
                return bad(l, "node %s is there already, from %s: give each node a name of its own", name,
                           l->origin[n - l->c.soft.nodes].where);
        if (!n) {
                if (l->c.soft.count == NODE_MAX)
                        return bad(l, "there can be at most %d nodes: take some away", NODE_MAX);
                n = machine_add(&l->c.soft);
                if (!n)
                        return no_memory(l);
                snprintf(n->name, sizeof(n->name), "%s", name);
                n->kind = NODE_SOFT;
                n->va_start = VA_START;
                n->va_end = VA_END;
                for (size_t i = 0; i < node_options_count; i++)
                        if (node_options[i].fallback && set_value(l, &node_options[i], n, node_options[i].fallback))
                                return l->result;
        }
        l->node = (uint32_t)(n - l->c.soft.nodes);
        l->origin[l->node].source = l->source;
        describe_place(l, l->origin[l->node].where, WHERE);
        return 0;
}

static int unknown(struct loading *l, const char *what, const struct option_desc *table, size_t count,
                   const char *name) {
        const char *nearest = option_nearest(table, count, name, true);

        if (nearest)
                return bad(l, "there is no %s \"%s\"; did you mean \"%s\"?", what, name, nearest);
        return bad(l, "there is no %s \"%s\"; svmd.conf(5) lists them", what, name);
}

static int set_node_key(struct loading *l, const char *key, const char *text) {
        const struct option_desc *o = option_find(node_options, node_options_count, key);

        if (!o)
                return unknown(l, "key of a node", node_options, node_options_count, key);
        return set_value(l, o, &l->c.soft.nodes[l->node], text);
}

/* As it must where the option is of one kind of device. */
static bool names_device(const struct option_desc *o, const char *keys) {
        const struct backend *b = o ? backend_for((enum node_kind)o->min) : NULL;
        char key[32];

        if (!b || !b->device)
                return true;
        snprintf(key, sizeof(key), "device=%s", b->device);
        return strstr(keys, key);
}

/* NAME:key=value,key=value */
static int set_node(struct loading *l, const char *text) {
        char *copy = alloc_string(text), *rest = copy, *name, *pair;

        if (!copy)
                return no_memory(l);
        name = strsep(&rest, ":");
        if (!rest)
                bad(l, "expected NAME:size=SIZE, such as gpu0:size=2G,faults=on, found \"%s\"", text);
        else if (!names_device(l->option, rest))
                bad(l, "expected %s, such as dev0:device=%s,size=256M, found \"%s\"", l->option->value,
                    backend_for((enum node_kind)l->option->min)->example, text);
        else
                begin_node(l, name);
        while (l->result == 0 && (pair = strsep(&rest, ","))) {
                char *value = strchr(pair, '=');

                if (!value) {
                        bad(l, "expected size=SIZE or faults=on|off, found \"%s\"", pair);
                        break;
                }
                *value++ = '\0';
                set_node_key(l, pair, value);
        }
        alloc_free(copy);
        return l->result;
}

static int set_option(struct loading *l, const struct option_desc *o, const char *text) {
        switch (o->kind) {
        case OPTION_NODE: return set_node(l, text);
        case OPTION_LIMIT: return set_limit(l, text);
        case OPTION_PROFILE: return set_profile(l, o, &l->c.profile, text);
        case OPTION_SETTING: return set_setting(l, o, text);
        default: return set_value(l, o, &l->c, text);
        }
}

/* The line from behind "[". */
static int begin_section(struct loading *l, char *line) {
        char *end = strchr(line, ']');

        if (!end)
                return bad(l, "expected a ] behind the name of the section");
        *end = '\0';
        if (strcmp(line, "svmd") == 0) {
                l->section = SECTION_SVMD;
        } else if (strncmp(line, "node ", 5) == 0) {
                l->section = SECTION_NODE;
                begin_node(l, line + 5 + strspn(line + 5, " \t"));
        } else {
                bad(l, "there is no section [%s]: expected [svmd] or [node NAME]", line);
        }
        *end = ']';
        return l->result;
}

/* Gives inih the next line. Without its indentation, which inih would take for more of the value before. */
static char *next_line(char *to, int size, void *userdata) {
        struct loading *l = userdata;
        const char *start;
        ssize_t n;

        if (l->result)
                return NULL;
        n = getline(&l->text, &l->text_size, l->stream);
        if (n < 0)
                return NULL;
        l->line++;
        if (memchr(l->text, 0, (size_t)n)) {
                bad(l, "expected text, found a zero byte");
                return NULL;
        }
        if (n + 3 > size) {
                bad(l, "the line is longer than %d bytes: give long values on the command line", size - 4);
                return NULL;
        }
        start = l->text + strspn(l->text, " \t");
        snprintf(to, (size_t)size, "%s", start);
        if (*start == '[' && begin_section(l, l->text + (start - l->text) + 1))
                return NULL;
        return to;
}

static int take_pair(void *userdata, const char *section, const char *key, const char *text) {
        struct loading *l = userdata;
        const struct option_desc *o;

        switch (l->section) {
        case SECTION_NONE: bad(l, "expected a section such as [svmd] before the first key"); return 0;
        case SECTION_NODE: return set_node_key(l, key, text) == 0;
        case SECTION_SVMD:
                o = option_find(options, options_count, key);
                if (!o || o->line_only)
                        unknown(l, "key", options, options_count, key);
                else
                        set_option(l, o, text);
                break;
        }
        return l->result == 0;
}

static int cannot_read(struct loading *l, const char *path) {
        fprintf(l->err, "%s: %s: let svmd read it, or name another file with --config\n", path, strerror(errno));
        return l->result = CONFIG_E_BAD;
}

static int load_file(struct loading *l, const char *path) {
        int r;

        l->stream = fopen(path, "re");
        if (!l->stream)
                return cannot_read(l, path);
        l->source++;
        l->file = path;
        l->line = 0;
        l->section = SECTION_NONE;
        r = ini_parse_stream(next_line, l, take_pair, l);
        if (r > 0 && l->result == 0) {
                l->line = r;
                bad(l, "expected [SECTION], KEY = VALUE, or a comment behind # or ;");
        }
        l->file = NULL;
        errno = EIO;
        if (l->result == 0 && r < 0)
                no_memory(l);
        else if (l->result == 0 && ferror(l->stream))
                cannot_read(l, path);
        fclose(l->stream);
        return l->result;
}

static int is_drop_in(const struct dirent *d) {
        size_t n = strlen(d->d_name);

        return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_drop_ins(struct loading *l) {
        struct dirent **found;
        char path[PATH_MAX];
        int n, dir = snprintf(path, sizeof(path), "%s.d", l->c.config_file);

        if (dir >= (int)sizeof(path))
                return 0;
        n = scandir(path, &found, is_drop_in, by_bytes);
        if (n < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : cannot_read(l, path);
        for (int i = 0; i < n; i++) {
                int size = snprintf(path + dir, sizeof(path) - (size_t)dir, "/%s", found[i]->d_name);

                if (l->result == 0 && size < (int)sizeof(path) - dir)
                        load_file(l, path);
                free(found[i]);
        }
        free(found);
        return l->result;
}

static int load_files(struct loading *l, bool named) {
        if (!named && access(l->c.config_file, F_OK) < 0 && errno == ENOENT)
                return load_drop_ins(l);
        return load_file(l, l->c.config_file) ? l->result : load_drop_ins(l);
}

static void print_help(FILE *out) {
        fputs("svmd [OPTION...]\n"
              "Decides where shared addresses live and where their pages live.\n\n",
              out);
        for (size_t i = 0; i < options_count; i++) {
                const struct option_desc *o = &options[i];

                fprintf(out, "  --%s%s%s\n      %s", o->name, o->value ? " " : "", o->value ? o->value : "", o->text);
                fprintf(out, o->fallback ? " Default: %s\n" : "\n", o->fallback);
        }
}

static struct option *make_getopt(void) {
        struct option *table = alloc_array(options_count + 1, sizeof(*table));

        for (size_t i = 0; table && i < options_count; i++)
                table[i] = (struct option){ .name = options[i].name,
                                            .has_arg = options[i].value ? required_argument : no_argument,
                                            .val = (int)i + 256 };
        return table;
}

static int bad_argument(struct loading *l, int c, const char *argument) {
        const char *nearest;

        if (c == ':')
                return bad(l, "%s needs a value; svmd --help lists the options", argument);
        nearest = strncmp(argument, "--", 2) ? NULL : option_nearest(options, options_count, argument + 2, false);
        if (nearest)
                return bad(l, "there is no option %s; did you mean --%s?", argument, nearest);
        return bad(l, "there is no option %s; svmd --help lists them", argument);
}

typedef int (*argument_fn)(struct loading *l, const struct option_desc *o, const char *text, void *userdata);

static int walk_arguments(struct loading *l, int argc, char **argv, const struct option *table, argument_fn fn,
                          void *userdata) {
        int c;

        optind = 0;
        opterr = 0;
        while ((c = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
                if (c < 256)
                        return bad_argument(l, c, argv[optind - 1]);
                l->option = &options[c - 256];
                l->result = fn(l, l->option, optarg, userdata);
                l->option = NULL;
                if (l->result)
                        return l->result;
        }
        if (optind < argc)
                return bad(l, "expected options only, found \"%s\"; svmd --help lists them", argv[optind]);
        return 0;
}

static int each_argument(struct loading *l, int argc, char **argv, argument_fn fn, void *userdata) {
        struct option *table = make_getopt();

        if (!table)
                return no_memory(l);
        walk_arguments(l, argc, argv, table, fn, userdata);
        alloc_free(table);
        return l->result;
}

struct first_look {
        FILE *out;
        bool named;
};

/* Before files are read: which file, and does it end here. */
static int look(struct loading *l, const struct option_desc *o, const char *text, void *userdata) {
        struct first_look *f = userdata;

        if (o->kind == OPTION_HELP) {
                print_help(f->out);
                return CONFIG_E_DONE;
        }
        if (o->kind == OPTION_VERSION) {
                fprintf(f->out, "svmd %s\n", SVMD_VERSION);
                return CONFIG_E_DONE;
        }
        if (o->offset != offsetof(struct config, config_file) || o->kind != OPTION_TEXT)
                return 0;
        f->named = true;
        return set_option(l, o, text);
}

static int apply(struct loading *l, const struct option_desc *o, const char *text, void *userdata) {
        if (o->kind == OPTION_FLAG) {
                *(bool *)((char *)&l->c + o->offset) = true;
                return 0;
        }
        return set_option(l, o, text);
}

static int apply_defaults(struct loading *l) {
        for (size_t i = 0; i < options_count && l->result == 0; i++)
                if (options[i].fallback)
                        set_option(l, &options[i], options[i].fallback);
        return l->result;
}

static int check_nodes(struct loading *l) {
        for (uint32_t i = 0; i < l->c.soft.count; i++) {
                const char *device = l->c.soft.nodes[i].device;

                if (device[0])
                        l->c.soft.nodes[i].kind = backend_of_device(device)->kind;
                if (l->c.soft.nodes[i].managed && l->c.soft.nodes[i].kind != NODE_CUDA) {
                        fprintf(l->err,
                                "%s: managed is for devices as cuda:0: node %s takes managed pages without it, or never\n",
                                l->origin[i].where, l->c.soft.nodes[i].name);
                        return l->result = CONFIG_E_BAD;
                }
                if (l->c.soft.nodes[i].capacity)
                        continue;
                fprintf(l->err, "%s: node %s has no size: expected size=SIZE, such as size=2G\n", l->origin[i].where,
                        l->c.soft.nodes[i].name);
                return l->result = CONFIG_E_BAD;
        }
        return 0;
}

static int load(struct loading *l, int argc, char **argv, FILE *out) {
        struct first_look f = { .out = out };

        if (apply_defaults(l) || each_argument(l, argc, argv, look, &f) || load_files(l, f.named))
                return l->result;
        l->source++;
        return each_argument(l, argc, argv, apply, NULL) ? l->result : check_nodes(l);
}

int config_load(struct config *c, int argc, char **argv, FILE *out, FILE *err) {
        struct loading *l = alloc_zero(sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->err = err;
        r = load(l, argc, argv, out);
        if (r == 0)
                *c = l->c;
        else
                config_fini(&l->c);
        free(l->text);
        alloc_free(l);
        return r;
}

void config_fini(struct config *c) {
        for (size_t i = 0; i < options_count; i++)
                if (options[i].kind == OPTION_TEXT)
                        alloc_free(*(char **)((char *)c + options[i].offset));
        machine_fini(&c->soft);
        alloc_free(c->default_limits);
        for (uint32_t i = 0; i < c->settings_count; i++)
                alloc_free(c->settings[i].profile);
        alloc_free(c->settings);
        *c = (struct config){ 0 };
}

/* Sentences each on a line of its own, as mdoc wants them. */
static void print_sentences(FILE *out, const char *text) {
        for (const char *p = text; *p; p++) {
                if (p[0] == '\\')
                        fputs("\\e", out);
                else if (p[0] == ' ' && p > text && p[-1] == '.')
                        fputc('\n', out);
                else
                        fputc(*p, out);
        }
        fputc('\n', out);
}

/* `top`: of the first table, of which some can change while svmd runs. */
static void print_item(FILE *out, const struct option_desc *o, bool for_file, bool top) {
        if (for_file)
                fprintf(out, ".It Cm %s No = Ar %s\n", o->name, o->value);
        else
                fprintf(out, o->value ? ".It Fl -%s Ar %s\n" : ".It Fl -%s\n", o->name, o->value);
        print_sentences(out, o->text);
        if (o->fallback)
                fprintf(out, "The default is\n.Ql %s .\n", o->fallback);
        if (for_file && top)
                fputs(option_is_live(o->name) ? "Counts with a reload.\n" : "Counts with a restart.\n", out);
}

static void print_list(FILE *out, const struct option_desc *table, size_t count, bool for_file) {
        fputs(".Bl -tag -width Ds\n", out);
        for (size_t i = 0; i < count; i++)
                if (!for_file || !table[i].line_only)
                        print_item(out, &table[i], for_file, table == options);
        fputs(".El\n", out);
}

void config_print_mdoc(FILE *out, bool for_file) {
        if (for_file)
                fputs(".Ss Section [svmd]\n", out);
        print_list(out, options, options_count, for_file);
        if (!for_file)
                return;
        fputs(".Ss Section [node NAME]\nMakes a software device of that name.\n", out);
        print_list(out, node_options, node_options_count, true);
        fputs(".Ss Files of profiles\nKeys of a file that\n.Cm policy\nnames, without sections.\n", out);
        print_list(out, profile_options, profile_options_count, true);
}
