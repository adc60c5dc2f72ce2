#include "main/journald.h"

/* The kind of call that would put this file's name and line into each message: they are the sender's, not the cause. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/message.h"

enum { FIELDS_MAX = 16, FIELD_ROOM = 640, HEAD = 3 };

/* As systemd says it: device and inode of what it made standard error. */
static bool is_journal(int fd) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

static struct iovec put(char *to, size_t room, const char *name, const char *text) {
        int n = snprintf(to, room, "%s=%s", name, text);

        return (struct iovec){ .iov_base = to, .iov_len = (size_t)n < room ? (size_t)n : room - 1 };
}

static bool send_message(const struct message_desc *m, const struct message_field *fields, size_t count,
                         const char *text) {
        char line[1100], id[64], level[16], rows[FIELDS_MAX][FIELD_ROOM], number[24];
        struct iovec iov[HEAD + FIELDS_MAX];

        if (count > FIELDS_MAX)
                return false;
        snprintf(number, sizeof(number), "%d", m->level);
        iov[0] = put(line, sizeof(line), "MESSAGE", text);
        iov[1] = put(id, sizeof(id), "MESSAGE_ID", m->id);
        iov[2] = put(level, sizeof(level), "PRIORITY", number);
        for (size_t i = 0; i < count; i++) {
                snprintf(number, sizeof(number), "%" PRIu64, fields[i].number);
                iov[HEAD + i] = put(rows[i], sizeof(rows[i]), fields[i].name, fields[i].text ? fields[i].text : number);
        }
        return sd_journal_sendv(iov, (int)(HEAD + count)) == 0;
}

void journald_begin(void) {
        if (is_journal(STDERR_FILENO))
                message_set_sink(send_message);
}
