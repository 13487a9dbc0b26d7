/* In the place of worker.c and session.c: the same load for etcd, as calls of gRPC, one connection for each worker.
 *
 * A create is a put of a key that is new, a set one of a key that is there, a get a serializable range: it is answered
 * from what the asked peer has, as ZooKeeper's reads are. etcd orders nothing among calls that are under way together.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http2.h"
#include "worker.h"

enum method { PUT, RANGE, DELETE_RANGE };
static const char *const PATHS[METHODS] = {
    "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", "/etcdserverpb.KV/DeleteRange"};

struct field {
    uint32_t number;
    uint64_t value;
    const uint8_t *bytes; /* NULL unless it has value bytes */
};

/* What the answers of all three methods may hold. */
struct answer {
    int64_t revision, mod_revision, count, deleted;
    struct field key, value;
};

void client_open_all(struct client **clients, size_t count, const int *ports, size_t port_count)
{
    for (size_t i = 0; i < count; i++) {
        client_connect(clients[i], ports[i % port_count]);
        http2_greet(&clients[i]->out);
        client_flush(clients[i]);
        client_set_blocking(clients[i], false);
    }
}

void client_leave_all(struct client **clients, const int32_t *xids, size_t count)
{
    (void)xids;
    for (size_t i = 0; i < count; i++)
        close(clients[i]->fd);
}

/* Keys need no root. */
void worker_make_root(struct worker *worker)
{
    (void)worker;
}

void worker_remove_root(struct worker *worker)
{
    (void)worker;
}

/* -- requests ---------------------------------------------------------------------------------------------------- */

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    for (; value > 127; value >>= 7)
        *at++ = (uint8_t)(value | 128);
    *at = (uint8_t)value;
    return at + 1;
}

static uint8_t *put_field(uint8_t *at, uint8_t number, const void *data, size_t bytes)
{
    *at = (uint8_t)(number << 3 | 2);
    at = put_varint(at + 1, bytes);
    memcpy(at, data, bytes);
    return at + bytes;
}

/* Everything this run has put: all keys of the worker, or those that were created beside keys of an earlier run. */
static uint8_t *put_own_keys(const struct worker *worker, uint8_t *at)
{
    char first[PATH_BYTES_MAX], end[PATH_BYTES_MAX];
    size_t bytes = (size_t)snprintf(first, sizeof first, "%s/%u%s", worker->job->root, worker->index,
                                    worker->job->reuse ? "/c-" : "");
    memcpy(end, first, bytes);
    end[bytes] = '0'; /* behind the slash that comes next in all keys, or equal to their first digit */
    if (worker->job->reuse)
        end[bytes - 1] = '.';
    at = put_field(at, 1, first, bytes);
    return put_field(at, 2, end, worker->job->reuse ? bytes : bytes + 1);
}

static struct request *free_call(struct worker *worker)
{
    uint32_t busy = 0;
    do {
        if (busy++ > worker->ring_mask)
            die("the server cannot keep up: %u requests are under way on one connection", worker->ring_mask + 1);
        worker->stream += 2;
        if (worker->stream > INT32_MAX)
            die("a connection has no streams left");
    } while (worker->ring[worker->stream >> 1 & worker->ring_mask].stream);
    return &worker->ring[worker->stream >> 1 & worker->ring_mask];
}

bool worker_ask(struct worker *worker, int64_t at_ns)
{
    struct request next = {.op = OP_DELETE};
    char key[PATH_BYTES_MAX];
    uint8_t message[MESSAGE_BYTES_MAX + PATH_BYTES_MAX], *at = message;
    enum method method = DELETE_RANGE;
    if (!worker->http) {
        worker->http = allocate(1, sizeof *worker->http);
        http2_init(worker->http);
        worker->stream = (uint32_t)-1;
    }
    if (worker->phase != CLEAN && !choose(worker, &next))
        return false;
    if (worker->phase == CLEAN) {
        if (worker->step++ || (worker->job->reuse && !worker->created))
            return false;
        at = put_own_keys(worker, at);
    } else {
        path_of(worker, next.place, next.number, key);
        at = put_field(at, 1, key, strlen(key));
        method = next.op == OP_GET ? RANGE : PUT;
        if (method == RANGE) {
            *at++ = 7 << 3; /* serializable */
            *at++ = 1;
        } else if (next.place != FOLDER) {
            size_t bytes = (size_t)worker->job->value_bytes;
            if (bytes > MESSAGE_BYTES_MAX - PATH_BYTES_MAX)
                die("values of %zu bytes are more than one frame holds", bytes);
            at = put_field(at, 2, value_of(worker, next.place, next.number, next.nonce), bytes);
        }
    }
    struct request *call = free_call(worker);
    next.at_ns = at_ns;
    next.floor = next.place == NODE ? worker->nodes[next.number].mzxid : 0;
    next.stream = worker->stream;
    *call = next;
    worker->sent++;
    http2_call(worker->http, &worker->client.out, call->stream, method, PATHS[method], message, (size_t)(at - message));
    return true;
}

/* -- answers ----------------------------------------------------------------------------------------------------- */

static const uint8_t *take_varint(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        *value |= (uint64_t)(*at & 127) << shift;
        if (*at++ < 128)
            return at;
    }
    die("a number that does not end");
}

