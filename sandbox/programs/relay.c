/* relay 127.0.0.1:PORT SOCKET [127.0.0.1:PORT SOCKET ...]    carries each connection to a unix socket
 * relay listen SOCKET 127.0.0.1:PORT [127.0.0.1:PORT ...]    carries all of them to the manager that attached there
 * relay attach SOCKET                                        carries stdin and stdout to and from that socket
 * relay health SOCKET ...                                    either of the first two, and `relay check SOCKET` asks it
 *
 * Listens on loopback TCP ports inside a container without a network. Frames, errors and who may attach are described in
 * docs/framing.md.
 *
 * Promises:
 *   - bytes arrive complete and in order, both ways; an end of input is passed on after what was read before it;
 *   - at most CONNECTIONS at once and BUFFER bytes held per direction: others wait in the backlog, and a side that
 *     does not read stops the side that writes, and no other connection;
 *   - while the other side is away a connection is held, for HOLD_MS; then its client is reset;
 *   - what was open when a manager's attachment broke is reset: no client takes a part for the whole;
 *   - who checks it is answered by the loop that does all this, however many connections there are;
 *   - one thread, no heap, no files, no children, no busy waiting; "relay: ready" on stdout once all ports listen;
 *   - exit 0 on SIGTERM or SIGINT, 1 when a port cannot be had, 2 on bad arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "attach.h"
#include "health.h"
#include "manager.h"

enum {
    PORTS = 8,
    BACKLOG = 128,
    RETRY_MS = 50,     /* between attempts to connect a unix socket */
    APPEAR_MS = 5000,  /* for a relay that has just been started to listen */
    REST_MS = 100      /* before accepting again when the system has no descriptor or memory left */
};

static struct port ports[PORTS];
static size_t port_count;
static bool resting, attached_mode;

__attribute__((noreturn, format(printf, 2, 3))) static void die(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("relay: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputs("\n", stderr);
    va_end(args);
    exit(code);
}

static void on_stop(int number)
{
    (void)number;
    _exit(0);
}

static void parse_address(const char *text, struct sockaddr_in *address)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        die(2, "'%.64s' is not an address; write 127.0.0.1:PORT.", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    address->sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &address->sin_addr) != 1 || ntohl(address->sin_addr.s_addr) >> 24 != 127)
        die(2, "'%.64s' is not on the loopback interface; write 127.0.0.1:PORT.", text);
    const char *digits = colon + 1;
    size_t length = strlen(digits);
    long port = length >= 1 && length <= 5 && strspn(digits, "0123456789") == length ? strtol(digits, NULL, 10) : 0;
    if (port < 1 || port > 65535)
        die(2, "'%.64s' has no port from 1 to 65535; write 127.0.0.1:PORT.", text);
    address->sin_port = htons((uint16_t)port);
}

static void parse_socket(const char *path, struct sockaddr_un *address)
{
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address->sun_path)
        die(2, "the socket path has %zu bytes; it must have 1 to %zu.", length, sizeof address->sun_path - 1);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
}

static void parse(int argc, char **argv)
{
    int first = attached_mode ? 3 : 1, step = attached_mode ? 1 : 2;
    if (argc <= first || (argc - first) % step != 0)
        die(2, "usage: relay [health SOCKET] 127.0.0.1:PORT SOCKET ... | relay [health SOCKET] listen SOCKET "
               "127.0.0.1:PORT ... | relay attach SOCKET | relay check SOCKET");
    if ((argc - first) / step > PORTS)
        die(2, "%d ports were given; at most %d are carried.", (argc - first) / step, PORTS);
    for (int i = first; i < argc; i += step, port_count++) {
        parse_address(argv[i], &ports[port_count].address);
        parse_socket(argv[attached_mode ? 2 : i + 1], &ports[port_count].socket);
    }
}

static void listen_all(void)
{
    const int on = 1;
    for (size_t i = 0; i < port_count; i++) {
        const struct sockaddr_in *at = &ports[i].address;
        char host[INET_ADDRSTRLEN];
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
            bind(fd, (const struct sockaddr *)at, sizeof *at) != 0 || listen(fd, BACKLOG) != 0)
            die(1, "cannot listen on %s:%d: %s; choose a free port.",
                inet_ntop(AF_INET, &at->sin_addr, host, sizeof host), ntohs(at->sin_port), strerror(errno));
        ports[i].listener = fd;
    }
}

