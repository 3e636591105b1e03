/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of knobs and what is made from it: the reader of tenboxd.conf, the command line's
 * options, the document that shows them; see settings.h.
 */
#include "tenboxd/settings.h"

#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-limits.h"

#define GROUP         "daemon"
#define FILE_SIZE_MAX (256 * 1024)

typedef enum {
    KIND_NUMBER,
    KIND_TEXT,  /* not empty */
    KIND_PATH,  /* absolute */
    KIND_PATHS, /* absolute ones, with ; between them */
} Kind;

/* When a running daemon takes a new value. */
typedef enum {
    TAKES_RESTART,
    TAKES_RELOAD,
} Takes;

typedef struct {
    const char *key;
    const char *flag; /* the key with hyphens */
    gsize offset;
    Kind kind;
    Takes takes;
    gint64 minimum, maximum, standard;
    const char *argument;
    const char *summary;
} Row;

#define PLACE(member) G_STRUCT_OFFSET(TbdSettings, member)

static const Row rows[] = {
    {"data_folder", "data-folder", PLACE(data_folder), KIND_PATH, TAKES_RESTART, 0, 0, 0, "DIR",
     "Where VMs are kept"},
    {"socket", "socket", PLACE(socket), KIND_PATH, TAKES_RESTART, 0, 0, 0, "PATH",
     "Unix socket to listen on"},
    {"socket_group", "socket-group", PLACE(socket_group), KIND_TEXT, TAKES_RESTART, 0, 0, 0,
     "GROUP", "Group whose members may use the socket, too"},
    {"path_roots", "path-roots", PLACE(path_roots), KIND_PATHS, TAKES_RELOAD, 0, 0, 0, "DIR[;DIR…]",
     "Folders whose files those members may name"},
    {"trash_days", "trash-days", PLACE(trash_days), KIND_NUMBER, TAKES_RESTART, 0, 3650, 7, "DAYS",
     "How long deleted VMs are kept; 0: not at all"},
    {"shutdown_timeout", "shutdown-timeout", PLACE(shutdown_timeout), KIND_NUMBER, TAKES_RELOAD, 1,
     3600, 90, "SECONDS", "What guests get when the host shuts down"},
    {"connections", "connections", PLACE(connections), KIND_NUMBER, TAKES_RELOAD, 8, 4096,
     TBD_CONNECTIONS, "N", "How many connections may be open"},
    {"connections_per_user", "connections-per-user", PLACE(connections_per_user), KIND_NUMBER,
     TAKES_RELOAD, 4, 4096, TBD_CONNECTIONS_PER_USER, "N", "The same of one user"},
    {"head_timeout", "head-timeout", PLACE(head_timeout), KIND_NUMBER, TAKES_RELOAD, 1, 3600,
     TBD_HEAD_SECONDS, "SECONDS", "What a client gets for a request's head"},
    {"body_timeout", "body-timeout", PLACE(body_timeout), KIND_NUMBER, TAKES_RELOAD, 1, 3600,
     TBD_BODY_SECONDS, "SECONDS", "What a client gets for a request's body"},
    {"answer_timeout", "answer-timeout", PLACE(answer_timeout), KIND_NUMBER, TAKES_RELOAD, 1, 3600,
     TBD_ANSWER_SECONDS, "SECONDS", "What a client gets to take its answer"},
    {"audit_max_bytes", "audit-max-bytes", PLACE(audit_max_bytes), KIND_NUMBER, TAKES_RELOAD,
     64 * 1024, 1024 * 1024 * 1024, 16 * 1024 * 1024, "BYTES", "Size of the whole audit log"},
    {"audit_files", "audit-files", PLACE(audit_files), KIND_NUMBER, TAKES_RELOAD, 2, 64, 4, "N",
     "How many files the audit log has"},
};

G_STATIC_ASSERT(G_N_ELEMENTS(rows) <= 64);

static gint64 *number_at(const TbdSettings *self, const Row *row)
{
    return G_STRUCT_MEMBER_P(self, row->offset);
}

static char **text_at(const TbdSettings *self, const Row *row)
{
    return G_STRUCT_MEMBER_P(self, row->offset);
}

static char ***list_at(const TbdSettings *self, const Row *row)
{
    return G_STRUCT_MEMBER_P(self, row->offset);
}

