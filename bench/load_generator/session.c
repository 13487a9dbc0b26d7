#include "client.h"

#include <unistd.h>

static void begin_handshake(struct client *client, int port)
{
    client_connect(client, port);
    put_connect(&client->out, SESSION_TIMEOUT_MS);
    client_flush(client);
}

static void end_handshake(struct client *client)
{
    const uint8_t *payload;
    size_t bytes;
    while (!take_frame(&client->in, &payload, &bytes))
        if (!client_receive(client))
            die("no session was granted in %d s", ANSWER_TIMEOUT_S);
    if (bytes < 16 || get_int(payload + 4) <= 0 || get_long(payload + 8) == 0)
        die("no session was granted");
    client_set_blocking(client, false);
}

void client_open_all(struct client **clients, size_t count, const int *ports, size_t port_count)
{
    for (size_t first = 0; first < count; first += HANDSHAKES_MAX) {
        size_t end = first + HANDSHAKES_MAX < count ? first + HANDSHAKES_MAX : count;
        for (size_t i = first; i < end; i++)
            begin_handshake(clients[i], ports[i % port_count]);
        for (size_t i = first; i < end; i++)
            end_handshake(clients[i]);
    }
}

void client_call(struct client *client, int32_t xid)
{
    client_set_blocking(client, true);
    client_flush(client);
    client_wait(client, xid);
    client_set_blocking(client, false);
}

void client_wait(struct client *client, int32_t xid)
{
    struct reply reply;
    do {
        while (!take_reply(&client->in, &reply))
            if (!client_receive(client))
                die("no reply in %d s", ANSWER_TIMEOUT_S);
    } while (reply.xid == XID_EVENT || reply.xid == XID_PING);
    if (reply.xid != xid || reply.err)
        die("due: xid %d; came: xid %d, error %d", xid, reply.xid, reply.err);
}

void client_leave_all(struct client **clients, const int32_t *xids, size_t count)
{
    for (size_t first = 0; first < count; first += HANDSHAKES_MAX) {
        size_t end = first + HANDSHAKES_MAX < count ? first + HANDSHAKES_MAX : count;
        for (size_t i = first; i < end; i++) {
            client_set_blocking(clients[i], true);
            put_plain(&clients[i]->out, xids[i], OP_CLOSE);
            client_flush(clients[i]);
        }
        for (size_t i = first; i < end; i++) {
            client_wait(clients[i], xids[i]);
            close(clients[i]->fd);
        }
    }
}
