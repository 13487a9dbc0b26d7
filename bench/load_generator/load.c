/* The load generator: one process, one epoll, requests on many connections, every reply checked.
 *
 * Settings are arguments, name=value. Closed loop (depth=N): as many requests as were answered at once are sent at
 * once. Open loop (rate=N a second): requests are due at fixed times, spread over the connections, and latency counts
 * from when one was due; the times are whole steps of 200 µs, so that the generator does not wake up for each request.
 * Beside the load each server gets a ping every 5 ms on a session of its own, which tells how long anything at all
 * waits there. Standard output has the lines "measuring" and "measured" around the measured time, then one JSON object;
 * anything wrong is told on standard error, with exit code 1.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "settings.h"
#include "worker.h"

enum { EVENTS_MAX = 256, DRAIN_S = 60, FILL_DEPTH = 64, FILL_S = 3600 };
static const int64_t SECOND_NS = 1000000000, PROBE_EVERY_NS = 5000000, IDLE_EVERY_NS = 10000000000, LOOK_EVERY_NS = 100000000;
static const int64_t STEP_NS = 200000;
static const uint64_t PINGER = UINT64_C(1) << 32;

/* A session that only pings; probes are timed, idle ones are not. */
struct pinger {
    struct client client;
    int64_t sent_ns, next_ns;
};

struct load {
    struct job job;
    struct numbers ports, pids;
    uint32_t connections, idle;
    double warm_up_s, measure_s, rate;
    bool keep, probes;
    struct worker *workers;
    struct pinger *pingers; /* a probe for each port, then idle ones */
    size_t pinger_count;
    int epoll;
    uint64_t under_way, checked;
    int64_t looked_ns, rate_began_ns, due;
    struct histogram *latencies, latency, ping;
};

static void read_arguments(struct load *load, int count, char **arguments)
{
    struct job *job = &load->job;
    const struct setting settings[] = {
        {"ports", LIST, &load->ports}, {"pids", LIST, &load->pids}, {"root", TEXT, &job->root},
        {"connections", COUNT, &load->connections}, {"depth", COUNT, &job->depth}, {"idle", COUNT, &load->idle},
        {"nodes", COUNT, &job->nodes}, {"value_bytes", COUNT, &job->value_bytes}, {"set", COUNT, &job->weight_set},
        {"get", COUNT, &job->weight_get}, {"create", COUNT, &job->weight_create}, {"rate", REAL, &load->rate},
        {"warm_up_s", REAL, &load->warm_up_s}, {"measure_s", REAL, &load->measure_s},
        {"keep", FLAG, &load->keep}, {"reuse", FLAG, &job->reuse}, {"probes", FLAG, &load->probes},
    };
    read_settings(count, arguments, settings, sizeof settings / sizeof *settings);
    if (!load->ports.count || !load->connections || !job->depth || !job->nodes || !job->root || job->value_bytes < 1
        || job->weight_set + job->weight_get + job->weight_create == 0)
        die("ports, connections, depth, nodes, value_bytes, root and a weight of set, get or create are needed");
    if (strlen(job->root) > PATH_BYTES_MAX / 2)
        die("the root is too long");
    job->opens = load->rate > 0;
}

static void watch(struct load *load, struct client *client, uint64_t tag, int change)
{
    struct epoll_event event = {.events = EPOLLIN | (client->blocked ? EPOLLOUT : 0), .data.u64 = tag};
    if (epoll_ctl(load->epoll, change, client->fd, &event))
        die("epoll: %s", strerror(errno));
}

static void flush_client(struct load *load, struct client *client, uint64_t tag)
{
    bool was_blocked = client->blocked;
    client_flush(client);
    if (client->blocked != was_blocked)
        watch(load, client, tag, EPOLL_CTL_MOD);
}

static void open_all(struct load *load)
{
    size_t count = load->connections + load->pinger_count;
    struct client **clients = allocate(count, sizeof *clients);
    load->workers = allocate(load->connections, sizeof *load->workers);
    load->pingers = allocate(load->pinger_count, sizeof *load->pingers);
    for (uint32_t i = 0; i < load->connections; i++) {
        worker_init(&load->workers[i], &load->job, i);
        clients[i] = &load->workers[i].client;
    }
    for (size_t i = 0; i < load->pinger_count; i++)
        clients[load->connections + i] = &load->pingers[i].client;
    client_open_all(clients, load->connections, load->ports.list, load->ports.count);
    client_open_all(clients + load->connections, load->pinger_count, load->ports.list, load->ports.count);
    free(clients);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < load->connections; i++)
        watch(load, &load->workers[i].client, i, EPOLL_CTL_ADD);
    for (size_t i = 0; i < load->pinger_count; i++)
        watch(load, &load->pingers[i].client, PINGER + i, EPOLL_CTL_ADD);
}

/* -- pings ------------------------------------------------------------------------------------------------------- */

