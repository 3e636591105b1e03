/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of keys; see idempotency.h.
 */
#include "tenboxd/idempotency.h"

#include <string.h>

#include "libtenbox/local/line-log.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-limits.h"

#define KEY_HEADER "Idempotency-Key"
#define OPERATIONS "/v1/operations/"

typedef enum {
    KEY_RUNNING, /* a request of this process is being worked on */
    KEY_UNKNOWN, /* it was, and nobody saw what became of it: the target tells */
    KEY_DONE,
} KeyState;

struct _TbdKey {
    TbdIdempotency *table;
    char *name;        /* "UID:KEY" */
    char *fingerprint; /* of what the request is */
    char *target;
    KeyState state;
    gint64 time;      /* real, when it was first used */
    gint64 forgotten; /* monotonic, when it will be */
    gboolean makes_vm;

    /* DONE: */
    guint status;
    char *location; /* nullable */
    char *etag;     /* nullable */
    char *body;     /* nullable: not kept, or there was none */

    TbdHandler handler; /* of those who wait; static */
    GQueue waiters;     /* of TbdRequest, while RUNNING */
};

struct _TbdIdempotency {
    GHashTable *keys; /* name → TbdKey */
    GQueue order;     /* of TbdKey, oldest first */
    gsize size;       /* of all bodies */
    TbxLineLog *log;  /* nullable */
};

static void key_free(gpointer data)
{
    TbdKey *key = data;

    g_free(key->name);
    g_free(key->fingerprint);
    g_free(key->target);
    g_free(key->location);
    g_free(key->etag);
    g_free(key->body);
    g_free(key);
}

TbdIdempotency *tbd_idempotency_new(void)
{
    TbdIdempotency *self = g_new0(TbdIdempotency, 1);

    self->keys = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, key_free);
    return self;
}

void tbd_idempotency_free(TbdIdempotency *self)
{
    if (self == NULL) {
        return;
    }
    tbd_idempotency_close(self);
    g_queue_clear(&self->order);
    g_hash_table_unref(self->keys);
    g_free(self);
}

void tbd_idempotency_close(TbdIdempotency *self)
{
    g_clear_pointer(&self->log, tbx_line_log_free);
    /* Whoever waits keeps the daemon, and so this table. */
    for (GList *link = self->order.head; link != NULL; link = link->next) {
        TbdKey *key = link->data;
        TbdRequest *request;

        while ((request = g_queue_pop_head(&key->waiters)) != NULL) {
            tbd_request_fail(request,
                             tbx_error_new("shutting-down", NULL, "the daemon is shutting down"));
        }
    }
}

const char *tbd_key_get_target(const TbdKey *key)
{
    return key->target;
}

/* ---- on disk --------------------------------------------------------------------------------- */

static void write_key(TbdKey *key, gboolean is_gone)
{
    g_autoptr(JsonObject) line = NULL;

    if (key->table->log == NULL) {
        return;
    }
    line = json_object_new();
    json_object_set_string_member(line, "key", key->name);
    if (is_gone) {
        json_object_set_boolean_member(line, "gone", TRUE);
        tbx_line_log_append(key->table->log, line);
        return;
    }
    json_object_set_string_member(line, "fingerprint", key->fingerprint);
    json_object_set_string_member(line, "target", key->target);
    json_object_set_boolean_member(line, "makes_vm", key->makes_vm);
    json_object_set_int_member(line, "time", key->time);
    if (key->state == KEY_DONE) {
        json_object_set_int_member(line, "status", key->status);
        if (key->location != NULL) {
            json_object_set_string_member(line, "location", key->location);
        }
        if (key->etag != NULL) {
            json_object_set_string_member(line, "etag", key->etag);
        }
        if (key->body != NULL) {
            json_object_set_string_member(line, "body", key->body);
        }
    }
    tbx_line_log_append(key->table->log, line);
}

/* What is being worked on must be in the newer file, too. */
static void carry_running(TbxLineLog *log, gpointer user_data)
{
    TbdIdempotency *self = user_data;

    for (GList *link = self->order.head; link != NULL; link = link->next) {
        TbdKey *key = link->data;

        if (key->state != KEY_DONE) {
            write_key(key, FALSE);
        }
    }
}

static void drop_key(TbdKey *key)
{
    TbdIdempotency *self = key->table;

    g_queue_remove(&self->order, key);
    self->size -= key->body != NULL ? strlen(key->body) : 0;
    g_hash_table_remove(self->keys, key->name);
}

static uid_t uid_of(const TbdKey *key)
{
    return (uid_t)g_ascii_strtoull(key->name, NULL, 10);
}

static gsize share_of(const TbdKey *key, gboolean by_size)
{
    return !by_size ? 1 : key->body != NULL ? strlen(key->body) : 0;
}

