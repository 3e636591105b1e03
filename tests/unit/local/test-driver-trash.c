/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. Deleted VMs: kept, had back, removed for good; and what
 * a clock that jumps makes of the time limit.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "libtenbox/local/host.h"
#include "tests/unit/local/harness.h"

#define DAY 86400

/* ---- the clock ---------------------------------------------------------------------------- */

static TbxHostClock now;

void __wrap_tbx_host_read_clock(TbxHostClock *ret_clock);
void __wrap_tbx_host_read_clock(TbxHostClock *ret_clock)
{
    *ret_clock = now;
}

static void set_clock(void)
{
    now = (TbxHostClock){.time = 1769860800, .uptime = 1000};
    g_strlcpy(now.boot_id, "first", sizeof(now.boot_id));
}

/* Time passes. */
static void pass(gint64 seconds)
{
    now.time += seconds;
    now.uptime += seconds;
}

/* The host is off for so long. */
static void reboot(gint64 seconds)
{
    now.time += seconds;
    now.uptime = 10;
    g_strlcpy(now.boot_id, g_str_equal(now.boot_id, "first") ? "second" : "first",
              sizeof(now.boot_id));
}

/* ---- calls -------------------------------------------------------------------------------- */

static TbxVmRecord *try_undelete(Harness *harness, const char *vm, const char *name, GError **error)
{
    GTask *task = new_task(NULL);

    tbx_driver_vm_undelete(harness->driver, vm, name, task);
    return finish_pointer(task, error);
}

static GPtrArray *list_deleted(Harness *harness)
{
    GTask *task = new_task(NULL);
    g_autoptr(GError) error = NULL;
    GPtrArray *list;

    tbx_driver_vm_list_deleted(harness->driver, task);
    list = finish_pointer(task, &error);
    g_assert_no_error(error);
    return list;
}

static void assert_deleted_count(Harness *harness, guint expected)
{
    g_autoptr(GPtrArray) list = list_deleted(harness);

    g_assert_cmpuint(list->len, ==, expected);
}

static TbxOperationRecord *purge(Harness *harness, const char *vm, GError **error)
{
    const TbxActionOptions options = {.timeout = -1, .purge = TRUE};
    GTask *task = new_task(NULL);
    g_autoptr(TbxOperationRecord) begun = NULL;

    tbx_driver_vm_begin(harness->driver, vm, DELETE, &options, task);
    begun = finish_pointer(task, error);
    return begun != NULL ? wait_operation(harness, begun->id) : NULL;
}

static char *trash_path(const Harness *harness, const char *id)
{
    return g_build_filename(harness->folder, "trash", id, NULL);
}

static void assert_in_trash(const Harness *harness, const char *id, gboolean expected)
{
    g_autofree char *trash = trash_path(harness, id);
    g_autofree char *live = vm_path(harness, id, NULL);

    g_assert_true(g_file_test(trash, G_FILE_TEST_IS_DIR) == expected);
    if (expected)
        g_assert_false(g_file_test(live, G_FILE_TEST_EXISTS));
}

/* What was told of VMs, without their changes and operations. */
static char *describe_moves(const Harness *harness)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = harness->events->pdata[i];

        if (event->vm != NULL && !g_str_equal(event->type, TBX_EVENT_VM_CHANGED) &&
            !g_str_equal(event->type, TBX_EVENT_VM_STATE))
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", event->type);
    }
    return g_string_free(text, FALSE);
}

static gboolean is_trash_empty(gpointer harness)
{
    g_autoptr(GPtrArray) list = list_deleted(harness);

    return list->len == 0;
}

/* ---- there and back ----------------------------------------------------------------------- */

