/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting tenboxd.
 *
 * The daemon gets a session of its own (it must outlive this terminal), "/" as its folder, nothing on
 * standard input and its log file on the other two, and a pipe on which it says "ready" once its
 * socket listens. The end of the pipe without that word means that it failed, and then the end of the
 * log is what the user needs to see.
 *
 * A lock beside the log makes concurrent starts take turns; whoever gets it second finds the socket
 * answering and starts nothing.
 */
#include "tenbox-cli/daemon-start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>

/* A log larger than this is put aside before the next start. */
#define LOG_SIZE_MAX    (1024 * 1024)
#define LOG_TAIL_SIZE   2048
#define START_LIMIT     60 /* seconds */
#define DAEMON_READY_FD 3

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

#define AUTO_FD __attribute__((cleanup(close_fd)))

/* --- where things are ---------------------------------------------------------------------- */

static gboolean is_program(const char *path)
{
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) &&
           g_file_test(path, G_FILE_TEST_IS_EXECUTABLE);
}

/*
 * $TENBOX_DAEMON; the build tree's, when this program lies in one; the one installed beside this
 * program; the one this build was configured to install.
 */
static char *find_daemon(GError **error)
{
    const char *named = g_getenv("TENBOX_DAEMON");
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self ? g_path_get_dirname(self) : NULL;

    if (named && *named) {
        if (is_program(named))
            return g_canonicalize_filename(named, NULL);
        g_set_error(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE,
                    _("$TENBOX_DAEMON names %s, which is no program"), named);
        return NULL;
    }
    if (folder) {
        g_autofree char *built = g_build_filename(folder, "..", "tenboxd", "tenboxd", NULL);
        g_autofree char *beside = g_build_filename(folder, "tenboxd", NULL);

        if (is_program(built))
            return g_canonicalize_filename(built, NULL);
        if (is_program(beside))
            return g_steal_pointer(&beside);
    }
    if (is_program(TENBOX_DAEMON_PATH))
        return g_strdup(TENBOX_DAEMON_PATH);
    g_set_error_literal(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE,
                        _("no daemon answers, and tenboxd is not installed beside this program; "
                          "$TENBOX_DAEMON may name it"));
    return NULL;
}

/* Opens the log for appending; an overlong one of earlier runs is put aside first. */
static int open_log(const char *path, GError **error)
{
    struct stat status;
    int fd;

    if (stat(path, &status) == 0 && status.st_size > LOG_SIZE_MAX) {
        g_autofree char *old = g_strconcat(path, ".old", NULL);

        if (rename(path, old) < 0) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", old,
                        g_strerror(errno));
            return -1;
        }
    }
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", path,
                    g_strerror(errno));
    return fd;
}

/* The last lines of the log that were written since it had @from bytes; NULL when there are none. */
static char *read_log_tail(const char *path, off_t from)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char buffer[LOG_TAIL_SIZE];
    struct stat status;
    ssize_t length;

    if (fd < 0 || fstat(fd, &status) < 0)
        return NULL;
    if (status.st_size - from > (off_t)sizeof(buffer))
        from = status.st_size - (off_t)sizeof(buffer);
    length = pread(fd, buffer, sizeof(buffer), from);
    if (length <= 0)
        return NULL;
    return g_strstrip(g_utf8_make_valid(buffer, length));
}

/* --- waiting ------------------------------------------------------------------------------- */

typedef struct {
    GString *said;
    gboolean is_over; /* ready, or the pipe has ended */
    gboolean is_late;
} ReadyWait;

static gboolean on_ready_pipe(int fd, GIOCondition condition, gpointer user_data)
{
    ReadyWait *wait = user_data;
    char buffer[64];
    const ssize_t length = read(fd, buffer, sizeof(buffer));

    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    if (length > 0 && wait->said->len < sizeof(buffer))
        g_string_append_len(wait->said, buffer, length);
    wait->is_over = length <= 0 || strchr(wait->said->str, '\n');
    return wait->is_over ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static gboolean on_late(gpointer user_data)
{
    ReadyWait *wait = user_data;

    wait->is_over = TRUE;
    wait->is_late = TRUE;
    return G_SOURCE_REMOVE;
}

static gboolean on_wait_cancelled(GCancellable *cancellable, gpointer user_data)
{
    ReadyWait *wait = user_data;

    wait->is_over = TRUE;
    return G_SOURCE_REMOVE;
}

/* TRUE when the daemon said that it is ready. */
static gboolean wait_until_ready(Cli *cli, int fd, gboolean *ret_is_late)
{
    ReadyWait wait = {.said = g_string_new(NULL)};
    g_autoptr(GSource) pipe_source = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_autoptr(GSource) late_source = g_timeout_source_new_seconds(START_LIMIT);
    g_autoptr(GSource) cancel_source = g_cancellable_source_new(cli->cancellable);
    gboolean is_ready;

    g_source_set_callback(pipe_source, G_SOURCE_FUNC(on_ready_pipe), &wait, NULL);
    g_source_set_callback(late_source, on_late, &wait, NULL);
    g_source_set_callback(cancel_source, G_SOURCE_FUNC(on_wait_cancelled), &wait, NULL);
    g_source_attach(pipe_source, NULL);
    g_source_attach(late_source, NULL);
    g_source_attach(cancel_source, NULL);
    while (!wait.is_over)
        g_main_context_iteration(NULL, TRUE);
    g_source_destroy(pipe_source);
    g_source_destroy(late_source);
    g_source_destroy(cancel_source);
    is_ready = g_str_equal(wait.said->str, "ready\n");
    *ret_is_late = wait.is_late;
    g_string_free(wait.said, TRUE);
    return is_ready;
}

/* --- starting ------------------------------------------------------------------------------ */

/* Whether somebody else has started it meanwhile. */
static gboolean is_answering(const char *socket_path)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(socket_path);
    g_autoptr(GSocket) probe =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL);

    return probe && g_socket_connect(probe, address, NULL, NULL);
}

