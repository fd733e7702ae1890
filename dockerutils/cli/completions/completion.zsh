# Completion of dockerutils' commands in zsh. To enable it, after compinit: source <(dockerutils completion zsh)

_dockerutils_names() {
    [[ $2 != -* ]] || return # no name begins with a dash
    ASK_FOR_NAMES "$1" "$2" 2>/dev/null </dev/null
}

# Offer words, and the names of the kinds @images, @docks, @files and @variables.
_dockerutils_offer() {
    local each expl
    local -a names
    for each; do
        case $each in
            (@files)
                _files
                return
                ;;
            (@images|@docks) names+=("${(@f)$(_dockerutils_names ${each#@} "${(Q)PREFIX}")}") ;;
            (@variables) names+=(${(k)parameters[(R)*export*]}) ;;
            (*) names+=("$each") ;;
        esac
    done
    names=("${(@)names:#}")
    _wanted names expl name compadd -a names
}

_dockerutils() {
    local command=$service
    local -a specs
    if (( ${words[(i)--]} < CURRENT )); then
        _default
        return
    fi
    if [[ $command == dockerutils ]] && (( CURRENT > 2 )); then
        command="dockerutils $words[2]"
        shift words
        (( CURRENT-- ))
    fi
    case $command in
# TABLE
    esac
    _arguments -s -S : $specs
}

# source dock NAME; for other uses of source, zsh's own completion.
_dockerutils_source() {
    if (( CURRENT == 3 )) && [[ ${(Q)words[2]:t} == dock ]]; then
        _dockerutils_offer @docks
    else
        _source
    fi
}

zmodload zsh/parameter
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
compdef _dockerutils COMMANDS
compdef _dockerutils_source source .
