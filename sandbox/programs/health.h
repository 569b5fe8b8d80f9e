/* How an exec in the container learns whether the relay still does its work: it connects to a socket that is the
 * container's root's alone, and the relay's one loop has to take it and let it go. */
#ifndef HEALTH_H
#define HEALTH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CHECKS = 8,       /* that wait at once */
    CHECK_SECONDS = 8 /* for an answer; the signal then ends the program */
};

static int health_listener = -1;

/* Returns false, with errno, when it cannot be had. */
static bool listen_for_checks(const struct sockaddr_un *at)
{
    mode_t before = umask(0177);
    (void)unlink(at->sun_path);
    health_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool good = health_listener >= 0 && bind(health_listener, (const struct sockaddr *)at, sizeof *at) == 0 &&
                listen(health_listener, CHECKS) == 0;
    (void)umask(before);
    return good;
}

/* The end of the connection is the answer. Returns false when the system has no descriptor or memory left. */
static bool answer_check(void)
{
    int fd = accept4(health_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        return close(fd) == 0;
    return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
}

/* 0 when the relay behind the socket answers. */
static int checked(const struct sockaddr_un *at)
{
    static const char away[] = "relay: it does not run, or cannot be asked.\n";
    char nothing;
    (void)alarm(CHECK_SECONDS);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 && read(fd, &nothing, 1) == 0)
        return 0;
    return write(1, away, sizeof away - 1) > 0 ? 1 : 2;
}

#endif