/* (transfer full): uid → how many keys, or how many bytes of answers. */
static GHashTable *count_shares(TbdIdempotency *self, gboolean by_size)
{
    GHashTable *shares = g_hash_table_new(NULL, NULL);

    for (GList *link = self->order.head; link != NULL; link = link->next) {
        gpointer uid = GUINT_TO_POINTER(uid_of(link->data));
        gsize share = GPOINTER_TO_SIZE(g_hash_table_lookup(shares, uid));

        g_hash_table_insert(shares, uid, GSIZE_TO_POINTER(share + share_of(link->data, by_size)));
    }
    return shares;
}

static uid_t find_greediest(GHashTable *shares)
{
    gsize most = 0;
    uid_t found = 0;
    GHashTableIter iter;
    gpointer uid, share;

    g_hash_table_iter_init(&iter, shares);
    while (g_hash_table_iter_next(&iter, &uid, &share)) {
        if (GPOINTER_TO_SIZE(share) > most) {
            most = GPOINTER_TO_SIZE(share);
            found = GPOINTER_TO_UINT(uid);
        }
    }
    return found;
}

/* The oldest keys of whoever has the most go, until all together have no more than @limit. */
static void prune_to(TbdIdempotency *self, gboolean by_size, gsize limit)
{
    g_autoptr(GHashTable) shares = NULL;

    while ((by_size ? self->size : self->order.length) > limit) {
        TbdKey *oldest = NULL;
        uid_t uid;

        if (shares == NULL) {
            shares = count_shares(self, by_size);
        }
        uid = find_greediest(shares);
        for (GList *link = self->order.head; link != NULL && oldest == NULL; link = link->next) {
            TbdKey *key = link->data;

            if (key->state != KEY_RUNNING && uid_of(key) == uid && share_of(key, by_size) > 0) {
                oldest = key;
            }
        }
        if (oldest == NULL) {
            return; /* all of them are being worked on */
        }
        g_hash_table_insert(
            shares, GUINT_TO_POINTER(uid),
            GSIZE_TO_POINTER(GPOINTER_TO_SIZE(g_hash_table_lookup(shares, GUINT_TO_POINTER(uid))) -
                             share_of(oldest, by_size)));
        drop_key(oldest);
    }
}

/* Forgets what is too old or too much, of the user who has the most; never what is being worked on. */
static void prune(TbdIdempotency *self)
{
    gint64 now = g_get_monotonic_time();

    for (GList *link = self->order.head; link != NULL;) {
        TbdKey *key = link->data;

        link = link->next;
        if (key->state != KEY_RUNNING && now >= key->forgotten) {
            drop_key(key);
        }
    }
    prune_to(self, FALSE, TBD_KEYS_MAX);
    prune_to(self, TRUE, TBD_KEYS_BYTES_MAX);
}

/* @age: how long ago it was first used, in microseconds. */
static TbdKey *add_key(TbdIdempotency *self, const char *name, const char *fingerprint,
                       const char *target, gint64 age)
{
    TbdKey *key = g_new0(TbdKey, 1);

    key->table = self;
    key->name = g_strdup(name);
    key->fingerprint = g_strdup(fingerprint);
    key->target = g_strdup(target);
    key->time = g_get_real_time() - age;
    key->forgotten = g_get_monotonic_time() + TBD_KEYS_SECONDS * G_USEC_PER_SEC - age;
    g_queue_push_tail(&self->order, key);
    g_hash_table_insert(self->keys, key->name, key);
    return key;
}

static const char *get_text(JsonObject *line, const char *name)
{
    return json_object_get_string_member_with_default(line, name, NULL);
}

static void load_line(JsonObject *line, gpointer user_data)
{
    TbdIdempotency *self = user_data;
    const char *name = get_text(line, "key");
    const char *fingerprint = get_text(line, "fingerprint");
    const char *target = get_text(line, "target");
    TbdKey *key = name != NULL ? g_hash_table_lookup(self->keys, name) : NULL;
    gint64 age = g_get_real_time() - json_object_get_int_member_with_default(line, "time", 0);

    if (key != NULL) {
        drop_key(key); /* a later line takes the place of an earlier one */
    }
    if (name == NULL || fingerprint == NULL || target == NULL) {
        return;
    }
    /* A clock that was set back makes nothing older or younger than it can be. */
    key =
        add_key(self, name, fingerprint, target, CLAMP(age, 0, TBD_KEYS_SECONDS * G_USEC_PER_SEC));
    key->makes_vm = json_object_get_boolean_member_with_default(line, "makes_vm", FALSE);
    key->status = (guint)json_object_get_int_member_with_default(line, "status", 0);
    key->state = key->status != 0 ? KEY_DONE : KEY_UNKNOWN;
    key->location = g_strdup(get_text(line, "location"));
    key->etag = g_strdup(get_text(line, "etag"));
    key->body = g_strdup(get_text(line, "body"));
    self->size += key->body != NULL ? strlen(key->body) : 0;
}

