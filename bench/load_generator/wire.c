#include "wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char OPEN_ACL[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die("out of memory");
    return memory;
}

/* Room for so many more bytes behind the end. */
uint8_t *buffer_room(struct buffer *buffer, size_t bytes)
{
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
    if (buffer->capacity - buffer->end < bytes) {
        size_t used = buffer->end - buffer->start;
        if (used && buffer->start)
            memmove(buffer->data, buffer->data + buffer->start, used);
        buffer->start = 0;
        buffer->end = used;
        if (buffer->capacity - used < bytes) {
            buffer->capacity = 2 * (used + bytes);
            buffer->data = realloc(buffer->data, buffer->capacity);
            if (!buffer->data)
                die("out of memory");
        }
    }
    return buffer->data + buffer->end;
}

static uint8_t *put_int(uint8_t *at, int32_t value)
{
    uint32_t big = __builtin_bswap32((uint32_t)value);
    memcpy(at, &big, 4);
    return at + 4;
}

static uint8_t *put_bytes(uint8_t *at, const void *data, int32_t bytes)
{
    at = put_int(at, bytes);
    memcpy(at, data, (size_t)bytes);
    return at + bytes;
}

int32_t get_int(const uint8_t *at)
{
    uint32_t big;
    memcpy(&big, at, 4);
    return (int32_t)__builtin_bswap32(big);
}

int64_t get_long(const uint8_t *at)
{
    uint64_t big;
    memcpy(&big, at, 8);
    return (int64_t)__builtin_bswap64(big);
}

struct znode_stat get_stat(const uint8_t *at)
{
    struct znode_stat stat = {.mzxid = get_long(at + 8), .version = get_int(at + 32), .data_length = get_int(at + 52)};
    return stat;
}

/* Room for a frame whose payload has at most so many bytes, with xid and opcode in place. */
static uint8_t *begin(struct buffer *out, size_t bytes, int32_t xid, int32_t op)
{
    uint8_t *at = buffer_room(out, bytes + 12);
    return put_int(put_int(at + 4, xid), op);
}

static void finish(struct buffer *out, const uint8_t *end)
{
    uint8_t *frame = out->data + out->end;
    put_int(frame, (int32_t)(end - frame - 4));
    out->end = (size_t)(end - out->data);
}

void put_connect(struct buffer *out, int32_t timeout_ms)
{
    uint8_t *at = buffer_room(out, 64) + 4;
    memset(at, 0, 45);
    put_int(at + 12, timeout_ms);
    put_int(at + 24, 16);
    finish(out, at + 45);
}

void put_create(struct buffer *out, int32_t xid, const char *path, const uint8_t *data, int32_t data_bytes)
{
    size_t path_bytes = strlen(path);
    uint8_t *at = begin(out, path_bytes + (size_t)data_bytes + 64, xid, OP_CREATE);
    at = put_bytes(at, path, (int32_t)path_bytes);
    at = put_bytes(at, data, data_bytes);
    memcpy(at, OPEN_ACL, sizeof OPEN_ACL - 1);
    finish(out, put_int(at + sizeof OPEN_ACL - 1, 0));
}

void put_set(struct buffer *out, int32_t xid, const char *path, const uint8_t *data, int32_t data_bytes)
{
    size_t path_bytes = strlen(path);
    uint8_t *at = begin(out, path_bytes + (size_t)data_bytes + 16, xid, OP_SET);
    at = put_bytes(at, path, (int32_t)path_bytes);
    finish(out, put_int(put_bytes(at, data, data_bytes), -1));
}

void put_get(struct buffer *out, int32_t xid, const char *path, bool watch)
{
    size_t path_bytes = strlen(path);
    uint8_t *at = put_bytes(begin(out, path_bytes + 16, xid, OP_GET), path, (int32_t)path_bytes);
    *at = watch;
    finish(out, at + 1);
}

void put_delete(struct buffer *out, int32_t xid, const char *path)
{
    size_t path_bytes = strlen(path);
    uint8_t *at = begin(out, path_bytes + 16, xid, OP_DELETE);
    finish(out, put_int(put_bytes(at, path, (int32_t)path_bytes), -1));
}

void put_path(struct buffer *out, int32_t xid, int32_t op, const char *path)
{
    size_t path_bytes = strlen(path);
    finish(out, put_bytes(begin(out, path_bytes + 8, xid, op), path, (int32_t)path_bytes));
}

void put_plain(struct buffer *out, int32_t xid, int32_t op)
{
    finish(out, begin(out, 0, xid, op));
}

bool take_frame(struct buffer *in, const uint8_t **payload, size_t *payload_bytes)
{
    size_t used = in->end - in->start;
    if (used < 4)
        return false;
    int32_t size = get_int(in->data + in->start);
    if (size < 0)
        die("a frame of %d bytes", size);
    if (used - 4 < (size_t)size)
        return false;
    *payload = in->data + in->start + 4;
    *payload_bytes = (size_t)size;
    in->start += 4 + (size_t)size;
    return true;
}

bool take_reply(struct buffer *in, struct reply *reply)
{
    const uint8_t *payload;
    size_t bytes;
    if (!take_frame(in, &payload, &bytes))
        return false;
    if (bytes < REPLY_HEADER_BYTES)
        die("a reply of %zu bytes", bytes);
    reply->xid = get_int(payload);
    reply->zxid = get_long(payload + 4);
    reply->err = get_int(payload + 12);
    reply->body = payload + REPLY_HEADER_BYTES;
    reply->body_bytes = bytes - REPLY_HEADER_BYTES;
    return true;
}