/* Where managers attach: for the container's root alone. */
static void listen_for_managers(const struct sockaddr_un *at)
{
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].fd = -1;
    (void)umask(0177);
    (void)unlink(at->sun_path);
    attach_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attach_listener < 0 || bind(attach_listener, (const struct sockaddr *)at, sizeof *at) != 0 ||
        listen(attach_listener, BACKLOG) != 0)
        die(1, "cannot listen on %.107s: %s; choose another path.", at->sun_path, strerror(errno));
}

/* Nobody tells when a unix socket is there, or has room in its backlog: ask again until the deadline. */
static void reach(struct connection *connection)
{
    const struct sockaddr_un *to = &connection->port->socket;
    if (connection->retry_at > now_ms())
        return;
    connection->retry_at = now_ms() + RETRY_MS;
    if (connect(connection->up.to, (const struct sockaddr *)to, sizeof *to) == 0) {
        connection->open = true;
        connection->deadline = 0;
    } else if (!passing(errno) && errno != ENOENT && errno != ECONNREFUSED)
        refuse(connection);
}

/* The other descriptor is taken before the client is accepted: without one the client stays in the backlog. */
static void accept_one(const struct port *port)
{
    int other = attached_mode ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (other < 0 && !attached_mode) {
        resting = true;
        return;
    }
    int client = accept4(port->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
        struct connection *connection = add(port, client, other);
        if (!attached_mode)
            reach(connection);
        return;
    }
    resting |= errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (other >= 0)
        (void)close(other);
}

static void serve(struct connection *connection, short tcp, short other)
{
    struct flow *up = &connection->up;
    struct flow *down = &connection->down;
    bool broken = (tcp & POLLERR) != 0;
    if (tcp != 0 && !up->eof && up->end < BUFFER)
        broken |= !fill(up);
    if (attached_mode) {
        if (broken)
            fail(connection);
        else
            settle(connection);
        return;
    }
    if (other != 0 && !down->eof && down->end < BUFFER)
        (void)fill(down); /* a failed unix socket has nothing more to give: the same as its end */
    up->discard |= (other & (POLLHUP | POLLERR)) != 0 && down->eof;
    up->discard |= !drain(up);
    broken |= !drain(down);
    if (broken || (up->shut && down->shut)) {
        release(connection);
        return;
    }
    linger(connection);
}

/* What is polled, without gaps: no more than there are descriptors, or the system refuses it. The first is nothing. */
static struct pollfd polled[4 + GUESTS + PORTS + 2 * CONNECTIONS];
static size_t polled_count, watched_attach, watched_health;

static size_t watch(int fd, short events)
{
    if (fd < 0)
        return 0;
    polled[polled_count] = (struct pollfd){.fd = fd, .events = events};
    return polled_count++;
}

/* What to wait for on one side. A hung-up side reports that for ever, so a side is watched only while it leads on. */
static size_t watch_side(int fd, const struct flow *in, const struct flow *out)
{
    short events = 0;
    if (!in->eof && in->end < BUFFER)
        events |= POLLIN;
    if (out->start < out->end)
        events |= POLLOUT;
    bool may_vanish = in->eof && !out->shut && !out->discard;
    return events != 0 || may_vanish ? watch(fd, events) : 0;
}

static int earlier(int timeout, int64_t candidate)
{
    return timeout < 0 || candidate < timeout ? (int)(candidate < 0 ? 0 : candidate) : timeout;
}

static int prepare_managers(int timeout)
{
    manager.watched = watch(manager.fd, (short)(POLLIN | (manager.start < manager.end ? POLLOUT : 0)));
    watched_attach = watch(attach_listener, POLLIN);
    for (size_t i = 0; i < GUESTS; i++) {
        guests[i].watched = watch(guests[i].fd, POLLIN);
        if (guests[i].fd >= 0)
            timeout = earlier(timeout, guests[i].deadline - now_ms());
    }
    return timeout;
}

