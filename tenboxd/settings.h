/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's knobs: what tenboxd.conf and the command line say, and what holds where they say
 * nothing. One table (settings.c) has each knob's name, kind, range, default and whether a running
 * daemon takes a new value; docs/tenboxd.conf.md says what each is for.
 *
 * The file is a GKeyFile with one group, [daemon]. Each knob is a flag, too: audit_max_bytes is
 * --audit-max-bytes. A flag wins over the file. An unknown key is a warning that names it (it may
 * be a newer daemon's); a value that does not fit is refused, naming key, value and range, since a
 * limit that silently is another one is worse than no daemon.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <sys/types.h>

G_BEGIN_DECLS

#define TBD_NO_GROUP ((gid_t)-1)

typedef struct {
    /* Where. */
    char *data_folder;  /* nullable: the user's own */
    char *socket;       /* nullable: the user's own */
    char *socket_group; /* nullable: nobody but the owner */
    char **path_roots;  /* never NULL: folders whose files the group's members may name */
    gid_t group;        /* what socket_group is called by the kernel; TBD_NO_GROUP for none */
    /* VMs. */
    gint64 trash_days;       /* how long deleted VMs are kept; 0: not at all */
    gint64 shutdown_timeout; /* seconds that guests get when the host shuts down */
    /* Clients. */
    gint64 connections;
    gint64 connections_per_user;
    gint64 head_timeout;   /* seconds */
    gint64 body_timeout;   /* seconds */
    gint64 answer_timeout; /* seconds */
    /* The audit log. */
    gint64 audit_max_bytes; /* of all its files together */
    gint64 audit_files;     /* how many there are at most */

    /*< private >*/
    char *file;    /* nullable: where it was looked for */
    guint64 flags; /* bit of each row that the command line has set */
} TbdSettings;

/* The defaults. Free with tbd_settings_free(). */
TbdSettings *tbd_settings_new(void);
/* Accepts NULL. */
void tbd_settings_free(TbdSettings *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbdSettings, tbd_settings_free)

/* Makes a flag of each knob; @self must outlive the parsing. To be called before other options are
 * added to @context. */
void tbd_settings_add_options(TbdSettings *self, GOptionContext *context);

/**
 * tbd_settings_find_file:
 *
 * Where tenboxd.conf is looked for unless --config names it: in $CONFIGURATION_DIRECTORY, which
 * systemd sets, else in $XDG_CONFIG_HOME/tenbox.
 *
 * Returns: (transfer full): an absolute path; the file need not exist
 */
char *tbd_settings_find_file(void);

/**
 * tbd_settings_load:
 * @self: settings; knobs that flags have set keep their values
 * @path: absolute path of the file
 * @is_optional: that there is no such file is fine
 * @error: "file-unreadable"; "forbidden" when others may write to it; "field-invalid" with the key
 *   as field
 *
 * Reads the file over @self. On failure @self has some of the file's values; throw it away.
 */
gboolean tbd_settings_load(TbdSettings *self, const char *path, gboolean is_optional,
                           GError **error);

/**
 * tbd_settings_reload:
 * @self: the settings in force
 * @error: as tbd_settings_load()
 *
 * Reads the file again. Knobs that can change while the daemon runs get their new values; for others
 * whose value differs a message says that it takes a restart. On failure nothing has changed.
 */
gboolean tbd_settings_reload(TbdSettings *self, GError **error);

/* (transfer full): {key: value} of all knobs, for those who look. */
JsonObject *tbd_settings_to_json(const TbdSettings *self);

/* How many streams one user may have: TBD_STREAMS_PER_USER_MAX, and at most half of the user's
 * connections, so that there is always room for requests. */
guint tbd_settings_get_streams_per_user(const TbdSettings *self);

/* (nullable): where the file is, or would be. */
const char *tbd_settings_get_file(const TbdSettings *self);

G_END_DECLS
