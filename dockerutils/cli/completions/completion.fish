# Completion of dockerutils' commands in fish. To enable it: dockerutils completion fish | source

function __dockerutils_names
    if test $argv[1] = variables
        set -nx
        return
    end
    set -l begun (commandline -ct | string replace -r -- '^--[^=]*=' '' | string unescape)
    string match -q -- '-*' "$begun"; and return # no name begins with a dash
    ASK_FOR_NAMES $argv "$begun" 2>/dev/null </dev/null
end

# Print the words between the command, or its action $argv[1], and the cursor; status 1 if the action is another one.
function __dockerutils_words
    set -l words (commandline -opc)[2..]
    if test -n "$argv[1]"
        test "$words[1]" = "$argv[1]"; or return 1
        set -e words[1]
    end
    string join -- \n $words
    return 0 # join returns 1 for a single word
end

# __dockerutils_place ACTION TAKES: print the number of the argument at the cursor; status 1 if it is behind `--`. TAKES is
# the variable with the options that have a value.
function __dockerutils_place
    set -l words (__dockerutils_words $argv[1]); or return 1
    contains -- -- $words; and return 1
    set -l place 1
    set -l value no
    for word in $words
        if test $value = yes
            set value no
        else if contains -- $word $$argv[2]
            set value yes
        else if not string match -q -- '-*' $word
            set place (math $place + 1)
        end
    end
    echo $place
end

# __dockerutils_in ACTION [PLACE TAKES]: tell whether an option of the command, or of its action, is possible here. A
# command begins at the argument PLACE, if given, and has its own options.
function __dockerutils_in
    if set -q argv[2]
        set -l place (__dockerutils_place $argv[1] $argv[3]); or return 1
        test $place -le $argv[2]
        return
    end
    set -l words (__dockerutils_words $argv[1]); or return 1
    not contains -- -- $words
end

# __dockerutils_at ACTION PLACE TAKES: tell whether the cursor is at the argument with this number. PLACE- means this
# argument and all after it.
function __dockerutils_at
    set -l place (__dockerutils_place $argv[1] $argv[3]); or return 1
    test $place = (string trim -r -c - $argv[2]); and return 0
    string match -q -- '*-' $argv[2]; and test $place -ge (string trim -r -c - $argv[2])
end

function __dockerutils_after_dashes
    contains -- -- (commandline -opc)
end

for command in COMMANDS
    complete -c $command -e
    complete -c $command -f
    complete -c $command -n __dockerutils_after_dashes -F
end
# TABLE
