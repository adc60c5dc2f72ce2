#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/drm.h"
#include "backend/kfd.h"
#include "backend/recording.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/message.h"
#include "main/config.h"
#include "main/found.h"
#include "main/holder.h"
#include "main/journald.h"
#include "main/live.h"
#include "main/manager.h"
#include "main/record.h"
#include "main/regions.h"
#include "main/reload.h"
#include "main/rescan.h"
#include "main/takeover.h"
#include "service/service.h"
#include "smi/listener.h"
#include "smi/wire.h"
#include "store/store.h"
#include "transport/transport.h"

/* Arguments and wiring: machine, store, keeper, transport and service, and the order in which they come and go. */

enum { KFD_PATIENCE_MS = 5000 };
#define SVMD_BUS_USER "svmd-dbus" /* systemd/svmd.sysusers makes it */

struct program {
        int argc;
        char **argv;
        char *self; /* the file that was started; NULL: it is not known */
        char *next; /* the program to become */
        struct config config;
        struct machine machine;
        struct holder holder;
        struct record *record; /* NULL: none could be made */
        struct record_counts before;
        int record_outcome;
        struct store *store;
        struct transport_given given[MANAGER_SOCKETS];
        size_t given_count;
        struct transport *transport;
        struct service *service;
        struct kfd *kfd;
        struct drm *drm;
        struct rescan *rescan;
        struct smi_listener *smi; /* NULL: there is no GPU of AMD's compute driver */
        struct service_default_limit *default_limits;
        struct service_kept *kept;
        size_t kept_count, kept_room;
        bool up;
        char why[512];
};

static int fail(struct program *p, const char *doing, int r) {
        if (p->why[0])
                log_error("%s: %s", doing, p->why);
        else
                log_error("%s: %s", doing, strerror(-r));
        return 1;
}

/* ---- machine ---- */

/* Who has the memory of the node's device for svmd. */
static int name_agent(struct program *p, struct node_desc *n) {
        const struct config *c = &p->config;
        int size = c->cuda_agent ? snprintf(n->agent, sizeof(n->agent), "%s", c->cuda_agent)
                                 : snprintf(n->agent, sizeof(n->agent), "%s/cuda.sock", c->runtime_dir);

        n->agent_patience_ms = c->cuda_patience * 1000;
        if (size < (int)sizeof(n->agent))
                return 0;
        snprintf(p->why, sizeof(p->why), "the socket of svmd-cuda can have a name of %zu bytes: give --cuda-agent one",
                 sizeof(n->agent) - 1);
        return -ENAMETOOLONG;
}

static int add_devices(struct program *p, const struct backend *b, bool takes_pages) {
        for (uint32_t i = 0; i < p->config.soft.count; i++) {
                const struct node_desc *from = &p->config.soft.nodes[i];
                struct node_desc *n;

                if (from->kind != b->kind || backend_takes_pages(b, from) != takes_pages)
                        continue;
                if (machine_find(&p->machine, from->name)) {
                        snprintf(p->why, sizeof(p->why),
                                 "node %s is on this machine already; give --soft-node another name", from->name);
                        return -EEXIST;
                }
                n = machine_add(&p->machine);
                if (!n)
                        return -ENOMEM;
                *n = *from;
                n->links = NULL;
                n->links_count = 0;
                n->numa = -1;
                if (n->va_end == 0) {
                        n->va_start = 0x10000;
                        n->va_end = 1ull << 47;
                }
                if (n->managed && name_agent(p, n))
                        return -ENAMETOOLONG;
        }
        return 0;
}

/* Nodes that managed pages use come first. */
static int add_kinds(struct program *p, bool takes_pages) {
        const struct backend *b;
        int r = 0;

        for (unsigned i = 0; r == 0 && (b = backend_at(i)); i++)
                r = add_devices(p, b, takes_pages);
        return r;
}

static void split_host_capacity(struct program *p) {
        uint32_t hosts = 0;

        for (uint32_t i = 0; i < p->machine.count; i++)
                hosts += p->machine.nodes[i].kind == NODE_HOST;
        for (uint32_t i = 0; i < p->machine.count; i++)
                if (p->machine.nodes[i].kind == NODE_HOST)
                        p->machine.nodes[i].capacity = p->config.host_capacity / hosts / 4096 * 4096;
}

