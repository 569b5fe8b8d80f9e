/* The connections that a relay carries: each has a TCP side and another, which is a unix socket or the manager. */
#ifndef STREAMS_H
#define STREAMS_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef HOLD_MS
#define HOLD_MS 60000 /* for the other side to be there */
#endif

enum {
    CONNECTIONS = 256,
    BUFFER = 65536,  /* of each direction */
    LINGER_MS = 2000 /* for a client to take the rest of an answer whose sender has gone */
};

/* Where clients come in, and the unix socket on the other side. */
struct port {
    int listener;
    size_t watched;
    struct sockaddr_in address;
    struct sockaddr_un socket;
};

/* One direction of a connection. A side that is the manager has no descriptor: -1. */
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
    bool open;        /* the other side is there */
    bool failed;      /* closed on this side, and the manager has not heard of it yet */
    int64_t deadline; /* closed at this time; 0 = none */
    int64_t retry_at;
    const struct port *port;
    size_t watched[2]; /* where its sides are among what is polled, 0 = nowhere */
    struct flow up;   /* from TCP */
    struct flow down; /* to TCP */
    /* with a manager: */
    uint64_t number; /* of the stream, never used twice */
    uint64_t credit; /* so many bytes the manager takes */
    size_t window;   /* so many it may send */
    size_t owed;     /* so many it may be given more */
};

static struct connection connections[CONNECTIONS];
static size_t slots_in_use; /* one more than the highest used slot */
static size_t open_count;

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* stands still while the machine sleeps */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool passing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

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

static void reset_flow(struct flow *flow, int from, int to)
{
    flow->from = from;
    flow->to = to;
    flow->start = flow->end = 0;
    flow->eof = flow->shut = flow->discard = false;
}

/* Takes a slot; there must be one. `other` is the unix socket, -1 for the manager. */
static struct connection *add(const struct port *port, int client, int other)
{
    static uint64_t serial;
    const int on = 1;
    size_t slot = 0;
    while (connections[slot].used)
        slot++;
    struct connection *connection = &connections[slot];
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    reset_flow(&connection->up, client, other);
    reset_flow(&connection->down, other, client);
    connection->used = true;
    connection->open = connection->failed = false;
    connection->deadline = now_ms() + HOLD_MS;
    connection->retry_at = 0;
    connection->port = port;
    connection->number = ++serial * CONNECTIONS + slot;
    connection->credit = connection->window = BUFFER;
    connection->owed = 0;
    open_count++;
    if (slot >= slots_in_use)
        slots_in_use = slot + 1;
    return connection;
}

static void release(struct connection *connection)
{
    if (connection->up.from >= 0)
        (void)close(connection->up.from);
    if (connection->up.to >= 0)
        (void)close(connection->up.to);
    connection->used = false;
    open_count--;
    while (slots_in_use > 0 && !connections[slots_in_use - 1].used)
        slots_in_use--;
}

/* Closing with unread input would reset the connection under a client that still reads the answer. */
static void linger(struct connection *connection)
{
    if (connection->up.discard && connection->down.shut && connection->deadline == 0)
        connection->deadline = now_ms() + LINGER_MS;
}

/* Closes the TCP side so that its client cannot take what it has got for a whole answer. */
static void reset_tcp(struct connection *connection)
{
    const struct linger none = {.l_onoff = 1};
    (void)setsockopt(connection->up.from, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    (void)close(connection->up.from);
    connection->up.from = connection->down.to = -1;
}

static void refuse(struct connection *connection)
{
    reset_tcp(connection);
    release(connection);
}

#endif
