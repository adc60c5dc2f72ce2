# Completion of svmd-ctl for fish. svmd-ctl itself knows what may follow.
function __svmd_ctl_candidates
        set -l words (commandline -opc) (commandline -ct)
        svmd-ctl complete $words[2..-1] 2>/dev/null
end
complete -c svmd-ctl -f -a '(__svmd_ctl_candidates)'
