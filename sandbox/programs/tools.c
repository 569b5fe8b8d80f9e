/* tools 127.0.0.1:PORT | tools SOCKET    carries an agent's MCP session, of stdin and stdout, to who serves its tools
 *
 * Runs inside a sandbox, as the agent. SUBAGENTS_TOOLS_TOKEN says whose it is. The first line to the other side, and what
 * it answers, are described in docs/framing.md; then each line is a message, passed on as it is.
 *
 * Promises:
 *   - when the other side goes away it is looked for again for HOLD_MS, unless the agent leaves; requests without an
 *     answer then get an error, and the session goes on with the first request of before, whose second answer is not
 *     passed on;
 *   - a refusal is told in an error of the protocol to the request that comes first;
 *   - no line of the other side is longer than LINE, and what is longer of the agent is passed on in pieces, for the
 *     other side to refuse; at most REQUESTS wait for an answer that would be missed;
 *   - one thread, no heap, no files; exit 0 at the end of stdin, 1 when nobody serves any more, 2 on bad arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 1 << 20,
    REQUESTS = 64,
    ID = 128,
    WORD = 300,
    NAME_MOST = 64, /* of a socket in its folder */
    HOLD_MS = 60000,
    RETRY_MS = 100,
    LAST_MS = 10000 /* for what is still to be said when the agent has left */
};

struct line {
    char bytes[LINE];
    size_t length;
};

struct message {
    const char *id;
    size_t id_length;
    bool asks, initializes;
};

static struct line heard, said, first;
static bool goes_on, lost; /* the agent's line was longer than `heard`; who heard its beginning is gone */
static char pending[REQUESTS][ID];
static union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
} address;
static socklen_t address_length;
static const char *token;

