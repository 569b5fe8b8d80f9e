/* holder run             takes its settings as one frame on stdin, answers with one frame and leaves a daemon behind
 * holder attach SOCKET [SECONDS]
 *                        carries stdin and stdout to and from the socket of a holder, until nothing came for so long
 *
 * Owns an agent's three streams inside its container. Frames, errors and journal are described in docs/framing.md.
 *
 * Promises:
 *   - what the agent wrote to stdout is in the journal before anybody hears it, complete and in order; where it cannot
 *     be kept (the bound, a full disk) the agent waits; stderr loses its oldest instead, and the gap is told;
 *   - input is taken in whole lines or not at all, once, at the offset that the client names;
 *   - where it also listens in a folder that others share, that they remove what is there shuts nobody out;
 *   - one client at a time; it is replaced only by one with the token and an epoch that is not lower;
 *   - the agent has no capability, no group and no way to more rights, and reads neither token, journal nor environment;
 *   - with the agent ends all that it started; the end is told when nothing of it is left;
 *   - without a client for the time to live the agent is ended, and then its container; what it wrote stays in the
 *     journal;
 *   - one thread, bounded memory, no busy waiting; errors are frames with a name.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "attach.h"
#include "settings.h"

enum {
    GUESTS = 8, /* connections that have not said hello */
    HELLO_MS = 5000,
    SILENCE = 300 /* seconds; a client says a word every 30 */
};
enum { P_SIGNALS, P_INNER, P_SHARED, P_CLIENT, P_IN, P_OUT, P_ERR, P_GUESTS, P_COUNT = P_GUESTS + GUESTS };

static struct guest {
    int fd;
    int64_t deadline;
    size_t got;
    unsigned char bytes[HEADER + HELLO_MAX];
} guests[GUESTS];
static int signals = -1;
static bool forsaken; /* nobody came for what an agent that has ended had left to tell */

/* ---- journal and socket */

static void make_journal(void)
{
    struct stat found;
    (void)mkdir(journal_path, 0700);
    journal_dir = open(journal_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (journal_dir < 0 || fstat(journal_dir, &found) != 0)
        fail("journal_failed: %s cannot be opened: %s.", journal_path, strerror(errno));
    if (found.st_uid != geteuid() || fchmod(journal_dir, 0700) != 0)
        fail("journal_failed: %s belongs to another user.", journal_path);
    int fd = openat(journal_dir, "state", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &found) != 0)
        fail("journal_failed: %s/state cannot be made: %s.", journal_path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        fail("already_running: a holder has the journal %s.", journal_path);
    if (found.st_size != 0)
        fail("journal_exists: %s is the journal of a holder that has gone.", journal_path);
    made = true;
    memcpy(state, MAGIC, sizeof MAGIC);
    put(F_VERSION, VERSION);
    put(F_EPOCH, epoch);
    note_boot();
    if (!write_all(fd, state, STATE_BYTES)) /* before it is mapped: the disk must have room for it */
        fail("journal_full: there is no room for the state in %s.", journal_path);
    void *mapped = mmap(NULL, STATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        fail("journal_failed: the state cannot be mapped: %s.", strerror(errno));
    state = mapped;
}

/* Leaves the name alone in `path` and returns its folder, opened: an address has room for a short name only. */
static int enter_folder(char **path, struct sockaddr_un *address)
{
    char *slash = strrchr(*path, '/');
    char *name = slash == NULL ? *path : slash + 1;
    if (*name == '\0' || strlen(name) >= sizeof address->sun_path)
        fail("socket_failed: the socket's name has %zu bytes.", strlen(name));
    if (slash != NULL)
        *slash = '\0';
    int folder = open(slash == NULL ? "." : slash == *path ? "/" : *path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fchdir(folder) != 0)
        fail("socket_failed: the folder of the socket cannot be entered: %s.", strerror(errno));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, strlen(name) + 1);
    *path = name;
    return folder;
}

static void listen_at(struct place *place)
{
    struct sockaddr_un address = {0};
    place->folder = enter_folder(&place->path, &address);
    (void)unlink(place->path); /* of a holder that has gone: the journal's lock says so */
    int fd = place->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)umask(0117); /* the group shares the socket with the manager */
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        fail("socket_failed: %s cannot be made: %s.", place->path, strerror(errno));
    if (chdir("/") != 0)
        fail("socket_failed: the root folder cannot be entered: %s.", strerror(errno));
}

