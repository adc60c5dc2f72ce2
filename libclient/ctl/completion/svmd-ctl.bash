# Completion of svmd-ctl for bash. svmd-ctl itself knows what may follow.
_svmd_ctl() {
        local IFS=$'\n' words=("${COMP_WORDS[@]:1:COMP_CWORD}")
        COMPREPLY=($(svmd-ctl complete "${words[@]}" 2>/dev/null))
        [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
}
complete -o default -F _svmd_ctl svmd-ctl
