/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One operation per VM: who waits, who gives way, what is remembered. Time is the test's own.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "libtenbox/local/operations.h"
#include "libtenbox/wire/wire-error.h"
#include "tests/unit/local/harness.h"

static gint64 fake_time = 1;

static gint64 fake_now(void)
{
    return fake_time;
}

typedef struct {
    GPtrArray *changes; /* of TbxOperationRecord */
    gboolean lets_go;
    guint pre_emptions;
    guint cancellations;
    TbxOperations *rival; /* nullable: where the end of one operation makes another begin */
} Worker;

static const TbxOperationHandlers handlers;

static void on_changed(TbxOperationRecord *record, gpointer user_data)
{
    Worker *worker = user_data;

    g_ptr_array_add(worker->changes, tbx_operation_record_ref(record));
    if (worker->rival != NULL && record->state == TENBOX_OPERATION_STATE_CANCELLED)
        g_assert_nonnull(tbx_operations_begin(worker->rival, record->vm_id, "name", "start", FALSE,
                                              &handlers, worker, NULL));
}

static gboolean on_pre_empt(TbxOperation *operation, const char *kind, gpointer user_data)
{
    Worker *worker = user_data;

    worker->pre_emptions++;
    return worker->lets_go;
}

static void on_cancel(TbxOperation *operation, gpointer user_data)
{
    Worker *worker = user_data;

    worker->cancellations++;
    if (worker->lets_go)
        tbx_operation_end(operation, tbx_error_new("operation-cancelled", NULL, "cancelled"));
}

static const TbxOperationHandlers handlers = {.pre_empt = on_pre_empt, .cancel = on_cancel};

static TbxOperations *setup(Worker *worker)
{
    *worker = (Worker){.lets_go = TRUE};
    worker->changes = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_operation_record_unref);
    return tbx_operations_new(on_changed, worker, fake_now);
}

static void teardown(Worker *worker)
{
    g_ptr_array_unref(worker->changes);
}

static void test_life(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(GError) error = NULL;
    TbxOperation *operation;
    const TbxOperationRecord *begun, *ended;

    operation =
        tbx_operations_begin(operations, "vm", "name", "start", FALSE, &handlers, &worker, &error);
    g_assert_no_error(error);
    g_assert_true(tbx_operations_get_current(operations, "vm") == operation);
    /* Its worker is told first. */
    g_assert_cmpuint(worker.changes->len, ==, 0);
    tbx_operation_announce(operation);
    tbx_operation_end(operation, NULL);
    g_assert_null(tbx_operations_get_current(operations, "vm"));
    g_assert_cmpuint(worker.changes->len, ==, 2);
    begun = g_ptr_array_index(worker.changes, 0);
    ended = g_ptr_array_index(worker.changes, 1);
    g_assert_cmpint(begun->state, ==, TENBOX_OPERATION_STATE_RUNNING);
    g_assert_cmpint(begun->ended_at, ==, 0);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
    g_assert_cmpint(ended->ended_at, >=, ended->created_at);
    g_assert_cmpstr(begun->id, ==, ended->id);
    g_assert_cmpstr(ended->kind, ==, "start");
    teardown(&worker);
}

static void test_failed(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "start", FALSE, &handlers, &worker, NULL);
    const TbxOperationRecord *ended;

    tbx_operation_end(operation, tbx_error_new("kernel-invalid", "kernel", "is none"));
    ended = g_ptr_array_index(worker.changes, 0);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_FAILED);
    g_assert_cmpstr(tenbox_error_get_code(ended->error), ==, "kernel-invalid");
    teardown(&worker);
}