/* ---- who is not a client yet */

static bool has_token(const unsigned char *given, size_t length)
{
    size_t own = strlen(token);
    unsigned char differs = length == own ? 0 : 1;
    for (size_t i = 0; i < own; i++)
        differs |= (unsigned char)(given[length > i ? i : 0] ^ (unsigned char)token[i]);
    return differs == 0;
}

/* Says why this hello is refused, NULL when its sender is to be the client; `at` is what the reason is about. */
static const char *judge(const unsigned char *hello, size_t have, uint64_t *at)
{
    *at = 0;
    if (!sound(hello, have, HELLO_MAX) || hello[0] != HELLO || have < HEADER + HELLO_FIXED + TOKEN_MIN ||
        memcmp(hello + HEADER, "ACPH", 4) != 0)
        return "frame_refused: a client begins with one hello.";
    const unsigned char *given = hello + HEADER + 4;
    *at = VERSION;
    if (number(given, 2) > VERSION || number(given + 2, 2) < VERSION)
        return "version_refused: this holder speaks version 1.";
    *at = 0;
    if (!has_token(hello + HEADER + HELLO_FIXED, have - HEADER - HELLO_FIXED))
        return "token_refused: the token is wrong.";
    *at = get(F_EPOCH);
    if (number(given + 4, 8) < *at)
        return "epoch_refused: a later manager has taken this agent over.";
    *at = get(F_OUT_FIRST);
    if (number(given + 12, 8) < *at)
        return "offset_gone: what is before was acknowledged and deleted.";
    *at = number(given + 12, 8) > out.end ? out.end : err.end;
    if (number(given + 12, 8) > out.end || number(given + 20, 8) > err.end)
        return "offset_refused: the agent has not written so much.";
    return NULL;
}

static void dismiss(struct guest *guest, const char *why, uint64_t about)
{
    unsigned char bytes[HEADER + ANSWER_MAX];
    size_t size = frame(bytes, ERROR, 0, about, why, strlen(why));
    (void)send(guest->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    close_fd(&guest->fd);
}

static void promote(struct guest *guest)
{
    const unsigned char *given = guest->bytes + HEADER + 4;
    if (client.fd >= 0)
        cut_off("replaced: another client has come with the token.", number(given + 4, 8));
    client.fd = guest->fd;
    client.told_closed = client.told_over = false;
    guest->fd = -1;
    put(F_EPOCH, number(given + 4, 8));
    place_reader(&out, number(given + 12, 8));
    place_reader(&err, number(given + 20, 8));
    say_state(ANSWER, 0);
}

/* Reads no further than the hello: what follows it is the client's. */
static void hear(struct guest *guest)
{
    uint64_t about = 0;
    size_t most = sizeof guest->bytes, want = HEADER;
    if (guest->got >= HEADER)
        want = size_of(guest->bytes) < most ? size_of(guest->bytes) : most;
    ssize_t count = recv(guest->fd, guest->bytes + guest->got, want - guest->got, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && !passing(errno))) {
        close_fd(&guest->fd);
        return;
    }
    guest->got += count > 0 ? (size_t)count : 0;
    if (guest->got == HEADER && guest->bytes[0] == HELLO && size_of(guest->bytes) > HEADER && size_of(guest->bytes) <= most) {
        if (want == HEADER)
            hear(guest);
        return;
    }
    if (guest->got < want || guest->got < HEADER)
        return;
    const char *why = judge(guest->bytes, guest->got, &about);
    if (why != NULL)
        dismiss(guest, why, about);
    else
        promote(guest);
}

