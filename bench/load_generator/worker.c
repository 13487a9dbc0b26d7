#include "worker.h"

#include <stdio.h>
#include <string.h>

enum { OPEN_LOOP_RING = 1 << 15 };

void worker_init(struct worker *worker, const struct job *job, uint32_t index)
{
    uint32_t ring = job->opens ? OPEN_LOOP_RING : 64;
    while (ring < job->depth)
        ring *= 2;
    memset(worker, 0, sizeof *worker);
    worker->job = job;
    worker->index = index;
    worker->ring = allocate(ring, sizeof *worker->ring);
    worker->ring_mask = ring - 1;
    worker->chance = (index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    worker->value = allocate((size_t)job->value_bytes + 8, 1);
    worker->nodes = allocate(job->nodes, sizeof *worker->nodes);
    for (uint32_t i = 0; i < job->nodes; i++)
        worker->nodes[i].version = -1;
}

void worker_begin(struct worker *worker, enum phase phase)
{
    worker->phase = phase;
    worker->step = 0;
}

static uint32_t draw(struct worker *worker, uint32_t below)
{
    uint64_t x = worker->chance; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    worker->chance = x;
    return (uint32_t)(((x >> 32) * below) >> 32);
}

static void path_of(const struct worker *worker, enum place place, uint32_t number, char *path)
{
    static const char *const FORMATS[] = {"%s/%u", "%s/%u/n%u", "%s/%u/c-%08u"};
    snprintf(path, PATH_BYTES_MAX, FORMATS[place], worker->job->root, worker->index, number);
}

/* The value says whose it is and which one; the rest follows from that. */
static const uint8_t *value_of(struct worker *worker, enum place place, uint32_t number, uint32_t nonce)
{
    uint8_t *value = worker->value;
    int32_t bytes = worker->job->value_bytes;
    uint32_t mark[] = {worker->index, (uint32_t)place, number, nonce};
    uint64_t word = (number * UINT64_C(0x100000001) + nonce + 1) * UINT64_C(0x9E3779B97F4A7C15);
    for (int32_t at = 0; at < bytes; at += 8)
        memcpy(value + at, &word, 8);
    memcpy(value, mark, bytes < VALUE_MARK_BYTES ? (size_t)bytes : VALUE_MARK_BYTES);
    return value;
}

/* FILL creates the folder, then the znodes; CLEAN deletes what was created, the znodes, the folder. */
static bool choose(struct worker *worker, struct request *next)
{
    const struct job *job = worker->job;
    uint32_t step = worker->step, nodes = job->nodes, created = worker->created;
    uint32_t total = job->weight_set + job->weight_get + job->weight_create;
    switch (worker->phase) {
    case FILL:
        if (step > nodes)
            return false;
        *next = (struct request){.op = OP_CREATE, .place = step ? NODE : FOLDER, .number = step ? step - 1 : 0};
        break;
    case CLEAN:
        if (step >= created + (job->reuse ? 0 : nodes + 1))
            return false;
        *next = (struct request){.op = OP_DELETE, .place = FOLDER};
        if (step < created)
            *next = (struct request){.op = OP_DELETE, .place = CREATED, .number = step};
        else if (step < created + nodes)
            *next = (struct request){.op = OP_DELETE, .place = NODE, .number = step - created};
        break;
    case LOAD: {
        uint32_t drawn = draw(worker, total);
        uint32_t number = nodes > 1 ? draw(worker, nodes) : 0;
        if (drawn < job->weight_set)
            *next = (struct request){.op = OP_SET, .place = NODE, .number = number, .nonce = worker->sent + 1};
        else if (drawn < job->weight_set + job->weight_get)
            *next = (struct request){.op = OP_GET, .place = NODE, .number = number};
        else
            *next = (struct request){.op = OP_CREATE, .place = CREATED, .number = worker->created++};
    }
    }
    worker->step++;
    return true;
}

bool worker_ask(struct worker *worker, int64_t at_ns)
{
    struct request next;
    char path[PATH_BYTES_MAX];
    if (worker_under_way(worker) > worker->ring_mask)
        die("the server cannot keep up: %u requests are under way on one connection", worker->ring_mask + 1);
    if (!choose(worker, &next))
        return false;
    struct buffer *out = &worker->client.out;
    int32_t xid = (int32_t)(worker->sent + 1), bytes = worker->job->value_bytes;
    path_of(worker, next.place, next.number, path);
    if (next.op == OP_GET)
        put_get(out, xid, path, false);
    else if (next.op == OP_SET)
        put_set(out, xid, path, value_of(worker, next.place, next.number, next.nonce), bytes);
    else if (next.op == OP_DELETE)
        put_delete(out, xid, path);
    else
        put_create(out, xid, path, value_of(worker, next.place, next.number, 0), next.place == FOLDER ? 0 : bytes);
    next.at_ns = at_ns;
    worker->ring[worker->sent++ & worker->ring_mask] = next;
    return true;
}

static void check_stat(const struct node *node, const struct reply *reply, struct znode_stat stat, int32_t version, int32_t bytes)
{
    if (stat.data_length != bytes)
        die("a stat with %d bytes of data instead of %d", stat.data_length, bytes);
    if (node->version >= 0 && stat.version != version)
        die("version %d instead of %d", stat.version, version);
    if (stat.mzxid > reply->zxid || stat.mzxid < node->mzxid)
        die("mzxid %#llx, before %#llx, in a reply with zxid %#llx", (unsigned long long)stat.mzxid,
            (unsigned long long)node->mzxid, (unsigned long long)reply->zxid);
}

static void check_get(struct worker *worker, const struct request *request, const struct reply *reply)
{
    struct node *node = &worker->nodes[request->number];
    int32_t bytes = worker->job->value_bytes;
    if (reply->body_bytes != 4 + (size_t)bytes + STAT_BYTES || get_int(reply->body) != bytes)
        die("a value of %d bytes in %zu bytes", get_int(reply->body), reply->body_bytes);
    const uint8_t *data = reply->body + 4;
    uint32_t nonce = node->nonce;
    if (node->version < 0 && bytes >= VALUE_MARK_BYTES)
        memcpy(&nonce, data + 12, 4); /* from an earlier run; it still must be a whole value of this znode */
    if (memcmp(data, value_of(worker, NODE, request->number, nonce), (size_t)bytes))
        die("a value that was not written last");
    struct znode_stat stat = get_stat(data + bytes);
    check_stat(node, reply, stat, node->version, bytes);
    if (node->version >= 0 && stat.mzxid != node->mzxid && node->mzxid)
        die("mzxid changed without a write");
    *node = (struct node){.mzxid = stat.mzxid, .version = stat.version, .nonce = nonce};
}

static void check_set(struct worker *worker, const struct request *request, const struct reply *reply)
{
    struct node *node = &worker->nodes[request->number];
    if (reply->body_bytes != STAT_BYTES)
        die("a stat of %zu bytes", reply->body_bytes);
    struct znode_stat stat = get_stat(reply->body);
    check_stat(node, reply, stat, node->version + 1, worker->job->value_bytes);
    if (stat.mzxid == node->mzxid)
        die("a write without a zxid of its own");
    *node = (struct node){.mzxid = stat.mzxid, .version = stat.version, .nonce = request->nonce};
}

static void check_create(struct worker *worker, const struct request *request, const struct reply *reply)
{
    char path[PATH_BYTES_MAX];
    path_of(worker, request->place, request->number, path);
    size_t bytes = strlen(path);
    if (reply->body_bytes != 4 + bytes || memcmp(reply->body + 4, path, bytes))
        die("%s was asked for, another path was created", path);
    if (request->place == NODE)
        worker->nodes[request->number].version = 0;
}

static void check(struct worker *worker, const struct request *request, const struct reply *reply)
{
    int32_t xid = (int32_t)(worker->answered + 1);
    if (worker->answered == worker->sent)
        die("a reply to nothing, xid %d", reply->xid);
    if (reply->xid != xid || reply->err)
        die("due: xid %d; came: xid %d, error %d", xid, reply->xid, reply->err);
    if (reply->zxid < worker->last_zxid)
        die("zxid %#llx after %#llx", (unsigned long long)reply->zxid, (unsigned long long)worker->last_zxid);
    worker->last_zxid = reply->zxid;
    switch (request->op) {
    case OP_GET:
        check_get(worker, request, reply);
        break;
    case OP_SET:
        check_set(worker, request, reply);
        break;
    case OP_CREATE:
        check_create(worker, request, reply);
        break;
    default:
        if (reply->body_bytes)
            die("a delete was answered with %zu bytes", reply->body_bytes);
    }
    if (worker->phase != LOAD)
        return;
    worker->gets += request->op == OP_GET;
    worker->sets += request->op == OP_SET;
    worker->creates += request->op == OP_CREATE;
}

uint32_t worker_take(struct worker *worker, int64_t now, struct histogram *latencies)
{
    struct reply reply;
    uint32_t count = 0;
    while (take_reply(&worker->client.in, &reply)) {
        const struct request *request = &worker->ring[worker->answered & worker->ring_mask];
        check(worker, request, &reply);
        if (latencies)
            histogram_add(latencies, now - request->at_ns, 1);
        worker->answered++;
        count++;
    }
    return count;
}