static int make_machine(struct program *p) {
        const struct config *c = &p->config;
        int r;

        if (c->machine_dir)
                r = recording_read(&p->machine, c->machine_dir, c->machine_faults, p->why, sizeof(p->why));
        else
                r = machine_read_host(&p->machine, c->sys_root, c->proc_root, p->why, sizeof(p->why));
        if (r == 0)
                r = add_kinds(p, true);
        if (r == 0)
                r = add_kinds(p, false);
        if (r == 0 && c->host_capacity)
                split_host_capacity(p);
        return r;
}

/* ---- keeper ---- */

static int on_kept(void *userdata, uint64_t key, int fd) {
        struct program *p = userdata;

        if (p->kept_count == p->kept_room) {
                size_t room = p->kept_room ? p->kept_room * 2 : 256;
                struct service_kept *kept = alloc_grow(p->kept, p->kept_room * sizeof(*kept), room * sizeof(*kept));

                if (!kept) {
                        close(fd);
                        return -ENOMEM;
                }
                p->kept = kept;
                p->kept_room = room;
        }
        p->kept[p->kept_count++] = (struct service_kept){ .key = key, .fd = fd };
        return 0;
}

/* While it is still there under its name: an upgrade of the package takes that away. */
static char *own_path(void) {
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n <= 0)
                return NULL;
        self[n] = 0;
        return alloc_string(self);
}

/* One that goes with this svmd: as configured, beside it, or where it is installed. */
static const char *own_program(const char *configured, const char *name, const char *svmd, char *path, size_t size) {
        char copy[PATH_MAX];

        if (configured)
                return configured;
        snprintf(copy, sizeof(copy), "%s", svmd ? svmd : "");
        if (*copy && snprintf(path, size, "%s/%s", dirname(copy), name) < (int)size && access(path, X_OK) == 0)
                return path;
        snprintf(path, size, "%s/%s", SVMD_LIBEXECDIR, name);
        return path;
}

static const char *keeper_program(const struct program *p, const char *svmd, char *path, size_t size) {
        return own_program(p->config.keeper_program, "svmd-keeper", svmd, path, size);
}

static void on_keeper_gone(void *userdata) {
        struct program *p = userdata;

        holder_replace(&p->holder);
}

/* While svmd starts, bring_up() watches it in the end. */
static void on_keeper_changed(void *userdata) {
        struct program *p = userdata;

        if (!p->up)
                return;
        transport_unwatch(p->transport, TRANSPORT_KEEPER);
        if (p->holder.keeper) {
                transport_watch(p->transport, TRANSPORT_KEEPER, keeper_fd(p->holder.keeper), on_keeper_gone, p);
                service_keeper_replaced(p->service, p->holder.replaced);
        } else {
                service_keeper_lost(p->service, p->holder.why);
        }
}

static int open_keeper(struct program *p) {
        char path[PATH_MAX];

        p->holder.changed = on_keeper_changed;
        p->holder.userdata = p;
        return holder_open(&p->holder, p->config.runtime_dir, keeper_program(p, p->self, path, sizeof(path)), on_kept,
                           p, p->why, sizeof(p->why));
}

static int on_keep(void *userdata, uint64_t key, int fd) {
        struct program *p = userdata;

        return holder_put(&p->holder, key, fd);
}

static void on_unkeep(void *userdata, uint64_t key) {
        struct program *p = userdata;

        holder_drop(&p->holder, key);
}

static void note_held(struct program *p) {
        struct record_counts now = { .sessions = service_attached(p->service), .bytes = service_bytes(p->service) };

        record_set(p->record, &now);
}

static void before_sleep(void *userdata) {
        struct program *p = userdata;

        if (service_recorded(p->service))
                holder_flush(&p->holder);
        note_held(p);
}

/* ---- what is lost ---- */

static void open_record(struct program *p) {
        int r = record_open(&p->record, p->config.runtime_dir, &p->before);

        p->record_outcome = r;
        if (r < 0)
                log_warning("how much clients have cannot be noted in %s: %s", p->config.runtime_dir, strerror(-r));
}

/* The journal of the svmd before was in the keeper. An svmd without one counts epochs from the start. That a socket is
 * there says nothing where a service manager made it. */
