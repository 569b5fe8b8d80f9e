/* fuzz FOLDER SEED SECONDS CORPUS...
 *
 * Gives the relay's own functions what a manager, a guest or its clients may say: the kept corpus and mutations of it, for
 * so many seconds. Built with the sanitizers, which end it at the first mistake. Clients are socket pairs. A number below
 * CLIENTS in a frame stands for that client's stream. FOLDER is not used. Prints how many inputs were tried.
 */
#define main relay_main
#include "relay.c"
#undef main
#include <fcntl.h>

#include "fuzzing.h"

enum { CLIENTS = 3 };
static int clients[CLIENTS]; /* their own ends */
static uint64_t streams[CLIENTS];

static struct input drawn(void)
{
    const uint64_t interesting[] = {0, 1, UINT64_MAX, 1ULL << 63, streams[0] + CONNECTIONS, streams[0] + 1};
    return mutated(interesting, sizeof interesting / sizeof interesting[0]);
}

/* Has frames that are sound speak of the streams that there are. */
static void aim(struct input *input)
{
    for (size_t at = 0; at < input->size && sound(input->bytes + at, input->size - at, LONGEST);) {
        unsigned char *bytes = input->bytes + at;
        size_t length = size_of(bytes) - HEADER;
        if (offset_of(bytes) < CLIENTS)
            put_number(bytes + 8, streams[offset_of(bytes)], 8);
        put_number(bytes + 16, check(check(0, bytes, 16), bytes + HEADER, length), 4);
        at += HEADER + length;
    }
}

static void as_guest(const struct input *input)
{
    struct guest guest = {.fd = -1};
    int far = connected(&guest.fd);
    epoch = draw(3);
    token_bytes = draw(2) * TOKEN_MIN; /* without one it is the first */
    memcpy(token, "0123456789abcdef", TOKEN_MIN);
    for (size_t at = 0; at < input->size && guest.fd >= 0;) {
        size_t piece = 1 + draw(input->size - at);
        (void)!write(far, input->bytes + at, piece);
        at += piece;
        for (int turn = 0; turn < 3 && guest.fd >= 0; turn++)
            hear(&guest);
    }
    if (guest.fd >= 0)
        (void)close(guest.fd);
    if (manager.fd >= 0) {
        pump();
        detach();
    }
    (void)close(far);
}

/* What the relay does once it has waited. */
static void attend_all(void)
{
    (void)prepare();
    if (poll(polled, (nfds_t)polled_count, 0) < 0)
        abort();
    for (size_t i = 0, count = slots_in_use; i < count; i++)
        if (connections[i].used)
            attend(&connections[i]);
    attend_managers();
}

static void judge_bounds(void)
{
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const struct connection *each = &connections[i];
        size_t held = each->down.end - each->down.start;
        if (each->used && (each->down.start > each->down.end || each->down.end > BUFFER || each->up.start > each->up.end ||
                           each->up.end > BUFFER || each->credit > CREDIT_MOST || each->window > BUFFER ||
                           each->owed > BUFFER || held + each->window + each->owed > BUFFER))
            abort();
    }
}

/* As many clients, each in a state that it may be in after a while. */
static void arrive(size_t count)
{
    static const unsigned char much[BUFFER];
    for (size_t i = 0; i < CLIENTS; i++) {
        int near;
        clients[i] = -1;
        streams[i] = draw(2) * UINT64_MAX;
        if (i >= count)
            continue;
        clients[i] = connected(&near);
        struct connection *connection = add(&ports[0], near, -1);
        connection->credit = draw(2) == 0 ? BUFFER : draw(200);
        connection->window = draw(2) == 0 ? BUFFER : draw(200);
        connection->down.start = connection->down.end = draw(2) == 0 ? 0 : BUFFER - draw(200);
        for (uint64_t full = draw(3); full == 0 && send(near, much, sizeof much, MSG_NOSIGNAL) > 0;)
            continue; /* and its client reads no more */
        streams[i] = connection->number;
    }
}

/* A client says, hears, ends or vanishes. */
static void live(int *fd)
{
    static unsigned char bytes[BUFFER];
    switch (draw(6)) {
    case 0:
        (void)!send(*fd, bytes, 1 + draw(BUFFER), MSG_NOSIGNAL);
        break;
    case 1:
        (void)!send(*fd, bytes, 1 + draw(100), MSG_NOSIGNAL);
        break;
    case 2:
        (void)shutdown(*fd, draw(2) == 0 ? SHUT_WR : SHUT_RD);
        break;
    case 3:
        (void)close(*fd);
        *fd = -1;
        break;
    default:
        while (draw(3) != 0 && read(*fd, bytes, sizeof bytes) > 0)
            continue;
    }
}

static void as_manager(struct input *input)
{
    static unsigned char heard[OUTBOX];
    int far = connected(&manager.fd);
    manager.asked = true;
    manager.ping = manager.got = manager.start = manager.end = 0;
    arrive(draw(CLIENTS + 1));
    aim(input);
    pump();
    for (size_t at = 0; at < input->size && manager.fd >= 0;) {
        size_t piece = 1 + draw(input->size - at);
        (void)!write(far, input->bytes + at, piece);
        at += piece;
        for (size_t i = 0; i < CLIENTS; i++)
            if (clients[i] >= 0 && draw(2) == 0)
                live(&clients[i]);
        attend_all();
        judge_bounds();
        while (draw(2) == 0 && read(far, heard, sizeof heard) > 0)
            continue;
    }
    if (manager.fd >= 0)
        detach();
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].used)
            refuse(&connections[i]); /* it came while nobody was attached */
    if (open_count != 0 || slots_in_use != 0)
        abort();
    for (size_t i = 0; i < CLIENTS; i++)
        if (clients[i] >= 0)
            (void)close(clients[i]);
    (void)close(far);
}

int main(int argc, char **argv)
{
    uint64_t tried = 0;
    const int64_t until = begun(argc, argv);
    attached_mode = true;
    manager.fd = ports[0].listener = -1;
    ports[0].address.sin_port = htons(8790);
    port_count = 1;
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].fd = -1;
    for (; now_ms() < until; tried++) {
        struct input input = drawn();
        if (tried % 4 == 0)
            as_guest(&input);
        else
            as_manager(&input);
    }
    (void)printf("%llu\n", (unsigned long long)tried);
    return 0;
}