__attribute__((noreturn)) static void die(int code, const char *why)
{
    (void)fprintf(stderr, "tools: %s\n", why);
    exit(code);
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait a moment, unless the agent has left: then nobody is to be looked for any more. */
static void rest(int milliseconds)
{
    struct pollfd agent = {.fd = 0, .events = 0};
    if (poll(&agent, 1, milliseconds) > 0)
        exit(0);
}

static bool put(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

static void parse(const char *text)
{
    if (text[0] == '/') {
        /* Through the opened folder the address is short, however long the path is. */
        char folder[PATH_MAX];
        const char *name = strrchr(text, '/') + 1;
        if (strlen(text) >= sizeof folder || strlen(name) > NAME_MOST)
            die(2, "the path of the socket is too long.");
        memcpy(folder, text, (size_t)(name - text));
        folder[name - text] = '\0';
        int opened = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        address.un.sun_family = AF_UNIX;
        (void)snprintf(address.un.sun_path, sizeof address.un.sun_path, "/proc/self/fd/%d/%s", opened, name);
        address_length = sizeof address.un;
        return;
    }
    const char *host = "127.0.0.1:";
    long port = strncmp(text, host, strlen(host)) == 0 ? strtol(text + strlen(host), NULL, 10) : 0;
    if (port < 1 || port > 65535)
        die(2, "usage: tools 127.0.0.1:PORT | tools SOCKET");
    address.in.sin_family = AF_INET;
    address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.in.sin_port = htons((uint16_t)port);
    address_length = sizeof address.in;
}

/* The end of a JSON string that begins at `at`, behind its closing quote; `end` when it has none. */
static const char *string_end(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\')
            at++;
        else if (*at == '"')
            return at + 1;
    }
    return end;
}

static bool is(const char *at, const char *end, const char *word)
{
    return (size_t)(end - at) == strlen(word) && memcmp(at, word, strlen(word)) == 0;
}

/* What a message says of itself at its top. What is no message says nothing; the other side refuses it. */
static struct message read_message(const struct line *line)
{
    struct message found = {0};
    const char *at = line->bytes, *end = line->bytes + line->length, *key = NULL, *key_end = NULL, *value = NULL;
    for (int depth = 0; at < end;) {
        const char *next = *at == '"' ? string_end(at, end) : at + 1;
        depth += *at == '{' || *at == '[' ? 1 : *at == '}' || *at == ']' ? -1 : 0;
        bool ends = (depth == 1 && *at == ',') || depth == 0;
        if (ends && value != NULL) {
            const char *last = at;
            while (last > value && strchr(" \t\r", last[-1]) != NULL)
                last--;
            if (is(key, key_end, "\"id\"") && !is(value, last, "null") && (size_t)(last - value) < ID) {
                found.id = value;
                found.id_length = (size_t)(last - value);
            } else if (is(key, key_end, "\"method\"")) {
                found.asks = true;
                found.initializes = is(value, last, "\"initialize\"");
            }
            key = value = NULL;
        } else if (depth == 1 && *at == '"' && key == NULL) {
            key = at;
            key_end = next;
        } else if (depth == 1 && *at == ':' && key != NULL && value == NULL) {
            for (value = next; value < end && strchr(" \t", *value) != NULL; value++)
                ;
        }
        at = next;
    }
    return found;
}

static void note(const struct message *message, bool asked)
{
    for (size_t i = 0; i < REQUESTS; i++) {
        bool same = strlen(pending[i]) == message->id_length && memcmp(pending[i], message->id, message->id_length) == 0;
        if (asked ? pending[i][0] == '\0' : same) {
            memcpy(pending[i], message->id, asked ? message->id_length : 0);
            pending[i][asked ? message->id_length : 0] = '\0';
            return;
        }
    }
}

static void refuse(const char *id, size_t length, const char *why)
{
    char out[ID + WORD + 100];
    int count = snprintf(out, sizeof out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"error\":{\"code\":-32001,\"message\":\"%s\"}}\n",
                         (int)length, id, why);
    if (!put(1, out, (size_t)count))
        exit(0);
}

static void refuse_pending(void)
{
    for (size_t i = 0; i < REQUESTS; i++)
        if (pending[i][0] != '\0') {
            refuse(pending[i], strlen(pending[i]),
                   "The manager went away during this call, and is back or will be. Ask the same question again: it is "
                   "put once. What else was called may have been done: look before you repeat it.");
            pending[i][0] = '\0';
        }
}

/* What was read of each side and not taken yet. */
static char ahead[2][65536];
static size_t start[2], stop[2];

/* Take what there is of a line. Return 1 for a whole one, 2 where more has been read, 0 for a part, -1 at the end;
 * 3 where no more of the agent's has room. */
static int take(int fd, struct line *line)
{
    size_t side = fd == 0 ? 0 : 1;
    if (start[side] == stop[side]) {
        ssize_t count = read(fd, ahead[side], sizeof ahead[side]);
        if (count < 0 && (errno == EINTR || errno == EAGAIN))
            return 0;
        start[side] = 0;
        stop[side] = count > 0 ? (size_t)count : 0;
        if (count <= 0)
            return -1;
    }
    char *begin = ahead[side] + start[side], *newline = memchr(begin, '\n', stop[side] - start[side]);
    size_t length = newline != NULL ? (size_t)(newline - begin) + 1 : stop[side] - start[side];
    if (line->length + length > LINE && side == 0)
        return 3;
    if (line->length + length > LINE)
        die(1, "a message of the manager has more than 1 MiB.");
    memcpy(line->bytes + line->length, begin, length);
    line->length += length;
    start[side] += length;
    if (newline == NULL)
        return 0;
    return start[side] < stop[side] ? 2 : 1;
}

/* Answer whoever asks that nobody serves it, until it leaves. */
__attribute__((noreturn)) static void turn_away(const char *why)
{
    (void)fprintf(stderr, "tools: %s\n", why);
    refuse_pending();
    for (int more; (more = take(0, &heard)) >= 0;)
        if (more > 0) {
            struct message message = read_message(&heard);
            if (message.asks && message.id != NULL)
                refuse(message.id, message.id_length, why);
            heard.length = 0;
        }
    exit(1);
}

/* Return a connection on which we are known. */
static int reach(bool again)
{
    const struct timeval patience = {.tv_sec = HOLD_MS / 1000};
    const int on = 1;
    char hello[WORD], word[WORD];
    for (int64_t until = now_ms() + HOLD_MS; now_ms() < until; rest(RETRY_MS)) {
        int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool replay = again && first.length > 0;
        int length = snprintf(hello, sizeof hello, "subagents-tools 1 %s%s\n", token, replay ? " again" : "");
        size_t got = 0;
        /* Else a message soon after another waits for the other side to acknowledge that. A unix socket knows no such. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
            connect(fd, &address.any, address_length) == 0 &&
            put(fd, hello, (size_t)length) && (!replay || put(fd, first.bytes, first.length)))
            while (got + 1 < sizeof word && read(fd, word + got, 1) == 1 && word[got] != '\n')
                got++;
        word[got] = '\0';
        if (strcmp(word, "ok") == 0)
            return fd;
        if (fd >= 0)
            (void)close(fd);
        if (strncmp(word, "no ", 3) == 0)
            turn_away(word + 3);
    }
    turn_away("Nobody serves the tools of this agent.");
}

static bool pass_up(int fd, bool whole)
{
    struct message message = {0};
    if (!goes_on)
        message = read_message(&heard);
    if (message.asks && message.id != NULL)
        note(&message, true);
    if (message.initializes && whole) {
        memcpy(first.bytes, heard.bytes, heard.length);
        first.length = heard.length;
    }
    bool sent = lost || put(fd, heard.bytes, heard.length);
    heard.length = 0;
    goes_on = !whole;
    lost = lost && goes_on;
    return sent;
}

static void pass_down(void)
{
    struct message message = read_message(&said);
    if (!message.asks && message.id != NULL)
        note(&message, false);
    if (!put(1, said.bytes, said.length))
        exit(0);
    said.length = 0;
}

/* Carry until the other side goes away. */
static void carry(int fd)
{
    bool left = false;
    int64_t until = 0;
    for (bool up = false, down = false;;) {
        struct pollfd polled[] = {{.fd = left ? -1 : 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        int wait = up || down ? 0 : left ? (int)(until - now_ms()) : -1;
        if (left && !down && wait <= 0)
            exit(0);
        if (poll(polled, 2, wait) < 0 && errno != EINTR)
            die(1, strerror(errno));
        int more = up || polled[0].revents != 0 ? take(0, &heard) : 0;
        up = more >= 2;
        if (more > 0 && !pass_up(fd, more != 3))
            return;
        if (more < 0) {
            left = true;
            until = now_ms() + LAST_MS;
            (void)shutdown(fd, SHUT_WR);
        }
        more = down || polled[1].revents != 0 ? take(fd, &said) : 0;
        down = more == 2;
        if (more > 0)
            pass_down();
        if (more < 0 && left)
            exit(0);
        if (more < 0)
            return;
    }
}

int main(int argc, char **argv)
{
    token = getenv("SUBAGENTS_TOOLS_TOKEN");
    if (argc != 2 || token == NULL || strlen(token) > ID || token[strcspn(token, " \n")] != '\0')
        die(2, "usage: tools 127.0.0.1:PORT | tools SOCKET, with SUBAGENTS_TOOLS_TOKEN");
    parse(argv[1]);
    (void)signal(SIGPIPE, SIG_IGN);
    for (bool again = false;; again = true) {
        int fd = reach(again);
        carry(fd);
        (void)close(fd);
        said.length = start[1] = stop[1] = 0;
        lost = goes_on;
        refuse_pending();
    }
}
