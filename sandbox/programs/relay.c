/* relay 127.0.0.1:PORT SOCKET [127.0.0.1:PORT SOCKET ...]
 *
 * Listens on loopback TCP ports inside a container without a network and carries each connection to a unix socket.
 *
 * Promises:
 *   - bytes arrive complete and in order, both ways; an end of input is passed on after what was read before it;
 *   - at most CONNECTIONS at once and BUFFER bytes held per direction: others wait in the backlog, and a side that
 *     does not read stops the side that writes;
 *   - when the socket cannot be connected the TCP connection is closed at once;
 *   - one thread, no heap, no files, no children, no busy waiting; "relay: ready" on stdout once all ports listen;
 *   - exit 0 on SIGTERM or SIGINT, 1 when a port cannot be had, 2 on bad arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS = 256,
    PAIRS = 8,
    BUFFER = 32768,
    BACKLOG = 128,
    RETRY_MS = 20,       /* between attempts to enter the full backlog of the unix socket */
    CONNECT_MS = 10000,  /* for all those attempts */
    REST_MS = 100,       /* before accepting again when the system has no descriptor or memory left */
    LINGER_MS = 2000     /* for a client to take the rest of an answer whose sender has gone */
};

struct pair {
    int listener;
    struct sockaddr_in address;
    struct sockaddr_un socket;
};

/* One direction of a connection. */
struct flow {
    int from, to;
    size_t start, end;
    bool eof;     /* `from` has ended */
    bool shut;    /* the end was passed on to `to` */
    bool discard; /* nobody reads `to` any more: what comes from `from` is thrown away */
    unsigned char bytes[BUFFER];
};

struct connection {
    bool used;
    bool waiting;     /* the backlog of the unix socket is full */
    int64_t deadline; /* closed at this time; 0 = none */
    const struct pair *pair;
    struct flow up;   /* TCP to unix */
    struct flow down; /* unix to TCP */
};

static struct pair pairs[PAIRS];
static struct connection connections[CONNECTIONS];
static struct pollfd watched[PAIRS + 2 * CONNECTIONS];
static size_t pair_count;
static size_t slots_in_use; /* one more than the highest used slot */
static size_t open_count;
static bool resting;

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

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool passing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

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
    if (argc < 3 || argc % 2 == 0)
        die(2, "usage: relay 127.0.0.1:PORT SOCKET [127.0.0.1:PORT SOCKET ...]");
    if ((argc - 1) / 2 > PAIRS)
        die(2, "%d pairs of port and socket were given; at most %d are carried.", (argc - 1) / 2, PAIRS);
    for (int i = 1; i < argc; i += 2, pair_count++) {
        parse_address(argv[i], &pairs[pair_count].address);
        parse_socket(argv[i + 1], &pairs[pair_count].socket);
    }
}

static void listen_all(char **argv)
{
    const int on = 1;
    for (size_t i = 0; i < pair_count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
            bind(fd, (const struct sockaddr *)&pairs[i].address, sizeof pairs[i].address) != 0 ||
            listen(fd, BACKLOG) != 0)
            die(1, "cannot listen on %s: %s; choose a free port.", argv[1 + 2 * i], strerror(errno));
        pairs[i].listener = fd;
    }
}

/* Reads once. False when `from` failed rather than ended. */
static bool fill(struct flow *flow)
{
    ssize_t count = read(flow->from, flow->bytes + flow->end, BUFFER - flow->end);
    if (count > 0)
        flow->end += (size_t)count;
    else if (count == 0)
        flow->eof = true;
    else if (!passing(errno)) {
        flow->eof = true;
        return false;
    }
    return true;
}

/* Writes once and passes the end on when nothing is left. False when `to` takes nothing more. */
static bool drain(struct flow *flow)
{
    bool taken = true;
    if (flow->start < flow->end && !flow->discard) {
        ssize_t count = send(flow->to, flow->bytes + flow->start, flow->end - flow->start, MSG_NOSIGNAL);
        if (count > 0)
            flow->start += (size_t)count;
        else if (count < 0 && !passing(errno))
            taken = false;
    }
    if (flow->discard || !taken || flow->start == flow->end)
        flow->start = flow->end = 0;
    if (flow->eof && flow->end == 0 && !flow->shut) {
        (void)shutdown(flow->to, SHUT_WR);
        flow->shut = true;
    }
    return taken;
}

static void release(struct connection *connection)
{
    (void)close(connection->up.from);
    (void)close(connection->up.to);
    connection->used = false;
    open_count--;
    while (slots_in_use > 0 && !connections[slots_in_use - 1].used)
        slots_in_use--;
}

static void reset_flow(struct flow *flow, int from, int to)
{
    flow->from = from;
    flow->to = to;
    flow->start = flow->end = 0;
    flow->eof = flow->shut = flow->discard = false;
}

