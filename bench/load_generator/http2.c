#include "http2.h"

#include <string.h>

enum { FRAME_HEAD_BYTES = 9, WINDOW_MAX = 0x7fffffff, WINDOW_FIRST = 65535, TAKEN_MAX = 1 << 29, HEADERS_MAX = 256 };
enum { STATIC_HEADERS = 61, GRPC_HEAD_BYTES = 5 };

static uint8_t *put_number(uint8_t *at, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(number >> shift);
    return at;
}

static uint8_t *put_head(uint8_t *at, size_t bytes, enum frame_type type, uint8_t flags, uint32_t stream)
{
    put_number(at, (uint32_t)bytes << 8);
    at[3] = (uint8_t)type;
    at[4] = flags;
    return put_number(at + 5, stream);
}

static void put_frame(struct buffer *out, enum frame_type type, uint8_t flags, uint32_t stream, const void *payload,
                      size_t bytes)
{
    uint8_t *at = put_head(buffer_room(out, FRAME_HEAD_BYTES + bytes), bytes, type, flags, stream);
    if (bytes)
        memcpy(at, payload, bytes);
    out->end += FRAME_HEAD_BYTES + bytes;
}

static void put_window_update(struct buffer *out, uint32_t more)
{
    uint8_t payload[4];
    put_number(payload, more);
    put_frame(out, WINDOW_UPDATE, 0, 0, payload, sizeof payload);
}

/* No pushes, and windows that never hold the server up. */
void http2_greet(struct buffer *out)
{
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t WANTED[] = {0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff};
    memcpy(buffer_room(out, sizeof PREFACE), PREFACE, sizeof PREFACE - 1);
    out->end += sizeof PREFACE - 1;
    put_frame(out, SETTINGS, 0, 0, WANTED, sizeof WANTED);
    put_window_update(out, WINDOW_MAX - WINDOW_FIRST);
}

void http2_init(struct http2 *http)
{
    memset(http, 0, sizeof *http);
    http->window = WINDOW_FIRST;
}

/* -- requests ---------------------------------------------------------------------------------------------------- */

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t bytes = strlen(text);
    *at++ = (uint8_t)bytes;
    memcpy(at, text, bytes);
    return at + bytes;
}

/* A header that goes into the server's table; its name is one of the well-known ones. */
static uint8_t *put_new(struct http2 *http, uint8_t *at, uint8_t name, const char *value)
{
    *at++ = 0x40 | name;
    http->inserted++;
    return put_text(at, value);
}

static uint8_t *put_known(const struct http2 *http, uint8_t *at, uint32_t position)
{
    *at = (uint8_t)(0x80 | (STATIC_HEADERS + 1 + http->inserted - position));
    return at + 1;
}

/* As clients of gRPC do: each header in full once, then as a byte. */
static uint8_t *put_headers(struct http2 *http, uint8_t *at, int method, const char *path)
{
    *at++ = 0x83; /* :method POST */
    *at++ = 0x86; /* :scheme http */
    if (http->method_at[method]) {
        at = put_known(http, at, http->method_at[method]);
    } else {
        at = put_new(http, at, 4, path);
        http->method_at[method] = http->inserted;
    }
    if (http->common_at) {
        for (uint32_t i = 0; i < 3; i++)
            at = put_known(http, at, http->common_at + i);
        return at;
    }
    http->common_at = http->inserted + 1;
    at = put_new(http, at, 1, "127.0.0.1"); /* :authority */
    at = put_new(http, at, 31, "application/grpc"); /* content-type */
    *at++ = 0x40;
    http->inserted++;
    return put_text(put_text(at, "te"), "trailers");
}

static void release(struct http2 *http, struct buffer *out)
{
    struct buffer *held = &http->held;
    while (held->start < held->end) {
        const uint8_t *frame = held->data + held->start;
        size_t bytes = (size_t)frame[1] << 8 | frame[2];
        if ((int64_t)bytes > http->window)
            return;
        memcpy(buffer_room(out, FRAME_HEAD_BYTES + bytes), frame, FRAME_HEAD_BYTES + bytes);
        out->end += FRAME_HEAD_BYTES + bytes;
        held->start += FRAME_HEAD_BYTES + bytes;
        http->window -= (int64_t)bytes;
    }
}

void http2_call(struct http2 *http, struct buffer *out, uint32_t stream, int method, const char *path,
                const uint8_t *message, size_t bytes)
{
    uint8_t headers[HEADERS_MAX], data[GRPC_HEAD_BYTES + MESSAGE_BYTES_MAX];
    if (bytes > MESSAGE_BYTES_MAX)
        die("a message of %zu bytes does not fit into one frame", bytes);
    put_frame(out, HEADERS, END_HEADERS, stream, headers, (size_t)(put_headers(http, headers, method, path) - headers));
    *data = 0; /* not compressed */
    memcpy(put_number(data + 1, (uint32_t)bytes), message, bytes);
    put_frame(&http->held, DATA, END_STREAM, stream, data, GRPC_HEAD_BYTES + bytes);
    release(http, out);
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

static void took(struct http2 *http, struct buffer *out, size_t bytes)
{
    http->taken += (uint32_t)bytes;
    if (http->taken > TAKEN_MAX) {
        put_window_update(out, http->taken);
        http->taken = 0;
    }
}

bool http2_take(struct http2 *http, struct client *client, struct frame *frame)
{
    struct buffer *in = &client->in, *out = &client->out;
    for (;;) {
        const uint8_t *at = in->data + in->start;
        size_t used = in->end - in->start;
        if (used < FRAME_HEAD_BYTES)
            return false;
        size_t bytes = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (used < FRAME_HEAD_BYTES + bytes)
            return false;
        in->start += FRAME_HEAD_BYTES + bytes;
        *frame = (struct frame){at[3], at[4], (uint32_t)get_int(at + 5) & WINDOW_MAX, at + FRAME_HEAD_BYTES, bytes};
        bool asks = !(frame->flags & ACK);
        switch (frame->type) {
        case DATA:
            took(http, out, bytes);
            return true;
        case HEADERS:
            return true;
        case SETTINGS:
            if (asks)
                put_frame(out, SETTINGS, ACK, 0, NULL, 0);
            break;
        case PING:
            if (asks)
                put_frame(out, PING, ACK, 0, frame->payload, bytes);
            break;
        case WINDOW_UPDATE:
            if (bytes == 4 && !frame->stream)
                http->window += get_int(frame->payload);
            release(http, out);
            break;
        default:
            die("stream %u got a frame of type %d", frame->stream, frame->type);
        }
    }
}
