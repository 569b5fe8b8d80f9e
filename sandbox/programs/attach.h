/* What an exec in the container does: it carries its stdin and stdout to and from a socket there. */
#ifndef ATTACH_H
#define ATTACH_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    CARRIED = 65536,
    LAST_WORDS_MS = 1000 /* for who reads stdout to take the rest, once the socket has ended */
};

static struct carrier {
    int from, to;
    size_t start, end;
    unsigned char bytes[CARRIED];
} carriers[2]; /* from stdin to the socket, and from there to stdout */

/* Reads when it has nothing, and writes what it has. False when one side has ended. */
static bool carry(struct carrier *carrier)
{
    ssize_t count;
    if (carrier->start == carrier->end) {
        count = read(carrier->from, carrier->bytes, CARRIED);
        if (count <= 0)
            return count < 0 && (errno == EAGAIN || errno == EINTR);
        carrier->start = 0;
        carrier->end = (size_t)count;
    }
    count = write(carrier->to, carrier->bytes + carrier->start, carrier->end - carrier->start);
    carrier->start += count > 0 ? (size_t)count : 0;
    return count >= 0 || errno == EAGAIN || errno == EINTR;
}

/* Returns when either side has ended. An engine that was restarted leaves a stdout that nobody reads and a stdin that
 * never ends: then the end of the socket alone must do, whatever is still to be written, or so many seconds in which
 * nothing comes from stdin (0 for ever). */
static void carry_all(int fd, int silence)
{
    struct itimerspec after = {.it_value.tv_sec = silence};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC); /* stands still while the machine sleeps */
    struct pollfd watched[4];
    bool over = false;
    (void)timerfd_settime(timer, 0, &after, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    carriers[0].from = 0;
    carriers[0].to = carriers[1].from = fd;
    carriers[1].to = 1;
    for (int i = 0; i < 3; i++)
        (void)fcntl((int[]){0, 1, fd}[i], F_SETFL, O_NONBLOCK);
    for (;;) {
        for (size_t i = 0; i < 2; i++) {
            bool full = carriers[i].start < carriers[i].end;
            watched[i] = (struct pollfd){.fd = full ? carriers[i].to : carriers[i].from, .events = full ? POLLOUT : POLLIN};
        }
        watched[2] = (struct pollfd){.fd = fd};
        watched[3] = (struct pollfd){.fd = timer, .events = POLLIN};
        if (over)
            watched[0].fd = watched[2].fd = -1;
        if (poll(watched, 4, over ? LAST_WORDS_MS : -1) == 0 || (watched[3].revents & POLLIN) != 0)
            return;
        if ((watched[0].revents & POLLIN) != 0)
            (void)timerfd_settime(timer, 0, &after, NULL);
        over = over || (watched[2].revents & (POLLHUP | POLLERR)) != 0;
        if ((watched[1].revents != 0 && !carry(&carriers[1])) ||
            (!over && watched[0].revents != 0 && !carry(&carriers[0])))
            return;
    }
}

#endif