static void test_there_and_back(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *other = NULL;
    g_autofree char *moves = NULL;
    g_autofree char *note = NULL;
    g_autoptr(GPtrArray) list = NULL;
    g_autoptr(TbxVmRecord) before = NULL;
    g_autoptr(TbxVmRecord) back = NULL;
    g_autoptr(GError) error = NULL;
    const TbxVmRecord *deleted;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", STOP, TRUE);
    before = get_vm(&harness, "one");
    run_ok(&harness, "one", DELETE, FALSE);
    assert_in_trash(&harness, id, TRUE);
    list = list_deleted(&harness);
    g_assert_cmpuint(list->len, ==, 1);
    deleted = list->pdata[0];
    g_assert_cmpstr(deleted->id, ==, id);
    g_assert_cmpstr(deleted->name, ==, "one");
    g_assert_null(deleted->operation);
    g_assert_cmpint(deleted->deleted_at, ==, now.time * G_USEC_PER_SEC);
    g_assert_cmpint(deleted->purge_at, ==, (now.time + 7 * DAY) * G_USEC_PER_SEC);
    /* Its name is free, and its id answers to nothing else. */
    other = create_vm(&harness, "one", NULL);
    g_assert_null(begin(&harness, id, START, FALSE, -1, &error));
    assert_error(&error, "vm-not-found", NULL);
    g_assert_null(begin(&harness, id, DELETE, TRUE, -1, &error));
    assert_error(&error, "vm-not-found", NULL);
    /* It cannot come back under that name, and is still there. */
    g_assert_null(try_undelete(&harness, id, NULL, &error));
    assert_error(&error, "vm-exists", "name");
    assert_in_trash(&harness, id, TRUE);
    back = try_undelete(&harness, id, "two", &error);
    g_assert_no_error(error);
    assert_in_trash(&harness, id, FALSE);
    g_assert_cmpstr(back->name, ==, "two");
    g_assert_cmpint(back->deleted_at, ==, 0);
    g_assert_cmpint(back->last_boot_time, ==, before->last_boot_time);
    g_assert_cmpint(back->generation, >, before->generation);
    note = vm_path(&harness, id, "trash.json");
    g_assert_false(g_file_test(note, G_FILE_TEST_EXISTS));
    assert_deleted_count(&harness, 0);
    run_ok(&harness, "two", START, FALSE);
    run_ok(&harness, "two", STOP, TRUE);
    moves = describe_moves(&harness);
    g_assert_cmpstr(moves, ==, "vm.created vm.trashed vm.deleted vm.created vm.undeleted");
    /* The next driver finds it, too. */
    harness_close(&harness);
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "two"), ==, TENBOX_VM_STATE_STOPPED);
    g_assert_null(try_undelete(&harness, id, NULL, &error));
    assert_error(&error, "vm-not-found", NULL);
    harness_fini(&harness);
}

