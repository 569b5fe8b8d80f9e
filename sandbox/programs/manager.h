/* The manager at the other end of all streams: one attached connection, and those that want to be it. */
#ifndef MANAGER_H
#define MANAGER_H

#include "frames.h"
#include "streams.h"

enum {
    RELAY_HELLO = 16,     /* of a hello's payload, before the token */
    GUESTS = 4,           /* connections that have not said hello */
    HELLO_MS = 5000,
    PIECE = 16384,        /* of one stream, before the next has its turn */
    TURN = 4 * HEADER + 16 + PIECE, /* what one stream says at most in its turn */
    INBOX = 2 * CHUNK,
    OUTBOX = 2 * CHUNK,
    CREDIT_AT = BUFFER / 4,
    CREDIT_MOST = 1 << 30,
};
enum { OPEN = 'O', DATA = 'D', CREDIT = 'C', END = 'E', RESET = 'R', WELCOME = STATE };

static struct guest {
    int fd;
    int64_t deadline;
    size_t watched, got;
    unsigned char bytes[HEADER + RELAY_HELLO + TOKEN_MAX];
} guests[GUESTS];
static struct {
    int fd;
    bool asked;            /* a welcome, or the answer to a ping, is due */
    uint64_t ping;
    size_t watched, got, start, end;
    unsigned char inbox[INBOX], outbox[OUTBOX + ANSWER_MAX];
} manager;
static int attach_listener = -1;
static uint64_t epoch;
static unsigned char token[TOKEN_MAX]; /* that of the first who attached: nobody but root can be the first */
static size_t token_bytes;

/* ---- what it is told */

static void say(int type, uint64_t about, const void *payload, size_t length)
{
    manager.end += frame(manager.outbox + manager.end, type, 0, about, payload, length);
}

static void say_number(int type, uint64_t about, uint64_t value, size_t bytes)
{
    unsigned char payload[8];
    put_number(payload, value, bytes);
    say(type, about, payload, bytes);
}

static void say_welcome(void)
{
    unsigned char payload[32];
    put_number(payload, VERSION, 8);
    put_number(payload + 8, epoch, 8);
    put_number(payload + 16, CONNECTIONS, 8);
    put_number(payload + 24, BUFFER, 8);
    say(WELCOME, manager.ping, payload, sizeof payload);
    manager.asked = false;
}

/* Its open streams end with it: nobody else knows what was said in them. Those that are held stay. */
static void detach(void)
{
    (void)close(manager.fd);
    manager.fd = -1;
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].used && connections[i].failed)
            release(&connections[i]);
        else if (connections[i].used && connections[i].open)
            refuse(&connections[i]);
}

static void cut_off(const char *why, uint64_t about)
{
    say(ERROR, about, why, strlen(why));
    (void)send(manager.fd, manager.outbox + manager.start, manager.end - manager.start, MSG_NOSIGNAL | MSG_DONTWAIT);
    detach();
}

static void fail(struct connection *connection)
{
    reset_tcp(connection);
    connection->failed = true;
}

static void release_ended(struct connection *connection)
{
    if (connection->up.shut && connection->down.shut)
        release(connection);
}

/* Gives a stream its turn. */
static void say_stream(struct connection *connection)
{
    struct flow *up = &connection->up;
    uint64_t number = connection->number;
    if (!connection->open) {
        connection->open = true;
        connection->deadline = 0;
        say_number(OPEN, number, ntohs(connection->port->address.sin_port), 2);
    }
    if (connection->failed) {
        say(RESET, number, NULL, 0);
        release(connection);
        return;
    }
    if (connection->owed >= CREDIT_AT) {
        say_number(CREDIT, number, connection->owed, 4);
        connection->window += connection->owed;
        connection->owed = 0;
    }
    size_t count = up->end - up->start < PIECE ? up->end - up->start : PIECE;
    count = count < connection->credit ? count : (size_t)connection->credit;
    if (count > 0) {
        say(DATA, number, up->bytes + up->start, count);
        connection->credit -= count;
        up->start += count;
    }
    if (up->start == up->end)
        up->start = up->end = 0;
    if (up->eof && up->end == 0 && !up->shut) {
        say(END, number, NULL, 0);
        up->shut = true;
    }
    release_ended(connection);
}

