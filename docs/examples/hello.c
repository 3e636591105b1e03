/* SPDX-License-Identifier: MIT */
/*
 * Boots a guest and waits until it says hello: hello KERNEL INITRD [URI]
 *
 * Everything is asynchronous, as in a program with a window: each function below begins one call and the next
 * one is its callback.
 */
#include <libtenbox/tenbox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    GMainLoop *loop;
    const char *kernel;
    const char *initrd;
    TenboxConnection *connection;
    TenboxVm *vm;
    TenboxConsole *console;
    GString *output;
    gboolean said_hello;
    gboolean failed;
} Hello;

/* Notes what went wrong; TRUE when nothing did. */
static gboolean check(Hello *hello, const char *what, GError *error)
{
    if (error == NULL)
        return TRUE;
    fprintf(stderr, "%s: %s (%s)\n", what, error->message, tenbox_error_get_code(error));
    g_error_free(error);
    hello->failed = TRUE;
    return FALSE;
}

static void on_deleted(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;

    tenbox_vm_delete_finish(TENBOX_VM(source), result, &error);
    if (check(hello, "delete", error))
        printf("deleted\n");
    g_main_loop_quit(hello->loop);
}

/* Whatever happened, nothing is left behind. */
static void clean_up(Hello *hello)
{
    tenbox_vm_delete_async(hello->vm, TENBOX_VM_ACTION_FLAGS_FORCE, NULL, on_deleted, hello);
}

static void on_stopped(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;

    tenbox_vm_stop_finish(TENBOX_VM(source), result, &error);
    if (check(hello, "stop", error))
        printf("stopped\n");
    clean_up(hello);
}

static void on_output(TenboxConsole *console, GBytes *bytes, gpointer data)
{
    Hello *hello = data;
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);

    /* However it spells it. */
    g_string_append_len(hello->output, text, (gssize)size);
    g_string_ascii_down(hello->output);
    if (hello->said_hello || strstr(hello->output->str, "hello") == NULL)
        return;
    hello->said_hello = TRUE;
    printf("the guest says hello\n");
    tenbox_vm_stop_async(hello->vm, TENBOX_VM_ACTION_FLAGS_NONE, TENBOX_VM_STOP_TIMEOUT_DEFAULT,
                         NULL, on_stopped, hello);
}

static void on_console_closed(TenboxConsole *console, GError *error, gpointer data)
{
    Hello *hello = data;

    if (hello->said_hello)
        return;
    check(hello, "console",
          error
              ? g_error_copy(error)
              : g_error_new_literal(TENBOX_ERROR, TENBOX_ERROR_FAILED, "the guest ended silently"));
    clean_up(hello);
}

static void on_console(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;

    hello->console = tenbox_vm_open_console_finish(TENBOX_VM(source), result, &error);
    if (!check(hello, "console", error)) {
        clean_up(hello);
        return;
    }
    g_signal_connect(hello->console, "output", G_CALLBACK(on_output), hello);
    g_signal_connect(hello->console, "closed", G_CALLBACK(on_console_closed), hello);
}

static void on_started(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;

    tenbox_vm_start_finish(TENBOX_VM(source), result, &error);
    if (!check(hello, "start", error)) {
        clean_up(hello);
        return;
    }
    printf("%s is %s\n", tenbox_vm_get_name(hello->vm),
           tenbox_vm_state_to_string(tenbox_vm_get_state(hello->vm)));
    tenbox_vm_open_console_async(hello->vm, TENBOX_CONSOLE_FLAGS_NONE, NULL, on_console, hello);
}

static void on_created(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;

    hello->vm = tenbox_connection_create_vm_finish(TENBOX_CONNECTION(source), result, &error);
    if (!check(hello, "create", error)) {
        g_main_loop_quit(hello->loop);
        return;
    }
    tenbox_vm_start_async(hello->vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, on_started, hello);
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer data)
{
    Hello *hello = data;
    GError *error = NULL;
    g_autofree char *name = g_strdup_printf("hello-c-%d", (int)getpid());
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(TenboxVmConfig) config = NULL;

    hello->connection = tenbox_connection_open_finish(result, &error);
    if (!check(hello, "open", error)) {
        g_main_loop_quit(hello->loop);
        return;
    }
    tenbox_vm_config_builder_set_name(builder, name);
    tenbox_vm_config_builder_set_kernel(builder, hello->kernel);
    tenbox_vm_config_builder_set_initrd(builder, hello->initrd);
    tenbox_vm_config_builder_set_memory_mb(builder, 256);
    tenbox_vm_config_builder_set_cpu_count(builder, 1);
    config = tenbox_vm_config_builder_build(builder, &error);
    if (!check(hello, "config", error)) {
        g_main_loop_quit(hello->loop);
        return;
    }
    tenbox_connection_create_vm_async(hello->connection, config, NULL, on_created, hello);
}

int main(int argc, char **argv)
{
    Hello hello = {0};

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s KERNEL INITRD [URI]\n", argv[0]);
        return 2;
    }
    /* The daemon has another current folder. */
    g_autofree char *kernel = g_canonicalize_filename(argv[1], NULL);
    g_autofree char *initrd = g_canonicalize_filename(argv[2], NULL);
    hello.kernel = kernel;
    hello.initrd = initrd;
    hello.output = g_string_new(NULL);
    hello.loop = g_main_loop_new(NULL, FALSE);
    tenbox_connection_open_async(argc > 3 ? argv[3] : NULL, TENBOX_CONNECTION_FLAGS_NONE, NULL,
                                 on_opened, &hello);
    g_main_loop_run(hello.loop);

    g_clear_object(&hello.console);
    g_clear_object(&hello.vm);
    g_clear_object(&hello.connection);
    g_string_free(hello.output, TRUE);
    g_main_loop_unref(hello.loop);
    return hello.failed || !hello.said_hello ? EXIT_FAILURE : EXIT_SUCCESS;
}