TbdSettings *tbd_settings_new(void)
{
    TbdSettings *self = g_new0(TbdSettings, 1);

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].kind == KIND_NUMBER) {
            *number_at(self, &rows[i]) = rows[i].standard;
        } else if (rows[i].kind == KIND_PATHS) {
            *list_at(self, &rows[i]) = g_new0(char *, 1);
        }
    }
    return self;
}

void tbd_settings_free(TbdSettings *self)
{
    if (self == NULL) {
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].kind == KIND_PATHS) {
            g_strfreev(*list_at(self, &rows[i]));
        } else if (rows[i].kind != KIND_NUMBER) {
            g_free(*text_at(self, &rows[i]));
        }
    }
    g_free(self->file);
    g_free(self);
}

const char *tbd_settings_get_file(const TbdSettings *self)
{
    return self->file;
}

guint tbd_settings_get_streams_per_user(const TbdSettings *self)
{
    return (guint)MIN(TBD_STREAMS_PER_USER_MAX, self->connections_per_user / 2);
}

/* ---- one value -------------------------------------------------------------------------------- */

static gboolean set_number(TbdSettings *self, const Row *row, const char *value, GError **error)
{
    gint64 number;

    if (!g_ascii_string_to_signed(value, 10, row->minimum, row->maximum, &number, NULL)) {
        tbx_error_set(error, "field-invalid", row->key,
                      "%s is \"%s\"; it must be a number from %" G_GINT64_FORMAT
                      " to %" G_GINT64_FORMAT,
                      row->key, value, row->minimum, row->maximum);
        return FALSE;
    }
    *number_at(self, row) = number;
    return TRUE;
}

/* Takes @value. */
static gboolean set_text(TbdSettings *self, const Row *row, char *value, GError **error)
{
    g_autofree char *text = value;

    if (row->kind == KIND_PATH ? !g_path_is_absolute(text) : *text == '\0') {
        tbx_error_set(error, "field-invalid", row->key, "%s is \"%s\"; it must be %s", row->key,
                      text, row->kind == KIND_PATH ? "an absolute path" : "a name");
        return FALSE;
    }
    g_free(*text_at(self, row));
    *text_at(self, row) =
        row->kind == KIND_PATH ? g_canonicalize_filename(text, "/") : g_steal_pointer(&text);
    return TRUE;
}

/* Takes @values. */
static gboolean set_list(TbdSettings *self, const Row *row, char **values, GError **error)
{
    for (char **value = values; *value != NULL; value++) {
        if (!g_path_is_absolute(*value)) {
            tbx_error_set(error, "field-invalid", row->key,
                          "%s has \"%s\"; each of its entries must be an absolute path", row->key,
                          *value);
            g_strfreev(values);
            return FALSE;
        }
    }
    g_strfreev(*list_at(self, row));
    *list_at(self, row) = values;
    return TRUE;
}

/* ---- flags ------------------------------------------------------------------------------------ */

static gboolean on_option(const char *name, const char *value, gpointer user_data, GError **error)
{
    TbdSettings *self = user_data;

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const Row *row = &rows[i];

        if (strcmp(name + strlen("--"), row->flag) != 0) {
            continue;
        }
        self->flags |= G_GUINT64_CONSTANT(1) << i;
        switch (row->kind) {
        case KIND_NUMBER: return set_number(self, row, value, error);
        case KIND_TEXT: return set_text(self, row, g_strdup(value), error);
        case KIND_PATH: /* what a shell's user writes is relative to where he stands */
            return set_text(self, row, g_canonicalize_filename(value, NULL), error);
        case KIND_PATHS: return set_list(self, row, g_strsplit(value, ";", -1), error);
        }
    }
    return FALSE;
}

void tbd_settings_add_options(TbdSettings *self, GOptionContext *context)
{
    GOptionGroup *group = g_option_group_new(NULL, NULL, NULL, self, NULL);
    GOptionEntry entries[G_N_ELEMENTS(rows) + 1] = {{NULL}};

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        entries[i] = (GOptionEntry){
            .long_name = rows[i].flag,
            .flags = rows[i].kind == KIND_PATH ? G_OPTION_FLAG_FILENAME : 0,
            .arg = G_OPTION_ARG_CALLBACK,
            .arg_data = (gpointer)on_option,
            .description = rows[i].summary,
            .arg_description = rows[i].argument,
        };
    }
    g_option_group_add_entries(group, entries);
    g_option_context_set_main_group(context, group);
}

/* ---- the file --------------------------------------------------------------------------------- */

