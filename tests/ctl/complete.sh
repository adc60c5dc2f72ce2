#!/usr/bin/env bash
# complete.sh BUILD SOURCE: what bash, zsh and fish offer behind svmd-ctl, each through its own script, with a svmd that has
# nodes and a partition.
set -euo pipefail
build=$1 scripts=$2/libclient/ctl/completion
dir=$(mktemp -d)
svmd=
finish() {
        [ -z "$svmd" ] || { kill -INT "$svmd" && wait "$svmd"; } || true
        rm -rf "$dir"
}
trap finish EXIT
export PATH=$build:$PATH SVMD_RUNTIME_DIR=$dir/run SVMD_SOCKET=$dir/run/svmd.sock XDG_CONFIG_HOME=$dir XDG_DATA_HOME=$dir

by_bash() {
        bash --norc -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _svmd_ctl
                echo "${COMPREPLY[*]}"' - "$scripts/svmd-ctl.bash" svmd-ctl "$@"
}
by_zsh() {
        zsh -fc 'found=(); compadd() { while [[ $1 != -- ]]; do shift; done; shift; found+=("$@") }; _files() { :; }
                script=$1; shift; words=("$@"); CURRENT=$#; source $script; print -r -- $found' - "$scripts/_svmd-ctl" svmd-ctl "$@"
}
by_fish() {
        local script=$scripts/svmd-ctl.fish
        fish --no-config -c 'source $argv[1]; complete -C (string join " " -- $argv[2..-1])' "$script" svmd-ctl "$@" |
                cut -f 1 | tr '\n' ' '
}

# expect WORDS... -- CANDIDATES: in any order
expect() {
        local words=() shell wanted got
        while [ "$1" != -- ]; do
                words+=("$1")
                shift
        done
        shift
        wanted=$(printf '%s\n' "$@" | sort)
        for shell in bash zsh fish; do
                got=$("by_$shell" "${words[@]}" | tr -s ' ' '\n' | sed '/^$/d' | sort)
                [ "$got" = "$wanted" ] || {
                        printf '%s offers behind "svmd-ctl %s":\n%s\nand not:\n%s\n' "$shell" "${words[*]}" "$got" "$wanted" >&2
                        exit 1
                }
        done
}

# What the table of verbs has needs no svmd.
expect nod -- node
expect node dr -- drain
expect node drain --dr -- --dry-run
expect --js -- --json
expect node show "" --
: >"$dir/conf"
svmd --config "$dir/conf" --runtime-dir "$dir/run" --state-dir "$dir/state" --host-capacity 64M \
        --soft-node gpu0:size=16M --soft-node gpu1:size=16M 2>"$dir/log" &
svmd=$!
svmd-ctl --runtime-dir "$dir/run" wait ready --timeout 30 || { cat "$dir/log" >&2; exit 1; }
svmd-ctl --runtime-dir "$dir/run" partition create training >/dev/null
expect --runtime-dir "$dir/run" node show gpu -- gpu0 gpu1
expect --runtime-dir "$dir/run" partition show tr -- training
expect --runtime-dir "$dir/run" reservation list --partition tr -- training
expect --runtime-dir "$dir/run" partition create x --max gpu1 -- gpu1=
echo "bash, zsh and fish offer what there is"
