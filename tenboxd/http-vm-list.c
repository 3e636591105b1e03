/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GET /v1/vms: which of the VMs, in what portions, and without the whole answer in memory.
 *
 * The documents are the driver's own, so that a list of many costs references; their JSON is made piece by
 * piece while the client takes it. A short list is answered as one text.
 *
 * A page token is the position of the last VM of the page before: what is created or deleted meanwhile shifts
 * nothing. One that is renamed meanwhile may be in two pages, or in none.
 */
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-vm.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/http-stream.h"

/* Above so many documents the answer is written as it comes to be. */
#define SHORT_LIST 200

/* ---- which ones ------------------------------------------------------------------------------ */

static gboolean state_fits(const TbdQuery *query, const TbxVmRecord *record)
{
    g_auto(GStrv) words = NULL;

    if (query->state == NULL) {
        return TRUE;
    }
    words = g_strsplit(query->state, ",", -1);
    return g_strv_contains((const char *const *)words,
                           tenbox_vm_state_to_string((TenboxVmState)record->state));
}

/* KEY or KEY=VALUE. */
static gboolean label_fits(const char *wanted, const TbxVmRecord *record)
{
    const char *equals = strchr(wanted, '=');
    g_autofree char *key = equals != NULL ? g_strndup(wanted, (gsize)(equals - wanted)) : NULL;
    const char *value = record->labels != NULL
                            ? g_hash_table_lookup(record->labels, key != NULL ? key : wanted)
                            : NULL;

    return value != NULL && (equals == NULL || strcmp(value, equals + 1) == 0);
}

static gboolean fits(const TbdQuery *query, const TbxVmRecord *record)
{
    for (guint i = 0; i < query->labels->len; i++) {
        if (!label_fits(query->labels->pdata[i], record)) {
            return FALSE;
        }
    }
    return state_fits(query, record) &&
           (query->name == NULL || g_pattern_match_simple(query->name, record->name));
}

static gboolean check_states(const char *states, GError **error)
{
    g_auto(GStrv) words = g_strsplit(states, ",", -1);

    for (gsize i = 0; i == 0 || words[i] != NULL; i++) {
        if (tenbox_vm_state_from_string(words[i]) == TENBOX_VM_STATE_UNKNOWN) {
            tbx_error_set(error, "field-invalid", "state",
                          "state has states of VMs with commas between them: stopped, starting, "
                          "running, paused, stopping, crashed");
            return FALSE;
        }
    }
    return TRUE;
}

/* What the list is sorted by: names, and in the trash the latest deletion first; then ids. */
typedef struct {
    gint64 deleted_at; /* 0: not in the trash */
    char *name;        /* NULL in the trash */
    char *id;
} Position;

static Position position_of(const TbxVmRecord *record)
{
    return (Position){
        .deleted_at = record->deleted_at,
        .name = record->deleted_at == 0 ? record->name : NULL,
        .id = record->id,
    };
}

static int compare_positions(const Position *left, const Position *right)
{
    int order = left->deleted_at > right->deleted_at   ? -1
                : left->deleted_at < right->deleted_at ? 1
                                                       : g_strcmp0(left->name, right->name);

    return order != 0 ? order : strcmp(left->id, right->id);
}

static int compare_records(gconstpointer a, gconstpointer b)
{
    const Position left = position_of(*(TbxVmRecord *const *)a);
    const Position right = position_of(*(TbxVmRecord *const *)b);

    return compare_positions(&left, &right);
}

static char *print_token(const TbxVmRecord *record)
{
    const Position position = position_of(record);

    return position.name != NULL
               ? g_strdup_printf("%s/%s", position.name, position.id)
               : g_strdup_printf("%" G_GINT64_FORMAT "/%s", position.deleted_at, position.id);
}

/* What print_token() has made; of anything else, some position. */
static void parse_token(const char *token, gboolean is_trash, Position *ret_position)
{
    const char *slash = strchr(token, '/');
    const char *end = slash != NULL ? slash : token + strlen(token);

    *ret_position = (Position){.id = g_strdup(slash != NULL ? slash + 1 : "")};
    if (is_trash) {
        ret_position->deleted_at = g_ascii_strtoll(token, NULL, 10);
    } else {
        ret_position->name = g_strndup(token, (gsize)(end - token));
    }
}

