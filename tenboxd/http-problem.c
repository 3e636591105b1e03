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

char *tbd_problem_print(const GError *error, const char *request_id, guint *ret_status)
{
    g_autoptr(JsonObject) problem = tbx_error_to_problem(error, request_id);

    *ret_status = tbx_error_kind_of(error)->http_status;
    return tbx_json_print_object(problem, NULL);
}

char *tbd_problem_print_answer(const GError *error, const char *request_id, gboolean is_head)
{
    guint status;
    g_autofree char *problem = tbd_problem_print(error, request_id, &status);

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
