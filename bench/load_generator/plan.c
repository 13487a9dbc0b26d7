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

void path_of(const struct worker *worker, enum place place, uint32_t number, char *path)
{
    static const char *const FORMATS[] = {"%s/%u", "%s/%u/n%u", "%s/%u/c-%08u"};
    snprintf(path, PATH_BYTES_MAX, FORMATS[place], worker->job->root, worker->index, number);
}

const uint8_t *value_of(struct worker *worker, enum place place, uint32_t number, uint32_t nonce)
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
bool choose(struct worker *worker, struct request *next)
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
