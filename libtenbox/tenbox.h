/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one header that programs include: everything libtenbox offers.
 *
 * Threads and main contexts. A connection belongs to the main context that was thread-default when
 * it was opened, and so does every object that comes from it: call their functions from the thread
 * that runs this context; callbacks and signals arrive there. Several connections in several
 * threads are fine.
 *
 * Asynchronous functions (`_async`/`_finish`) are the real interface. Some have a twin that ends in
 * `_sync` for programs without a main loop: these work only with a connection opened by
 * tenbox_connection_open_sync(), which has a private main context; its signals are emitted while
 * one of the `_sync` functions runs. Mixing the two kinds on one connection is refused with
 * %TENBOX_ERROR_WRONG_STATE.
 *
 * Strings are UTF-8. JSON texts have the shapes of data/openapi/tenbox-v1.yaml.
 */
#pragma once

#include "libtenbox/tenbox-version.h"
#include "libtenbox/tenbox-types.h"
#include "libtenbox/tenbox-error.h"
#include "libtenbox/tenbox-enums.h"
#include "libtenbox/tenbox-vm-config.h"
#include "libtenbox/tenbox-event.h"
#include "libtenbox/tenbox-operation.h"
#include "libtenbox/tenbox-console.h"
#include "libtenbox/tenbox-vm.h"
#include "libtenbox/tenbox-connection.h"
#include "libtenbox/tenbox-vm-list.h"