char *tbd_settings_find_file(void)
{
    const char *folder = g_getenv("CONFIGURATION_DIRECTORY");

    if (folder != NULL && g_path_is_absolute(folder)) {
        /* systemd gives a list, with colons; the first is the unit's own. */
        g_autofree char *first = g_strndup(folder, strcspn(folder, ":"));

        return g_build_filename(first, "tenboxd.conf", NULL);
    }
    return g_build_filename(g_get_user_config_dir(), "tenbox", "tenboxd.conf", NULL);
}

/* The value in @file of a row that has one. */
static gboolean read_row(TbdSettings *self, const Row *row, GKeyFile *file, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autofree char *text = NULL;
    char **list;

    switch (row->kind) {
    case KIND_NUMBER:
        text = g_key_file_get_value(file, GROUP, row->key, NULL);
        return set_number(self, row, g_strstrip(text), error);
    case KIND_TEXT:
    case KIND_PATH:
        text = g_key_file_get_string(file, GROUP, row->key, &failure);
        if (text != NULL) {
            return set_text(self, row, g_steal_pointer(&text), error);
        }
        break;
    case KIND_PATHS:
        list = g_key_file_get_string_list(file, GROUP, row->key, NULL, &failure);
        if (list != NULL) {
            return set_list(self, row, list, error);
        }
        break;
    }
    tbx_error_set(error, "field-invalid", row->key, "%s cannot be read: %s", row->key,
                  failure->message);
    return FALSE;
}

static const Row *find_row(const char *key)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].key, key) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* What nobody here knows is named, once: it may be a slip of the pen. */
static void warn_of_unknown(GKeyFile *file, const char *path)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    g_auto(GStrv) keys = g_key_file_get_keys(file, GROUP, NULL, NULL);

    for (char **group = groups; *group != NULL; group++) {
        if (strcmp(*group, GROUP) != 0) {
            g_warning("%s: the group [%s] is not known and has no effect; there is only [" GROUP
                      "]",
                      path, *group);
        }
    }
    for (char **key = keys; key != NULL && *key != NULL; key++) {
        if (find_row(*key) == NULL) {
            g_warning("%s: the key %s is not known and has no effect", path, *key);
        }
    }
}

static gboolean read_file(const char *path, GKeyFile *file, gboolean is_optional,
                          gboolean *ret_is_there, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autofree char *text = NULL;
    struct stat status;
    gsize length;

    /* Whoever can write the file can have the daemon serve somebody else. */
    if (stat(path, &status) == 0 &&
        ((status.st_mode & S_IWOTH) != 0 || (status.st_uid != geteuid() && status.st_uid != 0))) {
        tbx_error_set(
            error, "forbidden", "config",
            "%s is not read: it must belong to root or to user %u, and others must not be "
            "able to write to it",
            path, (guint)geteuid());
        return FALSE;
    }
    *ret_is_there = g_file_get_contents(path, &text, &length, &failure);
    if (!*ret_is_there && is_optional &&
        (g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
         g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOTDIR))) {
        return TRUE;
    }
    if (!*ret_is_there) {
        tbx_error_set(error, "file-unreadable", "config", "cannot read the configuration: %s",
                      failure->message);
        return FALSE;
    }
    if (length > FILE_SIZE_MAX) {
        tbx_error_set(error, "file-unreadable", "config", "%s has more than %d bytes", path,
                      FILE_SIZE_MAX);
        return FALSE;
    }
    if (memchr(text, '\0', length) != NULL) {
        tbx_error_set(error, "file-unreadable", "config", "%s is no configuration: it has a NUL",
                      path);
        return FALSE;
    }
    if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, &failure)) {
        tbx_error_set(error, "file-unreadable", "config", "%s is no configuration: %s", path,
                      failure->message);
        return FALSE;
    }
    return TRUE;
}