/* The field at a place; behind it comes the next. */
static const uint8_t *take_field(const uint8_t *at, const uint8_t *end, struct field *field)
{
    uint64_t tag;
    at = take_varint(take_varint(at, end, &tag), end, &field->value);
    field->number = (uint32_t)(tag >> 3);
    field->bytes = NULL;
    if ((tag & 7) == 0)
        return at;
    if ((tag & 7) != 2 || field->value > (uint64_t)(end - at))
        die("field %u cannot be read", field->number);
    field->bytes = at;
    return at + field->value;
}

static void read_inner(struct answer *answer, const struct field *outer)
{
    struct field field;
    const uint8_t *at = outer->bytes, *end = outer->bytes + outer->value;
    while (at < end) {
        at = take_field(at, end, &field);
        if (field.number == 3)
            *(outer->number == 1 ? &answer->revision : &answer->mod_revision) = (int64_t)field.value;
        else if (outer->number == 2 && field.number == 1)
            answer->key = field;
        else if (outer->number == 2 && field.number == 5)
            answer->value = field;
    }
}

static struct answer read_answer(const struct frame *frame)
{
    struct answer answer = {.count = 0};
    struct field field;
    const uint8_t *at = frame->payload + 5, *end = frame->payload + frame->bytes;
    if (frame->bytes < 5 || frame->payload[0] || (size_t)get_int(frame->payload + 1) != frame->bytes - 5)
        die("an answer that is not one message in one frame of %zu bytes", frame->bytes);
    while (at < end) {
        at = take_field(at, end, &field);
        if (field.bytes)
            read_inner(&answer, &field);
        else
            *(field.number == 2 ? &answer.deleted : &answer.count) = (int64_t)field.value;
    }
    return answer;
}

static bool is(const struct field *field, const void *data, size_t bytes)
{
    return field->bytes && field->value == bytes && !memcmp(field->bytes, data, bytes);
}

/* The whole value of this key that its revision says, none older than what was acknowledged when it was asked for. */
static void check_get(struct worker *worker, const struct request *call, const struct answer *answer)
{
    struct node *node = &worker->nodes[call->number];
    size_t bytes = (size_t)worker->job->value_bytes;
    char key[PATH_BYTES_MAX];
    path_of(worker, NODE, call->number, key);
    if (answer->count != 1 || !is(&answer->key, key, strlen(key)))
        die("%s was asked for, %lld keys came", key, (long long)answer->count);
    if (answer->mod_revision < call->floor || answer->mod_revision > answer->revision)
        die("%s of revision %lld at %lld, when %lld had been acknowledged", key, (long long)answer->mod_revision,
            (long long)answer->revision, (long long)call->floor);
    uint32_t nonce = node->nonce;
    if (answer->mod_revision != node->mzxid && answer->value.value >= VALUE_MARK_BYTES)
        memcpy(&nonce, answer->value.bytes + 12, 4); /* of a set that is under way, or of an earlier run */
    if (!is(&answer->value, value_of(worker, NODE, call->number, nonce), bytes))
        die("%s has a value that was not written", key);
}

static void check_put(struct worker *worker, const struct request *call, const struct answer *answer)
{
    if (call->place != NODE)
        return;
    struct node *node = &worker->nodes[call->number];
    if (answer->revision <= call->floor)
        die("a put made revision %lld, when %lld had been acknowledged", (long long)answer->revision,
            (long long)call->floor);
    if (answer->revision > node->mzxid)
        *node = (struct node){.mzxid = answer->revision, .nonce = call->nonce};
}

static void check(struct worker *worker, const struct request *call, const struct answer *answer)
{
    int64_t due = worker->created + (worker->job->reuse ? 0 : worker->job->nodes + 1);
    if (answer->revision <= 0)
        die("an answer without a revision");
    if (call->op == OP_GET)
        check_get(worker, call, answer);
    else if (call->op != OP_DELETE)
        check_put(worker, call, answer);
    else if (answer->deleted != due)
        die("%lld keys were deleted instead of %lld", (long long)answer->deleted, (long long)due);
    if (worker->phase != LOAD)
        return;
    worker->gets += call->op == OP_GET;
    worker->sets += call->op == OP_SET;
    worker->creates += call->op == OP_CREATE;
}

/* A call is over with the headers behind its message; one that failed has no message. */
uint32_t worker_take(struct worker *worker, int64_t now, struct histogram *latencies)
{
    struct frame frame;
    uint32_t count = 0;
    while (http2_take(worker->http, &worker->client, &frame)) {
        struct request *call = &worker->ring[frame.stream >> 1 & worker->ring_mask];
        if (!frame.stream || call->stream != frame.stream)
            die("an answer to nothing, on stream %u", frame.stream);
        if (frame.type == DATA) {
            struct answer answer = read_answer(&frame);
            if (call->answered)
                die("two answers on stream %u", frame.stream);
            check(worker, call, &answer);
            call->answered = true;
        } else if (frame.flags & END_STREAM) {
            if (!call->answered)
                die("etcd refused a call: its own log says why");
            if (latencies)
                histogram_add(latencies, now - call->at_ns, 1);
            call->stream = 0;
            worker->answered++;
            count++;
        }
    }
    return count;
}