static void say_lost(struct program *p) {
        char text[256];

        if (service_epoch(p->service) > 1 ||
            (p->record_outcome == 0 && p->before.sessions == 0 && p->before.bytes == 0))
                return;
        if (p->record_outcome == 0)
                snprintf(text, sizeof(text), "%llu session%s with %llu MiB of memory",
                         (unsigned long long)p->before.sessions, p->before.sessions == 1 ? "" : "s",
                         (unsigned long long)(p->before.bytes >> 20));
        else if (p->record_outcome == RECORD_E_UNKNOWN && p->given_count == 0)
                snprintf(text, sizeof(text), "nobody knows how many sessions");
        else
                return;
        message(MESSAGE_LOST,
                FIELDS(FIELD_NUMBER("SVMD_SESSIONS", p->before.sessions), FIELD_NUMBER("SVMD_BYTES", p->before.bytes)),
                "the svmd before and svmd-keeper have both ended, and with them what they held: %s", text);
        service_lost(p->service, text);
}

/* ---- upgrade ---- */

static void say_ready(const struct program *p) {
        manager_ready(p->machine.count, service_sessions(p->service));
}

static void on_beat(void *userdata) {
        const struct program *p = userdata;

        manager_alive(p->machine.count, service_sessions(p->service));
}

static const char *next_program(const struct program *p, const char *binary) {
        return binary[0] ? binary : p->self;
}

static struct takeover own_takeover(const struct program *p) {
        return (struct takeover){ .machine = &p->machine,
                                  .runtime_dir = p->config.runtime_dir,
                                  .state_dir = p->config.state_dir };
}

/* In a job's thread: only what does not change while svmd runs is looked at. */
static int on_upgrade_check(void *userdata, const char *binary, bool keeper, char *why, size_t why_size) {
        struct program *p = userdata;
        struct takeover own = own_takeover(p);
        const char *program = next_program(p, binary);
        char path[PATH_MAX];
        int r;

        if (!program) {
                snprintf(why, why_size, "svmd does not know which file it was started from; say it with --binary");
                return -ENOENT;
        }
        r = takeover_check(&own, program, p->argv, why, why_size);
        if (r == 0 && keeper)
                r = takeover_check_keeper(keeper_program(p, program, path, sizeof(path)), why, why_size);
        return r;
}

static int on_upgrade(void *userdata, const char *binary, bool keeper, char *why, size_t why_size) {
        struct program *p = userdata;
        char *next = alloc_string(next_program(p, binary)), path[PATH_MAX];
        int r = next ? 0 : -ENOMEM;

        if (r < 0)
                snprintf(why, why_size, "svmd has no memory left");
        else if (keeper) /* first: svmd is still there, and holds everything too */
                r = holder_become(&p->holder, keeper_program(p, next, path, sizeof(path)), why, why_size);
        if (r < 0) {
                alloc_free(next);
                return r;
        }
        alloc_free(p->next);
        p->next = next;
        return 0;
}

/* All that counts is in the keeper and in the journal, and threads may stand anywhere: to the next program this is no
 * different from a kill. Returns only when it failed; nothing has changed then. */
static void become_next(struct program *p) {
        char *first = p->argv[0];

        manager_becoming(p->next);
        message(MESSAGE_BECOMING, FIELDS(FIELD_TEXT("SVMD_PROGRAM", p->next)), "becoming %s", p->next);
        kfd_stop(p->kfd);
        rescan_stop(p->rescan);
        p->argv[0] = p->next;
        execv(p->next, p->argv);
        log_error("cannot become %s: %s; this svmd goes on", p->next, strerror(errno));
        p->argv[0] = first;
        say_ready(p);
}

/* ---- rights and folders ---- */

static void raise_nofile(void) {
        struct rlimit r;

        if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
                r.rlim_cur = r.rlim_max;
                setrlimit(RLIMIT_NOFILE, &r);
        }
}

static int make_dir(struct program *p, const char *dir, mode_t mode) {
        if (mkdir(dir, mode) == 0 || errno == EEXIST)
                return 0;
        snprintf(p->why, sizeof(p->why), "%s cannot be made: %s", dir, strerror(errno));
        return -errno;
}

static gid_t admin_gid(const struct config *c) {
        struct group *g = getgrnam(c->admin_group);

        if (g)
                return g->gr_gid;
        log_info("there is no group %s: only root and svmd's own user may administer", c->admin_group);
        return (gid_t)-1;
}

/* Without the group nobody but administrators asks. */
static gid_t metrics_gid(const struct config *c) {
        struct group *g = getgrnam(c->metrics_group);

        return g ? g->gr_gid : (gid_t)-1;
}

static uint32_t uid_of(const char *user) {
        const struct passwd *u = getpwnam(user);

        return u ? u->pw_uid : (uint32_t)-1;
}

