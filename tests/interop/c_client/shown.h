/* Printing what calls gave, and waiting for what the client's threads bring. */
#ifndef SHOWN_H
#define SHOWN_H

#include <stdint.h>
#include <zookeeper/zookeeper.h>

enum { WAIT_S = 60, DATA_MAX = 4096 };

/* Events, oldest first; each test waits for as many as it caused. */
void watch(zhandle_t *zh, int type, int state, const char *path, void *context);
void show_events(int count);

/* Completions of the asynchronous calls; show_completion waits for the next one. */
void completed(int rc, const void *data);
void completed_stat(int rc, const struct Stat *stat, const void *data);
void completed_data(int rc, const char *value, int length, const struct Stat *stat, const void *data);
void completed_strings(int rc, const struct String_vector *strings, const void *data);
void completed_strings_stat(int rc, const struct String_vector *strings, const struct Stat *stat, const void *data);
void completed_string(int rc, const char *value, const void *data);
void completed_string_stat(int rc, const char *value, const struct Stat *stat, const void *data);
void completed_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data);
void show_completion(const char *call, int rc);

/* What a synchronous call gave; the result is shown only after ZOK. */
int show(const char *call, int rc);
void show_path(const char *call, int rc, const char *path);
void show_stat(const char *call, int rc, const struct Stat *stat);
void show_data(const char *call, int rc, const char *value, int length, const struct Stat *stat);
void show_strings(const char *call, int rc, struct String_vector *strings, const struct Stat *stat);
void show_acl(const char *call, int rc, struct ACL_vector *acl, const struct Stat *stat);

/* A started session; ends the program when there is none in time. */
zhandle_t *connect_to(const char *hosts, const clientid_t *client_id);

#endif