static void admit(int listener)
{
    struct guest *slot = guests;
    for (size_t i = 0; i < GUESTS && slot->fd >= 0; i++)
        if (guests[i].fd < 0 || guests[i].deadline < slot->deadline)
            slot = &guests[i];
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (slot->fd >= 0)
        dismiss(slot, "hello_late: others came before the hello did.", 0);
    *slot = (struct guest){.fd = fd, .deadline = now_ms() + HELLO_MS};
    hear(slot); /* who speaks at once is served at once, however many keep still */
}

/* ---- the daemon */

static int64_t earlier(int64_t one, int64_t other) { return one < other ? one : other; }

/* Does what is due; returns how many milliseconds nothing will be. */
static int keep_time(void)
{
    int64_t now = now_ms(), next = INT64_MAX;
    bool over = get(F_PHASE) == ENDED;
    for (size_t i = 0; i < GUESTS; i++) {
        if (guests[i].fd >= 0 && guests[i].deadline <= now)
            dismiss(&guests[i], "hello_late: there was no hello in time.", 0);
        next = guests[i].fd >= 0 ? earlier(next, guests[i].deadline) : next;
    }
    if (client.fd < 0 && absent_since + (int64_t)ttl * 1000 <= now) {
        forsaken = over;
        finished = finished || over;
        if (get(F_PHASE) == RUNNING)
            end_agent(BY_TTL, grace_ms);
        else if (gone && pending_bytes > 0 && kill_at + (int64_t)ttl * 1000 <= now)
            lose_rest();
    } else if (client.fd < 0)
        next = earlier(next, absent_since + (int64_t)ttl * 1000);
    if (get(F_PHASE) == ENDING && !gone) {
        if (sweep_at <= now)
            sweep();
        next = earlier(next, sweep_at);
    }
    if (pending_bytes > 0) {
        if (retry_at <= now)
            read_out();
        next = earlier(next, retry_at);
    }
    if (finished || (gone && !over && pending_bytes == 0))
        return 0;
    int64_t wait = next - now_ms();
    return next == INT64_MAX ? -1 : wait < 0 ? 0 : wait > 3600000 ? 3600000 : (int)wait;
}

static struct pollfd watch(int fd, int events)
{
    return (struct pollfd){.fd = events != 0 ? fd : -1, .events = (short)events};
}

static void prepare(struct pollfd *watched)
{
    bool room = out.bytes + HEADER + CHUNK <= out.bound || gone; /* what is left in a pipe is little */
    bool more = client.start < client.end || out.at < out.end || err.at < err.end;
    watched[P_SIGNALS] = watch(signals, POLLIN);
    watched[P_INNER] = watch(inner.listener, POLLIN);
    watched[P_SHARED] = watch(shared.listener, POLLIN);
    watched[P_CLIENT] = watch(client.fd, (OUTBOX - client.end >= ANSWER_MAX ? POLLIN : 0) | (more ? POLLOUT : 0));
    watched[P_IN] = watch(agent_in, in.at < in.end ? POLLOUT : 0);
    watched[P_OUT] = watch(agent_out, pending_bytes == 0 && room ? POLLIN : 0);
    watched[P_ERR] = watch(agent_err, POLLIN);
    for (size_t i = 0; i < GUESTS; i++)
        watched[P_GUESTS + i] = watch(guests[i].fd, POLLIN);
}

static void hear_signals(void)
{
    struct signalfd_siginfo heard;
    while (read(signals, &heard, sizeof heard) == (ssize_t)sizeof heard)
        if (heard.ssi_signo != SIGCHLD) {
            finished = get(F_PHASE) == ENDED;
            end_agent(BY_SIGNAL, grace_ms);
        }
    reap();
}

