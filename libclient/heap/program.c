#include "program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#else
enum { OWN_MACHINE = EM_NONE };
#endif

enum { SCRIPTS_DEEP = 4, LINE = 256 };

static bool say(char *why, size_t size, const char *path, const char *text) {
        snprintf(why, size, "%s %s", path, text);
        return false;
}

/* PT_INTERP names the loader; a program without one is static. */
static bool has_loader(int fd, const Elf64_Ehdr *h) {
        for (unsigned i = 0; i < h->e_phnum; i++) {
                Elf64_Phdr p;

                if (pread(fd, &p, sizeof(p), (off_t)(h->e_phoff + (Elf64_Off)i * h->e_phentsize)) != sizeof(p))
                        return true; /* exec() finds out what is wrong with it */
                if (p.p_type == PT_INTERP)
                        return true;
        }
        return false;
}

/* The loader of a program that gains rights by being run takes no objects from its caller. */
static bool gains_rights(int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        if ((st.st_mode & S_ISUID && st.st_uid != geteuid()) || (st.st_mode & S_ISGID && st.st_gid != getegid()))
                return true;
        return geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static bool judge(int fd, const char *path, char *why, size_t size) {
        unsigned char ident[EI_NIDENT];
        Elf64_Ehdr h;

        if (pread(fd, ident, sizeof(ident), 0) != sizeof(ident) || memcmp(ident, ELFMAG, SELFMAG) != 0)
                return true;
        if (ident[EI_CLASS] != ELFCLASS64 || pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.e_machine != OWN_MACHINE)
                return say(why, size, path,
                           "is a program for another architecture; svmd-run manages those of this machine's own");
        if (gains_rights(fd))
                return say(why, size, path,
                           "gains rights when it is run (setuid, setgid or capabilities), so nothing can be loaded "
                           "into it; run it without svmd-run, or as the user whose rights it gains");
        if (!has_loader(fd, &h))
                return say(why, size, path,
                           "is linked statically, so nothing can be loaded into it; run it without svmd-run, or link "
                           "it dynamically");
        return true;
}

/* False: it is no script. */
static bool read_interpreter(int fd, char *ret) {
        char line[LINE + 1] = "";
        char *at = line + 2;
        ssize_t n = pread(fd, line, LINE, 0);

        if (n < 3 || line[0] != '#' || line[1] != '!')
                return false;
        at += strspn(at, " \t");
        at[strcspn(at, " \t\n")] = 0;
        memcpy(ret, at, strlen(at) + 1);
        return *at == '/';
}

bool program_takes_heap(const char *path, char *why, size_t size) {
        char at[4096];

        snprintf(at, sizeof(at), "%s", path);
        for (int deep = 0; deep < SCRIPTS_DEEP; deep++) {
                int fd = open(at, O_RDONLY | O_CLOEXEC);
                bool ok, script;

                if (fd < 0)
                        return true;
                ok = judge(fd, at, why, size);
                script = ok && read_interpreter(fd, at);
                close(fd);
                if (!script)
                        return ok;
        }
        return true;
}
