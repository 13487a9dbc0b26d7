#include "shown.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINES_MAX = 64, EVENTS_MAX = 4, LINE_MAX_BYTES = 2 * DATA_MAX };

/* Lines that the client's threads leave for the main one. */
struct mailbox {
    char lines[LINES_MAX][LINE_MAX_BYTES];
    int first, end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct mailbox events, completions;

static void put(struct mailbox *box, const char *line) {
    pthread_mutex_lock(&lock);
    if (box->end == LINES_MAX) {
        fprintf(stderr, "too many lines\n");
        exit(2);
    }
    snprintf(box->lines[box->end++], LINE_MAX_BYTES, "%s", line);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void take(struct mailbox *box, char *line) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_S;
    pthread_mutex_lock(&lock);
    while (box->first == box->end) {
        if (pthread_cond_timedwait(&changed, &lock, &deadline) != 0) {
            printf("nothing came in time\n");
            exit(2);
        }
    }
    strcpy(line, box->lines[box->first++]);
    if (box->first == box->end)
        box->first = box->end = 0;
    pthread_mutex_unlock(&lock);
}

/* -- Text --------------------------------------------------------------------------------------------------------- */

struct text {
    char bytes[LINE_MAX_BYTES];
    int length;
};

static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text->length += vsnprintf(text->bytes + text->length, LINE_MAX_BYTES - text->length, format, arguments);
    va_end(arguments);
}

static void add_stat(struct text *text, const struct Stat *stat) {
    if (stat == NULL)
        return;
    add(text, " [czxid=0x%llx mzxid=0x%llx pzxid=0x%llx", (unsigned long long)stat->czxid,
        (unsigned long long)stat->mzxid, (unsigned long long)stat->pzxid);
    add(text, " version=%d cversion=%d aversion=%d", stat->version, stat->cversion, stat->aversion);
    add(text, " session=0x%llx", (unsigned long long)stat->ephemeralOwner);
    add(text, " length=%d children=%d]", stat->dataLength, stat->numChildren);
}