static void attend(const struct pollfd *watched)
{
    if (watched[P_SIGNALS].revents != 0)
        hear_signals();
    if (watched[P_OUT].revents != 0 || (gone && agent_out >= 0 && pending_bytes == 0))
        read_out();
    if (agent_err >= 0 && (watched[P_ERR].revents != 0 || gone))
        read_err();
    if (watched[P_IN].revents != 0)
        deliver();
    if (watched[P_CLIENT].revents != 0 && client.fd >= 0)
        receive();
    for (size_t i = 0; i < GUESTS; i++)
        if (watched[P_GUESTS + i].revents != 0 && guests[i].fd >= 0)
            hear(&guests[i]);
    if (watched[P_INNER].revents != 0)
        admit(inner.listener);
    if (watched[P_SHARED].revents != 0)
        admit(shared.listener);
    conclude();
    if (client.fd >= 0 && spoilt)
        tell_damage();
    if (client.fd >= 0)
        pump();
}

__attribute__((noreturn)) static void serve(void)
{
    struct pollfd watched[P_COUNT];
    while (!finished) {
        int wait = keep_time();
        prepare(watched);
        if (poll(watched, P_COUNT, wait) >= 0)
            attend(watched);
    }
    remove_sockets();
    if (forsaken && init != 0)
        (void)kill((pid_t)init, SIGTERM); /* nothing else ends the container, and who may remove it waits for that */
    _exit(0);
}

__attribute__((noreturn)) static void be_daemon(int told)
{
    char why[ANSWER_MAX / 2];
    unsigned char bytes[HEADER + FIELDS * 8];
    sigset_t awaited;
    (void)setsid();
    (void)sigemptyset(&awaited);
    (void)sigaddset(&awaited, SIGCHLD);
    (void)sigaddset(&awaited, SIGTERM);
    (void)sigaddset(&awaited, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &awaited, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &awaited, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        fail("holder_failed: the holder cannot watch over an agent: %s.", strerror(errno));
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].fd = -1;
    oom_before = oom_kills(0);
    denied_before = pids_denied(0);
    start_agent(why, sizeof why);
    if (why[0] != '\0')
        fail("agent_failed: %s.", why);
    absent_since = now_ms();
    note_counters();
    (void)write_all(1, bytes, frame(bytes, STATE, ANSWER, 0, state + MAGIC_BYTES, FIELDS * 8));
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        (void)dup2(nothing, fd); /* the exec that started this ends when nobody holds its streams */
    (void)!write(told, "", 1);
    (void)close(told);
    serve();
}

static int run(void)
{
    int told[2];
    char byte;
    read_settings();
    make_journal();
    listen_at(&inner);
    if (shared.path != NULL)
        listen_at(&shared);
    if (pipe2(told, O_CLOEXEC) != 0)
        fail("holder_failed: there is no pipe: %s.", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        fail("holder_failed: there is no process for the holder: %s.", strerror(errno));
    if (child == 0) {
        (void)close(told[0]);
        be_daemon(told[1]);
    }
    (void)close(told[1]);
    return read(told[0], &byte, 1) == 1 ? 0 : 1;
}

/* In one process: where an agent has used up all that there may be, it can still be attached and ended. */
static int attach(char *path, int silence)
{
    struct sockaddr_un address = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)close(enter_folder(&path, &address));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("holder_gone: nobody answers at the socket: %s.", strerror(errno));
    carry_all(fd, silence);
    return 0;
}

int main(int argc, char **argv)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (syscall(SYS_close_range, 3U, ~0U, 0U) != 0)
        for (int fd = 3; fd < 4096; fd++)
            (void)close(fd);
    if (argc == 2 && strcmp(argv[1], "run") == 0)
        return run();
    int silence = argc == 4 ? atoi(argv[3]) : SILENCE;
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "attach") == 0 && silence > 0)
        return attach(argv[2], silence);
    (void)fputs("usage: holder run | holder attach SOCKET [SECONDS]\n", stderr);
    return 2;
}
