/*
 * svmd-keeper against a svmd that sends anything: every descriptor that it was given is kept under its key or closed, a
 * message that is none ends the connection and nothing else. There is no poll here: what was sent is served at once.
 */
#include "fuzz.h"

/* The program's own functions, without its main. */
#define main keeper_main
int main(int argc, char **argv);
#include "keeper/svmd-keeper.c"
#undef main

#include <sys/mman.h>

enum { MESSAGES = 64, KEYS = 16 };

static struct state keeper = { .t.listener = -1, .t.client = -1, .most = 1000 };
static int sender = -1;

static unsigned open_files(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void connect_again(void) {
        int ends[2];

        if (sender >= 0)
                close(sender);
        if (keeper.t.client >= 0)
                hang_up(&keeper);
        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        sender = ends[0];
        keeper.t.client = ends[1];
}

static uint64_t take_key(struct bytes *b) {
        uint8_t how = take_u8(b);

        return how < 0xf0 ? how % KEYS : take_number(b, 8);
}

static bool send_bytes(const void *bytes, size_t size, unsigned fds_count) {
        struct iovec iov = { (void *)bytes, size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[KEEPER_BATCH + 8], r;
        union {
                struct cmsghdr head;
                char space[CMSG_SPACE(sizeof(fds))];
        } control;
        struct cmsghdr *c;

        for (unsigned i = 0; i < fds_count; i++)
                must((fds[i] = memfd_create("fuzz", MFD_CLOEXEC)) >= 0);
        if (fds_count) {
                memset(&control, 0, sizeof(control));
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
                memcpy(CMSG_DATA(c), fds, fds_count * sizeof(int));
        }
        r = (int)sendmsg(sender, &msg, MSG_NOSIGNAL);
        for (unsigned i = 0; i < fds_count; i++)
                close(fds[i]);
        return r >= 0;
}

/* A message whose fields fit one another, unless the input says otherwise. */
static bool send_message(struct bytes *b) {
        struct keeper_message m = { .head = { .magic = KEEPER_MAGIC, .version = KEEPER_VERSION } };
        uint8_t how = take_u8(b);
        unsigned fds;
        size_t size;

        m.head.type = how % 16;
        m.head.count = (uint16_t)(how & 16 ? take_number(b, 2) % (KEEPER_DROPS + 2) : take_u8(b) % 5);
        if (m.head.type != KEEPER_PUT && m.head.type != KEEPER_DROP && !(how & 16))
                m.head.count = 0;
        for (unsigned i = 0; i < m.head.count && i < KEEPER_DROPS; i++)
                m.key[i] = take_key(b);
        fds = m.head.type == KEEPER_PUT && m.head.count <= KEEPER_BATCH ? m.head.count : 0;
        if (how & 32)
                fds = take_u8(b) % (KEEPER_BATCH + 8);
        size = keeper_message_size(&m.head);
        if (how & 64)
                size += take_u8(b) % 32 - 16;
        if ((how & 128) && take_u8(b) % 4 == 0)
                m.head.magic ^= 1;
        return send_bytes(&m, size < sizeof(m) ? size : sizeof(m), fds);
}

/* What it answers is of the protocol; descriptors that come are ours. */
static void read_answers(void) {
        static struct packet p;
        int r;

        while ((r = packet_receive(sender, &p)) == 0) {
                must(p.message.head.type == KEEPER_ROOM || p.message.head.type == KEEPER_ITEMS ||
                     p.message.head.type == KEEPER_END || p.message.head.type == KEEPER_FAILED);
                must(p.message.head.type != KEEPER_ITEMS || p.fds_count == p.message.head.count);
                packet_close_fds(&p);
        }
        must(r != PACKET_E_MALFORMED);
}

static void check(void) {
        uint64_t count = 0, last = 0;

        for (struct kept_item *it = kept_from(&keeper.t.kept, 0); it; it = kept_next(it)) {
                must(count == 0 || it->key > last);
                must(fcntl(it->fd, F_GETFD) == FD_CLOEXEC);
                last = it->key;
                count++;
        }
        must(count == keeper.t.kept.count);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        stderr = fopen("/dev/null", "we"); /* what it says of every bad message */
        return stderr ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes b = { bytes, size };
        unsigned before = open_files();

        connect_again();
        for (unsigned n = 0; n < MESSAGES && b.left && !keeper.quit; n++) {
                uint64_t had = keeper.t.kept.count;
                bool sent = send_message(&b);

                serve(&keeper);
                read_answers();
                if (sent && keeper.t.client < 0) {
                        must(keeper.t.kept.count == had);
                        connect_again();
                }
        }
        check();
        must(open_files() == before + 2 + keeper.t.kept.count - (keeper.t.client < 0));
        close(sender);
        sender = -1;
        if (!keeper.quit && keeper.t.client >= 0)
                serve(&keeper);
        must(keeper.quit || keeper.t.client < 0 || keeper.listing);
        if (keeper.t.client >= 0)
                hang_up(&keeper);
        kept_drop_all(&keeper.t.kept);
        keeper.quit = false;
        must(open_files() == before);
        return 0;
}
