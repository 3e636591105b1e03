/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/wire/wire-etag.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"

/* etagc of RFC 9110, without what is not ASCII. */
static gboolean is_tag_character(char c)
{
    return c == '!' || (c >= '#' && c <= '~');
}

gboolean tbx_etag_is_valid(const char *text)
{
    gsize length = 0;

    while (is_tag_character(text[length]))
        length++;
    return length > 0 && length <= TBX_ETAG_SIZE_MAX && text[length] == '\0';
}

char *tbx_etag_quote(const char *etag)
{
    return g_strconcat("\"", etag, "\"", NULL);
}

/* Takes the next tag off *@list, behind white space and commas; FALSE at the end and when there is none.
 * *@list then is at the end of the text only if all of it was tags. */
static gboolean next_tag(const char **list, const char **ret_tag, gsize *ret_length,
                         gboolean *ret_is_weak)
{
    const char *at = *list + strspn(*list, " \t,");
    gsize length = 0;

    *list = at;
    *ret_is_weak = g_str_has_prefix(at, "W/");
    at += *ret_is_weak ? 2 : 0;
    if (*at != '"')
        return FALSE;
    at++;
    while (is_tag_character(at[length]))
        length++;
    if (at[length] != '"')
        return FALSE;
    *ret_tag = at;
    *ret_length = length;
    at += length + 1;
    at += strspn(at, " \t");
    /* Between two there is a comma. */
    if (*at != '\0' && *at != ',')
        return FALSE;
    *list = at;
    return TRUE;
}

gboolean tbx_etag_list_check(const char *list, const char *name, GError **error)
{
    const char *rest = list, *tag;
    gboolean is_weak;
    guint count = 0;
    gsize length;

    if (strcmp(list, "*") == 0)
        return TRUE;
    while (next_tag(&rest, &tag, &length, &is_weak))
        count++;
    if (count > 0 && *rest == '\0')
        return TRUE;
    tbx_error_set(error, "header-invalid", name,
                  "%s is * or entity tags in double quotes, as ETag tells them", name);
    return FALSE;
}

gboolean tbx_etag_list_has(const char *list, const char *etag, gboolean is_strong)
{
    const char *rest = list, *tag;
    gboolean is_weak;
    gsize length;

    if (strcmp(list, "*") == 0)
        return TRUE;
    while (etag && next_tag(&rest, &tag, &length, &is_weak)) {
        if (strlen(etag) == length && memcmp(etag, tag, length) == 0 && !(is_weak && is_strong))
            return TRUE;
    }
    return FALSE;
}

gboolean tbx_etag_require(const char *if_match, const char *etag, const char *name, GError **error)
{
    if (!if_match || tbx_etag_list_has(if_match, etag, TRUE))
        return TRUE;
    g_propagate_error(
        error, tbx_error_with_hint(tbx_error_new("precondition-failed", "If-Match",
                                                 "%s was changed since it was looked at", name),
                                   "Look at it again, and decide anew"));
    return FALSE;
}