/* By force while it runs, over daemons, by its name, and names that are not enough. */
static void test_over_drivers(void)
{
    Harness harness;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autoptr(GPtrArray) list = NULL;
    g_autoptr(TbxVmRecord) back = NULL;
    g_autoptr(GError) error = NULL;

    set_clock();
    harness_init(&harness);
    first = create_vm(&harness, "same", NULL);
    run_ok(&harness, "same", START, FALSE);
    run_ok(&harness, "same", DELETE, TRUE);
    pass(60);
    second = create_vm(&harness, "same", NULL);
    run_ok(&harness, "same", DELETE, FALSE);
    harness_close(&harness);
    pass(60);
    harness_open(&harness);
    list = list_deleted(&harness);
    g_assert_cmpuint(list->len, ==, 2);
    /* The latest first. */
    g_assert_cmpstr(((TbxVmRecord *)list->pdata[0])->id, ==, second);
    g_assert_cmpstr(((TbxVmRecord *)list->pdata[1])->id, ==, first);
    g_assert_null(try_undelete(&harness, "same", NULL, &error));
    assert_error(&error, "name-ambiguous", NULL);
    back = try_undelete(&harness, first, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(back->state, ==, TENBOX_VM_STATE_STOPPED);
    g_clear_pointer(&back, tbx_vm_record_unref);
    g_assert_null(try_undelete(&harness, "same", NULL, &error));
    assert_error(&error, "vm-exists", "name");
    back = try_undelete(&harness, "same", "other", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(back->id, ==, second);
    harness_fini(&harness);
}

static void test_purge(void)
{
    Harness harness;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autofree char *moves = NULL;
    g_autofree char *path = NULL;
    g_autoptr(TbxOperationRecord) operation = NULL;
    g_autoptr(TbxOperationRecord) direct = NULL;
    g_autoptr(GError) error = NULL;

    set_clock();
    harness_init(&harness);
    first = create_vm(&harness, "first", NULL);
    second = create_vm(&harness, "second", NULL);
    run_ok(&harness, "first", DELETE, FALSE);
    operation = purge(&harness, first, &error);
    g_assert_no_error(error);
    g_assert_cmpint(operation->state, ==, TENBOX_OPERATION_STATE_DONE);
    path = trash_path(&harness, first);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_null(purge(&harness, first, &error));
    assert_error(&error, "vm-not-found", NULL);
    direct = purge(&harness, "second", &error);
    g_assert_no_error(error);
    assert_in_trash(&harness, second, FALSE);
    assert_deleted_count(&harness, 0);
    moves = describe_moves(&harness);
    g_assert_cmpstr(moves, ==,
                    "vm.created vm.created vm.trashed vm.deleted vm.purged vm.deleted vm.purged");
    harness_fini(&harness);
}

/* Without a trash deleting is for good, and what an earlier daemon kept goes. */
static void test_off(void)
{
    Harness harness;
    g_autofree char *kept = NULL;
    g_autofree char *id = NULL;
    g_autofree char *left = NULL;

    set_clock();
    harness_init(&harness);
    kept = create_vm(&harness, "kept", NULL);
    run_ok(&harness, "kept", DELETE, FALSE);
    harness_close(&harness);
    harness.trash_days = 0;
    harness_open(&harness);
    wait_until("the sweep", is_trash_empty, &harness);
    assert_in_trash(&harness, kept, FALSE);
    id = create_vm(&harness, "gone", NULL);
    run_ok(&harness, "gone", DELETE, FALSE);
    assert_in_trash(&harness, id, FALSE);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, "");
    harness_fini(&harness);
}

/* ---- the time limit ----------------------------------------------------------------------- */

/* Opens the folder anew, which sweeps, and tells whether the VM is still there. */
static gboolean is_kept(Harness *harness, const char *id)
{
    g_autofree char *path = trash_path(harness, id);
    g_autoptr(GPtrArray) list = NULL;

    harness_close(harness);
    harness_open(harness);
    list = list_deleted(harness);
    if (list->len == 1 && ((TbxVmRecord *)list->pdata[0])->purge_at > now.time * G_USEC_PER_SEC)
        return TRUE;
    wait_until("the sweep", is_trash_empty, harness);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    return FALSE;
}

static void test_time_limit(void)
{
    Harness harness;
    g_autofree char *id = NULL;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", DELETE, FALSE);
    pass(7 * DAY - 1);
    g_assert_true(is_kept(&harness, id));
    pass(1);
    g_assert_false(is_kept(&harness, id));
    harness_fini(&harness);
}

/* Set back by a year, and forwards by ten: neither makes a VM go early, nor stay for ever. */
static void test_clock_jumps(void)
{
    Harness harness;
    g_autofree char *id = NULL;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", DELETE, FALSE);
    now.time -= 365 * DAY;
    g_assert_true(is_kept(&harness, id));
    pass(3 * DAY);
    now.time += 3650 * DAY;
    g_assert_true(is_kept(&harness, id));
    /* Runs of the kernel that begin with a clock that is wrong by years count a day at most, all together. */
    for (guint i = 0; i < 8; i++) {
        reboot(-365 * DAY);
        g_assert_true(is_kept(&harness, id));
        reboot(3650 * DAY);
        g_assert_true(is_kept(&harness, id));
    }
    pass(3 * DAY - 1);
    g_assert_true(is_kept(&harness, id));
    pass(1);
    g_assert_false(is_kept(&harness, id));
    harness_fini(&harness);
}

/* A note that cannot be read, or is not there: the time begins anew. */
static void test_without_note(void)
{
    static const char *const notes[] = {NULL,
                                        "",
                                        "{}",
                                        "{\"age\":-1}",
                                        "no JSON",
                                        "{\"deleted_at\":1,\"age\":99999999,\"seen_at\":1,"
                                        "\"seen_uptime\":\"1\",\"seen_boot_id\":\"x\"}"};

    for (gsize i = 0; i < G_N_ELEMENTS(notes); i++) {
        Harness harness;
        g_autofree char *id = NULL;
        g_autofree char *folder = NULL;
        g_autofree char *note = NULL;

        set_clock();
        harness_init(&harness);
        id = create_vm(&harness, "one", NULL);
        run_ok(&harness, "one", DELETE, FALSE);
        harness_close(&harness);
        folder = trash_path(&harness, id);
        note = g_build_filename(folder, "trash.json", NULL);
        if (notes[i] != NULL)
            g_assert_true(g_file_set_contents(note, notes[i], -1, NULL));
        else
            g_assert_cmpint(g_unlink(note), ==, 0);
        pass(100 * DAY);
        harness_open(&harness);
        assert_deleted_count(&harness, 1);
        pass(7 * DAY);
        g_assert_false(is_kept(&harness, id));
        harness_fini(&harness);
    }
}

/* A broken VM goes and comes like any other, as it is. */
static void test_broken(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(GPtrArray) list = NULL;
    g_autoptr(TbxVmRecord) back = NULL;
    g_autoptr(GError) error = NULL;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    path = vm_path(&harness, id, "vm.json");
    harness_close(&harness);
    g_assert_true(g_file_set_contents(path, "{", -1, NULL));
    harness_open(&harness);
    run_ok(&harness, id, DELETE, FALSE);
    harness_close(&harness);
    harness_open(&harness);
    list = list_deleted(&harness);
    g_assert_cmpuint(list->len, ==, 1);
    g_assert_nonnull(((TbxVmRecord *)list->pdata[0])->broken);
    g_assert_null(try_undelete(&harness, id, "name", &error));
    assert_error(&error, "vm-broken", "name");
    back = try_undelete(&harness, id, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(back->broken);
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "{");
    harness_fini(&harness);
}

/* What a crash leaves between the steps: the note without the move, and a removal that was not finished. */
static void test_leftovers(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *note = NULL;
    g_autofree char *old = NULL;
    g_autofree char *file = NULL;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    harness_close(&harness);
    note = vm_path(&harness, id, "trash.json");
    g_assert_true(g_file_set_contents(note, "{}", -1, NULL));
    old = g_build_filename(harness.folder, "trash", ".old-ffffffff-0000-4000-8000-000000000000",
                           NULL);
    file = g_build_filename(old, "vm.json", NULL);
    g_assert_cmpint(g_mkdir_with_parents(old, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, "{}", -1, NULL));
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    g_assert_false(g_file_test(note, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));
    assert_deleted_count(&harness, 0);
    harness_fini(&harness);
}

/* The driver is closed before the folder of a deleted VM has gone anywhere: whatever the deletion was to be, the
 * VM stays, since the data folder may be another daemon's by then. */
static void check_closed_while_deleting(gboolean is_purge)
{
    const TbxActionOptions options = {.timeout = -1, .purge = is_purge};
    Harness harness;
    ThreadHold hold;
    g_autofree char *id = NULL;
    g_autofree char *folder = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxOperationRecord) begun = NULL;
    GTask *updating = new_task(NULL), *deleting = new_task(NULL);
    guint descriptors;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    harness_close(&harness);
    descriptors = count_descriptors();
    harness_open(&harness);
    hold_threads(&hold);
    spec->notes = g_strdup("precious");
    spec->present = TBX_VM_SPEC_NOTES;
    tbx_driver_vm_update(harness.driver, "one", spec, updating);
    tbx_driver_vm_begin(harness.driver, "one", DELETE, &options, deleting);
    begun = finish_pointer(deleting, NULL);
    g_assert_nonnull(begun);
    tbx_driver_close(harness.driver);
    release_threads(&hold);
    record = finish_pointer(updating, NULL);
    harness_close(&harness);
    wait_descriptors(descriptors); /* the last of it is over */
    assert_in_trash(&harness, id, FALSE);
    folder = list_vms_folder(&harness);
    g_assert_cmpstr(folder, ==, id);
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    harness_fini(&harness);
}

