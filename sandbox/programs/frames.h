/* The frames between a holder and its clients, which are also the records of its journal: docs/framing.md. */
#ifndef FRAMES_H
#define FRAMES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    VERSION = 1,
    HEADER = 20,
    CHUNK = 65536,           /* the longest OUTPUT */
    INPUT_MAX = 16 << 20,    /* the longest INPUT */
    SETTINGS_MAX = 1 << 20,
    TOKEN_MIN = 16,
    TOKEN_MAX = 64,
    HELLO_FIXED = 32,        /* of a hello's payload, before the token */
    HELLO_MAX = HELLO_FIXED + TOKEN_MAX,
    ANSWER_MAX = 512         /* no answer to a frame is longer */
};
enum { HELLO = 'H', INPUT = 'I', ACK = 'A', KILL = 'K', CLOSE = 'C', PING = 'P', BYE = 'B', SETTINGS = 'S' };
enum { STATE = 'W', OUTPUT = 'O', GAP = 'G', ACCEPTED = 'Y', REFUSED = 'N', ERROR = 'X' };
enum { STDOUT = 1, STDERR = 2 };           /* the detail of OUTPUT, GAP and ACK */
enum { ANSWER = 0, CLOSED = 1, OVER = 2 }; /* the detail of STATE: to a hello or ping; end of stdout; end of all */

static inline uint64_t number(const unsigned char *from, size_t bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | *from++;
    return value;
}

static inline void put_number(unsigned char *to, uint64_t value, size_t bytes)
{
    for (; bytes-- > 0; value >>= 8)
        to[bytes] = (unsigned char)value;
}

/* CRC-32 as in zlib, eight bytes at a time. */
static uint32_t check(uint32_t sum, const unsigned char *bytes, size_t count)
{
    static uint32_t table[8][256];
    static bool ready;
    for (uint32_t i = 0; !ready && i < 256; i++) {
        table[0][i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[0][i] = (table[0][i] & 1) != 0 ? 0xEDB88320U ^ table[0][i] >> 1 : table[0][i] >> 1;
    }
    for (uint32_t i = 0; !ready && i < 256; i++)
        for (size_t step = 1; step < 8; step++)
            table[step][i] = table[step - 1][i] >> 8 ^ table[0][table[step - 1][i] & 255];
    ready = true;
    for (sum = ~sum; count >= 8; count -= 8, bytes += 8) {
        uint64_t next;
        memcpy(&next, bytes, 8);
        next = le64toh(next) ^ sum;
        sum = 0;
        for (size_t step = 0; step < 8; step++)
            sum ^= table[7 - step][next >> 8 * step & 255];
    }
    while (count-- > 0)
        sum = table[0][(sum ^ *bytes++) & 255] ^ sum >> 8;
    return ~sum;
}

/* Makes a frame at `to`; a payload of NULL stands there already. Returns its size. */
static size_t frame(unsigned char *to, int type, int detail, uint64_t offset, const void *payload, size_t length)
{
    put_number(to, (uint64_t)type << 24 | (uint64_t)detail << 16, 4);
    put_number(to + 4, length, 4);
    put_number(to + 8, offset, 8);
    if (payload != NULL)
        memcpy(to + HEADER, payload, length);
    put_number(to + 16, check(check(0, to, 16), to + HEADER, length), 4);
    return HEADER + length;
}

static inline size_t size_of(const unsigned char *bytes) { return HEADER + (size_t)number(bytes + 4, 4); }

static inline uint64_t offset_of(const unsigned char *bytes) { return number(bytes + 8, 8); }

/* Whether a whole frame begins there, as it was made, with at most so much payload. */
static bool sound(const unsigned char *bytes, size_t have, size_t most)
{
    return have >= HEADER && size_of(bytes) <= HEADER + most && size_of(bytes) <= have && number(bytes + 2, 2) == 0 &&
           number(bytes + 16, 4) == check(check(0, bytes, 16), bytes + HEADER, size_of(bytes) - HEADER);
}

#endif