/* Between fork and exec: a session of its own, so that a hang-up of this terminal does not reach it. */
static void enter_session(gpointer user_data)
{
    setsid();
}

/* @ready_fd and @log_fd stay the caller's. */
static gboolean spawn_daemon(const char *program, int ready_fd, int log_fd, GError **error)
{
    const char *const argv[] = {program, "--ready-fd", G_STRINGIFY(DAEMON_READY_FD), NULL};
    AUTO_FD int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int target = DAEMON_READY_FD;

    if (null_fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "/dev/null: %s",
                    g_strerror(errno));
        return FALSE;
    }
    return g_spawn_async_with_pipes_and_fds("/", argv, NULL, G_SPAWN_DEFAULT, enter_session, NULL,
                                            null_fd, log_fd, log_fd, &ready_fd, &target, 1, NULL,
                                            NULL, NULL, NULL, error);
}

static gboolean start_locked(Cli *cli, const char *log_path, GError **error)
{
    g_autofree char *program = find_daemon(error);
    AUTO_FD int log_fd = program ? open_log(log_path, error) : -1;
    AUTO_FD int read_fd = -1;
    AUTO_FD int write_fd = -1;
    g_autofree char *tail = NULL;
    gboolean is_late = FALSE;
    int pipe_fds[2];
    off_t log_start;

    if (log_fd < 0)
        return FALSE;
    log_start = lseek(log_fd, 0, SEEK_END);
    if (!g_unix_open_pipe(pipe_fds, FD_CLOEXEC, error))
        return FALSE;
    read_fd = pipe_fds[0];
    write_fd = pipe_fds[1];
    if (!spawn_daemon(program, write_fd, log_fd, error)) {
        g_prefix_error(error, "%s: ", program);
        return FALSE;
    }
    close_fd(&write_fd); /* so that the pipe ends when the daemon does */
    if (wait_until_ready(cli, read_fd, &is_late)) {
        cli_message(cli, _("Started the daemon; its log is %s"), log_path);
        return TRUE;
    }
    if (g_cancellable_set_error_if_cancelled(cli->cancellable, error))
        return FALSE;
    tail = read_log_tail(log_path, log_start);
    if (is_late)
        g_set_error(error, TENBOX_ERROR, TENBOX_ERROR_TIMED_OUT,
                    _("%s was started but is not ready after %d seconds; its log is %s"), program,
                    START_LIMIT, log_path);
    else
        g_set_error(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE,
                    _("%s was started and ended at once: %s (its log is %s)"), program,
                    tail && *tail ? tail : _("it said nothing"), log_path);
    return FALSE;
}

gboolean cli_daemon_start(Cli *cli, GError **error)
{
    g_autofree char *folder = g_build_filename(g_get_user_state_dir(), "tenbox", NULL);
    g_autofree char *log_path = g_build_filename(folder, "tenboxd.log", NULL);
    g_autofree char *lock_path = g_build_filename(folder, "start.lock", NULL);
    g_autofree char *socket_path = tenbox_connection_get_user_socket();
    AUTO_FD int lock_fd = -1;
    CliBlocking blocking;
    int locked;

    if (g_mkdir_with_parents(folder, 0700) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", folder,
                    g_strerror(errno));
        return FALSE;
    }
    lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock_fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", lock_path,
                    g_strerror(errno));
        return FALSE;
    }
    /* The holder lets go within START_LIMIT. */
    cli_begin_blocking(&blocking);
    locked = flock(lock_fd, LOCK_EX);
    cli_end_blocking(&blocking);
    if (locked < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", lock_path,
                    g_strerror(errno));
        return FALSE;
    }
    if (is_answering(socket_path))
        return TRUE;
    return start_locked(cli, log_path, error);
}