static void test_busy_and_pre_emption(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxOperationRecord) old = NULL;
    g_autofree char *id = NULL;
    TbxOperation *first, *second;

    first = tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    id = g_strdup(tbx_operation_get_id(first));
    /* Another VM is free. */
    tbx_operation_end(
        tbx_operations_begin(operations, "other", "other", "stop", FALSE, &handlers, &worker, NULL),
        NULL);
    g_assert_null(
        tbx_operations_begin(operations, "vm", "name", "start", FALSE, &handlers, &worker, &error));
    g_assert_nonnull(strstr(error->message, id));
    assert_error(&error, "vm-busy", NULL);
    g_assert_cmpuint(worker.pre_emptions, ==, 0);
    /* One that does not let go. */
    worker.lets_go = FALSE;
    g_assert_null(
        tbx_operations_begin(operations, "vm", "name", "reset", TRUE, &handlers, &worker, &error));
    assert_error(&error, "vm-busy", NULL);
    g_assert_cmpuint(worker.pre_emptions, ==, 1);
    worker.lets_go = TRUE;
    second =
        tbx_operations_begin(operations, "vm", "name", "reset", TRUE, &handlers, &worker, &error);
    g_assert_no_error(error);
    g_assert_true(tbx_operations_get_current(operations, "vm") == second);
    old = tbx_operations_get(operations, id, NULL);
    g_assert_cmpint(old->state, ==, TENBOX_OPERATION_STATE_CANCELLED);
    assert_error(&old->error, "operation-cancelled", NULL);
    teardown(&worker);
}

/* Who hears that an operation gives way begins another: the newcomer does not run beside it. */
static void test_rival(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(GError) error = NULL;
    TbxOperation *rival;

    tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    worker.rival = operations;
    g_assert_null(
        tbx_operations_begin(operations, "vm", "name", "reset", TRUE, &handlers, &worker, &error));
    worker.rival = NULL;
    rival = tbx_operations_get_current(operations, "vm");
    g_assert_cmpstr(tbx_operation_get_kind(rival), ==, "start");
    g_assert_nonnull(strstr(error->message, tbx_operation_get_id(rival)));
    assert_error(&error, "vm-busy", NULL);
    tbx_operation_end(rival, NULL);
    g_assert_null(tbx_operations_get_current(operations, "vm"));
    teardown(&worker);
}

