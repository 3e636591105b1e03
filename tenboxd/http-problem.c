/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenboxd/http-problem.h"

#include <libsoup/soup.h>
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

char *tbd_request_id_new(void)
{
    return g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
}

/* "labels.a/b" becomes "/labels/a~1b": a field has two steps at most. */
static char *pointer_of_field(const char *field)
{
    GString *pointer = g_string_new("/");
    gboolean is_first = TRUE;

    for (; *field != '\0'; field++) {
        if (*field == '.' && is_first) {
            g_string_append_c(pointer, '/');
            is_first = FALSE;
        } else if (*field == '~') {
            g_string_append(pointer, "~0");
        } else if (*field == '/') {
            g_string_append(pointer, "~1");
        } else {
            g_string_append_c(pointer, *field);
        }
    }
    return g_string_free(pointer, FALSE);
}

static void add_pointer(JsonObject *problem, const GError *error)
{
    g_autofree char *pointer = pointer_of_field(tenbox_error_get_field(error));
    JsonObject *entry = json_object_new();
    JsonArray *errors = json_array_new();

    json_object_set_string_member(entry, "pointer", pointer);
    json_object_set_string_member(entry, "detail", error->message);
    json_array_add_object_element(errors, entry);
    json_object_set_array_member(problem, "errors", errors);
}

char *tbd_problem_print(const GError *error, const char *request_id, gboolean is_of_body,
                        guint *ret_status)
{
    g_autoptr(JsonObject) problem = tbx_error_to_problem(error, request_id);

    if (is_of_body && tenbox_error_get_field(error) != NULL) {
        add_pointer(problem, error);
    }
    *ret_status = tbx_error_kind_of(error)->http_status;
    return tbx_json_print_object(problem, NULL);
}

char *tbd_problem_print_answer(const GError *error, const char *request_id, gboolean is_head)
{
    guint status;
    g_autofree char *problem = tbd_problem_print(error, request_id, FALSE, &status);

    return g_strdup_printf("HTTP/1.1 %u %s\r\n"
                           "Content-Type: application/problem+json\r\n"
                           "Content-Length: %" G_GSIZE_FORMAT "\r\n"
                           "Cache-Control: no-store\r\n"
                           "X-Content-Type-Options: nosniff\r\n"
                           "X-Request-Id: %s\r\n"
                           "Connection: close\r\n\r\n%s",
                           status, soup_status_get_phrase(status), strlen(problem), request_id,
                           is_head ? "" : problem);
}
