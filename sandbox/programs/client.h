/* The one client that is served: what it may send, and what it is told. */
#ifndef CLIENT_H
#define CLIENT_H

#include <sys/socket.h>

#include "agent.h"

enum {
    OUTBOX = 4 * CHUNK,
    FILL = 3 * CHUNK /* of the outbox with output: the rest is for answers */
};

static unsigned char small_inbox[CHUNK], outbox[OUTBOX];
static struct client {
    int fd;
    bool told_closed, told_over;
    unsigned char *inbox; /* the small one, or from the heap for one long INPUT */
    size_t room, got;     /* of the inbox */
    size_t start, end;    /* of what is not sent in the outbox */
} client = {.fd = -1, .inbox = small_inbox, .room = CHUNK};
static bool finished; /* the client has all it wants of an agent that has ended */
static uint64_t oom_before, denied_before;
static int64_t absent_since;

/* ---- what it is told */

static void say(int type, int detail, uint64_t offset, const void *payload, size_t length)
{
    if (client.fd >= 0 && OUTBOX - client.end >= HEADER + length)
        client.end += frame(outbox + client.end, type, detail, offset, payload, length);
}

static void refuse(uint64_t offset, const char *why) { say(REFUSED, 0, offset, why, strlen(why)); }

/* What the kernel has counted under that word since `before`, UINT64_MAX where it does not tell. */
static uint64_t counted(const char *word, const char *path, const char *path_of_v1, uint64_t before)
{
    char text[1024] = "\n";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fd = open(path_of_v1, O_RDONLY | O_CLOEXEC);
    const char *found = fd >= 0 && read(fd, text + 1, sizeof text - 2) > 0 ? strstr(text, word) : NULL;
    close_fd(&fd);
    return found == NULL || before == UINT64_MAX ? UINT64_MAX : strtoull(found + strlen(word), NULL, 10) - before;
}

