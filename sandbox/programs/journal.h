/* A journal: streams in files of records, and the state; bounded, and readable when its holder has gone.
 *
 * A record is written whole or taken back. Nothing is synchronised: the journal outlives this process, its container
 * and the engine; a loss of power may take what the system had not written yet (docs/framing.md says why that is so).
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "frames.h"

enum { SEGMENTS = 128, SMALLEST_SEGMENT = 65536 };
/* The state: the payload of STATE, and behind MAGIC the file `state`. Eight bytes each. */
enum { F_VERSION, F_PHASE, F_PID, F_EPOCH, F_ACCEPTED, F_DRAINED, F_OUT_FIRST, F_OUT_END, F_ERR_FIRST, F_ERR_END,
       F_ERR_DROPPED, F_HOW, F_CODE, F_CAUSE, F_LEFT, F_OOM_KILLS, F_PIDS_DENIED, F_BOOT, F_BOOT_REST, FIELDS };
enum { RUNNING = 1, ENDING, ENDED };              /* F_PHASE */
enum { EXITED = 1, SIGNALLED };                         /* F_HOW */
enum { BY_ITSELF = 1, BY_CLIENT, BY_TTL, BY_SIGNAL };   /* F_CAUSE */
enum { MAGIC_BYTES = 8, STATE_BYTES = MAGIC_BYTES + FIELDS * 8 };
static const unsigned char MAGIC[MAGIC_BYTES] = {'A', 'C', 'P', 'H', 'O', 'L', 'D', '1'};

/* One stream, and the place of its one reader. */
struct journal {
    char letter;                /* with which the names of its files begin */
    unsigned char type, detail; /* of its records */
    uint64_t bound, bytes;      /* of all its files */
    uint64_t end, at, done;     /* of the stream: its end, how far the reader is, and what is of no use any more */
    bool starved;               /* the disk had no room for the last record */
    size_t count;
    struct segment {
        uint64_t start, bytes, held; /* of the stream: where it begins, and how much of it is here, without a hole */
    } segments[SEGMENTS];
    int fd, read_fd;
    uint64_t read_start; /* the segment that the reader has open */
    off_t position;      /* in its file */
    size_t left;         /* of the record in which the reader is (input only) */
};

static int journal_dir = -1;
static unsigned char first_state[STATE_BYTES], *state = first_state; /* the file is mapped there later */

static inline uint64_t get(size_t field) { return number(state + MAGIC_BYTES + 8 * field, 8); }

/* In one store: the file outlives this process and must not hold half a number. */
static inline void put(size_t field, uint64_t value)
{
    value = htobe64(value);
    memcpy(state + MAGIC_BYTES + 8 * field, &value, 8);
}