static void say_rights(const struct config *c) {
        if (geteuid() == 0)
                return;
        log_info(
                "running as uid %u, not as root: read-only rights of clients of this same user cannot be enforced, and limits on "
                "descriptors stay as they are; svmd-ctl doctor has the list",
                geteuid());
}

/* ---- up and down ---- */

/* Where there is no driver nobody is asked, unless an administrator names whom. */
static int ask_kfd(struct program *p, struct kfd **ret) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/kfd", p->config.dev_root);
        if (!p->config.kfd_probe && access(path, F_OK) < 0)
                return 0;
        return kfd_new(ret, own_program(p->config.kfd_probe, "svmd-probe-kfd", p->self, path, sizeof(path)),
                       KFD_PATIENCE_MS);
}

/* Only of devices that are nodes. */
static const char *nvml_probe(const struct program *p) {
        static char path[PATH_MAX];

        for (uint32_t i = 0; i < p->machine.count; i++)
                if (p->machine.nodes[i].kind == NODE_CUDA)
                        return own_program(NULL, "svmd-probe-nvml", p->self, path, sizeof(path));
        return NULL;
}

static int on_rescan_begin(void *userdata, struct kfd **ret_kfd, struct drm **ret_drm) {
        struct program *p = userdata;
        struct kfd *kfd = NULL;
        int r = ask_kfd(p, &kfd);

        if (r == 0)
                r = drm_new(ret_drm, p->config.dev_root, p->config.sys_root);
        if (r == 0)
                *ret_kfd = kfd;
        else
                kfd_free(kfd);
        return r;
}

static void on_rescan_done(void *userdata, struct kfd *kfd, struct drm *drm) {
        struct program *p = userdata;
        struct kfd *kfd_before = p->kfd;
        struct drm *drm_before = p->drm;
        const struct drm_device *devices;
        char why[160] = "";
        uint32_t count;

        if (found_again(p->service, &p->machine, kfd, drm)) {
                p->kfd = kfd;
        } else {
                (void)kfd_state(kfd, why, sizeof(why));
                log_warning("AMD's driver could not be asked again, and its GPUs stay as they were%s%s",
                            *why ? ": svmd-probe-kfd " : "", why);
                kfd_before = kfd;
        }
        if (drm_devices(drm, &devices, &count)) {
                p->drm = drm;
        } else {
                log_warning("a DRM driver does not answer, and its devices stay as they were; see dmesg");
                drm_before = drm;
        }
        service_set_devices(p->service, p->kfd, p->drm);
        kfd_free(kfd_before);
        drm_free(drm_before);
        if (p->smi)
                smi_listener_ask(p->smi, true);
}

static void on_rescan(void *userdata) {
        const struct program *p = userdata;

        rescan_step(p->rescan);
}

static int start_rescan(struct program *p) {
        const struct rescan_options options = { .sys_root = p->config.sys_root,
                                                .dev_root = p->config.dev_root,
                                                .period_s = p->config.device_period,
                                                .userdata = p,
                                                .begin = on_rescan_begin,
                                                .done = on_rescan_done };

        return rescan_new(&p->rescan, &options);
}

static bool has_kfd(const struct program *p) {
        for (uint32_t i = 0; i < p->machine.count; i++)
                if (p->machine.nodes[i].kind == NODE_KFD)
                        return true;
        return false;
}

/* Where nobody listens at the socket svmd goes on without. */
static int listen_to_smi(struct program *p) {
        char path[PATH_MAX];
        int r;

        if (!has_kfd(p))
                return 0;
        snprintf(path, sizeof(path), "%s/%s", p->config.runtime_dir, SMI_SOCKET_NAME);
        r = smi_listener_new(&p->smi, path);
        if (r == 0)
                smi_listener_ask(p->smi, false);
        return r;
}

static void on_smi_event(void *userdata, const struct smi_event *event) {
        const struct program *p = userdata;

        service_device_event(p->service, event);
}

static void on_smi(void *userdata) {
        struct program *p = userdata;

        smi_listener_step(p->smi, on_smi_event, p);
}

static struct service_options options_of(const struct program *p) {
        const struct config *c = &p->config;