static uint64_t oom_kills(uint64_t before)
{
    return counted("\noom_kill ", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", before);
}

static uint64_t pids_denied(uint64_t before)
{
    return counted("\nmax ", "/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events", before);
}

static void note_counters(void)
{
    put(F_OOM_KILLS, oom_kills(oom_before));
    put(F_PIDS_DENIED, pids_denied(denied_before));
}

static void say_state(int reason, uint64_t offset)
{
    note_counters();
    say(STATE, reason, offset, state + MAGIC_BYTES, FIELDS * 8);
}

static void leave(void)
{
    if (client.inbox != small_inbox)
        free(client.inbox);
    close_fd(&client.fd);
    client.inbox = small_inbox;
    client.room = CHUNK;
    client.got = client.start = client.end = 0;
    absent_since = now_ms();
}

static void cut_off(const char *why, uint64_t offset)
{
    say(ERROR, 0, offset, why, strlen(why));
    (void)send(client.fd, outbox + client.start, client.end - client.start, MSG_NOSIGNAL | MSG_DONTWAIT);
    leave();
}

static void tell_damage(void)
{
    spoilt = false;
    cut_off("journal_damaged: what was accepted for the agent is damaged; its input is closed before that.", in.at);
}

/* Sends once; the outbox is filled from the journal when it is empty, and says the end when all was sent. */
static void pump(void)
{
    if (client.start == client.end) {
        client.start = client.end = 0;
        client.end += take(&err, outbox, HEADER + CHUNK);
        client.end += take(&out, outbox + client.end, FILL - client.end);
    }
    bool all = out.at == out.end && err.at == err.end && OUTBOX - client.end >= ANSWER_MAX;
    if (all && agent_out < 0 && pending_bytes == 0 && !client.told_closed) {
        client.told_closed = true;
        say_state(CLOSED, 0);
    }
    if (all && get(F_PHASE) == ENDED && !client.told_over) {
        client.told_over = true;
        say_state(OVER, 0);
    }
    if (client.start == client.end)
        return;
    ssize_t sent = send(client.fd, outbox + client.start, client.end - client.start, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        client.start += (size_t)sent;
    else if (sent < 0 && !passing(errno))
        leave();
}

/* Notes the end, once nothing of the agent is left and all that it wrote is in the journal. */
static void conclude(void)
{
    if (!gone || get(F_PHASE) == ENDED || agent_out >= 0 || agent_err >= 0 || pending_bytes > 0)
        return;
    note_counters(); /* the journal may be all that is left to tell */
    put(F_PHASE, ENDED);
    close_fd(&agent_in);
    absent_since = now_ms();
}

/* ---- what it sends */

static void take_input(const unsigned char *bytes, size_t size)
{
    uint64_t offset = offset_of(bytes), after = offset + size - HEADER;
    if (size == HEADER || bytes[size - 1] != '\n')
        refuse(offset, "not_a_line: input must end with a newline.");
    else if (offset > in.end)
        refuse(offset, "input_gap: something before it was never accepted.");
    else if (after <= in.end)
        say(ACCEPTED, 0, in.end, NULL, 0); /* once more, and once is enough */
    else if (offset < in.end)
        refuse(offset, "input_overlap: a part of it was accepted before.");
    else if (get(F_PHASE) != RUNNING)
        refuse(offset, "agent_ended: the agent has ended or is being ended.");
    else if (agent_in < 0 || input_ends)
        refuse(offset, "input_closed: the agent's input is closed.");
    else if (in.end - in.at + size > INPUT_BOUND)
        refuse(offset, "input_full: the agent has not read what was sent before.");
    else if (!append(&in, bytes, size))
        refuse(offset, "journal_full: the disk of the journal is full.");
    else {
        put(F_ACCEPTED, in.end);
        say(ACCEPTED, 0, in.end, NULL, 0);
        deliver();
    }
}

static void acknowledge(int stream, uint64_t offset)
{
    struct journal *journal = stream == STDOUT ? &out : &err;
    size_t first = stream == STDOUT ? F_OUT_FIRST : F_ERR_FIRST;
    if ((stream != STDOUT && stream != STDERR) || offset > journal->at) {
        cut_off("ack_refused: what was not sent cannot be acknowledged.", journal->at);
        return;
    }
    put(first, offset > get(first) ? offset : get(first));
    journal->done = get(first);
    trim(journal);
}

static void obey(const unsigned char *bytes)
{
    switch (bytes[0]) {
    case INPUT:
        take_input(bytes, size_of(bytes));
        break;
    case ACK:
        acknowledge(bytes[1], offset_of(bytes));
        break;
    case KILL:
        end_agent(BY_CLIENT, size_of(bytes) > HEADER ? number(bytes + HEADER, size_of(bytes) - HEADER) : grace_ms);
        break;
    case CLOSE:
        input_ends = true;
        deliver();
        break;
    case PING:
        say_state(ANSWER, offset_of(bytes));
        break;
    default:
        finished = get(F_PHASE) == ENDED;
        if (!finished)
            cut_off("still_running: the agent has not ended.", 0);
    }
}

/* The longest payload of a frame that a client may send, -1 when it may not send such a frame. */
static long payload_most(unsigned char type)
{
    return type == INPUT ? INPUT_MAX : type == KILL ? 4 : type != '\0' && strchr("ACPB", type) != NULL ? 0 : -1;
}

/* Obeys the whole frames among these bytes; returns how many bytes they were. */
static size_t consume(const unsigned char *bytes, size_t have)
{
    size_t used = 0;
    while (client.fd >= 0 && have - used >= HEADER && OUTBOX - client.end >= ANSWER_MAX) {
        const unsigned char *next = bytes + used;
        long most = payload_most(next[0]);
        if (most >= 0 && size_of(next) <= HEADER + (size_t)most && size_of(next) > have - used)
            break;
        if (most < 0 || !sound(next, have - used, (size_t)most)) {
            cut_off("frame_refused: that is not a frame which a client may send.", 0);
            break;
        }
        used += size_of(next);
        obey(next);
    }
    return used;
}

/* Makes the inbox as large as the frame at its beginning needs, and no larger. */
static void fit_inbox(void)
{
    bool input = client.got >= HEADER && client.inbox[0] == INPUT && size_of(client.inbox) <= HEADER + INPUT_MAX;
    size_t room = input && size_of(client.inbox) > CHUNK ? size_of(client.inbox) : CHUNK;
    if (room == client.room || client.got > room)
        return;
    unsigned char *other = room > CHUNK ? malloc(room) : small_inbox;
    if (other == NULL) {
        cut_off("no_memory: there is none for so long an input.", 0);
        return;
    }
    memcpy(other, client.inbox, client.got);
    if (client.inbox != small_inbox)
        free(client.inbox);
    client.inbox = other;
    client.room = room;
}

static void receive(void)
{
    ssize_t count = 1;
    if (client.got < client.room)
        count = recv(client.fd, client.inbox + client.got, client.room - client.got, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && !passing(errno))) {
        leave();
        return;
    }
    client.got += client.got < client.room && count > 0 ? (size_t)count : 0;
    size_t used = consume(client.inbox, client.got);
    if (client.fd < 0)
        return;
    client.got -= used;
    memmove(client.inbox, client.inbox + used, client.got);
    fit_inbox();
}

#endif
