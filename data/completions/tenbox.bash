# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of tenbox for bash. What there is, tenbox itself says (“tenbox __complete”).

_tenbox() {
    local IFS=$'\n' typed=${COMP_WORDS[COMP_CWORD]} line
    local -a words=()

    COMPREPLY=()
    # readline takes --name=VALUE and label=env apart at "="; tenbox gets the words as they are typed.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local cur cword prev
        local -a split=()
        _get_comp_words_by_ref -n =: -w split -i cword -c cur -p prev
        words=("${split[@]:1:cword}")
        typed=$cur
    else
        words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    fi
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$typed")
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$typed"
    return 0
}

complete -F _tenbox tenbox