static void ping(struct load *load, size_t i, int64_t now, int64_t every_ns)
{
    struct pinger *pinger = &load->pingers[i];
    if (pinger->sent_ns || pinger->next_ns > now)
        return;
    pinger->sent_ns = now;
    pinger->next_ns = now + every_ns;
    put_plain(&pinger->client.out, XID_PING, OP_PING);
    flush_client(load, &pinger->client, PINGER + i);
}

static void ping_all(struct load *load, int64_t now)
{
    size_t probes = load->probes ? load->ports.count : 0;
    for (size_t i = 0; i < probes; i++)
        ping(load, i, now, PROBE_EVERY_NS);
    if (now - load->looked_ns < LOOK_EVERY_NS)
        return;
    load->looked_ns = now;
    for (size_t i = probes; i < load->pinger_count; i++)
        ping(load, i, now, IDLE_EVERY_NS);
}

/* Pings that were due while one was under way would have waited, too. */
static void pinged(struct load *load, size_t i, int64_t now)
{
    struct pinger *pinger = &load->pingers[i];
    struct reply reply;
    client_receive(&pinger->client);
    while (take_reply(&pinger->client.in, &reply)) {
        if (reply.xid != XID_PING || reply.err || !pinger->sent_ns)
            die("a ping was answered with xid %d, error %d", reply.xid, reply.err);
        if (load->probes && i < load->ports.count && load->latencies)
            for (int64_t due = pinger->sent_ns; due <= now; due += PROBE_EVERY_NS)
                histogram_add(&load->ping, now - due, 1);
        pinger->sent_ns = 0;
    }
}

/* -- the loop ---------------------------------------------------------------------------------------------------- */

static void ask(struct load *load, struct worker *worker, uint32_t count, int64_t now)
{
    for (; count && worker_ask(worker, now); count--)
        load->under_way++;
    flush_client(load, &worker->client, worker->index);
}

static int64_t due_ns(const struct load *load)
{
    int64_t at = (int64_t)((double)load->due * 1e9 / load->rate);
    return load->rate_began_ns + (at + STEP_NS - 1) / STEP_NS * STEP_NS;
}

/* Put everything that is due by now into the outboxes, one connection after the other; how much that was. When one of
 * them is full, because the servers cannot keep up, the rest waits, and its latency counts from when it was due. */
static uint32_t take_due(struct load *load, int64_t now)
{
    uint32_t count = 0;
    for (int64_t at = due_ns(load); at <= now; at = due_ns(load)) {
        struct worker *worker = &load->workers[(uint64_t)load->due % load->connections];
        if (worker_under_way(worker) > worker->ring_mask)
            break;
        worker_ask(worker, at);
        load->under_way++;
        load->due++;
        count++;
    }
    return count;
}

/* Send what is due, whatever a connection has of it together. */
static void ask_due(struct load *load, int64_t now)
{
    uint64_t first = (uint64_t)load->due;
    uint32_t count = take_due(load, now);
    for (uint32_t i = 0; i < count && i < load->connections; i++) {
        struct worker *worker = &load->workers[(first + i) % load->connections];
        flush_client(load, &worker->client, worker->index);
    }
}

static void worked(struct load *load, struct worker *worker, bool refill)
{
    if (!client_receive(&worker->client))
        return;
    int64_t now = now_ns();
    uint32_t answered = worker_take(worker, now, load->latencies);
    load->under_way -= answered;
    load->checked += answered;
    ask(load, worker, refill ? answered : 0, now);
}

