#include "worker.h"

#include <stdio.h>
#include <string.h>

void worker_make_root(struct worker *worker)
{
    put_create(&worker->client.out, (int32_t)++worker->sent, worker->job->root, (const uint8_t *)"", 0);
    client_call(&worker->client, (int32_t)worker->sent);
    worker->answered++;
}

void worker_remove_root(struct worker *worker)
{
    put_delete(&worker->client.out, (int32_t)++worker->sent, worker->job->root);
    client_call(&worker->client, (int32_t)worker->sent);
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
