#!/usr/bin/env bash
# systemd-analyze accepts the units without a word. Arguments: build directory, directory of the units.
set -euo pipefail
build=$1 units=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for unit in svmd.service svmd-keeper.service; do
        sed -E "s#^ExecStart=[^ ]*/#ExecStart=$build/#; /^Documentation=/d" "$units/$unit" >"$dir/$unit"
done
out=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify "$dir/svmd.service" "$dir/svmd-keeper.service" 2>&1 |
        grep -E 'svmd' || true)
[ -z "$out" ] || { echo "$out" >&2; exit 1; }
# The check must be able to fail.
sed -i 's/^Type=notify/Type=nonsense/' "$dir/svmd.service"
SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify "$dir/svmd.service" 2>&1 | grep -q 'svmd.service' ||
        { echo "systemd-analyze does not notice a wrong unit" >&2; exit 1; }
systemd-sysusers --dry-run --inline "$(grep -v '^#' "$(dirname "$0")/svmd.sysusers")" >/dev/null
echo "the units are good"