/* For how long nothing is to be done, unless something arrives. */
static struct timespec wait_time(const struct load *load, int64_t until, int64_t now, bool paced)
{
    int64_t wake = until, due = paced ? due_ns(load) : until;
    if (load->probes && wake > now + PROBE_EVERY_NS)
        wake = now + PROBE_EVERY_NS;
    if (wake > now + LOOK_EVERY_NS)
        wake = now + LOOK_EVERY_NS;
    if (due > now && wake > due) /* what is due and still there waits for room */
        wake = due;
    int64_t ns = wake > now ? wake - now : 0;
    return (struct timespec){.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
}

/* Drive all connections until then, or until nothing is under way. */
static void run(struct load *load, int64_t until, bool refill)
{
    struct epoll_event events[EVENTS_MAX];
    bool paced = refill && load->rate > 0 && load->workers->phase == LOAD;
    for (int64_t now = now_ns(); now < until && (load->under_way || paced); now = now_ns()) {
        ping_all(load, now);
        if (paced)
            ask_due(load, now);
        struct timespec wait = wait_time(load, until, now, paced);
        int count = epoll_pwait2(load->epoll, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < count; i++) {
            uint64_t tag = events[i].data.u64;
            struct client *client = tag < PINGER ? &load->workers[tag].client : &load->pingers[tag - PINGER].client;
            if (events[i].events & EPOLLOUT)
                flush_client(load, client, tag);
            if (!(events[i].events & ~(uint32_t)EPOLLOUT))
                continue;
            if (tag < PINGER)
                worked(load, &load->workers[tag], refill && !paced);
            else
                pinged(load, tag - PINGER, now_ns());
        }
    }
}

static void drain(struct load *load, int64_t within_s, const char *what)
{
    run(load, now_ns() + within_s * SECOND_NS, false);
    if (load->under_way)
        die("%llu %s were not answered within %lld s", (unsigned long long)load->under_way, what, (long long)within_s);
}

/* One phase of fixed work from end to end. */
static void run_phase(struct load *load, enum phase phase, const char *what)
{
    int64_t now = now_ns();
    for (uint32_t i = 0; i < load->connections; i++) {
        worker_begin(&load->workers[i], phase);
        ask(load, &load->workers[i], FILL_DEPTH, now);
    }
    run(load, now + FILL_S * SECOND_NS, true);
    drain(load, 1, what);
}

/* -- measuring --------------------------------------------------------------------------------------------------- */

static double cpu_s(int pid)
{
    char path[64], text[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        die("process %d has ended", pid);
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = 0;
    char *fields = strrchr(text, ')');
    if (!fields || sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("%s is not as expected", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void total(const struct load *load, uint64_t sums[3])
{
    memset(sums, 0, 3 * sizeof *sums);
    for (uint32_t i = 0; i < load->connections; i++) {
        sums[0] += load->workers[i].sets;
        sums[1] += load->workers[i].gets;
        sums[2] += load->workers[i].creates;
    }
}

static void tell(const char *line)
{
    printf("%s\n", line);
    fflush(stdout);
}

static void measure(struct load *load)
{
    uint64_t before[3], after[3];
    double cpu[NUMBERS_MAX];
    for (uint32_t i = 0; i < load->connections; i++)
        worker_begin(&load->workers[i], LOAD);
    load->rate_began_ns = now_ns();
    for (uint32_t i = 0; i < load->connections && !load->job.opens; i++)
        ask(load, &load->workers[i], load->job.depth, load->rate_began_ns);
    run(load, load->rate_began_ns + (int64_t)(load->warm_up_s * 1e9), true);
    tell("measuring");
    for (size_t i = 0; i < load->pids.count; i++)
        cpu[i] = cpu_s(load->pids.list[i]);
    double own = own_cpu_s();
    total(load, before);
    load->latencies = &load->latency;
    int64_t began = now_ns();
    run(load, began + (int64_t)(load->measure_s * 1e9), true);
    double elapsed_s = (double)(now_ns() - began) / 1e9;
    load->latencies = NULL;
    total(load, after);
    own = own_cpu_s() - own;
    for (size_t i = 0; i < load->pids.count; i++)
        cpu[i] = cpu_s(load->pids.list[i]) - cpu[i];
    tell("measured");
    drain(load, DRAIN_S, "requests");
    printf("{\"elapsed_s\":%.6f,\"sets\":%llu,\"gets\":%llu,\"creates\":%llu,\"generator_share\":%.4f,\"cpu_s\":[", elapsed_s,
           (unsigned long long)(after[0] - before[0]), (unsigned long long)(after[1] - before[1]),
           (unsigned long long)(after[2] - before[2]), own / elapsed_s);
    for (size_t i = 0; i < load->pids.count; i++)
        printf("%s%.2f", i ? "," : "", cpu[i]);
    printf("],\"latency_us\":");
    histogram_print(&load->latency);
    printf(",\"ping_us\":");
    histogram_print(&load->ping);
}

static void leave(struct load *load)
{
    size_t count = load->connections + load->pinger_count;
    struct client **clients = allocate(count, sizeof *clients);
    int32_t *xids = allocate(count, sizeof *xids);
    for (uint32_t i = 0; i < load->connections; i++) {
        clients[i] = &load->workers[i].client;
        xids[i] = (int32_t)load->workers[i].sent + 1;
    }
    for (size_t i = 0; i < load->pinger_count; i++) {
        clients[load->connections + i] = &load->pingers[i].client;
        xids[load->connections + i] = 1;
    }
    client_leave_all(clients, xids, count);
}

int main(int count, char **arguments)
{
    static struct load load = {.job = {.nodes = 1, .value_bytes = 100}, .probes = true};
    read_arguments(&load, count, arguments);
    load.pinger_count = (load.probes ? load.ports.count : 0) + load.idle;
    open_all(&load);
    struct worker *first = &load.workers[0];
    prctl(PR_SET_TIMERSLACK, 1UL); /* or the kernel would let each wait last 50 µs longer */
    int64_t began = now_ns();
    if (!load.job.reuse) {
        worker_make_root(first);
        run_phase(&load, FILL, "creates");
    }
    double filled_s = (double)(now_ns() - began) / 1e9;
    if (load.measure_s > 0)
        measure(&load);
    else
        printf("{\"elapsed_s\":0");
    if (!load.keep) {
        run_phase(&load, CLEAN, "deletes");
        if (!load.job.reuse)
            worker_remove_root(first);
    }
    leave(&load);
    printf(",\"filled_s\":%.3f,\"checked\":%llu}\n", filled_s, (unsigned long long)load.checked);
    return 0;
}