static void test_wait(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(TbxOperationRecord) at_once = NULL;
    g_autoptr(TbxOperationRecord) waited = NULL;
    g_autoptr(TbxOperationRecord) after = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    const char *id = tbx_operation_get_id(operation);
    GTask *tasks[3];

    tasks[0] = new_task(NULL);
    tbx_operations_wait(operations, id, 0, tasks[0]);
    at_once = finish_pointer(tasks[0], NULL);
    g_assert_cmpint(at_once->state, ==, TENBOX_OPERATION_STATE_RUNNING);

    tasks[0] = new_task(NULL);
    tasks[1] = new_task(cancellable);
    tbx_operations_wait(operations, id, 3600, tasks[0]);
    tbx_operations_wait(operations, id, 3600, tasks[1]);
    g_cancellable_cancel(cancellable);
    g_assert_null(finish_pointer(tasks[1], &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    tbx_operation_end(operation, NULL);
    waited = finish_pointer(tasks[0], NULL);
    g_assert_cmpint(waited->state, ==, TENBOX_OPERATION_STATE_DONE);

    tasks[2] = new_task(NULL);
    tbx_operations_wait(operations, waited->id, 3600, tasks[2]);
    after = finish_pointer(tasks[2], NULL);
    g_assert_true(after == waited);
    teardown(&worker);
}

/* A wait that is over says so with the operation as it is. */
static void test_wait_over(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    g_autoptr(TbxOperationRecord) record = NULL;
    GTask *task = new_task(NULL);

    tbx_operations_wait(operations, tbx_operation_get_id(operation), 1, task);
    record = finish_pointer(task, NULL);
    g_assert_cmpint(record->state, ==, TENBOX_OPERATION_STATE_RUNNING);
    teardown(&worker);
}

static void test_cancel(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(TbxOperationRecord) running = NULL;
    g_autoptr(TbxOperationRecord) cancelled = NULL;
    g_autoptr(TbxOperationRecord) again = NULL;
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    g_autofree char *id = g_strdup(tbx_operation_get_id(operation));

    worker.lets_go = FALSE;
    running = tbx_operations_cancel(operations, id, NULL);
    g_assert_cmpint(running->state, ==, TENBOX_OPERATION_STATE_RUNNING);
    worker.lets_go = TRUE;
    cancelled = tbx_operations_cancel(operations, id, NULL);
    g_assert_cmpint(cancelled->state, ==, TENBOX_OPERATION_STATE_CANCELLED);
    again = tbx_operations_cancel(operations, id, NULL);
    g_assert_true(again == cancelled);
    g_assert_cmpuint(worker.cancellations, ==, 2);
    teardown(&worker);
}

static guint count_kept(TbxOperations *operations)
{
    g_autoptr(GPtrArray) list = tbx_operations_list(operations);

    return list->len;
}

static void test_history(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) list = NULL;
    g_autofree char *first_id = NULL;
    TbxOperation *running =
        tbx_operations_begin(operations, "busy", "busy", "stop", FALSE, &handlers, &worker, NULL);

    for (guint i = 0; i < TBX_OPERATIONS_KEPT + 50; i++) {
        TbxOperation *operation = tbx_operations_begin(operations, "vm", "name", "start", FALSE,
                                                       &handlers, &worker, NULL);

        if (i == 0)
            first_id = g_strdup(tbx_operation_get_id(operation));
        tbx_operation_end(operation, NULL);
    }
    /* The newest are kept, and what runs always is. */
    g_assert_cmpuint(count_kept(operations), ==, TBX_OPERATIONS_KEPT + 1);
    g_assert_null(tbx_operations_get(operations, first_id, &error));
    assert_error(&error, "operation-not-found", NULL);
    list = tbx_operations_list(operations);
    g_assert_true(g_ptr_array_index(list, 0) == tbx_operation_get_document(running));

    fake_time += TBX_OPERATIONS_KEPT_USEC;
    g_assert_cmpuint(count_kept(operations), ==, TBX_OPERATIONS_KEPT + 1);
    fake_time += 1;
    g_assert_cmpuint(count_kept(operations), ==, 1);
    fake_time += 10 * TBX_OPERATIONS_KEPT_USEC;
    tbx_operation_end(running, NULL);
    g_assert_cmpuint(count_kept(operations), ==, 1);
    teardown(&worker);
}

static void test_close(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    g_autoptr(GError) error = NULL;
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "stop", FALSE, &handlers, &worker, NULL);
    GTask *task = new_task(NULL);

    tbx_operations_wait(operations, tbx_operation_get_id(operation), 3600, task);
    tbx_operations_close(operations);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "closed", NULL);
    g_assert_null(
        tbx_operations_begin(operations, "x", "x", "stop", FALSE, &handlers, &worker, &error));
    assert_error(&error, "closed", NULL);
    teardown(&worker);
}

/* ---- across restarts ---------------------------------------------------------------------- */

static char *state_of(TbxOperations *operations, const char *id)
{
    g_autoptr(TbxOperationRecord) record = tbx_operations_get(operations, id, NULL);

    return record != NULL
               ? g_strdup(tenbox_operation_state_to_string((TenboxOperationState)record->state))
               : g_strdup("forgotten");
}

static void assert_state(TbxOperations *operations, const char *id, const char *expected)
{
    g_autofree char *state = state_of(operations, id);

    g_assert_cmpstr(state, ==, expected);
}

static char *begin_and_announce(TbxOperations *operations, Worker *worker, const char *vm_id)
{
    TbxOperation *operation =
        tbx_operations_begin(operations, vm_id, "name", "start", FALSE, &handlers, worker, NULL);

    g_assert_nonnull(operation);
    tbx_operation_announce(operation);
    return g_strdup(tbx_operation_get_id(operation));
}

