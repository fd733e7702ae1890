# shellcheck shell=bash
# Completion of dockerutils' commands in bash. To enable it: source <(dockerutils completion bash)
# It never evaluates a name, and does not need the package bash-completion.

_dockerutils_names() {
    [[ $2 != -* ]] || return # no name begins with a dash
    ASK_FOR_NAMES "$1" "$2" 2>/dev/null </dev/null
}

# Set the variables for a command: its options, the options with values and these values (`flag values`...), the values
# of the first arguments, those of further ones, and the number of arguments that a command follows, if one can. @images,
# @docks, @files and @variables are kinds of names.
_dockerutils_table() {
    options=() takes=() arguments=() more='' command=
    case $1 in
# TABLE
    esac
}

# Set words to the words up to the cursor. bash also splits at = : @; join these parts up to the next blank.
_dockerutils_words() {
    local line=${COMP_LINE:0:COMP_POINT} number word glued=
    words=()
    for ((number = 0; number <= COMP_CWORD; number++)); do
        word=${COMP_WORDS[number]}
        ((number < COMP_CWORD)) || word=$line
        if [[ -n $glued ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${line#"$word"}
        glued=yes
        if [[ $line == [[:blank:]]* ]]; then
            glued=
            line=${line#"${line%%[![:blank:]]*}"}
        fi
    done
}

# Set values to the possible values of option $1; status 1 if it takes none.
_dockerutils_takes() {
    local number
    for ((number = 0; number < ${#takes[@]}; number += 2)); do
        if [[ ${takes[number]} == "$1" ]]; then
            values=${takes[number + 1]}
            return 0
        fi
    done
    return 1
}

# Set values to the possible values of the last word.
_dockerutils_walk() {
    local last=$((${#words[@]} - 1)) number place=0
    for ((number = 1; number < last; number++)); do
        case ${words[number]} in
            --)
                values=@files
                return
                ;;
            -*)
                if _dockerutils_takes "${words[number]}" && ((++number == last)); then
                    return
                fi
                ;;
            *)
                ((++place))
                if [[ -n $command ]] && ((place > command)); then
                    values=@files
                    return
                fi
                ;;
        esac
    done
    case ${words[last]} in
        --*=*) _dockerutils_takes "${words[last]%%=*}" || values= ;;
        -*) values=${options[*]} ;;
        *)
            values=${arguments[place]-$more}
            [[ $place != "$command" ]] || values=@files
            ;;
    esac
}

# Offer those of $values that begin with the word $1.
_dockerutils_offer() {
    local current=$1 before='' kept='' each name names=()
    if [[ $current == --*=* ]]; then
        before=${current%%=*}=
        current=${current#*=}
    fi
    for each in $values; do
        case $each in
            @files) return ;; # bash completes files by default
            @images | @docks)
                while IFS= read -r name; do names+=("$name"); done < <(_dockerutils_names "${each#@}" "$current")
                ;;
            @variables)
                while IFS= read -r name; do names+=("$name"); done < <(compgen -e)
                ;;
            *) names+=("$each") ;;
        esac
    done
    compopt +o default +o bashdefault 2>/dev/null # but not here; bash 3 has no compopt
    # In a word with one of these characters, bash replaces only the text after the last one.
    each=${COMP_WORDBREAKS//[^=:@]/}
    [[ -z $each ]] || kept=${1%"${1##*["$each"]}"}
    # Inside open quotes, a plain name needs no escapes.
    each=${current#[\"\']}
    for name in ${names[@]+"${names[@]}"}; do
        printf -v name %q "$name"
        if [[ $name == "$current"* || $name != *[\"\'\\]* && $name == "$each"* ]]; then
            name=$before$name
            COMPREPLY+=("${name#"$kept"}")
        fi
    done
}

_dockerutils() {
    local IFS=$' \t\n' options takes arguments more command values='' words name
    COMPREPLY=()
    _dockerutils_words
    name=${words[0]##*/}
    _dockerutils_table "$name ${words[1]}" # an action of dockerutils?
    if ((${#words[@]} > 2 && ${#options[@]})); then
        words=("${words[@]:1}")
    else
        _dockerutils_table "$name"
    fi
    _dockerutils_walk
    _dockerutils_offer "${words[${#words[@]} - 1]}"
}

# source dock NAME; other uses of source go to the completion from before.
_dockerutils_source() {
    local IFS=$' \t\n' values=@docks words
    COMPREPLY=()
    _dockerutils_words
    if [[ ${#words[@]} -eq 3 && ${words[1]##*/} == dock ]]; then
        _dockerutils_offer "${words[2]}"
    elif [[ -n ${_dockerutils_before-} ]]; then
        "$_dockerutils_before" "$@"
    fi
}

complete -o bashdefault -o default -F _dockerutils COMMANDS
if [[ "$(complete -p source 2>/dev/null) " =~ \ -F\ ([^ ]+)\  && ${BASH_REMATCH[1]} != _dockerutils_source ]]; then
    _dockerutils_before=${BASH_REMATCH[1]}
fi
complete -o bashdefault -o default -F _dockerutils_source source .
