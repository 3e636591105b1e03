/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands as data. One table (command-table.c) says what there is; parsing and the search for what a
 * mistyped word may have meant are derived from it here, help in help.c, completion in complete.c and
 * the manual in manual.c.
 *
 * Texts of the table are marked by N_() and translated when they are shown.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct _Cli Cli;
typedef struct _CliCommandLine CliCommandLine;

typedef enum {
    CLI_OPTION_FLAG,   /* takes no value */
    CLI_OPTION_TEXT,   /* any text */
    CLI_OPTION_PATH,   /* a file name; made absolute */
    CLI_OPTION_NUMBER, /* a whole number from minimum to maximum */
    CLI_OPTION_MEMORY, /* MiB, or a number with a unit */
    CLI_OPTION_CHOICE, /* one of the words of choices */
    CLI_OPTION_FORMAT, /* how to print data, see format.h */
    CLI_OPTION_LIST,   /* any text; may be given several times */
} CliOptionKind;

/* What the words behind a command are, for completion. */
typedef enum {
    CLI_WORD_NONE, /* nothing that can be guessed */
    CLI_WORD_VM,
    CLI_WORD_DELETED_VM,
    CLI_WORD_OPERATION,
    CLI_WORD_SETTING,
    CLI_WORD_ALIAS,
} CliWordKind;

typedef struct {
    const char *name; /* without the hyphens */
    char letter;      /* 0: none */
    CliOptionKind kind;
    const char *field; /* member of the VM's JSON that it sets; errors about that name the option */
    const char *argument; /* N_(): what stands for the value in help; NULL for flags */
    const char *summary;  /* N_() */
    const char *choices;  /* words separated by | */
    gint64 minimum;
    gint64 maximum;
    const char *other_name; /* a second long name for habits from elsewhere; NULL: none */
} CliOption;

#define CLI_EXAMPLES_MAX 4

typedef struct {
    const char *group;    /* "vm"; NULL: the name is a first word, as in "tenbox events" */
    const char *name;     /* "start" */
    const char *shortcut; /* the same as a first word, as in "tenbox start", several separated by |;
                              NULL: none */
    const char *arguments; /* N_(): in help, "" for none */
    CliWordKind words;     /* what they are */
    const char *choices;   /* the first one must be one of these, separated by |; NULL: anything */
    guint minimum_arguments;
    guint maximum_arguments;                          /* G_MAXUINT: any number */
    const char *summary;                              /* N_(): one line without full stop */
    const char *description;                          /* N_(): paragraphs; NULL: none */
    const CliOption *options;                         /* ends with a row without name; NULL: none */
    const char *examples[CLI_EXAMPLES_MAX + 1];       /* full command lines */
    const char *see_also;                             /* "vm stop, vm console" */
    int (*run)(Cli *cli, const CliCommandLine *line); /* returns the exit status */
} CliCommand;

typedef struct {
    const char *name;
    const char *summary; /* N_() */
} CliGroup;

/* The table. All end with a row without name. */
extern const CliCommand cli_commands[];
extern const CliGroup cli_groups[];
extern const CliOption cli_global_options[];

/* A command line that was understood. */
struct _CliCommandLine {
    const CliCommand *command; /* NULL: help about a group or everything */
    const char *group;         /* help: the group, NULL for everything */
    gboolean wants_help;
    gboolean wants_version;
    GPtrArray *arguments; /* char*, owned */
    GHashTable *values;   /* CliOption* → CliOptionValue* */
};

/* "vm start", "events": the words that name @command. */
char *cli_command_words(const CliCommand *command);

/*
 * Understands @argv, program name included. Errors are of the domain G_OPTION_ERROR: they say what
 * is wrong and what was perhaps meant. On failure *ret_command, which may be NULL, is the command
 * that was recognized before the mistake, or NULL.
 */
CliCommandLine *cli_command_line_parse(int argc, char *const *argv, const CliCommand **ret_command,
                                       GError **error);
void cli_command_line_free(CliCommandLine *line);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliCommandLine, cli_command_line_free)

/* Whether option @name was given. Asking for one that the command does not have is a bug. */
gboolean cli_command_line_has(const CliCommandLine *line, const char *name);
/* Its value: the text, absolute path or word; NULL when it was not given. */
const char *cli_command_line_get_text(const CliCommandLine *line, const char *name);
/* All values of a CLI_OPTION_LIST in their order, ending with NULL; NULL when it was not given. */
const char *const *cli_command_line_get_list(const CliCommandLine *line, const char *name);
/* The number, or memory in MiB; @fallback when it was not given. */
gint64 cli_command_line_get_number(const CliCommandLine *line, const char *name, gint64 fallback);

/* Memory: a bare number is MiB; units M, MiB, G, GiB, T, TiB in any case. In MiB. */
gboolean cli_parse_memory(const char *text, gint64 *ret_mib, GError **error);

/* The option of @command, or a global one, that sets @field; NULL: none. */
const CliOption *cli_command_find_field(const CliCommand *command, const char *field);

/* Whether @text is one of the words of @choices, which are separated by |. */
gboolean cli_is_choice(const char *choices, const char *text);

/* The option called @name, or with the letter @letter when @name is NULL, that may stand behind @command
 * (NULL: before any): its own or a global one. NULL: there is none. */
const CliOption *cli_command_find_option(const CliCommand *command, const char *name, gsize length,
                                         char letter);
/* The command called @word in @group, or the one that is short for when @group is NULL. */
const CliCommand *cli_command_find(const char *group, const char *word);
gboolean cli_is_group(const char *word);

G_END_DECLS