static void test_closed_while_deleting(void)
{
    check_closed_while_deleting(FALSE);
    check_closed_while_deleting(TRUE);
}

/* A removal for good that was made to depend on something, and to be found by an id. */
static void test_purge_options(void)
{
    static const char *const operation_id = "0f0f0f0f-3333-4333-8333-333333333333";
    TbxActionOptions options = {.timeout = -1, .purge = TRUE, .if_match = "\"other\""};
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *etag = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) ended = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    record = get_vm(&harness, "one");
    etag = g_strdup_printf("\"%s\"", record->etag);
    run_ok(&harness, "one", DELETE, FALSE);
    tbx_driver_vm_begin(harness.driver, id, DELETE, &options, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "precondition-failed", "If-Match");
    assert_in_trash(&harness, id, TRUE);
    options.if_match = etag;
    options.operation_id = operation_id;
    task = new_task(NULL);
    tbx_driver_vm_begin(harness.driver, id, DELETE, &options, task);
    begun = finish_pointer(task, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(begun->id, ==, operation_id);
    ended = wait_operation(&harness, operation_id);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
    assert_in_trash(&harness, id, FALSE);
    harness_fini(&harness);
}

typedef struct {
    Harness *harness;
    GTask *undeleting; /* begun from within vm.purged */
} WithinPurge;