gboolean tbd_idempotency_open(TbdIdempotency *self, const char *data_folder, GError **error)
{
    static const TbxLineLogHandlers handlers = {load_line, carry_running};

    self->log =
        tbx_line_log_open(data_folder, TBD_KEYS_FILE, TBD_KEYS_BYTES_MAX, &handlers, self, error);
    prune(self);
    return self->log != NULL;
}

/* ---- a request ------------------------------------------------------------------------------- */

/* Says the same again. */
static void replay(TbdKey *key, TbdRequest *request)
{
    tbd_request_set_answer_header(request, "Idempotency-Replayed", "true");
    if (key->location != NULL) {
        tbd_request_set_answer_header(request, "Location", key->location);
    }
    if (key->etag != NULL) {
        tbd_request_set_answer_header(request, "ETag", key->etag);
    }
    if (key->body != NULL) {
        tbd_request_reply_text(request, key->status, "application/json", g_strdup(key->body));
    } else {
        tbd_request_reply_empty(request, key->status);
    }
}

/* Begins to work on @request, which is taken. */
static void run(TbdKey *key, TbdRequest *request, TbdHandler handler)
{
    key->state = KEY_RUNNING;
    key->handler = handler;
    write_key(key, FALSE);
    tbd_request_set_key(request, key);
    handler(request);
}

/* The request whose key this is has not come to an answer that can be kept: the next one who waits does
 * the work, and so on. */
static void run_next(TbdKey *key)
{
    TbdRequest *request = g_queue_pop_head(&key->waiters);

    if (request != NULL) {
        g_free(key->target);
        key->target = g_uuid_string_random();
        run(key, request, key->handler);
    }
}

void tbd_key_answered(TbdKey *key, guint status, const char *code, const char *location,
                      const char *etag, GBytes *body)
{
    TbdIdempotency *self = key->table;
    gboolean is_refused =
        status >= 400 && status < 500 && g_strcmp0(code, "operation-cancelled") != 0;
    TbdRequest *request;

    if (status >= 300) {
        key->state = KEY_UNKNOWN;
        if (!g_queue_is_empty(&key->waiters)) {
            run_next(key);
        } else if (is_refused) {
            write_key(key, TRUE);
            drop_key(key);
        }
        return;
    }
    key->state = KEY_DONE;
    key->status = status;
    key->location = g_strdup(location);
    key->etag = g_strdup(etag);
    /* What was under way already was joined, and has an id of its own. */
    if (!key->makes_vm && location != NULL && g_str_has_prefix(location, OPERATIONS)) {
        g_free(key->target);
        key->target = g_strdup(location + strlen(OPERATIONS));
    }
    if (body != NULL && g_bytes_get_size(body) <= TBD_KEYS_BODY_MAX) {
        key->body = g_strndup(g_bytes_get_data(body, NULL), g_bytes_get_size(body));
        self->size += strlen(key->body);
    }
    write_key(key, FALSE);
    while ((request = g_queue_pop_head(&key->waiters)) != NULL) {
        replay(key, request);
    }
    prune(self);
}

/* What a request with a key is, whatever its other headers say and however long it wants to wait. */
static char *make_fingerprint(TbdRequest *request)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    JsonObject *body = tbd_request_get_body(request);
    g_autofree char *text = body != NULL ? tbx_json_print_object(body, NULL) : NULL;
    const char *parts[] = {tbd_request_get_method(request), tbd_request_get_route(request),
                           tbd_request_get_parameter(request, 0), text};

    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        const char *part = parts[i] != NULL ? parts[i] : "";

        g_checksum_update(checksum, (const guchar *)part, (gssize)strlen(part) + 1);
    }
    return g_strdup(g_checksum_get_string(checksum));
}

static gboolean check_key(const char *key, GError **error)
{
    gsize length = strlen(key);

    for (const char *at = key; *at != '\0'; at++) {
        if (!g_ascii_isgraph(*at)) {
            length = 0;
        }
    }
    if (length == 0 || length > TBD_KEY_SIZE_MAX) {
        tbx_error_set(error, "header-invalid", KEY_HEADER,
                      KEY_HEADER " is 1 to %d printable characters without spaces",
                      TBD_KEY_SIZE_MAX);
        return FALSE;
    }
    return TRUE;
}

/* ---- a key that was used before -------------------------------------------------------------- */

typedef struct {
    TbdIdempotency *table;
    char *name;
    TbdHandler handler;
} Lookup;

static void lookup_free(Lookup *lookup)
{
    g_free(lookup->name);
    g_free(lookup);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Lookup, lookup_free)