        return (struct service_options){
                .policy = &c->profile,
                .settings = c->settings,
                .settings_count = c->settings_count,
                .machine = &p->machine,
                .nvml_probe = nvml_probe(p),
                .default_partition_size = c->default_partition_size,
                .journal_size = c->journal_size,
                .max_objects_per_session = c->max_objects_per_session,
                .kept_max = c->kept_max,
                .max_registered = c->max_registered,
                .state_dir = c->state_dir,
                .runtime_dir = c->runtime_dir,
                .usage_period_ms = c->usage_period * 1000,
                .drift_period_ms = c->drift_period * 1000,
                .dmem_root = c->dmem_root,
                .dmem_drive = c->dmem_drive,
                .dmem_period_ms = c->dmem_period * 1000,
                .usage_days = c->usage_days,
                .usage_size = c->usage_size,
                .max_sessions = c->max_sessions,
                .bus_uid = uid_of(SVMD_BUS_USER),
                .max_sessions_per_uid = c->max_sessions_per_uid,
                .max_fds_per_uid = c->max_fds_per_uid,
                .default_limits = p->default_limits,
                .default_limits_count = c->default_limits_count,
                .keeper = true,
                .sys_root = c->sys_root,
                .proc_root = c->proc_root,
                .dev_root = c->dev_root,
                .drm = p->drm,
                .kfd = p->kfd,
                .smi = p->smi,
        };
}

static int start_service(struct program *p) {
        struct service_options options;
        struct service_hooks hooks;
        int r;

        p->default_limits = reload_limits(&p->config);
        if (!p->default_limits)
                return -ENOMEM;
        options = options_of(p);
        transport_hooks(p->transport, &hooks);
        r = service_new(&p->service, &options, &hooks);
        if (r == 0)
                r = service_start(p->service, p->store, p->kept, p->kept_count, p->why, sizeof(p->why));
        return r;
}

/* ---- reload ---- */

/* In a job's thread: arguments do not change but for the program's name. */
static int on_reload_read(void *userdata, void **ret, char *why, size_t why_size) {
        const struct program *p = userdata;

        manager_reloading();
        return reload_read((struct config **)ret, p->argc, p->argv, why, why_size);
}

static int on_reload(void *userdata, void *read, struct service_reloaded *ret) {
        struct program *p = userdata;
        struct service_default_limit *before = p->default_limits, *limits = read ? reload_limits(read) : NULL;
        struct service_options options;
        int r = read && !limits ? -ENOMEM : 0;

        if (limits) {
                reload_exchange(&p->config, read, ret);
                p->default_limits = limits;
                options = options_of(p);
                r = service_configure(p->service, &options);
                if (r < 0) {
                        config_exchange(&p->config, read);
                        p->default_limits = before;
                }
                alloc_free(r < 0 ? limits : before);
        }
        rescan_set_period(p->rescan, p->config.device_period);
        rescan_now(p->rescan);
        log_set_level(p->config.log_level);
        reload_free(read);
        say_ready(p);
        return r;
}

static int bring_up(struct program *p) {
        struct transport_options options = {
                .runtime_dir = p->config.runtime_dir,
                .given = p->given,
                .given_count = p->given_count,
                .beat_ms = manager_beat_ms(),
                .beat = on_beat,
                .admin_gid = admin_gid(&p->config),
                .queued_most = p->config.max_queued_per_uid,
                .reader_gid = metrics_gid(&p->config),
                .userdata = p,
                .keep = on_keep,
                .unkeep = on_unkeep,
                .before_sleep = before_sleep,
                .upgrade_check = on_upgrade_check,
                .upgrade = on_upgrade,
                .reload_read = on_reload_read,
                .reload = on_reload,
        };
        int r;

        if ((r = make_dir(p, p->config.runtime_dir, 0755)) < 0 || (r = make_dir(p, p->config.state_dir, 0700)) < 0)
                return r;
        open_record(p);
        if ((r = store_open(&p->store, p->config.state_dir, p->why, sizeof(p->why))) < 0 || (r = open_keeper(p)) < 0)
                return r;
        r = transport_new(&p->transport, &options);
        if (r < 0)
                return r;
        transport_set_kept(p->transport, p->kept, p->kept_count);
        r = start_rescan(p); /* first: what changes from here on is seen */
        if (r == 0)
                r = ask_kfd(p, &p->kfd);
        if (r == 0)
                r = drm_new(&p->drm, p->config.dev_root, p->config.sys_root);
        if (r == 0)
                r = found_add(&p->machine, p->kept, p->kept_count, p->kfd, p->drm);
        if (r == 0)
                regions_add(&p->machine, p->drm, p->config.dmem_root, p->config.sys_root);
        if (r == 0)
                r = listen_to_smi(p);
        if (r == 0)
                r = start_service(p);
        if (r == 0)
                found_tell(p->service, &p->machine, p->kfd, p->drm);
        if (r == 0)
                r = transport_start(p->transport, p->service, p->why, sizeof(p->why));
        if (r < 0)
                return r;
        p->up = true;
        if (p->smi)
                transport_watch(p->transport, TRANSPORT_DEVICES, smi_listener_fd(p->smi), on_smi, p);
        transport_watch(p->transport, TRANSPORT_RESCAN, rescan_fd(p->rescan), on_rescan, p);
        say_lost(p);
        on_keeper_changed(p);
        return 0;
}

