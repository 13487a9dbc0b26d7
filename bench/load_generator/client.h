/* Connections (client.c), with a session each (session.c, or etcd.c, which has none to ask for). */
#ifndef CLIENT_H
#define CLIENT_H

#include "wire.h"

enum { HANDSHAKES_MAX = 64, SESSION_TIMEOUT_MS = 30000, ANSWER_TIMEOUT_S = 30, RECEIVE_BYTES = 256 << 10 };

struct client {
    int fd;
    bool blocked;
    struct buffer in, out;
};

/* A connection to a port of this machine, and no session. */
void client_connect(struct client *client, int port);

/* Sessions for all clients, taking the ports in turn; up to HANDSHAKES_MAX are asked for at once. */
void client_open_all(struct client **clients, size_t count, const int *ports, size_t port_count);

/* Send the request that is in the outbox and wait for its reply: it must carry xid and no error. */
void client_call(struct client *client, int32_t xid);

/* Wait for the reply to a request that was sent; what the server tells by itself, and pings, may come before. */
void client_wait(struct client *client, int32_t xid);

/* End the sessions of all clients, whose next requests have these xids. */
void client_leave_all(struct client **clients, const int32_t *xids, size_t count);

void client_set_blocking(struct client *client, bool blocking);

/* Send what the kernel takes; blocked tells that some is left. */
void client_flush(struct client *client);

/* Read once, whatever there is; false when there was nothing. */
bool client_receive(struct client *client);

int64_t now_ns(void);

#endif
