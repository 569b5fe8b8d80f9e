/* What the fuzzers of holder and relay share: a kept corpus, and what random changes make of it. Comes behind the program
 * that is tried, whose frames these are. */
#ifndef FUZZING_H
#define FUZZING_H

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

/* `interesting` are so many numbers that a header may hold. */
static struct input mutated(const uint64_t *interesting, size_t count)
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
            if (input.size >= HEADER) /* in the first header */
                put_number(input.bytes + 8 * draw(2), interesting[draw(count)], 8);
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

/* Takes in what both are called with, FOLDER SEED SECONDS FILE..., and returns when they are to end. */
static int64_t begun(int argc, char **argv)
{
    if (argc < 5)
        exit(2);
    (void)signal(SIGPIPE, SIG_IGN);
    chance = strtoull(argv[2], NULL, 10) * 2654435761U + 1;
    load_corpus(argv + 4);
    return now_ms() + strtoll(argv[3], NULL, 10) * 1000;
}

/* A pair of sockets whose one end is put where `near` points: returns the other. */
static int connected(int *near)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    *near = ends[0];
    return ends[1];
}

#endif
