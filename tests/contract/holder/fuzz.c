/* fuzz FOLDER SEED SECONDS CORPUS...
 *
 * Gives the holder's own functions what a client, a guest or a damaged journal may hold: the kept corpus and mutations
 * of it, for so many seconds. Built with the sanitizers, which end it at the first mistake. The agent of this holder is
 * nobody: a socket pair that is read. The journal is in FOLDER. Prints how many inputs were tried.
 */
#define main holder_main
#include "holder.c"
#undef main

enum { LONGEST = 4096, MOST = 512 };
static struct input {
    unsigned char bytes[LONGEST];
    size_t size;
} inputs[MOST];
static size_t input_count;
static uint64_t chance;

static uint64_t draw(uint64_t below)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance % below;
}

/* Makes the checks right where they can be: what is behind them is to be reached. */
static void mend(struct input *input)
{
    for (size_t at = 0; at + HEADER <= input->size;) {
        unsigned char *bytes = input->bytes + at;
        size_t rest = input->size - at - HEADER;
        if (number(bytes + 4, 4) > rest)
            put_number(bytes + 4, rest, 4);
        size_t length = size_of(bytes) - HEADER;
        put_number(bytes + 16, check(check(0, bytes, 16), bytes + HEADER, length), 4);
        at += HEADER + length;
    }
}

static struct input mutated(void)
{
    struct input input = inputs[draw(input_count)];
    const struct input *other = &inputs[draw(input_count)];
    for (uint64_t times = draw(6); times > 0 && input.size > 0; times--)
        switch (draw(5)) {
        case 0:
            input.bytes[draw(input.size)] ^= (unsigned char)(1 << draw(8));
            break;
        case 1:
            input.bytes[draw(input.size)] = (unsigned char)draw(256);
            break;
        case 2:
            input.size = draw(input.size + 1);
            break;
        case 3:
            if (input.size >= HEADER) /* an interesting number in the first header */
                put_number(input.bytes + 8 * draw(2), (uint64_t[]){0, 1, UINT64_MAX, 1ULL << 63, in.end, out.end}[draw(6)], 8);
            break;
        default:
            if (input.size + other->size <= LONGEST) {
                memcpy(input.bytes + input.size, other->bytes, other->size);
                input.size += other->size;
            }
        }
    if (draw(4) != 0)
        mend(&input);
    return input;
}

/* A new connection: returns its far end. */
static int connected(int *near)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    *near = ends[0];
    return ends[1];
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

static void load_corpus(char **paths)
{
    for (; *paths != NULL && input_count < MOST; paths++) {
        int fd = open(*paths, O_RDONLY | O_CLOEXEC);
        ssize_t count = read(fd, inputs[input_count].bytes, LONGEST);
        if (count <= 0)
            abort();
        inputs[input_count++].size = (size_t)count;
        (void)close(fd);
    }
}

int main(int argc, char **argv)
{
    uint64_t tried = 0;
    if (argc < 5)
        return 2;
    (void)signal(SIGPIPE, SIG_IGN);
    chance = strtoull(argv[2], NULL, 10) * 2654435761U + 1;
    load_corpus(argv + 4);
    journal_dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    token = (char[]){"0123456789abcdef"};
    put(F_EPOCH, 1);
    out.bound = err.bound = 1 << 20;
    int far = -1;
    for (int64_t until = now_ms() + strtoll(argv[3], NULL, 10) * 1000; now_ms() < until; tried++) {
        if (agent_in < 0) {
            close_fd(&far);
            far = connected(&agent_in);
        }
        live(far);
        struct input input = mutated();
        (tried % 3 == 0 ? as_guest : tried % 3 == 1 ? as_client : as_journal)(&input);
    }
    (void)printf("%llu\n", (unsigned long long)tried);
    return 0;
}
