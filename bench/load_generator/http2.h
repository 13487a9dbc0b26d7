/* The little of HTTP/2 that calls of gRPC on one connection need: no priorities, no pushes, no trailers of requests. */
#ifndef HTTP2_H
#define HTTP2_H

#include "client.h"

enum frame_type { DATA, HEADERS, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, METHODS = 3, MESSAGE_BYTES_MAX = 16000 };

struct http2 {
    struct buffer held;     /* DATA that waits for room in the server's window */
    int64_t window;         /* bytes of DATA that the server takes */
    uint32_t taken;         /* bytes of DATA that the server does not know to be taken */
    uint32_t inserted;      /* headers in the server's table, and where in it they are, from 1 on */
    uint32_t common_at, method_at[METHODS];
};

struct frame {
    enum frame_type type;
    uint8_t flags;
    uint32_t stream;
    const uint8_t *payload;
    size_t bytes;
};

/* What a client says first on a connection. */
void http2_greet(struct buffer *out);
void http2_init(struct http2 *http);

/* A call with its one message, of up to MESSAGE_BYTES_MAX; path is that of the method. */
void http2_call(struct http2 *http, struct buffer *out, uint32_t stream, int method, const char *path,
                const uint8_t *message, size_t bytes);

/* The next frame of DATA or HEADERS; others are answered as they ask for. False when none is complete. */
bool http2_take(struct http2 *http, struct client *client, struct frame *frame);

#endif