/* A unix socket with a full backlog answers EAGAIN and tells nobody when it has room: ask again until the deadline. */
static void reach(struct connection *connection)
{
    const struct sockaddr_un *to = &connection->pair->socket;
    if (connect(connection->up.to, (const struct sockaddr *)to, sizeof *to) == 0) {
        connection->waiting = false;
        connection->deadline = 0;
    } else if (!passing(errno))
        release(connection);
}

static void admit(const struct pair *pair, int client, int target)
{
    const int on = 1;
    size_t slot = 0;
    while (connections[slot].used)
        slot++;
    struct connection *connection = &connections[slot];
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    reset_flow(&connection->up, client, target);
    reset_flow(&connection->down, target, client);
    connection->used = connection->waiting = true;
    connection->deadline = now_ms() + CONNECT_MS;
    connection->pair = pair;
    open_count++;
    if (slot >= slots_in_use)
        slots_in_use = slot + 1;
    reach(connection);
}

/* The target's descriptor is taken before the client is accepted: without one the client stays in the backlog. */
static void accept_one(const struct pair *pair)
{
    int target = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (target < 0) {
        resting = true;
        return;
    }
    int client = accept4(pair->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
        admit(pair, client, target);
        return;
    }
    resting |= errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    (void)close(target);
}

static void serve(struct connection *connection, short tcp, short target)
{
    struct flow *up = &connection->up;
    struct flow *down = &connection->down;
    bool broken = (tcp & POLLERR) != 0;
    if (tcp != 0 && !up->eof && up->end < BUFFER)
        broken |= !fill(up);
    if (target != 0 && !down->eof && down->end < BUFFER)
        (void)fill(down); /* a failed unix socket has nothing more to give: the same as its end */
    up->discard |= (target & (POLLHUP | POLLERR)) != 0 && down->eof;
    up->discard |= !drain(up);
    broken |= !drain(down);
    if (broken || (up->shut && down->shut)) {
        release(connection);
        return;
    }
    /* Closing with unread input would reset the connection under a client that still reads the answer. */
    if (up->discard && down->shut && connection->deadline == 0)
        connection->deadline = now_ms() + LINGER_MS;
}

/* What to wait for on one side. A hung-up side reports that for ever, so a side is watched only while it leads on. */
static struct pollfd watch(int fd, const struct flow *in, const struct flow *out)
{
    short events = 0;
    if (!in->eof && in->end < BUFFER)
        events |= POLLIN;
    if (out->start < out->end)
        events |= POLLOUT;
    bool may_vanish = in->eof && !out->shut && !out->discard;
    return (struct pollfd){.fd = events != 0 || may_vanish ? fd : -1, .events = events};
}

static int earlier(int timeout, int64_t candidate)
{
    return timeout < 0 || candidate < timeout ? (int)(candidate < 0 ? 0 : candidate) : timeout;
}

/* Fills `watched`; returns how long to wait. */
static int prepare(void)
{
    int timeout = resting ? REST_MS : -1;
    bool room = open_count < CONNECTIONS && !resting;
    resting = false;
    for (size_t i = 0; i < pair_count; i++)
        watched[i] = (struct pollfd){.fd = room ? pairs[i].listener : -1, .events = POLLIN};
    for (size_t i = 0; i < slots_in_use; i++) {
        const struct connection *connection = &connections[i];
        struct pollfd *slot = &watched[pair_count + 2 * i];
        slot[0] = slot[1] = (struct pollfd){.fd = -1};
        if (!connection->used)
            continue;
        if (!connection->waiting) {
            slot[0] = watch(connection->up.from, &connection->up, &connection->down);
            slot[1] = watch(connection->up.to, &connection->down, &connection->up);
        } else
            timeout = earlier(timeout, RETRY_MS);
        if (connection->deadline != 0)
            timeout = earlier(timeout, connection->deadline - now_ms());
    }
    return timeout;
}

static void attend(struct connection *connection, const struct pollfd *slot)
{
    if (connection->deadline != 0 && connection->deadline <= now_ms())
        release(connection);
    else if (connection->waiting)
        reach(connection);
    else if (slot[0].revents != 0 || slot[1].revents != 0)
        serve(connection, slot[0].revents, slot[1].revents);
}

int main(int argc, char **argv)
{
    const struct sigaction stop = {.sa_handler = on_stop};
    parse(argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN); /* as PID 1 without an init, orphans are reaped by the kernel */
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    listen_all(argv);
    if (puts("relay: ready") >= 0)
        (void)fflush(stdout);
    for (;;) {
        int timeout = prepare();
        size_t count = slots_in_use;
        if (poll(watched, pair_count + 2 * count, timeout) < 0 && errno != EINTR)
            die(1, "cannot wait for connections: %s.", strerror(errno));
        for (size_t i = 0; i < count; i++)
            if (connections[i].used)
                attend(&connections[i], &watched[pair_count + 2 * i]);
        for (size_t i = 0; i < pair_count; i++)
            if (watched[i].revents != 0 && open_count < CONNECTIONS)
                accept_one(&pairs[i]);
    }
}
