/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The serial console of one run of a VM in memory, or a log: what was printed, and who reads it.
 *
 * Counted: streams keep it. The guest's side is whoever made it.
 */
#pragma once

#include "libtenbox/driver/driver.h"
#include "libtenbox/test/test-script.h"

G_BEGIN_DECLS

/* How much of the output a reader may be behind. */
#define TBX_TEST_CONSOLE_KEPT (256u * 1024u)

typedef struct _TbxTestConsole TbxTestConsole;

/**
 * tbx_test_console_new:
 * @script: a reference is taken
 * @input: (nullable): called with what streams write; %NULL: a log, to which nothing can be written
 * @credit: how many bytes of input the guest takes; G_MAXUINT64 for all
 */
TbxTestConsole *tbx_test_console_new(TbxTestScript *script,
                                     void (*input)(const guint8 *data, gsize length,
                                                   gpointer user_data),
                                     gpointer user_data, guint64 credit);
void tbx_test_console_unref(TbxTestConsole *self);

void tbx_test_console_print(TbxTestConsole *self, const void *data, gsize length);

/* (transfer full): all that is kept, made valid UTF-8; the last @line_count lines, 0: all. */
char *tbx_test_console_dup_text(TbxTestConsole *self, guint line_count);

/* The run is over: streams show what is left and end in order. */
void tbx_test_console_end(TbxTestConsole *self);

/* The driver is closing: streams end with "closed". */
void tbx_test_console_close(TbxTestConsole *self);

/* (transfer full) (nullable): "console-busy"; see tbx_console_claim_open(). */
TbxConsoleStream *tbx_test_console_open_stream(TbxTestConsole *self, TenboxConsoleFlags flags,
                                               const char *holder, GError **error);

/* (transfer full): begins with the last @line_count lines, -1: all. */
TbxConsoleStream *tbx_test_console_follow(TbxTestConsole *self, gint line_count);

G_END_DECLS
