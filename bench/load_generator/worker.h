/* One connection of a load: what it asks next (plan.c), what is under way, and whether each reply is the right one.
 *
 * worker.c does the latter for ZooKeeper, etcd.c for etcd.
 */
#ifndef WORKER_H
#define WORKER_H

#include "client.h"
#include "histogram.h"

enum { PATH_BYTES_MAX = 256, VALUE_MARK_BYTES = 16 };

enum phase { FILL, LOAD, CLEAN };

/* What a path is made of: the folder of the worker, a znode that is read and written, one that was created. */
enum place { FOLDER, NODE, CREATED };

struct job {
    const char *root;
    int32_t value_bytes;
    uint32_t nodes;    /* of each worker */
    uint32_t depth;    /* requests under way on each connection */
    bool reuse;        /* the znodes are there already, from an earlier run with the same root */
    bool opens;        /* open loop: requests come when they are due, whatever is under way */
    uint32_t weight_set, weight_get, weight_create;
};

/* floor, stream and answered are etcd's: what was acknowledged before, the call's number, 0 of none, how far it is. */
struct request {
    int64_t at_ns, floor;
    uint32_t number, nonce, stream;
    uint8_t op, place;
    bool answered;
};

/* What the worker, who alone writes it, knows of a znode; all 0 but the version of one it has not seen, -1.
 * Of a key of etcd: the revision of its last put, as mzxid. */
struct node {
    int64_t mzxid;
    int32_t version;
    uint32_t nonce;
};

struct worker {
    struct client client;
    const struct job *job;
    uint32_t index;
    struct request *ring;
    uint32_t ring_mask;
    uint32_t sent, answered;
    int64_t last_zxid;
    uint64_t chance;
    enum phase phase;
    uint32_t step; /* in FILL and CLEAN */
    uint32_t created;
    struct node *nodes;
    uint8_t *value;
    uint64_t sets, gets, creates; /* answered in the LOAD phase */
    struct http2 *http;           /* etcd's, as is the number of its last call */
    uint32_t stream;
};

void worker_init(struct worker *worker, const struct job *job, uint32_t index);
void worker_begin(struct worker *worker, enum phase phase);

/* What comes next; false when the phase has no more. */
bool choose(struct worker *worker, struct request *next);
void path_of(const struct worker *worker, enum place place, uint32_t number, char *path);

/* The value says whose it is and which one; the rest follows from that. */
const uint8_t *value_of(struct worker *worker, enum place place, uint32_t number, uint32_t nonce);

/* The znode above all others of a job. */
void worker_make_root(struct worker *worker);
void worker_remove_root(struct worker *worker);

/* Put the next request into the outbox; false when the phase has no more. */
bool worker_ask(struct worker *worker, int64_t at_ns);

/* Check all replies that have arrived; how many. Latencies, from at_ns on, are noted unless latencies is NULL. */
uint32_t worker_take(struct worker *worker, int64_t now, struct histogram *latencies);

static inline uint32_t worker_under_way(const struct worker *worker)
{
    return worker->sent - worker->answered;
}

#endif
