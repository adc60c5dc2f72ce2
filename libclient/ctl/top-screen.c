#include "top-screen.h"

#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "top-draw.h"
#include "top-feed.h"
#include "top-model.h"

/* Interrupts end the loop, which gives the terminal back; nothing is done in their handler. */
static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
        interrupted = 1;
}

static void catch_signals(void) {
        static const int caught[] = { SIGINT, SIGTERM, SIGHUP };
        struct sigaction action = { .sa_handler = on_signal };

        interrupted = 0;
        for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
                sigaction(caught[i], &action, NULL);
}

static unsigned key_of(int key) {
        switch (key) {
        case KEY_UP: return TOP_KEY_UP;
        case KEY_DOWN: return TOP_KEY_DOWN;
        case KEY_PPAGE: return TOP_KEY_PAGE_UP;
        case KEY_NPAGE: return TOP_KEY_PAGE_DOWN;
        case KEY_HOME: return TOP_KEY_HOME;
        case KEY_END: return TOP_KEY_END;
        case KEY_LEFT: return TOP_KEY_LEFT;
        case KEY_RIGHT: return TOP_KEY_RIGHT;
        case KEY_BTAB: return TOP_KEY_BACK_TAB;
        case KEY_ENTER:
        case '\r':
        case '\n': return TOP_KEY_ENTER;
        case '\t': return TOP_KEY_TAB;
        case KEY_BACKSPACE:
        case 0x7f:
        case '\b': return TOP_KEY_ERASE;
        case 0x1b: return TOP_KEY_ESCAPE;
        default: return key >= ' ' && key < 0x7f ? (unsigned)key : 0;
        }
}

static void colors_begin(void) {
        static const short colors[_TOP_STYLES] = {
                [TOP_GOOD] = COLOR_GREEN, [TOP_WARN] = COLOR_YELLOW, [TOP_BAD] = COLOR_RED, [TOP_SPARK] = COLOR_CYAN
        };

        start_color();
        use_default_colors();
        for (unsigned i = 1; i < _TOP_STYLES; i++)
                if (colors[i])
                        init_pair((short)i, colors[i], -1);
}

static attr_t attributes_of(uint8_t style, bool color) {
        attr_t paint = color ? COLOR_PAIR(style) : 0;

        switch (style) {
        case TOP_DIM: return A_DIM;
        case TOP_BOLD: return A_BOLD;
        case TOP_HEAD: return A_REVERSE;
        case TOP_MARK: return A_REVERSE | A_BOLD;
        case TOP_BAD: return paint | A_BOLD;
        case TOP_GOOD:
        case TOP_WARN:
        case TOP_SPARK: return paint;
        default: return A_NORMAL;
        }
}

static void show(const struct top_screen *s, bool color) {
        for (unsigned line = 0; line < s->lines; line++) {
                for (unsigned column = 0; column < s->columns; column++) {
                        const struct top_cell *cell = &s->cells[(size_t)line * s->columns + column];

                        attrset((int)attributes_of(cell->style, color));
                        mvaddstr((int)line, (int)column, *cell->text ? cell->text : " ");
                }
        }
        refresh();
}

static void draw(struct ctl *c, struct top_model *m, bool color) {
        struct top_screen s;

        if (LINES <= 0 || COLS <= 0 || !top_screen_init(&s, (unsigned)LINES, (unsigned)COLS, c->utf8))
                return;
        top_draw(m, &s, ctl_now_ns());
        show(&s, color);
        top_screen_fini(&s);
}

/* Once a second, for what says how old it is; sooner when something comes. False: it is over. */
static bool wait_for(struct top_feed *f) {
        struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = f->fd, .events = POLLIN } };
        const struct timespec second = { .tv_sec = 1 };
        sigset_t blocked, old;
        int r;

        /* A signal between the test and ppoll() stays pending until ppoll() lets it in. */
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGINT);
        sigaddset(&blocked, SIGTERM);
        sigaddset(&blocked, SIGHUP);
        sigprocmask(SIG_BLOCK, &blocked, &old);
        r = interrupted ? -1 : ppoll(fds, 2, &second, &old);
        sigprocmask(SIG_SETMASK, &old, NULL);
        return !interrupted && (r >= 0 || errno == EINTR) && !(fds[0].revents & (POLLHUP | POLLERR | POLLNVAL));
}

/* Everything that was typed. True: the person is done. */
static bool take_keys(struct top_model *m, struct top_feed *f) {
        int key;

        while ((key = getch()) != ERR) {
                enum top_deed deed = key == KEY_RESIZE ? TOP_STAY : top_key(m, key_of(key));

                if (deed == TOP_QUIT)
                        return true;
                if (deed == TOP_INTERVAL)
                        top_feed_interval(f, m->interval_ns);
        }
        return false;
}

static int take_snapshots(struct top_model *m, struct top_feed *f) {
        struct top_snapshot s;
        int r;

        while ((r = top_feed_take(f, &s)) == 1) {
                top_take(m, &s);
                top_snapshot_free(&s);
        }
        return r;
}

static int loop(struct ctl *c, struct top_model *m, struct top_feed *f) {
        bool color = c->color && has_colors();
        int r = 0;

        if (color)
                colors_begin();
        while (r == 0) {
                draw(c, m, color);
                if (!wait_for(f) || take_keys(m, f))
                        break;
                r = take_snapshots(m, f);
        }
        return r;
}

int top_screen_run(struct ctl *c, struct top_model *m) {
        struct top_feed f;
        SCREEN *screen;
        int r = top_feed_start(c, &f, m->interval_ns);

        if (r != 0)
                return ctl_fail(c, EXIT_REFUSED, "cannot start what asks svmd: %s", strerror(-r));
        catch_signals();
        screen = newterm(NULL, c->out, stdin);
        if (!screen) {
                top_feed_end(&f);
                return ctl_fail(c, EXIT_USAGE, "this terminal cannot be drawn on; use --batch");
        }
        set_escdelay(25);
        cbreak();
        noecho();
        nonl();
        curs_set(0);
        keypad(stdscr, TRUE);
        nodelay(stdscr, TRUE);
        r = loop(c, m, &f);
        /* Where the terminal has no second screen, the shell goes on in the last line. */
        move(LINES - 1, 0);
        clrtoeol();
        refresh();
        endwin();
        delscreen(screen);
        top_feed_end(&f);
        return r == 0 ? EXIT_OK : ctl_fail(c, EXIT_REFUSED, "what asks svmd has ended");
}