static void test_remember(void)
{
    g_autofree char *folder = g_dir_make_tmp("tenbox-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, TBX_OPERATIONS_FILE, NULL);
    g_autofree char *older = g_strconcat(path, ".1", NULL);
    g_autofree char *running = NULL, *failed = NULL, *hidden = NULL, *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize length;
    Worker worker;

    fake_time = 5 * TBX_OPERATIONS_KEPT_USEC;
    {
        g_autoptr(TbxOperations) operations = setup(&worker);
        g_assert_true(tbx_operations_remember(operations, folder, &error));
        g_assert_no_error(error);
        running = begin_and_announce(operations, &worker, "a");
        failed = begin_and_announce(operations, &worker, "b");
        tbx_operation_end(tbx_operations_get_current(operations, "b"),
                          tbx_error_new("vm-crashed", NULL, "it fell over"));
        /* Nobody has heard of this one. */
        TbxOperation *silent =
            tbx_operations_begin(operations, "c", "name", "stop", FALSE, &handlers, &worker, NULL);
        hidden = g_strdup(tbx_operation_get_id(silent));
        teardown(&worker);
        /* What happens when the driver has closed is not written: the folder may be another's. */
        tbx_operations_close(operations);
        worker.changes = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_operation_record_unref);
        tbx_operation_end(tbx_operations_get_current(operations, "a"), NULL);
        teardown(&worker);
    }
    /* A line that was cut off, and one that is nothing. */
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    g_autofree char *torn = g_strconcat(text, "{}\nnonsense\n{\"id\":\"half", NULL);
    g_assert_true(g_file_set_contents(path, torn, -1, NULL));

    for (int run = 0; run < 3; run++) {
        g_autoptr(TbxOperations) operations = setup(&worker);
        g_autoptr(GPtrArray) list = NULL;
        g_assert_true(tbx_operations_remember(operations, folder, &error));
        assert_state(operations, running, "interrupted");
        assert_state(operations, failed, "failed");
        assert_state(operations, hidden, "forgotten");
        g_autoptr(TbxOperationRecord) record = tbx_operations_get(operations, running, NULL);
        g_assert_cmpstr(tenbox_error_get_code(record->error), ==, "operation-interrupted");
        g_assert_cmpint(record->ended_at, >=, record->created_at);
        /* Nothing of it is in the way of a new one, nor announced again. */
        g_assert_null(tbx_operations_get_current(operations, "a"));
        g_assert_cmpuint(worker.changes->len, ==, 0);
        list = tbx_operations_list(operations);
        g_assert_cmpuint(list->len, ==, 2);
        teardown(&worker);
    }

    /* An hour later, by whichever clock: they are forgotten. */
    {
        g_autoptr(TbxOperations) operations = setup(&worker);
        g_assert_true(tbx_operations_remember(operations, folder, &error));
        fake_time += TBX_OPERATIONS_KEPT_USEC + 2;
        assert_state(operations, running, "forgotten");
        teardown(&worker);
    }
    g_remove(path);
    g_remove(older);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

/* However many there were, the files are bounded, the newest are known, and so is what runs. */
static void test_remember_many(void)
{
    g_autofree char *folder = g_dir_make_tmp("tenbox-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, TBX_OPERATIONS_FILE, NULL);
    g_autofree char *older = g_strconcat(path, ".1", NULL);
    g_autofree char *running = NULL, *last = NULL;
    GStatBuf status;
    Worker worker;

    {
        g_autoptr(TbxOperations) operations = setup(&worker);
        g_assert_true(tbx_operations_remember(operations, folder, NULL));
        running = begin_and_announce(operations, &worker, "a");
        for (int i = 0; i < 6000; i++) {
            g_free(last);
            last = begin_and_announce(operations, &worker, "b");
            tbx_operation_end(tbx_operations_get_current(operations, "b"), NULL);
            g_ptr_array_set_size(worker.changes, 0);
        }
        tbx_operations_close(operations);
        teardown(&worker);
    }
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_size, <=, 1024 * 1024);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    g_assert_cmpint(g_stat(older, &status), ==, 0);
    g_assert_cmpint(status.st_size, <=, 1024 * 1024);

    g_autoptr(TbxOperations) operations = setup(&worker);
    g_assert_true(tbx_operations_remember(operations, folder, NULL));
    assert_state(operations, running, "interrupted");
    assert_state(operations, last, "done");
    g_autoptr(GPtrArray) list = tbx_operations_list(operations);
    g_assert_cmpuint(list->len, ==, TBX_OPERATIONS_KEPT);
    teardown(&worker);
    g_remove(path);
    g_remove(older);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void test_ids(void)
{
    const char *const id = "0f0f0f0f-3333-4333-8333-333333333333";
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    TbxOperation *first = tbx_operations_begin_as(operations, id, "a", "name", "start", FALSE,
                                                  &handlers, &worker, NULL);
    TbxOperation *second = tbx_operations_begin_as(operations, id, "b", "name", "start", FALSE,
                                                   &handlers, &worker, NULL);

    g_assert_cmpstr(tbx_operation_get_id(first), ==, id);
    g_assert_cmpstr(tbx_operation_get_id(second), !=, id);
    tbx_operation_end(first, NULL);
    tbx_operation_end(second, NULL);
    teardown(&worker);
}

static void test_progress(void)
{
    Worker worker;
    g_autoptr(TbxOperations) operations = setup(&worker);
    TbxOperation *operation =
        tbx_operations_begin(operations, "vm", "name", "update", FALSE, &handlers, &worker, NULL);
    const TbxOperationProgress *progress;

    tbx_operation_set_progress(operation, "copying", 0, 200);
    tbx_operation_announce(operation);
    g_assert_cmpuint(worker.changes->len, ==, 1);
    /* From the main loop, once for what came together, the newest of it. */
    tbx_operation_set_progress(operation, "copying", 50, 200);
    tbx_operation_set_progress(operation, "copying", 150, 200);
    g_assert_cmpuint(worker.changes->len, ==, 1);
    while (worker.changes->len < 2)
        g_main_context_iteration(NULL, TRUE);
    progress = ((TbxOperationRecord *)worker.changes->pdata[1])->progress;
    g_assert_cmpstr(progress->stage, ==, "copying");
    g_assert_cmpint(progress->percent, ==, 75);
    g_assert_cmpint(progress->done_bytes, ==, 150);
    g_assert_cmpint(progress->total_bytes, ==, 200);
    g_assert_true(tbx_operations_get_current(operations, "vm") == operation);

    /* Beyond the whole is the whole; what nobody counts has no share. */
    tbx_operation_set_progress(operation, "copying", 300, 200);
    g_assert_cmpint(tbx_operation_get_document(operation)->progress->percent, ==, 100);
    tbx_operation_set_progress(operation, "writing", -1, -1);
    g_assert_cmpint(tbx_operation_get_document(operation)->progress->percent, ==, -1);
    /* The end says how far it came, and nothing comes after it. */
    tbx_operation_end(operation, NULL);
    g_assert_cmpuint(worker.changes->len, ==, 3);
    g_assert_cmpstr(((TbxOperationRecord *)worker.changes->pdata[2])->progress->stage, ==,
                    "writing");
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(worker.changes->len, ==, 3);
    teardown(&worker);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/operations/life", test_life);
    g_test_add_func("/operations/failed", test_failed);
    g_test_add_func("/operations/pre-emption", test_busy_and_pre_emption);
    g_test_add_func("/operations/rival", test_rival);
    g_test_add_func("/operations/wait", test_wait);
    g_test_add_func("/operations/wait-over", test_wait_over);
    g_test_add_func("/operations/cancel", test_cancel);
    g_test_add_func("/operations/history", test_history);
    g_test_add_func("/operations/close", test_close);
    g_test_add_func("/operations/remember", test_remember);
    g_test_add_func("/operations/remember-many", test_remember_many);
    g_test_add_func("/operations/ids", test_ids);
    g_test_add_func("/operations/progress", test_progress);
    return g_test_run();
}
