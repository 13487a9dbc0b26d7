/* Every call of ZooKeeper's C client that reaches a server, with what it gives; the argument is the server's address. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shown.h"

static struct ACL_vector *const OPEN = &ZOO_OPEN_ACL_UNSAFE;

static char path[256];
static char data[DATA_MAX];
static struct Stat stat;
static struct String_vector strings;
static struct ACL_vector acl;

static void section(const char *name) {
    printf("== %s\n", name);
}

static void get(zhandle_t *zh, const char *node) {
    int length = DATA_MAX;
    int rc = zoo_get(zh, node, 0, data, &length, &stat);
    show_data("get", rc, data, length, &stat);
}

static void create(zhandle_t *zh, const char *node, const char *value, int mode) {
    int length = value == NULL ? -1 : (int)strlen(value);
    show_path("create", zoo_create(zh, node, value, length, OPEN, mode, path, sizeof path), path);
}

static void nodes(zhandle_t *zh) {
    section("nodes");
    create(zh, "/c", "top", ZOO_PERSISTENT);
    create(zh, "/c", "again", ZOO_PERSISTENT);
    create(zh, "/missing/child", "x", ZOO_PERSISTENT);
    create(zh, "/c/null", NULL, ZOO_PERSISTENT);
    create(zh, "/c/empty", "", ZOO_PERSISTENT);
    create(zh, "/c/eph", "e", ZOO_EPHEMERAL);
    create(zh, "/c/eph/child", "x", ZOO_PERSISTENT);
    create(zh, "/c/seq-", "s", ZOO_PERSISTENT_SEQUENTIAL);
    create(zh, "/c/ephseq-", "s", ZOO_EPHEMERAL_SEQUENTIAL);
    create(zh, "/c/box", "b", ZOO_CONTAINER);
    create(zh, "/c/\xc3\xbcn\xc3\xaf", "gr\xc3\xbcn", ZOO_PERSISTENT);
    create(zh, "relative", "x", ZOO_PERSISTENT);
    create(zh, "/c/..", "x", ZOO_PERSISTENT);
    create(zh, "/c//x", "x", ZOO_PERSISTENT);
    show_path("create_ttl",
              zoo_create_ttl(zh, "/c/ttl", "t", 1, OPEN, ZOO_PERSISTENT_WITH_TTL, 86400000, path, sizeof path), path);
    show_path("create_ttl",
              zoo_create_ttl(zh, "/c/ttl-", "t", 1, OPEN, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 86400000, path,
                             sizeof path),
              path);
    int rc = zoo_create2(zh, "/c/two", "2", 1, OPEN, ZOO_PERSISTENT, path, sizeof path, &stat);
    show_path("create2", rc, path);
    show_stat("create2", rc, &stat);
    rc = zoo_create2_ttl(zh, "/c/two-ttl", "2", 1, OPEN, ZOO_PERSISTENT_WITH_TTL, 86400000, path, sizeof path, &stat);
    show_path("create2_ttl", rc, path);
    show_stat("create2_ttl", rc, &stat);
    get(zh, "/c");
    get(zh, "/c/null");
    get(zh, "/c/empty");
    get(zh, "/c/eph");
    get(zh, "/c/box");
    get(zh, "/c/ttl");
    get(zh, "/c/\xc3\xbcn\xc3\xaf");
    get(zh, "/c/missing");
    show_stat("exists", zoo_exists(zh, "/c/seq-0000000003", 0, &stat), &stat);
    show_stat("exists", zoo_exists(zh, "/c/missing", 0, &stat), &stat);
    show("set", zoo_set(zh, "/c", "new", 3, 0));
    show("set", zoo_set(zh, "/c", "stale", 5, 0));
    show("set", zoo_set(zh, "/c/missing", "x", 1, -1));
    show("set", zoo_set(zh, "/c/two", NULL, -1, -1));
    get(zh, "/c/two");
    show_stat("set2", zoo_set2(zh, "/c", "newer", 5, -1, &stat), &stat);
    show_strings("get_children", zoo_get_children(zh, "/c", 0, &strings), &strings, NULL);
    show_strings("get_children2", zoo_get_children2(zh, "/c", 0, &strings, &stat), &strings, &stat);
    show_strings("get_children", zoo_get_children(zh, "/c/missing", 0, &strings), &strings, NULL);
    show("delete", zoo_delete(zh, "/c/two", 7));
    show("delete", zoo_delete(zh, "/c/two", 1));
    show("delete", zoo_delete(zh, "/c/two", -1));
    show("delete", zoo_delete(zh, "/c", -1));
}

static void access_control(zhandle_t *zh) {
    section("access control");
    struct ACL entries[2] = {{ZOO_PERM_READ | ZOO_PERM_ADMIN, {"world", "anyone"}}, {ZOO_PERM_ALL, {"auth", ""}}};
    struct ACL_vector readable = {1, entries}, own = {2, entries}, none = {0, entries};
    struct ACL odd[1] = {{ZOO_PERM_ALL, {"nobody", "knows"}}};
    struct ACL_vector unknown = {1, odd};
    show_acl("get_acl", zoo_get_acl(zh, "/c", &acl, &stat), &acl, &stat);
    show_acl("get_acl", zoo_get_acl(zh, "/c/missing", &acl, &stat), &acl, &stat);
    show("create", zoo_create(zh, "/c/none", "x", 1, &none, 0, path, sizeof path));
    show("create", zoo_create(zh, "/c/unknown", "x", 1, &unknown, 0, path, sizeof path));
    show("create", zoo_create(zh, "/c/own", "x", 1, &own, 0, path, sizeof path));
    show_completion("add_auth", zoo_add_auth(zh, "digest", "ann:secret", 10, completed, "add_auth"));
    show_path("create", zoo_create(zh, "/c/own", "x", 1, &own, 0, path, sizeof path), path);
    show_acl("get_acl", zoo_get_acl(zh, "/c/own", &acl, &stat), &acl, &stat);
    show_path("create", zoo_create(zh, "/c/acl", "x", 1, &readable, 0, path, sizeof path), path);
    show("set", zoo_set(zh, "/c/acl", "y", 1, -1));
    create(zh, "/c/acl/child", "x", ZOO_PERSISTENT);
    show("set_acl", zoo_set_acl(zh, "/c/acl", 3, OPEN));
    show("set_acl", zoo_set_acl(zh, "/c/acl", 0, &ZOO_CREATOR_ALL_ACL));
    show("set_acl", zoo_set_acl(zh, "/c/missing", -1, OPEN));
    show("set_acl", zoo_set_acl(zh, "/c/acl", -1, &none));
    show_acl("get_acl", zoo_get_acl(zh, "/c/acl", &acl, &stat), &acl, &stat);
    show("set", zoo_set(zh, "/c/acl", "y", 1, -1));
}

static void watches(zhandle_t *zh) {
    section("watches");
    int length, rc;
    show_stat("exists", zoo_exists(zh, "/c/w", 1, &stat), &stat);
    create(zh, "/c/w", "1", ZOO_PERSISTENT);
    show_events(1);
    length = DATA_MAX;
    rc = zoo_get(zh, "/c/w", 1, data, &length, &stat);
    show_data("get", rc, data, length, &stat);
    show("set", zoo_set(zh, "/c/w", "2", 1, -1));
    show_events(1);
    show("set", zoo_set(zh, "/c/w", "3", 1, -1));
    show_strings("get_children", zoo_get_children(zh, "/c/w", 1, &strings), &strings, NULL);
    create(zh, "/c/w/child", "x", ZOO_PERSISTENT);
    show_events(1);
    show_strings("wget_children", zoo_wget_children(zh, "/c/w", watch, "children", &strings), &strings, NULL);
    show("delete", zoo_delete(zh, "/c/w/child", -1));
    show_events(1);
    show_strings("wget_children2", zoo_wget_children2(zh, "/c/w", watch, "children2", &strings, &stat), &strings,
                 &stat);
    show_stat("wexists", zoo_wexists(zh, "/c/w", watch, "both", &stat), &stat);
    show("delete", zoo_delete(zh, "/c/w", -1));
    show_events(2);
    create(zh, "/c/w", "again", ZOO_PERSISTENT);
    length = DATA_MAX;
    rc = zoo_wget(zh, "/c/w", watch, "data", data, &length, &stat);
    show_data("wget", rc, data, length, &stat);
    show("remove_watches", zoo_remove_watches(zh, "/c/w", ZWATCHTYPE_CHILD, watch, "data", 0));
    show("remove_watches", zoo_remove_watches(zh, "/c/w", ZWATCHTYPE_DATA, watch, "data", 0));
    show("remove_watches", zoo_remove_watches(zh, "/c/w", ZWATCHTYPE_DATA, watch, "data", 0));
    show_stat("wexists", zoo_wexists(zh, "/c/w", watch, "any", &stat), &stat);
    show("remove_all_watches", zoo_remove_all_watches(zh, "/c/w", ZWATCHTYPE_ANY, 0));
    show("set", zoo_set(zh, "/c/w", "unheard", 7, -1));
}

static void show_results(const char *call, int rc, const zoo_op_result_t *results, int count) {
    show(call, rc);
    for (int i = 0; i < count; i++)
        show("  result", results[i].err);
}

static void multi(zhandle_t *zh) {
    section("multi");
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    char first[64], second[64];
    zoo_create_op_init(&ops[0], "/c/m", "m", 1, OPEN, ZOO_PERSISTENT, first, sizeof first);
    zoo_create_op_init(&ops[1], "/c/m/s-", "s", 1, OPEN, ZOO_PERSISTENT_SEQUENTIAL, second, sizeof second);
    zoo_check_op_init(&ops[2], "/c/m", 0);
    zoo_set_op_init(&ops[3], "/c/m", "n", 1, 0, &stat);
    zoo_delete_op_init(&ops[4], "/c/m/s-0000000000", 0);
    show_results("multi", zoo_multi(zh, 5, ops, results), results, 5);
    printf("%s %s\n", first, second);
    show_stat("set in multi", ZOK, &stat);
    zoo_create_op_init(&ops[0], "/c/m/new", "m", 1, OPEN, ZOO_PERSISTENT, first, sizeof first);
    zoo_check_op_init(&ops[1], "/c/m", 7);
    zoo_delete_op_init(&ops[2], "/c/m", -1);
    show_results("multi", zoo_multi(zh, 3, ops, results), results, 3);
    show_stat("exists", zoo_exists(zh, "/c/m/new", 0, &stat), &stat);
    zoo_delete_op_init(&ops[0], "/c/missing", -1);
    show_completion("amulti", zoo_amulti(zh, 1, ops, results, completed, "amulti"));
    show("  result", results[0].err);
    show("multi of nothing", zoo_multi(zh, 0, ops, results));
}

static void asynchronous(zhandle_t *zh) {
    section("asynchronous");
    static struct ACL_vector *const open = &ZOO_OPEN_ACL_UNSAFE;
    show_completion("acreate", zoo_acreate(zh, "/c/a", "a", 1, open, 0, completed_string, "acreate"));
    show_completion("acreate", zoo_acreate(zh, "/c/a", "a", 1, open, 0, completed_string, "acreate"));
    show_completion("acreate_ttl", zoo_acreate_ttl(zh, "/c/attl", "a", 1, open, ZOO_PERSISTENT_WITH_TTL, 86400000,
                                                   completed_string, "acreate_ttl"));
    show_completion("acreate2", zoo_acreate2(zh, "/c/a/2", "a", 1, open, 0, completed_string_stat, "acreate2"));
    show_completion("acreate2_ttl", zoo_acreate2_ttl(zh, "/c/attl2", "a", 1, open, ZOO_PERSISTENT_WITH_TTL, 86400000,
                                                     completed_string_stat, "acreate2_ttl"));
    show_completion("aexists", zoo_aexists(zh, "/c/a", 1, completed_stat, "aexists"));
    show_completion("aset", zoo_aset(zh, "/c/a", "b", 1, 0, completed_stat, "aset"));
    show_events(1);
    show_completion("aset", zoo_aset(zh, "/c/a", "b", 1, 0, completed_stat, "aset"));
    show_completion("awexists", zoo_awexists(zh, "/c/a", watch, "awexists", completed_stat, "awexists"));
    show_completion("aget", zoo_aget(zh, "/c/a", 0, completed_data, "aget"));
    show_completion("awget", zoo_awget(zh, "/c/a/2", watch, "awget", completed_data, "awget"));
    show_completion("aget_children", zoo_aget_children(zh, "/c/a", 0, completed_strings, "aget_children"));
    show_completion("aget_children2", zoo_aget_children2(zh, "/c/a", 0, completed_strings_stat, "aget_children2"));
    show_completion("awget_children",
                    zoo_awget_children(zh, "/c/a", watch, "list", completed_strings, "awget_children"));
    show_completion("adelete", zoo_adelete(zh, "/c/a/2", -1, completed, "adelete"));
    show_events(2);
    show_completion("awget_children2",
                    zoo_awget_children2(zh, "/c/a", watch, "list2", completed_strings_stat, "awget_children2"));
    show_completion("aget_acl", zoo_aget_acl(zh, "/c/a", completed_acl, "aget_acl"));
    show_completion("aset_acl", zoo_aset_acl(zh, "/c/a", 0, &ZOO_READ_ACL_UNSAFE, completed, "aset_acl"));
    show_completion("aset", zoo_aset(zh, "/c/a", "c", 1, -1, completed_stat, "aset"));
    show_completion("async", zoo_async(zh, "/c", completed_string, "async"));
    show_completion("async", zoo_async(zh, "/c/missing", completed_string, "async"));
    show_completion("adelete", zoo_adelete(zh, "/c/a", -1, completed, "adelete"));
    show_events(2);
}

static void configuration(zhandle_t *zh, const char *change, const char *undo) {
    section("configuration");
    int length = DATA_MAX;
    int rc = zoo_getconfig(zh, 0, data, &length, &stat);
    show_data("getconfig", rc, data, length, &stat);
    show_completion("agetconfig", zoo_agetconfig(zh, 0, completed_data, "agetconfig"));
    length = DATA_MAX;
    rc = zoo_reconfig(zh, NULL, change, NULL, -1, data, &length, &stat);
    show_data("reconfig", rc, data, length, &stat);
    show_completion("add_auth", zoo_add_auth(zh, "digest", "super:test", 10, completed, "add_auth"));
    length = DATA_MAX;
    rc = zoo_wgetconfig(zh, watch, "config", data, &length, &stat);
    show_data("wgetconfig", rc, data, length, &stat);
    length = DATA_MAX;
    rc = zoo_reconfig(zh, NULL, change, NULL, 99, data, &length, &stat);
    show_data("reconfig", rc, data, length, &stat);
    length = DATA_MAX;
    rc = zoo_reconfig(zh, NULL, change, NULL, -1, data, &length, &stat);
    show_data("reconfig", rc, data, length, &stat);
    show_events(1);
    show_completion("awgetconfig", zoo_awgetconfig(zh, watch, "config2", completed_data, "awgetconfig"));
    show_completion("areconfig", zoo_areconfig(zh, undo, NULL, NULL, -1, completed_data, "areconfig"));
    show_events(1);
}

/* A process that ends without a goodbye leaves its session to who knows its id and password. */
static clientid_t abandoned_session(const char *hosts) {
    clientid_t id;
    int ends[2];
    if (pipe(ends) != 0)
        exit(2);
    fflush(stdout);
    if (fork() == 0) {
        zhandle_t *zh = connect_to(hosts, NULL);
        create(zh, "/abandoned", "x", ZOO_EPHEMERAL);
        fflush(stdout);
        _exit(write(ends[1], zoo_client_id(zh), sizeof id) != sizeof id);
    }
    if (read(ends[0], &id, sizeof id) != sizeof id || wait(NULL) < 0)
        exit(2);
    return id;
}