static void tear_down(struct program *p, bool keep) {
        bool recorded = !p->service || service_recorded(p->service);

        service_free(p->service, keep);
        kfd_free(p->kfd);
        drm_free(p->drm);
        if (p->smi)
                transport_unwatch(p->transport, TRANSPORT_DEVICES);
        smi_listener_free(p->smi);
        if (p->transport)
                transport_unwatch(p->transport, TRANSPORT_RESCAN);
        rescan_free(p->rescan);
        transport_free(p->transport, keep);
        if (keep && recorded)
                holder_flush(&p->holder);
        holder_close(&p->holder, !keep);
        record_close(p->record, !keep);
        store_close(p->store);
        machine_fini(&p->machine);
        alloc_free(p->kept);
        alloc_free(p->default_limits);
        alloc_free(p->self);
        alloc_free(p->next);
        config_fini(&p->config);
}

static void say_up(const struct program *p) {
        uint64_t epoch = service_epoch(p->service), sessions = service_sessions(p->service);

        message(epoch > 1 ? MESSAGE_RESTORED : MESSAGE_STARTED,
                FIELDS(FIELD_TEXT("SVMD_VERSION", SVMD_VERSION), FIELD_NUMBER("SVMD_EPOCH", epoch),
                       FIELD_NUMBER("SVMD_SESSIONS", sessions)),
                "version %s, epoch %llu: %u nodes, %llu partitions, %llu sessions taken over; listening in %s",
                SVMD_VERSION, (unsigned long long)epoch, p->machine.count,
                (unsigned long long)service_partitions(p->service), (unsigned long long)sessions,
                p->config.runtime_dir);
        say_ready(p);
}

static int serve(struct program *p) {
        int r;

        while ((r = transport_run(p->transport)) == TRANSPORT_E_UPGRADE)
                become_next(p);
        return r;
}

/* The loop's heap, and one for all other threads. They allocate for a job at a time, and whichever takes a job takes
 * the largest one in the end: each with a heap of its own would keep that much for ever. */
static void share_heaps(void) {
        (void)mallopt(M_ARENA_MAX, 2);
}

int main(int argc, char **argv) {
        struct program p = { 0 };
        bool keep;
        int r;

        share_heaps();
        r = config_load(&p.config, argc, argv, stdout, stderr);
        if (r != 0)
                return r == CONFIG_E_DONE ? 0 : 2;
        log_set_level(p.config.log_level);
        journald_begin();
        p.argc = argc;
        p.argv = argv;
        p.self = own_path();
        r = make_machine(&p);
        if (r < 0) {
                fail(&p, "the machine", r);
                tear_down(&p, true);
                return 1;
        }
        if (p.config.check_only) {
                printf("the configuration is good: %u nodes\n", p.machine.count);
                tear_down(&p, true);
                return 0;
        }
        if (p.config.check_takeover) {
                struct takeover own = own_takeover(&p);

                takeover_print(stdout, &own);
                tear_down(&p, true);
                return 0;
        }
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN); /* until there is something to reload */
        p.given_count = manager_sockets(p.given);
        raise_nofile();
        say_rights(&p.config);
        p.why[0] = 0;
        r = bring_up(&p);
        if (r < 0) {
                fail(&p, "svmd cannot start", r);
                /* An earlier svmd's state, if there is one, is the keeper's and waits for a svmd that can start. */
                tear_down(&p, true);
                return 1;
        }
        say_up(&p);
        keep = serve(&p) == TRANSPORT_E_KEEP;
        manager_stopping();
        log_info(keep ? "stopping; svmd-keeper holds sessions and memory for the next svmd"
                      : "ending, and all sessions with it");
        tear_down(&p, keep);
        return 0;
}