/* Fills the outbox and empties it until nothing is left, or the manager takes no more. */
static void pump(void)
{
    static size_t turn;
    while (manager.fd >= 0) {
        if (manager.asked && manager.end == 0)
            say_welcome();
        for (size_t i = 0, count = slots_in_use; i < count && manager.start == 0; i++) {
            if (manager.end + TURN > OUTBOX)
                break;
            turn = (turn + 1) % count;
            if (connections[turn].used)
                say_stream(&connections[turn]);
        }
        if (manager.end == 0)
            return;
        size_t left = manager.end - manager.start;
        ssize_t sent = send(manager.fd, manager.outbox + manager.start, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && !passing(errno))
            detach();
        manager.start += sent > 0 ? (size_t)sent : 0;
        if (manager.start < manager.end)
            return;
        manager.start = manager.end = 0;
    }
}

/* ---- what it sends */

/* Writes what came for the client; counts what the manager may send in its place. */
static void settle(struct connection *connection)
{
    struct flow *down = &connection->down;
    size_t before = down->end - down->start;
    if (!drain(down)) {
        fail(connection);
        return;
    }
    connection->owed += before - (down->end - down->start);
    if (connection->up.discard) {
        (void)drain(&connection->up);
        linger(connection);
    }
    release_ended(connection);
}

static void take_data(struct connection *connection, const unsigned char *bytes, size_t count)
{
    struct flow *down = &connection->down;
    if (BUFFER - down->end < count) {
        down->end -= down->start;
        memmove(down->bytes, down->bytes + down->start, down->end);
        down->start = 0;
    }
    memcpy(down->bytes + down->end, bytes, count);
    down->end += count;
    connection->window -= count;
}

static void obey(const unsigned char *bytes)
{
    uint64_t about = offset_of(bytes);
    size_t length = size_of(bytes) - HEADER;
    struct connection *connection = &connections[about % CONNECTIONS];
    if (bytes[0] == PING) {
        manager.asked = true;
        manager.ping = about;
        return;
    }
    if (!connection->used || !connection->open || connection->failed || connection->number != about)
        return; /* it has ended on this side while that was on its way */
    switch (bytes[0]) {
    case RESET:
        if (!connection->down.eof) {
            refuse(connection);
            return;
        }
        connection->up.discard = true; /* what it said before is still given to the client */
        break;
    case CREDIT:
        connection->credit += length == 4 ? number(bytes + HEADER, 4) : 0;
        connection->credit = connection->credit < CREDIT_MOST ? connection->credit : CREDIT_MOST;
        return;
    case END:
        connection->down.eof = true;
        break;
    default:
        if (length > connection->window || connection->down.eof) {
            cut_off("credit_exceeded: a stream was sent more than it may be, or after its end.", about);
            return;
        }
        take_data(connection, bytes + HEADER, length);
    }
    settle(connection);
}

/* The longest payload of a frame that a manager may send, -1 when it may not send such a frame. */
static long payload_most(unsigned char type)
{
    return type == DATA ? CHUNK : type == CREDIT ? 4 : type == END || type == RESET || type == PING ? 0 : -1;
}

static void receive(void)
{
    ssize_t count = recv(manager.fd, manager.inbox + manager.got, INBOX - manager.got, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && !passing(errno))) {
        detach();
        return;
    }
    manager.got += count > 0 ? (size_t)count : 0;
    size_t used = 0;
    while (manager.fd >= 0 && manager.got - used >= HEADER) {
        const unsigned char *next = manager.inbox + used;
        long most = payload_most(next[0]);
        if (most >= 0 && size_of(next) <= HEADER + (size_t)most && size_of(next) > manager.got - used)
            break;
        if (most < 0 || !sound(next, manager.got - used, (size_t)most)) {
            cut_off("frame_refused: that is not a frame which a manager may send.", 0);
            return;
        }
        used += size_of(next);
        obey(next);
    }
    manager.got -= used;
    memmove(manager.inbox, manager.inbox + used, manager.got);
}

