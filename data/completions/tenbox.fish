# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of tenbox for fish. What there is, tenbox itself says (“tenbox __complete”).

function __tenbox_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end

complete -c tenbox -f -a '(__tenbox_complete)'
