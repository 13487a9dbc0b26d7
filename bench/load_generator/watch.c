/* One change that many watch: how long until the last of them is told.
 *
 * Settings are arguments, name=value: ports, the first of which the change is written to; root, the znode; watchers,
 * which are spread over the ports; rounds. Each round every watcher reads with a watch, then one set is sent, and each
 * watcher must get one event of that znode's change. Standard output gets one JSON object.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client.h"
#include "settings.h"

enum { EVENTS_MAX = 256, PATIENCE_S = 60, EVENT_CHANGED = 3 };

struct settings {
    struct numbers ports;
    uint32_t watchers, rounds;
    const char *root;
};

struct watcher {
    struct client client;
    int32_t xid;
    bool armed, told;
};

static struct settings read_arguments(int count, char **arguments)
{
    struct settings settings = {.watchers = 1000, .rounds = 5};
    const struct setting table[] = {
        {"ports", LIST, &settings.ports},
        {"root", TEXT, &settings.root},
        {"watchers", COUNT, &settings.watchers},
        {"rounds", COUNT, &settings.rounds},
    };
    read_settings(count, arguments, table, sizeof table / sizeof *table);
    if (!settings.ports.count || !settings.root || !settings.watchers || !settings.rounds)
        die("ports, root, watchers and rounds are needed");
    return settings;
}

static void take_event(const struct settings *settings, struct watcher *watcher, const struct reply *reply)
{
    size_t path_bytes = strlen(settings->root);
    if (!watcher->armed || watcher->told)
        die("an event that nobody waits for");
    if (reply->body_bytes != 12 + path_bytes || get_int(reply->body) != EVENT_CHANGED
        || memcmp(reply->body + 12, settings->root, path_bytes))
        die("another event than the change of %s", settings->root);
    watcher->told = true;
}

/* Replies to reads, and events; how many of either. */
static size_t take(const struct settings *settings, struct watcher *watcher)
{
    struct reply reply;
    size_t count = 0;
    client_receive(&watcher->client);
    for (; take_reply(&watcher->client.in, &reply); count++) {
        if (reply.xid == XID_EVENT)
            take_event(settings, watcher, &reply);
        else if (reply.xid == watcher->xid && !reply.err)
            watcher->armed = true;
        else
            die("due: xid %d; came: xid %d, error %d", watcher->xid, reply.xid, reply.err);
    }
    return count;
}

/* Wait for so many replies or events. */
static void collect(int epoll, const struct settings *settings, struct watcher *watchers, size_t due, const char *what)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t until = now_ns() + PATIENCE_S * INT64_C(1000000000);
    while (due) {
        if (now_ns() > until)
            die("%zu %s did not come within %d s", due, what, PATIENCE_S);
        int count = epoll_wait(epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < count; i++)
            due -= take(settings, &watchers[events[i].data.u64]);
    }
}

static double round_of(int epoll, const struct settings *settings, struct watcher *watchers, struct client *writer, int32_t xid)
{
    for (uint32_t i = 0; i < settings->watchers; i++) {
        struct watcher *watcher = &watchers[i];
        watcher->armed = watcher->told = false;
        put_get(&watcher->client.out, ++watcher->xid, settings->root, true);
        client_flush(&watcher->client);
    }
    collect(epoll, settings, watchers, settings->watchers, "reads");
    put_set(&writer->out, xid, settings->root, (const uint8_t *)"changed", 7);
    int64_t began = now_ns();
    client_flush(writer);
    collect(epoll, settings, watchers, settings->watchers, "events");
    int64_t last = now_ns();
    client_call(writer, xid);
    return (double)(last - began) / 1e6;
}

int main(int count, char **arguments)
{
    struct settings settings = read_arguments(count, arguments);
    size_t clients = (size_t)settings.watchers + 1;
    struct watcher *watchers = allocate(settings.watchers, sizeof *watchers);
    struct client writer = {0}, **all = allocate(clients, sizeof *all);
    int32_t *xids = allocate(clients, sizeof *xids), xid = 0;
    all[0] = &writer;
    for (size_t i = 0; i < settings.watchers; i++)
        all[i + 1] = &watchers[i].client;
    client_open_all(all, 1, settings.ports.list, 1);
    client_open_all(all + 1, settings.watchers, settings.ports.list, settings.ports.count);
    put_create(&writer.out, ++xid, settings.root, (const uint8_t *)"", 0);
    client_call(&writer, xid);
    for (size_t i = 0; i < settings.ports.count && i < settings.watchers; i++) {
        put_path(&watchers[i].client.out, ++watchers[i].xid, OP_SYNC, settings.root); /* its server has the znode */
        client_call(&watchers[i].client, watchers[i].xid);
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < settings.watchers; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, watchers[i].client.fd, &event))
            die("epoll: %s", strerror(errno));
    }
    printf("{\"last_ms\":[");
    for (size_t i = 0; i < settings.rounds; i++)
        printf("%s%.3f", i ? "," : "", round_of(epoll, &settings, watchers, &writer, ++xid));
    printf("]}\n");
    put_delete(&writer.out, ++xid, settings.root);
    client_call(&writer, xid);
    xids[0] = xid + 1;
    for (size_t i = 0; i < settings.watchers; i++)
        xids[i + 1] = watchers[i].xid + 1;
    client_leave_all(all, xids, clients);
    return 0;
}
