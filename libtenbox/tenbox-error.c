/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain: a GError that carries a slug, a field and a hint beside code and message, so
 * that these survive g_error_copy(), GTask and the way through a driver. What a slug means is in
 * wire/wire-error.c.
 */
#include "libtenbox/tenbox-error.h"

#include "libtenbox/wire/wire-error.h"

typedef struct {
    char *slug;
    char *field;
    char *hint;
} TenboxErrorPrivate;

static void tenbox_error_private_init(TenboxErrorPrivate *details)
{
}

static void tenbox_error_private_copy(const TenboxErrorPrivate *source, TenboxErrorPrivate *target)
{
    target->slug = g_strdup(source->slug);
    target->field = g_strdup(source->field);
    target->hint = g_strdup(source->hint);
}

static void tenbox_error_private_clear(TenboxErrorPrivate *details)
{
    g_free(details->slug);
    g_free(details->field);
    g_free(details->hint);
}

G_DEFINE_EXTENDED_ERROR(TenboxError, tenbox_error)

static const TenboxErrorPrivate *details_of(const GError *error)
{
    return error && error->domain == TENBOX_ERROR ? tenbox_error_get_private(error) : NULL;
}

void tbx_error_set_details(GError *error, const char *slug, const char *field, const char *hint)
{
    g_return_if_fail(error && error->domain == TENBOX_ERROR);

    TenboxErrorPrivate *details = tenbox_error_get_private(error);
    TenboxErrorPrivate previous = *details;

    details->slug = g_strdup(slug);
    details->field = g_strdup(field);
    details->hint = g_strdup(hint);
    tenbox_error_private_clear(&previous);
}

const char *tbx_error_get_slug(const GError *error)
{
    const TenboxErrorPrivate *details = details_of(error);
    return details ? details->slug : NULL;
}

const char *tenbox_error_get_code(const GError *error)
{
    g_return_val_if_fail(error, "internal");

    const TenboxErrorPrivate *details = details_of(error);
    if (details && details->slug)
        return details->slug;
    return tbx_error_kind_of(error)->slug;
}

const char *tenbox_error_get_field(const GError *error)
{
    g_return_val_if_fail(error, NULL);

    const TenboxErrorPrivate *details = details_of(error);
    return details ? details->field : NULL;
}

const char *tenbox_error_get_hint(const GError *error)
{
    g_return_val_if_fail(error, NULL);

    const TenboxErrorPrivate *details = details_of(error);
    return details ? details->hint : NULL;
}

int tenbox_error_get_exit_status(const GError *error)
{
    return error ? tbx_error_kind_of(error)->exit_status : 0;
}
