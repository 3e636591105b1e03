/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forward declarations of the public types, so that the other headers need not include each other.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/tenbox-version.h"

G_BEGIN_DECLS

typedef struct _TenboxConnection TenboxConnection;
typedef struct _TenboxVm TenboxVm;
typedef struct _TenboxVmConfig TenboxVmConfig;
typedef struct _TenboxVmConfigBuilder TenboxVmConfigBuilder;
typedef struct _TenboxOperation TenboxOperation;
typedef struct _TenboxConsole TenboxConsole;
typedef struct _TenboxEvent TenboxEvent;
typedef struct _TenboxVmList TenboxVmList;

G_END_DECLS
