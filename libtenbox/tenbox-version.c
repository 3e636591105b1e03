/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The version of the library that is loaded, as the build system knows it.
 */
#include "libtenbox/tenbox-version.h"

const char *tenbox_get_version(void)
{
    return TBX_VERSION;
}
