#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void begin_handshake(struct client *client, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
    int on = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address))
        die("cannot connect to port %d: %s", port, strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
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

void client_set_blocking(struct client *client, bool blocking)
{
    int flags = fcntl(client->fd, F_GETFL);
    fcntl(client->fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

void client_flush(struct client *client)
{
    struct buffer *out = &client->out;
    while (out->start < out->end) {
        ssize_t sent = send(client->fd, out->data + out->start, out->end - out->start, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            die("the server closed the connection: %s", strerror(errno));
        if (sent < 0)
            break;
        out->start += (size_t)sent;
    }
    client->blocked = out->start < out->end;
}

bool client_receive(struct client *client)
{
    uint8_t *room = buffer_room(&client->in, RECEIVE_BYTES);
    ssize_t got = recv(client->fd, room, RECEIVE_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0)
        die("the server closed the connection%s%s", got < 0 ? ": " : "", got < 0 ? strerror(errno) : "");
    client->in.end += (size_t)got;
    return true;
}