static void undelete_purged(TbxEventRecord *event, gpointer user_data)
{
    WithinPurge *within = user_data;

    if (!g_str_equal(event->type, TBX_EVENT_VM_PURGED))
        return;
    g_assert_null(within->undeleting);
    within->undeleting = new_task(NULL);
    tbx_driver_vm_undelete(within->harness->driver, event->vm->id, NULL, within->undeleting);
}

/* What is told to be gone is gone, for whoever hears of it, too. */
static void test_undelete_purged(void)
{
    Harness harness;
    WithinPurge within = {&harness, NULL};
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) purged = NULL;
    g_autoptr(GError) error = NULL;

    set_clock();
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", DELETE, FALSE);
    harness.on_event = undelete_purged;
    harness.on_event_data = &within;
    purged = purge(&harness, id, &error);
    g_assert_no_error(error);
    g_assert_cmpint(purged->state, ==, TENBOX_OPERATION_STATE_DONE);
    g_assert_nonnull(within.undeleting);
    g_assert_null(finish_pointer(within.undeleting, &error));
    assert_error(&error, "vm-not-found", NULL);
    assert_deleted_count(&harness, 0);
    harness_fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trash/closed-while-deleting", test_closed_while_deleting);
    g_test_add_func("/trash/purge-options", test_purge_options);
    g_test_add_func("/trash/undelete-purged", test_undelete_purged);
    g_test_add_func("/trash/there-and-back", test_there_and_back);
    g_test_add_func("/trash/over-drivers", test_over_drivers);
    g_test_add_func("/trash/purge", test_purge);
    g_test_add_func("/trash/off", test_off);
    g_test_add_func("/trash/time-limit", test_time_limit);
    g_test_add_func("/trash/clock-jumps", test_clock_jumps);
    g_test_add_func("/trash/without-note", test_without_note);
    g_test_add_func("/trash/broken", test_broken);
    g_test_add_func("/trash/leftovers", test_leftovers);
    return g_test_run();
}
