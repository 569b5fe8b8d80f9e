/* fuzz FOLDER SEED SECONDS CORPUS...
 *
 * Gives the holder's own functions what a client, a guest, a damaged journal, the settings or an attached stream may
 * hold: the kept corpus and mutations of it, for so many seconds. Built with the sanitizers, which end it at the first
 * mistake. The agent of this holder is
 * nobody: a socket pair that is read. The journal is in FOLDER. Prints how many inputs were tried.
 */
#define main holder_main
#include "holder.c"
#undef main

#include "fuzzing.h"

enum { FORKED = 16 }; /* a child takes as long as so many others */

static struct input drawn(void)
{
    const uint64_t interesting[] = {0, 1, UINT64_MAX, 1ULL << 63, in.end, out.end};
    return mutated(interesting, sizeof interesting / sizeof interesting[0]);
}

static void as_guest(const struct input *input)
{
    struct guest guest = {.fd = -1};
    int far = connected(&guest.fd);
    for (size_t at = 0; at < input->size && guest.fd >= 0;) {
        size_t piece = 1 + draw(input->size - at);
        (void)!write(far, input->bytes + at, piece);
        at += piece;
        for (int turn = 0; turn < 3 && guest.fd >= 0; turn++)
            hear(&guest);
    }
    close_fd(&guest.fd);
    if (client.fd >= 0)
        leave();
    close_fd(&far);
}

static void as_client(const struct input *input)
{
    static unsigned char heard[OUTBOX];
    int far = connected(&client.fd);
    client.told_closed = client.told_over = false;
    place_reader(&out, get(F_OUT_FIRST));
    place_reader(&err, get(F_ERR_FIRST));
    for (size_t at = 0; at < input->size && client.fd >= 0;) {
        size_t piece = 1 + draw(input->size - at);
        (void)!write(far, input->bytes + at, piece);
        at += piece;
        receive();
        if (client.fd >= 0)
            pump();
        while (draw(2) == 0 && read(far, heard, sizeof heard) > 0)
            continue;
    }
    if (client.fd >= 0)
        leave();
    close_fd(&far);
    finished = false;
}

/* The journal's bytes are what the input says; reading it must end, and never go back. */
static void as_journal(const struct input *input)
{
    static unsigned char taken[OUTBOX];
    struct journal journal = {.letter = 'x', .type = OUTPUT, .detail = STDOUT, .bound = 1 << 20, .fd = -1, .read_fd = -1};
    journal.fd = open_segment(&journal, 0, O_RDWR | O_CREAT | O_TRUNC);
    (void)!write(journal.fd, input->bytes, input->size);
    journal.segments[journal.count++] = (struct segment){.start = 0, .bytes = input->size};
    journal.end = draw(3) == 0 ? draw(UINT64_MAX) : draw(LONGEST);
    journal.at = draw(journal.end + 1);
    for (uint64_t before = journal.at; take(&journal, taken, sizeof taken) > 0; before = journal.at)
        if (journal.at <= before || journal.at > journal.end)
            abort();
    close_fd(&journal.fd);
    close_fd(&journal.read_fd);
}

/* The agent writes a little and reads a little, and is alive again. */
static void live(int far)
{
    static unsigned char record[HEADER + 300], heard[CHUNK];
    size_t length = 1 + draw(300);
    memset(record + HEADER, (int)draw(256), length);
    struct journal *journal = draw(3) == 0 ? &err : &out;
    if (journal->bytes < journal->bound)
        (void)append(journal, record, frame(record, OUTPUT, journal->detail, journal->end, NULL, length));
    put(F_OUT_END, out.end);
    put(F_ERR_END, err.end);
    while (draw(3) != 0 && read(far, heard, sizeof heard) > 0)
        continue;
    input_ends = false;
    put(F_PHASE, draw(8) == 0 ? ENDED : RUNNING);
}

/* Waits for a child that may have refused what it was given, and nothing else. */
static void await_child(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
        abort();
}

/* In a process of its own: what is refused ends it. What is taken is what a holder can begin with. */
static void as_settings(const struct input *input)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[0], 0);
        (void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1);
        (void)close(ends[1]);
        token = NULL;
        read_settings();
        if (strlen(token) < TOKEN_MIN || strlen(token) > TOKEN_MAX || arguments[0] == NULL || uid == 0 || ttl == 0 ||
            init > 1 << 22 || out.bound < 1 << 20 || *journal_path == '\0' || *inner.path == '\0')
            abort();
        _exit(0);
    }
    (void)close(ends[0]);
    (void)!write(ends[1], input->bytes, input->size);
    (void)close(ends[1]);
    await_child(child);
}

/* All that one side said before it ended is what the other hears. */
static void hear_all(int fd, const struct input *said)
{
    unsigned char heard[LONGEST + 1];
    size_t got = 0;
    for (ssize_t count; (count = read(fd, heard + got, sizeof heard - got)) > 0;)
        got += (size_t)count;
    if (got != said->size || memcmp(heard, said->bytes, got) != 0)
        abort();
}

/* As `holder attach` carries it, from stdin to the socket or from there to stdout. */
static void as_attach(const struct input *input)
{
    bool inward = draw(2) == 0;
    int from[2], to[2], near, far = connected(&near);
    if (pipe2(from, O_CLOEXEC) != 0 || pipe2(to, O_CLOEXEC) != 0 || fcntl(far, F_SETFL, 0) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(from[0], 0);
        (void)dup2(to[1], 1);
        for (size_t i = 0; i < 5; i++)
            (void)close((int[]){from[0], from[1], to[0], to[1], far}[i]);
        carry_all(near, 60);
        _exit(0);
    }
    (void)close(from[0]);
    (void)close(to[1]);
    (void)close(near);
    for (size_t at = 0, piece; at < input->size; at += piece) {
        piece = 1 + draw(input->size - at);
        (void)!write(inward ? from[1] : far, input->bytes + at, piece);
    }
    close_fd(inward ? &from[1] : &far);
    hear_all(inward ? far : to[0], input);
    close_fd(&far);
    close_fd(&from[1]);
    (void)close(to[0]);
    await_child(child);
}

int main(int argc, char **argv)
{
    uint64_t tried = 0;
    const int64_t until = begun(argc, argv);
    journal_dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    token = (char[]){"0123456789abcdef"};
    put(F_EPOCH, 1);
    out.bound = err.bound = 1 << 20;
    int far = -1;
    for (; now_ms() < until; tried++) {
        if (agent_in < 0) {
            close_fd(&far);
            far = connected(&agent_in);
        }
        live(far);
        struct input input = drawn();
        bool forked = tried % FORKED == 0, attached = tried % (4 * FORKED) == 0;
        while (forked && !attached && input.bytes[0] != SETTINGS && draw(16) != 0)
            input = drawn();
        if (forked)
            (attached ? as_attach : as_settings)(&input);
        else
            (tried % 3 == 0 ? as_guest : tried % 3 == 1 ? as_client : as_journal)(&input);
    }
    (void)printf("%llu\n", (unsigned long long)tried);
    return 0;
}