/* Notes of which start of the machine this is; zeros where nothing tells. */
static void note_boot(void)
{
    char text[64] = "";
    uint64_t halves[2] = {0};
    size_t digits = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    for (ssize_t i = 0; i < count; i++)
        if (text[i] != '-' && text[i] != '\n' && digits < 32) {
            unsigned digit = (unsigned)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
            halves[digits / 16] = halves[digits / 16] << 4 | (digit & 15);
            digits++;
        }
    put(F_BOOT, halves[0]);
    put(F_BOOT_REST, halves[1]);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static int open_segment(const struct journal *journal, uint64_t start, int flags)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%c-%016llx", journal->letter, (unsigned long long)start);
    return openat(journal_dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Whether the newest file is to be followed by another: small enough that what is acknowledged soon leaves the disk. */
static bool is_full(const struct journal *journal)
{
    uint64_t most = journal->bound / 64 > SMALLEST_SEGMENT ? journal->bound / 64 : SMALLEST_SEGMENT;
    return journal->segments[journal->count - 1].bytes >= most;
}

static void drop_oldest(struct journal *journal)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%c-%016llx", journal->letter, (unsigned long long)journal->segments[0].start);
    (void)unlinkat(journal_dir, name, 0);
    if (journal->read_start == journal->segments[0].start)
        close_fd(&journal->read_fd); /* or the disk would not get its room back */
    journal->bytes -= journal->segments[0].bytes;
    journal->count--;
    memmove(journal->segments, journal->segments + 1, journal->count * sizeof journal->segments[0]);
    if (journal->count == 0)
        close_fd(&journal->fd);
}

/* Deletes the files that hold only what is of no use; the newest only when it, or the disk, is full. */
static void trim(struct journal *journal)
{
    while (journal->count > 0) {
        bool newest = journal->count == 1;
        uint64_t stop = newest ? journal->end : journal->segments[1].start;
        if (stop > journal->done || (newest && !journal->starved && !is_full(journal)))
            return;
        drop_oldest(journal);
    }
}

static bool add(struct journal *journal, const unsigned char *record, size_t size)
{
    journal->starved = true;
    if (journal->fd < 0 || is_full(journal)) {
        int fd = -1;
        if (journal->count < SEGMENTS)
            fd = open_segment(journal, journal->end, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
        if (fd < 0)
            return false;
        close_fd(&journal->fd);
        journal->fd = fd;
        journal->segments[journal->count++] = (struct segment){.start = journal->end};
    }
    struct segment *newest = &journal->segments[journal->count - 1];
    ssize_t written = write(journal->fd, record, size);
    if (written != (ssize_t)size) {
        (void)!ftruncate(journal->fd, (off_t)newest->bytes);
        return false;
    }
    journal->starved = false;
    newest->bytes += size;
    newest->held += size - HEADER;
    journal->bytes += size;
    journal->end += size - HEADER;
    return true;
}

/* Adds one record, or nothing: false when there is no room. */
static bool append(struct journal *journal, const unsigned char *record, size_t size)
{
    if (add(journal, record, size))
        return true;
    trim(journal); /* nobody acknowledges again what makes room only now */
    return add(journal, record, size);
}

static void place_reader(struct journal *journal, uint64_t at)
{
    close_fd(&journal->read_fd);
    journal->at = at;
}

/* Opens the file in which the reader's place is; returns where its part of the stream ends. */
static uint64_t seek(struct journal *journal)
{
    size_t i = journal->count;
    while (i > 0 && journal->segments[i - 1].start > journal->at)
        i--;
    uint64_t start = i > 0 ? journal->segments[i - 1].start : UINT64_MAX;
    if (journal->read_fd < 0 || journal->read_start != start) {
        close_fd(&journal->read_fd);
        journal->read_fd = i > 0 ? open_segment(journal, start, O_RDONLY) : -1;
        journal->read_start = start;
        journal->position = 0;
    }
    return i < journal->count ? journal->segments[i].start : journal->end;
}

/* Whether a record of that journal begins there which ends at `stop` or before. */
static bool is_record(const struct journal *journal, const unsigned char *bytes, size_t have, uint64_t stop)
{
    return sound(bytes, have, CHUNK) && bytes[0] == journal->type && bytes[1] == journal->detail &&
           offset_of(bytes) <= stop && size_of(bytes) - HEADER <= stop - offset_of(bytes);
}

/* Copies records from the reader's place on, or tells a gap. `room` holds one at least. Returns how many bytes. */
static size_t take(struct journal *journal, unsigned char *to, size_t room)
{
    while (journal->at < journal->end) {
        uint64_t next = seek(journal), stop = next;
        ssize_t count = pread(journal->read_fd, to, room, journal->position);
        size_t have = count > 0 ? (size_t)count : 0, from = 0, used = 0;
        while (is_record(journal, to + used, have - used, stop)) {
            size_t size = size_of(to + used);
            uint64_t offset = offset_of(to + used), after = offset + size - HEADER;
            if (offset > journal->at) {
                next = offset;
                break;
            }
            if (after <= journal->at)
                from = used + size;
            else if (offset < journal->at) { /* the reader begins inside of this one: a header over its first part */
                from = used + (size_t)(journal->at - offset);
                (void)frame(to + from, journal->type, journal->detail, journal->at, NULL, (size_t)(after - journal->at));
            }
            journal->at = after > journal->at ? after : journal->at;
            used += size;
        }
        journal->position += (off_t)used;
        if (from < used) {
            memmove(to, to + from, used - from);
            return used - from;
        }
        if (used > 0)
            continue;
        if (next == journal->end && journal->count > 0 && journal->segments[journal->count - 1].bytes > 0)
            close_fd(&journal->fd); /* what is damaged stays behind: the next record begins a file */
        unsigned char lost[8];
        put_number(lost, next - journal->at, sizeof lost);
        size_t size = frame(to, GAP, journal->detail, journal->at, lost, sizeof lost);
        journal->at = next;
        return size;
    }
    return 0;
}

#endif
