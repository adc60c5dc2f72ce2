#include "reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "verbs.h"

#define DEFAULT_RUNTIME_DIR "/run/svmd"

/*
 * Where svmd's sockets are: what the command line says goes before the environment, and a socket before a directory.
 * A socket that is named is the only one tried.
 */
static const char *runtime_dir(struct ctl *c) {
        const char *dir = c->runtime_dir ? c->runtime_dir : getenv("SVMD_RUNTIME_DIR");

        return dir && *dir ? dir : DEFAULT_RUNTIME_DIR;
}

const char *reach_folder(struct ctl *c) {
        char *whole = realpath(runtime_dir(c), NULL);
        const char *path = whole ? ctl_copy(c, whole) : runtime_dir(c);

        free(whole);
        return path;
}

static const char *socket_path(struct ctl *c, const char *name, const char *variable) {
        const char *path = c->runtime_dir ? NULL : getenv(variable);

        return path && *path ? path : ctl_text(c, "%s/%s", runtime_dir(c), name);
}

/* To look at a partition in the low window, its slice has to be had there. */
static int try_socket(struct ctl *c, const char *path, bool attach) {
        struct svmd_connect_options opts = { .size = sizeof(opts),
                                             .socket = path,
                                             .partition = attach ? c->partition : NULL,
                                             .name = "svmd-ctl",
                                             .flags = attach ? 0 : SVMD_CONNECT_NO_ATTACH };
        int r = svmd_connect(&c->session, &opts);

        if (r == SVMD_E_COLLISION) {
                opts.window = SVMD_WINDOW_LOW;
                r = svmd_connect(&c->session, &opts);
        }
        if (r != SVMD_OK)
                return r;
        c->info.size = sizeof(c->info);
        r = svmd_session_info(c->session, &c->info);
        if (r != SVMD_OK) {
                svmd_disconnect(c->session);
                c->session = NULL;
        }
        return r;
}

/* Why a socket could not be used, and what to do; where libsvmd knows better, its own sentence. */
static const char *reason(struct ctl *c, const char *path, bool admin) {
        const char *user = getenv("USER");

        if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
                return ctl_text(c,
                                "svmd cannot be reached: there is no socket %s. Is svmd running? See 'systemctl status "
                                "svmd', or say where it is with --runtime-dir",
                                path);
        if (admin && access(path, R_OK | W_OK) != 0 && (errno == EACCES || errno == EPERM))
                return ctl_text(c,
                                "you may not use %s: this is for administrators. Run it as root, or join the group "
                                "svmd-admin ('usermod -aG svmd-admin %s') and log in again",
                                path, user && *user ? user : "NAME");
        return ctl_text(c, "svmd cannot be reached: %s", svmd_error());
}

static int outcome(struct ctl *c, int code, const char *path, bool admin, const char **ret_why) {
        bool away = code == SVMD_E_SYSTEM || code == SVMD_E_GONE || code == SVMD_E_TIMEOUT;

        *ret_why = away ? reason(c, path, admin) : ctl_copy(c, svmd_error());
        return away ? EXIT_UNREACHED : EXIT_REFUSED;
}

int reach_quietly(struct ctl *c, unsigned flags, const char **ret_why) {
        const char *admin_path, *path;
        int r;

        if (c->socket) {
                r = try_socket(c, c->socket, false);
                if (r == SVMD_OK && !c->info.admin && (flags & VERB_OWN)) {
                        svmd_disconnect(c->session);
                        c->session = NULL;
                        r = try_socket(c, c->socket, true);
                }
                return r == SVMD_OK ? EXIT_OK : outcome(c, r, c->socket, flags & VERB_ADMIN, ret_why);
        }
        admin_path = socket_path(c, "admin.sock", "SVMD_ADMIN_SOCKET");
        r = try_socket(c, admin_path, false);
        if (r == SVMD_OK)
                return EXIT_OK;
        if (flags & VERB_ADMIN)
                return outcome(c, r, admin_path, true, ret_why);
        path = socket_path(c, "svmd.sock", "SVMD_SOCKET");
        r = try_socket(c, path, flags & VERB_OWN);
        return r == SVMD_OK ? EXIT_OK : outcome(c, r, path, false, ret_why);
}

int reach(struct ctl *c, unsigned flags) {
        const char *why;
        int r = reach_quietly(c, flags, &why);

        if (r != EXIT_OK)
                ctl_fail(c, r, "%s", why);
        return r;
}
