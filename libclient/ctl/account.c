#include "account.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "size.h"

const char *account_user(struct ctl *c, uint32_t uid) {
        const struct passwd *pw = getpwuid(uid);

        return pw ? ctl_copy(c, pw->pw_name) : ctl_text(c, "%u", uid);
}

const char *account_group(struct ctl *c, uint32_t gid) {
        const struct group *gr = getgrgid(gid);

        return gr ? ctl_copy(c, gr->gr_name) : ctl_text(c, "%u", gid);
}

/* The highest number means "no id" to the kernel. */
static bool id_parse(const char *text, uint32_t *ret) {
        uint64_t n;

        if (count_parse(text, &n) != 0 || n >= UINT32_MAX)
                return false;
        *ret = (uint32_t)n;
        return true;
}

static int group_parse(struct ctl *c, const char *name, uint32_t *ret) {
        const struct group *gr = getgrnam(name);

        if (gr)
                *ret = gr->gr_gid;
        else if (!id_parse(name, ret))
                return ctl_fail(c, EXIT_USAGE, "there is no group '%s' on this machine; give a name or a number", name);
        return EXIT_OK;
}

int account_parse_owner(struct ctl *c, const char *text, uint32_t *ret_uid, uint32_t *ret_gid) {
        const char *colon = strchr(text, ':');
        char *user = ctl_copy(c, text);
        const struct passwd *pw;
        uint32_t uid, gid = 0;

        if (colon)
                user[colon - text] = '\0';
        pw = getpwnam(user);
        if (pw) {
                uid = pw->pw_uid;
        } else {
                if (!id_parse(user, &uid))
                        return ctl_fail(c, EXIT_USAGE, "there is no user '%s' on this machine; give a name or a number",
                                        user);
                pw = getpwuid(uid);
        }
        if (colon) {
                if (group_parse(c, colon + 1, &gid) != EXIT_OK)
                        return EXIT_USAGE;
        } else if (pw) {
                gid = pw->pw_gid;
        } else {
                return ctl_fail(c, EXIT_USAGE,
                                "user %u has no account here, so its group is not known; write '%u:GROUP'", uid, uid);
        }
        *ret_uid = uid;
        *ret_gid = gid;
        return EXIT_OK;
}

int account_parse_mode(struct ctl *c, const char *text, unsigned *ret) {
        char *end;
        unsigned long mode = strtoul(text, &end, 8);

        if (*text < '0' || *text > '7' || *end || mode > 0777)
                return ctl_fail(c, EXIT_USAGE, "'%s' is no mode; expected octal permission bits, as in 0640", text);
        *ret = (unsigned)mode;
        return EXIT_OK;
}

const char *account_mode(struct ctl *c, unsigned mode) {
        char *text = ctl_copy(c, "rwxrwxrwx");

        for (unsigned i = 0; i < 9; i++) {
                if (!(mode & (0400u >> i)))
                        text[i] = '-';
        }
        return text;
}
