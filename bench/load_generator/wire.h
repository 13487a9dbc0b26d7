/* The little of ZooKeeper's client protocol that a load needs. All numbers on the wire are big-endian. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OP_CREATE = 1, OP_DELETE = 2, OP_GET = 4, OP_SET = 5, OP_SYNC = 9, OP_PING = 11, OP_CLOSE = -11 };
enum { XID_EVENT = -1, XID_PING = -2 };
enum { REPLY_HEADER_BYTES = 16, STAT_BYTES = 68 };

/* Bytes between start and end are in use; what is before start may be overwritten. */
struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

struct znode_stat {
    int64_t mzxid;
    int32_t version, data_length;
};

/* body points into the buffer that the reply was read from. */
struct reply {
    int32_t xid, err;
    int64_t zxid;
    const uint8_t *body;
    size_t body_bytes;
};

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t count, size_t size);

uint8_t *buffer_room(struct buffer *buffer, size_t bytes);
int32_t get_int(const uint8_t *at);
int64_t get_long(const uint8_t *at);
struct znode_stat get_stat(const uint8_t *at);

void put_connect(struct buffer *out, int32_t timeout_ms);
void put_create(struct buffer *out, int32_t xid, const char *path, const uint8_t *data, int32_t data_bytes);
void put_set(struct buffer *out, int32_t xid, const char *path, const uint8_t *data, int32_t data_bytes);
void put_get(struct buffer *out, int32_t xid, const char *path, bool watch);
void put_delete(struct buffer *out, int32_t xid, const char *path);
void put_path(struct buffer *out, int32_t xid, int32_t op, const char *path);
void put_plain(struct buffer *out, int32_t xid, int32_t op);

/* The next whole frame, which is then used up; false when none is complete. */
bool take_frame(struct buffer *in, const uint8_t **payload, size_t *payload_bytes);
bool take_reply(struct buffer *in, struct reply *reply);

#endif