static gboolean find_group(TbdSettings *self, GError **error)
{
    guint64 number;
    struct group *group;

    self->group = TBD_NO_GROUP;
    if (self->socket_group == NULL) {
        return TRUE;
    }
    group = getgrnam(self->socket_group);
    if (group != NULL) {
        self->group = group->gr_gid;
    } else if (g_ascii_string_to_unsigned(self->socket_group, 10, 0, G_MAXINT32, &number, NULL)) {
        self->group = (gid_t)number;
    } else {
        tbx_error_set(error, "field-invalid", "socket_group",
                      "socket_group is \"%s\"; there is no group of that name", self->socket_group);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_together(TbdSettings *self, GError **error)
{
    if (self->connections_per_user > self->connections) {
        tbx_error_set(error, "field-invalid", "connections_per_user",
                      "connections_per_user is %" G_GINT64_FORMAT
                      "; it must not be more than connections, %" G_GINT64_FORMAT,
                      self->connections_per_user, self->connections);
        return FALSE;
    }
    return find_group(self, error);
}

gboolean tbd_settings_load(TbdSettings *self, const char *path, gboolean is_optional,
                           GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    gboolean is_there;

    if (!read_file(path, file, is_optional, &is_there, error)) {
        return FALSE;
    }
    g_free(self->file);
    self->file = g_strdup(path);
    for (gsize i = 0; i < G_N_ELEMENTS(rows) && is_there; i++) {
        const Row *row = &rows[i];

        if ((self->flags & G_GUINT64_CONSTANT(1) << i) == 0 &&
            g_key_file_has_key(file, GROUP, row->key, NULL) && !read_row(self, row, file, error)) {
            g_prefix_error(error, "%s: ", path);
            return FALSE;
        }
    }
    if (is_there) {
        warn_of_unknown(file, path);
    }
    return check_together(self, error);
}

/* ---- reading it again ------------------------------------------------------------------------- */

static gboolean is_same(const TbdSettings *a, const TbdSettings *b, const Row *row)
{
    switch (row->kind) {
    case KIND_NUMBER: return *number_at(a, row) == *number_at(b, row);
    case KIND_TEXT:
    case KIND_PATH: return g_strcmp0(*text_at(a, row), *text_at(b, row)) == 0;
    case KIND_PATHS:
        return g_strv_equal((const char *const *)*list_at(a, row),
                            (const char *const *)*list_at(b, row));
    }
    return FALSE;
}

/* Both keep what they have to free. */
static void swap(TbdSettings *a, TbdSettings *b, const Row *row)
{
    gint64 number;
    char *text;
    char **list;

    switch (row->kind) {
    case KIND_NUMBER:
        number = *number_at(a, row);
        *number_at(a, row) = *number_at(b, row);
        *number_at(b, row) = number;
        break;
    case KIND_TEXT:
    case KIND_PATH:
        text = *text_at(a, row);
        *text_at(a, row) = *text_at(b, row);
        *text_at(b, row) = text;
        break;
    case KIND_PATHS:
        list = *list_at(a, row);
        *list_at(a, row) = *list_at(b, row);
        *list_at(b, row) = list;
        break;
    }
}

gboolean tbd_settings_reload(TbdSettings *self, GError **error)
{
    g_autoptr(TbdSettings) fresh = tbd_settings_new();

    if (self->file == NULL) {
        return TRUE;
    }
    fresh->flags = self->flags;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (self->flags & G_GUINT64_CONSTANT(1) << i && rows[i].kind == KIND_NUMBER) {
            *number_at(fresh, &rows[i]) = *number_at(self, &rows[i]);
        }
    }
    if (!tbd_settings_load(fresh, self->file, TRUE, error)) {
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (self->flags & G_GUINT64_CONSTANT(1) << i || is_same(self, fresh, &rows[i])) {
            continue;
        }
        if (rows[i].takes == TAKES_RELOAD) {
            g_message("%s has a new value", rows[i].key);
            swap(self, fresh, &rows[i]);
        } else {
            g_warning("%s has a new value, which takes effect when tenboxd is started again",
                      rows[i].key);
        }
    }
    return TRUE;
}

/* ---- shown ------------------------------------------------------------------------------------ */

JsonObject *tbd_settings_to_json(const TbdSettings *self)
{
    JsonObject *object = json_object_new();

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const Row *row = &rows[i];
        JsonArray *array;

        switch (row->kind) {
        case KIND_NUMBER:
            json_object_set_int_member(object, row->key, *number_at(self, row));
            break;
        case KIND_TEXT:
        case KIND_PATH:
            /* NULL becomes null. */
            json_object_set_string_member(object, row->key, *text_at(self, row));
            break;
        case KIND_PATHS:
            array = json_array_new();
            for (char **path = *list_at(self, row); *path != NULL; path++) {
                json_array_add_string_element(array, *path);
            }
            json_object_set_array_member(object, row->key, array);
            break;
        }
    }
    return object;
}