/* Fills `polled`; returns how long to wait. */
static int prepare(void)
{
    int timeout = resting ? REST_MS : -1;
    bool room = open_count < CONNECTIONS && !resting;
    polled[0].fd = -1;
    polled_count = 1;
    watched_health = watch(resting ? -1 : health_listener, POLLIN);
    resting = false;
    if (attached_mode)
        timeout = prepare_managers(timeout);
    for (size_t i = 0; i < port_count; i++)
        ports[i].watched = watch(room ? ports[i].listener : -1, POLLIN);
    for (size_t i = 0; i < slots_in_use; i++) {
        struct connection *connection = &connections[i];
        connection->watched[0] = connection->watched[1] = 0;
        if (!connection->used)
            continue;
        if (connection->open) {
            connection->watched[0] = watch_side(connection->up.from, &connection->up, &connection->down);
            connection->watched[1] = watch_side(connection->up.to, &connection->down, &connection->up);
        } else if (!attached_mode)
            timeout = earlier(timeout, connection->retry_at - now_ms());
        if (connection->deadline != 0)
            timeout = earlier(timeout, connection->deadline - now_ms());
    }
    return timeout;
}

static void attend(struct connection *connection)
{
    short tcp = polled[connection->watched[0]].revents, other = polled[connection->watched[1]].revents;
    bool late = connection->deadline != 0 && connection->deadline <= now_ms();
    if (late && connection->open)
        release(connection);
    else if (late)
        refuse(connection);
    else if (!connection->open && !attached_mode)
        reach(connection);
    else if (tcp != 0 || other != 0)
        serve(connection, tcp, other);
}

static void attend_managers(void)
{
    if (polled[manager.watched].revents != 0)
        receive();
    for (size_t i = 0; i < GUESTS; i++) {
        if (polled[guests[i].watched].revents != 0)
            hear(&guests[i]);
        if (guests[i].fd >= 0 && guests[i].deadline <= now_ms())
            dismiss(&guests[i], "hello_late: there was no hello in time.", 0);
    }
    if (polled[watched_attach].revents != 0)
        admit_guest();
    pump();
}

__attribute__((noreturn)) static void carry_connections(void)
{
    for (;;) {
        int timeout = prepare();
        size_t count = slots_in_use;
        if (poll(polled, polled_count, timeout) < 0) {
            if (errno != EINTR)
                die(1, "cannot wait for connections: %s.", strerror(errno));
            continue;
        }
        for (size_t i = 0; i < count; i++)
            if (connections[i].used)
                attend(&connections[i]);
        for (size_t i = 0; i < port_count; i++)
            if (polled[ports[i].watched].revents != 0 && open_count < CONNECTIONS)
                accept_one(&ports[i]);
        if (polled[watched_health].revents != 0)
            resting |= !answer_check();
        if (attached_mode)
            attend_managers();
    }
}

static int attach(const char *path)
{
    const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
    unsigned char bytes[HEADER + ANSWER_MAX];
    struct sockaddr_un address = {0};
    parse_socket(path, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int64_t until = now_ms() + APPEAR_MS; connect(fd, (struct sockaddr *)&address, sizeof address) != 0;) {
        if ((errno == ENOENT || errno == ECONNREFUSED || passing(errno)) && now_ms() < until) {
            (void)nanosleep(&pause, NULL); /* the relay may be younger than this program */
            continue;
        }
        char why[ANSWER_MAX];
        (void)snprintf(why, sizeof why, "relay_gone: nobody answers at the socket: %s.", strerror(errno));
        return write(1, bytes, frame(bytes, ERROR, 0, 0, why, strlen(why))) > 0 ? 1 : 2;
    }
    carry_all(fd, 0);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_un health = {0};
    const struct sigaction stop = {.sa_handler = on_stop};
    if (argc == 3 && strcmp(argv[1], "attach") == 0)
        return attach(argv[2]);
    if (argc >= 3 && (strcmp(argv[1], "health") == 0 || (argc == 3 && strcmp(argv[1], "check") == 0))) {
        parse_socket(argv[2], &health);
        if (strcmp(argv[1], "check") == 0)
            return checked(&health);
        argc -= 2;
        argv += 2;
    }
    manager.fd = -1;
    attached_mode = argc >= 2 && strcmp(argv[1], "listen") == 0;
    parse(argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN); /* as PID 1 without an init, orphans are reaped by the kernel */
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    listen_all();
    if (attached_mode)
        listen_for_managers(&ports[0].socket);
    if (health.sun_path[0] != '\0' && !listen_for_checks(&health))
        die(1, "cannot listen on %.107s: %s; choose another path.", health.sun_path, strerror(errno));
    if (puts("relay: ready") >= 0)
        (void)fflush(stdout);
    carry_connections();
}
