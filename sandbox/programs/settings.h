/* What a holder is started with: one frame on stdin, for nothing of it shall be seen in an argument or a variable. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "client.h"

static char *journal_path, *token;
static uint64_t epoch, ttl = 600, init; /* `init`: the pid of the container's, 0 = none */
static struct place {
    char *path; /* the name alone once the folder is open */
    int folder, listener;
} inner = {.folder = -1, .listener = -1}, shared = {.folder = -1, .listener = -1}; /* the second one need not be there */
static bool made; /* the journal is ours */

static bool write_all(int fd, const unsigned char *bytes, size_t count)
{
    for (ssize_t written; count > 0; bytes += written, count -= (size_t)written) {
        written = write(fd, bytes, count);
        if (written < 0 && errno != EINTR)
            return false;
        written = written < 0 ? 0 : written;
    }
    return true;
}

static bool read_all(int fd, unsigned char *bytes, size_t count)
{
    for (ssize_t got; count > 0; bytes += got, count -= (size_t)got) {
        got = read(fd, bytes, count);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        got = got < 0 ? 0 : got;
    }
    return true;
}

/* Those that were made. */
static void remove_sockets(void)
{
    if (inner.listener >= 0)
        (void)unlinkat(inner.folder, inner.path, 0);
    if (shared.listener >= 0)
        (void)unlinkat(shared.folder, shared.path, 0);
}

/* For what cannot begin: the error goes to stdout as a frame, and nothing stays behind. */
__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    unsigned char bytes[HEADER + ANSWER_MAX];
    char text[ANSWER_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)write_all(1, bytes, frame(bytes, ERROR, 0, 0, text, strlen(text)));
    if (made)
        (void)unlinkat(journal_dir, "state", 0);
    remove_sockets();
    exit(1);
}

static const struct {
    const char *key;
    char **text;
    uint64_t *number, least, most;
} KEYS[] = {
    {"journal", &journal_path, NULL, 1, 4096},
    {"socket", &inner.path, NULL, 1, 4096},
    {"shared", &shared.path, NULL, 1, 4096},
    {"token", &token, NULL, TOKEN_MIN, TOKEN_MAX},
    {"cwd", &working, NULL, 1, 4096},
    {"epoch", NULL, &epoch, 0, UINT64_MAX - 1},
    {"init", NULL, &init, 1, 1 << 22},
    {"ttl", NULL, &ttl, 1, 1 << 30},
    {"grace_ms", NULL, &grace_ms, 0, 1 << 30},
    {"out_bound", NULL, &out.bound, 1 << 20, 1ULL << 40},
    {"err_bound", NULL, &err.bound, 1 << 20, 1ULL << 40},
    {"uid", NULL, &uid, 1, UINT32_MAX - 1},
    {"gid", NULL, &gid, 1, UINT32_MAX - 1},
    {"open_files", NULL, &open_files, 16, 1 << 20},
};

static void set(char *key, char *value)
{
    static size_t argument_count, variable_count;
    bool argument = strcmp(key, "arg") == 0;
    if (argument || strcmp(key, "env") == 0) {
        size_t *count = argument ? &argument_count : &variable_count;
        if (*count == STRINGS)
            fail("settings_refused: there are more than %d of '%s'.", STRINGS, key);
        (argument ? arguments : variables)[(*count)++] = value;
        return;
    }
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (strcmp(key, KEYS[i].key) != 0)
            continue;
        size_t length = strlen(value);
        bool digits = length >= 1 && length <= 19 && strspn(value, "0123456789") == length;
        uint64_t given = KEYS[i].text != NULL ? length : digits ? strtoull(value, NULL, 10) : UINT64_MAX;
        if (given < KEYS[i].least || given > KEYS[i].most)
            fail("settings_refused: '%s' is out of its range.", key);
        if (KEYS[i].text != NULL)
            *KEYS[i].text = value;
        else
            *KEYS[i].number = given;
        return;
    }
    fail("settings_refused: '%.64s' is not a setting of version %d.", key, VERSION);
}

static void read_settings(void)
{
    static unsigned char bytes[HEADER + SETTINGS_MAX + 1]; /* behind it a NUL stays, whatever is read */
    if (!read_all(0, bytes, HEADER) || bytes[0] != SETTINGS || size_of(bytes) > HEADER + SETTINGS_MAX ||
        !read_all(0, bytes + HEADER, size_of(bytes) - HEADER) || !sound(bytes, size_of(bytes), SETTINGS_MAX))
        fail("settings_refused: the settings are one whole frame on stdin.");
    char *end = (char *)bytes + size_of(bytes);
    for (char *at = (char *)bytes + HEADER, *next; at < end; at = next) {
        next = at + strlen(at) + 1;
        char *value = strchr(at, '=');
        if (value == NULL)
            fail("settings_refused: each setting is KEY=VALUE with a NUL behind it.");
        *value = '\0';
        set(at, value + 1);
    }
    if (journal_path == NULL || inner.path == NULL || token == NULL || arguments[0] == NULL || uid == 0 || gid == 0)
        fail("settings_refused: journal, socket, token, uid, gid and arg are needed.");
    if (geteuid() != 0 && geteuid() != uid)
        fail("settings_refused: only root can start an agent as another user (%ju).", (uintmax_t)uid);
}

#endif
