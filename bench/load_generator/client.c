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

void client_connect(struct client *client, int port)
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
