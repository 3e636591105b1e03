/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Version of the library and the marks that public functions carry.
 *
 * Each public function is marked with the release that brought it, so that the symbol map, the
 * header and the "Since" line can be compared by a test, and so that nothing is exported by
 * accident: the library is compiled with hidden visibility.
 */
#pragma once

#include <glib.h>

/**
 * TENBOX_MAJOR_VERSION:
 *
 * The version this header belongs to; tenbox_get_version() is that of the library loaded.
 *
 * Since: 0.1
 */
#define TENBOX_MAJOR_VERSION 0
/**
 * TENBOX_MINOR_VERSION:
 *
 * The second number of the version this header belongs to.
 *
 * Since: 0.1
 */
#define TENBOX_MINOR_VERSION 1
/**
 * TENBOX_MICRO_VERSION:
 *
 * The third number of the version this header belongs to.
 *
 * Since: 0.1
 */
#define TENBOX_MICRO_VERSION 0

/**
 * TENBOX_CHECK_VERSION:
 * @major: major version asked for
 * @minor: minor version asked for
 * @micro: micro version asked for
 *
 * Whether the headers in use are at least of this version.
 *
 * Since: 0.1
 */
#define TENBOX_CHECK_VERSION(major, minor, micro)                                                  \
    (TENBOX_MAJOR_VERSION > (major) ||                                                             \
     (TENBOX_MAJOR_VERSION == (major) && TENBOX_MINOR_VERSION > (minor)) ||                        \
     (TENBOX_MAJOR_VERSION == (major) && TENBOX_MINOR_VERSION == (minor) &&                        \
      TENBOX_MICRO_VERSION >= (micro)))

#define TENBOX_PUBLIC_SYMBOL    __attribute__((visibility("default"))) extern
#define TENBOX_AVAILABLE_IN_0_1 TENBOX_PUBLIC_SYMBOL

G_BEGIN_DECLS

/**
 * tenbox_get_version:
 *
 * The version of the library loaded, such as "0.1.0".
 *
 * Returns: (transfer none): static text
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_get_version(void);

G_END_DECLS