/* The part of @records that the query asks for; *@ret_next is the token of the next page, or NULL. */
static GPtrArray *select_page(const TbdQuery *query, GPtrArray *records, char **ret_next)
{
    GPtrArray *page = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_vm_record_unref);
    Position after = {0};

    if (query->page_token != NULL) {
        parse_token(query->page_token, query->deleted, &after);
    }
    g_ptr_array_sort(records, compare_records);
    for (guint i = 0; i < records->len; i++) {
        TbxVmRecord *record = records->pdata[i];
        const Position position = position_of(record);

        if (!fits(query, record) ||
            (query->page_token != NULL && compare_positions(&position, &after) <= 0)) {
            continue;
        }
        if (query->limit != 0 && page->len == query->limit) {
            *ret_next = print_token(page->pdata[page->len - 1]);
            break;
        }
        g_ptr_array_add(page, tbx_vm_record_ref(record));
    }
    g_free(after.name);
    g_free(after.id);
    return page;
}

/* ---- the answer ------------------------------------------------------------------------------ */

typedef struct {
    GPtrArray *page;
    char *next; /* nullable */
    guint index;
} Answer;

static void answer_free(Answer *answer)
{
    g_ptr_array_unref(answer->page);
    g_free(answer->next);
    g_free(answer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Answer, answer_free)

/* Appends VMs until @out has @size bytes. FALSE: there are no more. */
static gboolean append_items(Answer *answer, GString *out, gsize size)
{
    if (answer->index == 0) {
        g_string_append(out, "{\"items\":[");
    }
    for (; answer->index < answer->page->len && out->len < size; answer->index++) {
        g_autoptr(JsonObject) object = tbx_vm_record_to_json(answer->page->pdata[answer->index]);
        g_autofree char *text = tbx_json_print_object(object, NULL);

        g_string_append(out, answer->index > 0 ? "," : "");
        g_string_append(out, text);
    }
    return answer->index < answer->page->len;
}

/* (transfer full): what follows the last VM. */
static char *print_end(const Answer *answer)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *text = NULL;

    if (answer->next != NULL) {
        json_object_set_string_member(object, "next_page_token", answer->next);
    } else {
        json_object_set_null_member(object, "next_page_token");
    }
    text = tbx_json_print_object(object, NULL);
    return g_strconcat("],", text + 1, NULL);
}

static void on_fill(TbdHttpStream *stream, GString *out, gpointer user_data)
{
    Answer *answer = user_data;

    if (!append_items(answer, out, TBD_HTTP_STREAM_PIECE)) {
        g_autofree char *end = print_end(answer);

        tbd_http_stream_end(stream, end);
    }
}

static void on_closed(TbdHttpStream *stream, gpointer user_data)
{
    answer_free(user_data);
}

/* A list that is being taken is no reason to hold an ending daemon up, and half of one is worse than none:
 * the connection breaks off. */
static const TbdHttpStreamHandlers stream_handlers = {
    .fill = on_fill,
    .closed = on_closed,
};

static void on_list(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);
    g_autoptr(Answer) answer = NULL;
    g_autoptr(GString) text = NULL;
    g_autoptr(GBytes) bytes = NULL;
    g_autofree char *end = NULL;

    if (records == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    answer = g_new0(Answer, 1);
    answer->page = select_page(tbd_request_get_query(request), records, &answer->next);
    if (answer->page->len > SHORT_LIST) {
        tbd_http_stream_begin(request, "application/json", &stream_handlers, NULL,
                              g_steal_pointer(&answer));
        return;
    }
    text = g_string_new(NULL);
    (void)append_items(answer, text, G_MAXSIZE);
    end = print_end(answer);
    g_string_append(text, end);
    bytes = tbd_daemon_share_bytes(tbd_request_get_daemon(request),
                                   g_string_free_to_bytes(g_steal_pointer(&text)));
    tbd_request_reply_bytes(request, 200, "application/json", bytes);
}

void tbd_vms_list(TbdRequest *request)
{
    const TbdQuery *query = tbd_request_get_query(request);
    TbxDriver *driver = tbd_request_get_driver(request);
    GError *error = NULL;

    if (query->state != NULL && !check_states(query->state, &error)) {
        tbd_request_fail(request, error);
    } else if (query->deleted) {
        tbx_driver_vm_list_deleted(driver, tbd_request_task(request, on_list));
    } else {
        tbx_driver_vm_list(driver, tbd_request_task(request, on_list));
    }
}