static void add_data(struct text *text, const char *value, int length) {
    if (length < 0)
        add(text, " null");
    else
        add(text, " '%.*s'", length, value);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Children come in no order that means anything. */
static void add_strings(struct text *text, const struct String_vector *strings) {
    char *sorted[LINES_MAX];
    for (int i = 0; i < strings->count; i++)
        sorted[i] = strings->data[i];
    qsort(sorted, strings->count, sizeof sorted[0], by_name);
    add(text, " {");
    for (int i = 0; i < strings->count; i++)
        add(text, i ? ", %s" : "%s", sorted[i]);
    add(text, "}");
}

static void add_acl(struct text *text, const struct ACL_vector *acl) {
    for (int i = 0; i < acl->count; i++)
        add(text, " %s:%s:%d", acl->data[i].id.scheme, acl->data[i].id.id, acl->data[i].perms);
}

static struct text started(const char *call, int rc) {
    struct text text = {.length = 0};
    add(&text, "%s: %s", call, zerror(rc));
    return text;
}

/* -- Synchronous calls -------------------------------------------------------------------------------------------- */

int show(const char *call, int rc) {
    printf("%s: %s\n", call, zerror(rc));
    return rc;
}

void show_path(const char *call, int rc, const char *path) {
    struct text text = started(call, rc);
    if (rc == ZOK)
        add(&text, " %s", path);
    puts(text.bytes);
}

void show_stat(const char *call, int rc, const struct Stat *stat) {
    struct text text = started(call, rc);
    if (rc == ZOK)
        add_stat(&text, stat);
    puts(text.bytes);
}

void show_data(const char *call, int rc, const char *value, int length, const struct Stat *stat) {
    struct text text = started(call, rc);
    if (rc == ZOK) {
        add_data(&text, value, length);
        add_stat(&text, stat);
    }
    puts(text.bytes);
}

void show_strings(const char *call, int rc, struct String_vector *strings, const struct Stat *stat) {
    struct text text = started(call, rc);
    if (rc == ZOK) {
        add_strings(&text, strings);
        add_stat(&text, stat);
        deallocate_String_vector(strings);
    }
    puts(text.bytes);
}

void show_acl(const char *call, int rc, struct ACL_vector *acl, const struct Stat *stat) {
    struct text text = started(call, rc);
    if (rc == ZOK) {
        add_acl(&text, acl);
        add_stat(&text, stat);
        deallocate_ACL_vector(acl);
    }
    puts(text.bytes);
}

/* -- Completions -------------------------------------------------------------------------------------------------- */

static void complete(struct text *text) {
    put(&completions, text->bytes);
}

static struct text answered(int rc, const void *data) {
    return started(data == NULL ? "?" : data, rc);
}

void completed(int rc, const void *data) {
    struct text text = answered(rc, data);
    complete(&text);
}

void completed_stat(int rc, const struct Stat *stat, const void *data) {
    struct text text = answered(rc, data);
    if (rc == ZOK)
        add_stat(&text, stat);
    complete(&text);
}

void completed_data(int rc, const char *value, int length, const struct Stat *stat, const void *data) {
    struct text text = answered(rc, data);
    if (rc == ZOK) {
        add_data(&text, value, length);
        add_stat(&text, stat);
    }
    complete(&text);
}

void completed_strings_stat(int rc, const struct String_vector *strings, const struct Stat *stat, const void *data) {
    struct text text = answered(rc, data);
    if (rc == ZOK) {
        add_strings(&text, strings);
        add_stat(&text, stat);
    }
    complete(&text);
}

void completed_strings(int rc, const struct String_vector *strings, const void *data) {
    completed_strings_stat(rc, strings, NULL, data);
}

void completed_string_stat(int rc, const char *value, const struct Stat *stat, const void *data) {
    struct text text = answered(rc, data);
    if (rc == ZOK) {
        add(&text, " %s", value);
        add_stat(&text, stat);
    }
    complete(&text);
}

void completed_string(int rc, const char *value, const void *data) {
    completed_string_stat(rc, value, NULL, data);
}

void completed_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    struct text text = answered(rc, data);
    if (rc == ZOK) {
        add_acl(&text, acl);
        add_stat(&text, stat);
    }
    complete(&text);
}

void show_completion(const char *call, int rc) {
    char line[LINE_MAX_BYTES];
    if (rc != ZOK) {
        show(call, rc);
        return;
    }
    take(&completions, line);
    puts(line);
}

/* -- Events and sessions ------------------------------------------------------------------------------------------ */

static const char *event_name(int type) {
    return type == ZOO_CREATED_EVENT       ? "created"
           : type == ZOO_DELETED_EVENT     ? "deleted"
           : type == ZOO_CHANGED_EVENT     ? "changed"
           : type == ZOO_CHILD_EVENT       ? "child"
           : type == ZOO_SESSION_EVENT     ? "session"
           : type == ZOO_NOTWATCHING_EVENT ? "notwatching"
                                           : "unknown";
}

void watch(zhandle_t *zh, int type, int state, const char *path, void *context) {
    struct text text = {.length = 0};
    (void)zh;
    add(&text, "%s state=%d path=%s context=%s", event_name(type), state, path == NULL ? "" : path,
        context == NULL ? "" : (const char *)context);
    put(&events, text.bytes);
}

/* The client tells its watchers of one event in no order that means anything. */
void show_events(int count) {
    static char lines[EVENTS_MAX][LINE_MAX_BYTES];
    char *sorted[EVENTS_MAX];
    for (int i = 0; i < count; i++) {
        take(&events, lines[i]);
        sorted[i] = lines[i];
    }
    qsort(sorted, count, sizeof sorted[0], by_name);
    for (int i = 0; i < count; i++)
        printf("  event %s\n", sorted[i]);
}

zhandle_t *connect_to(const char *hosts, const clientid_t *client_id) {
    zhandle_t *zh = zookeeper_init(hosts, watch, 10000, client_id, NULL, 0);
    if (zh == NULL) {
        printf("no handle for %s\n", hosts);
        exit(2);
    }
    show_events(1);
    return zh;
}