static void resumed(const char *hosts, clientid_t id) {
    section("a session of another process");
    zhandle_t *zh = connect_to(hosts, &id);
    printf("the same session: %d\n", zoo_client_id(zh)->client_id == id.client_id);
    get(zh, "/abandoned");
    create(zh, "/abandoned", "again", ZOO_EPHEMERAL);
    show("set", zoo_set(zh, "/abandoned", "mine", 4, 0));
    zookeeper_close(zh);
}

static zhandle_t *sessions(zhandle_t *zh, const char *hosts) {
    section("sessions");
    printf("state %d, timeout %d, unrecoverable %d\n", zoo_state(zh), zoo_recv_timeout(zh), is_unrecoverable(zh));
    show("close", zookeeper_close(zh));
    zh = connect_to(hosts, NULL);
    show_stat("exists", zoo_exists(zh, "/c/eph", 0, &stat), &stat);
    show_stat("exists", zoo_exists(zh, "/abandoned", 0, &stat), &stat);
    clientid_t wrong = {.client_id = 0x1234, .passwd = "nobody's secret"};
    zhandle_t *refused = connect_to(hosts, &wrong);
    printf("state %d, unrecoverable %d\n", zoo_state(refused), is_unrecoverable(refused));
    show_stat("exists", zoo_exists(refused, "/c", 0, &stat), &stat);
    zookeeper_close(refused);
    refused = connect_to(hosts, NULL);
    show_completion("add_auth", zoo_add_auth(refused, "nonsense", "x", 1, completed, "add_auth"));
    show_events(1);
    show_stat("exists", zoo_exists(refused, "/c", 0, &stat), &stat);
    zookeeper_close(refused);
    return zh;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: client HOST:PORT LEAVING JOINING\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_log_stream(fopen("/dev/null", "w"));
    clientid_t abandoned = abandoned_session(arguments[1]); /* first: a fork takes no threads along */
    resumed(arguments[1], abandoned);
    zhandle_t *zh = connect_to(arguments[1], NULL);
    nodes(zh);
    access_control(zh);
    watches(zh);
    multi(zh);
    asynchronous(zh);
    configuration(zh, arguments[2], arguments[3]);
    zh = sessions(zh, arguments[1]);
    return show("close", zookeeper_close(zh));
}