/* There is no trace of what the request was to make: it has not been worked on. */
static void run_anew(Lookup *lookup, TbdRequest *request)
{
    TbdKey *key = g_hash_table_lookup(lookup->table->keys, lookup->name);

    if (key != NULL && key->state == KEY_UNKNOWN) {
        g_free(key->target);
        key->target = g_uuid_string_random();
        run(key, request, lookup->handler);
    } else if (key != NULL && key->state == KEY_RUNNING) {
        g_queue_push_tail(&key->waiters, request);
    } else if (key != NULL) {
        replay(key, request);
    } else {
        lookup->handler(request);
    }
}

/* The target is there: @key (it may have been settled meanwhile) gets its answer by @request. */
static void claim(Lookup *lookup, TbdRequest *request)
{
    TbdKey *key = g_hash_table_lookup(lookup->table->keys, lookup->name);

    tbd_request_set_answer_header(request, "Idempotency-Replayed", "true");
    if (key != NULL && key->state == KEY_UNKNOWN) {
        key->state = KEY_RUNNING;
        key->handler = lookup->handler;
        tbd_request_set_key(request, key);
    }
}

static void on_vm(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    g_autoptr(Lookup) lookup = tbd_request_steal_state(request);
    GError *error = NULL;
    g_autoptr(TbxVmRecord) vm = g_task_propagate_pointer(G_TASK(result), &error);

    if (vm != NULL) {
        claim(lookup, request);
        tbd_vms_reply_created(request, vm);
    } else if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND)) {
        g_error_free(error);
        run_anew(lookup, request);
    } else {
        tbd_request_fail(request, error);
    }
}

static void on_operation(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    g_autoptr(Lookup) lookup = tbd_request_steal_state(request);
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) operation = g_task_propagate_pointer(G_TASK(result), &error);

    if (operation != NULL) {
        claim(lookup, request);
        tbd_operation_reply(request, operation);
    } else if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND)) {
        g_error_free(error);
        run_anew(lookup, request);
    } else {
        tbd_request_fail(request, error);
    }
}

/* Looks whether there is what the request was to make. */
static void look_up_target(TbdKey *key, TbdRequest *request, TbdHandler handler)
{
    TbxDriver *driver = tbd_request_get_driver(request);
    Lookup *lookup = g_new0(Lookup, 1);

    lookup->table = key->table;
    lookup->name = g_strdup(key->name);
    lookup->handler = handler;
    tbd_request_set_state(request, lookup);
    if (key->makes_vm) {
        tbx_driver_vm_get(driver, key->target, tbd_request_task(request, on_vm));
    } else {
        tbx_driver_operation_get(driver, key->target, 0, tbd_request_task(request, on_operation));
    }
}

static void use_again(TbdKey *key, TbdRequest *request, TbdHandler handler)
{
    /* An operation is shown as it is now, running or not; a VM as it was made. */
    if (key->state == KEY_UNKNOWN || !key->makes_vm) {
        look_up_target(key, request, handler);
    } else if (key->state == KEY_RUNNING) {
        g_queue_push_tail(&key->waiters, request);
    } else {
        replay(key, request);
    }
}

void tbd_idempotency_dispatch(TbdIdempotency *self, TbdRequest *request, TbdHandler handler,
                              gboolean makes_vm)
{
    const char *given = tbd_request_get_header(request, KEY_HEADER);
    g_autofree char *name = NULL;
    g_autofree char *fingerprint = NULL;
    g_autofree char *target = NULL;
    GError *error = NULL;
    TbdKey *key;

    if (given == NULL && tbd_request_has_header(request, KEY_HEADER)) {
        tbx_error_set(&error, "header-invalid", KEY_HEADER, KEY_HEADER " comes twice");
        tbd_request_fail(request, error);
        return;
    }
    if (given == NULL) {
        handler(request);
        return;
    }
    if (handler == tbd_vm_send_key) {
        tbx_error_set(&error, "header-invalid", KEY_HEADER,
                      "a key is pressed as often as it is asked for: this takes no " KEY_HEADER);
        tbd_request_fail(request, error);
        return;
    }
    if (!check_key(given, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    prune(self);
    name = g_strdup_printf("%u:%s", (guint)tbd_request_get_uid(request), given);
    fingerprint = make_fingerprint(request);
    key = g_hash_table_lookup(self->keys, name);
    if (key != NULL && strcmp(key->fingerprint, fingerprint) != 0) {
        tbd_request_fail(request,
                         tbx_error_new("idempotency-mismatch", KEY_HEADER,
                                       "this key was used for another request before; take "
                                       "a new one"));
        return;
    }
    if (key != NULL) {
        use_again(key, request, handler);
        return;
    }
    target = g_uuid_string_random();
    key = add_key(self, name, fingerprint, target, 0);
    key->makes_vm = makes_vm;
    run(key, request, handler);
}
