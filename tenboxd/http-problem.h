/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors as application/problem+json: the document, and the whole HTTP answer around it for those who
 * answer without libsoup.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* (transfer full): a new id, for who brings none. */
char *tbd_request_id_new(void);

/* (transfer full): the document; @ret_status gets the HTTP status that goes with it. @is_of_body: the field
 * at fault is a member of the request's body, and a JSON pointer to it is told. */
char *tbd_problem_print(const GError *error, const char *request_id, gboolean is_of_body,
                        guint *ret_status);

/* (transfer full): head and document. The connection has to be closed behind it. @is_head: the answer
 * to a HEAD, without the document. */
char *tbd_problem_print_answer(const GError *error, const char *request_id, gboolean is_head);

G_END_DECLS