/* ---- who is not attached yet */

static bool has_token(const unsigned char *given, size_t length)
{
    unsigned char differs = length == token_bytes || token_bytes == 0 ? 0 : 1;
    for (size_t i = 0; i < token_bytes; i++)
        differs |= (unsigned char)(given[i < length ? i : 0] ^ token[i]);
    return differs == 0;
}

/* Says why this hello is refused, NULL when its sender is to be attached; `about` is what the reason is about. */
static const char *judge(const unsigned char *hello, size_t have, uint64_t *about)
{
    const unsigned char *given = hello + HEADER + 4;
    if (!sound(hello, have, RELAY_HELLO + TOKEN_MAX) || hello[0] != HELLO || have < HEADER + RELAY_HELLO + TOKEN_MIN ||
        memcmp(hello + HEADER, "ACPR", 4) != 0)
        return "frame_refused: a manager begins with one hello.";
    *about = VERSION;
    if (number(given, 2) > VERSION || number(given + 2, 2) < VERSION)
        return "version_refused: this relay speaks version 1.";
    *about = 0;
    if (!has_token(hello + HEADER + RELAY_HELLO, have - HEADER - RELAY_HELLO))
        return "token_refused: the token is wrong.";
    *about = epoch;
    return number(given + 4, 8) < epoch ? "epoch_refused: a later manager has taken this relay over." : NULL;
}

static void dismiss(struct guest *guest, const char *why, uint64_t about)
{
    unsigned char bytes[HEADER + ANSWER_MAX];
    size_t size = frame(bytes, ERROR, 0, about, why, strlen(why));
    (void)send(guest->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(guest->fd);
    guest->fd = -1;
}

static void promote(struct guest *guest)
{
    uint64_t come = number(guest->bytes + HEADER + 8, 8);
    if (manager.fd >= 0)
        cut_off("replaced: another manager has come with the token.", come);
    epoch = come;
    token_bytes = guest->got - HEADER - RELAY_HELLO;
    memcpy(token, guest->bytes + HEADER + RELAY_HELLO, token_bytes);
    manager.fd = guest->fd;
    manager.asked = true;
    manager.ping = manager.got = manager.start = manager.end = 0;
    guest->fd = -1;
}

/* Reads no further than the hello: what follows it is the manager's. */
static void hear(struct guest *guest)
{
    size_t most = sizeof guest->bytes, want = HEADER;
    if (guest->got >= HEADER)
        want = size_of(guest->bytes) < most ? size_of(guest->bytes) : most;
    ssize_t count = recv(guest->fd, guest->bytes + guest->got, want - guest->got, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && !passing(errno))) {
        (void)close(guest->fd);
        guest->fd = -1;
        return;
    }
    guest->got += count > 0 ? (size_t)count : 0;
    bool hello = guest->got >= HEADER && guest->bytes[0] == HELLO && size_of(guest->bytes) <= most;
    if (guest->got < want || (want == HEADER && hello && size_of(guest->bytes) > HEADER)) {
        if (guest->got == want)
            hear(guest);
        return;
    }
    uint64_t about = 0;
    const char *why = judge(guest->bytes, guest->got, &about);
    if (why != NULL)
        dismiss(guest, why, about);
    else
        promote(guest);
}

/* Who speaks at once is heard at once, however many keep still. */
static void admit_guest(void)
{
    struct guest *slot = guests;
    for (size_t i = 0; i < GUESTS && slot->fd >= 0; i++)
        if (guests[i].fd < 0 || guests[i].deadline < slot->deadline)
            slot = &guests[i];
    int fd = accept4(attach_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (slot->fd >= 0)
        dismiss(slot, "hello_late: others came before the hello did.", 0);
    *slot = (struct guest){.fd = fd, .deadline = now_ms() + HELLO_MS};
    hear(slot);
}

#endif
