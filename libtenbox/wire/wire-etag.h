/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entity tags: how a client says which version of a VM's description it means (RFC 9110 section 8.8.3).
 *
 * A tag is that of what a user can change, as it is stored: it stays the same while a VM starts, runs and
 * stops. In documents it is a bare word, in headers it stands between double quotes.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define TBX_ETAG_SIZE_MAX 128

/* Whether @text may be a tag, without quotes. */
gboolean tbx_etag_is_valid(const char *text);

/* (transfer full): @etag as it stands in a header. */
char *tbx_etag_quote(const char *etag);

/* The value of If-Match or If-None-Match: "*" or tags with commas between them. "header-invalid" with
 * @name as field. */
gboolean tbx_etag_list_check(const char *list, const char *name, GError **error);

/* Whether @list, which has been checked, names @etag (nullable: there is none, which only "*" fits).
 * @is_strong: tags marked as weak fit nothing. */
gboolean tbx_etag_list_has(const char *list, const char *etag, gboolean is_strong);

/**
 * tbx_etag_require:
 * @if_match: (nullable): what If-Match says, checked; NULL: nothing is required
 * @etag: (nullable): the present tag
 * @name: the VM, for the message
 *
 * Returns: FALSE with "precondition-failed" when the VM is not as the client knows it
 */
gboolean tbx_etag_require(const char *if_match, const char *etag, const char *name, GError **error);

G_END_DECLS
