#!/usr/bin/env bash
# systemd accepts the units without a word, and finds them exposed to 2.0 at most. Arguments: build directory, directory of
# the units that were made.
set -euo pipefail
build=$1 units=$2 here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
services=(svmd.service svmd-keeper.service svmd-dbus.service svmd-exporter.service svmd@x.service svmd-keeper@x.service svmd-dbus@x.service)
sockets=(svmd.socket svmd-admin.socket svmd-exporter.socket svmd-keeper.socket svmd@x.socket svmd-admin@x.socket svmd-keeper@x.socket)
for unit in "$units"/svmd*.service "$units"/svmd*.socket; do
        sed -E "s#^Exec(Start|Reload)=[^ ]*/(svmd[^ ]*)#Exec\1=$build/\2#; /^Documentation=/d" "$unit" >"$dir/${unit##*/}"
done
verify() {
        (cd "$dir" && SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify "${services[@]/#/$dir/}" "${sockets[@]/#/$dir/}" 2>&1) |
                grep -E 'svmd' || true
}
out=$(verify)
[ -z "$out" ] || { echo "$out" >&2; exit 1; }
for unit in "${services[@]}"; do
        systemd-analyze security --offline=yes --threshold=20 --no-pager "$dir/$unit" >"$dir/security" 2>&1 ||
                { cat "$dir/security" >&2; exit 1; }
done
# The checks must be able to fail.
sed -i 's/^Type=notify/Type=nonsense/; s/^ProtectSystem=.*//; s/^SystemCallFilter=.*//; s/^CapabilityBounding.*//' "$dir/svmd.service"
verify | grep -q 'svmd.service' || { echo "systemd-analyze does not notice a wrong unit" >&2; exit 1; }
if systemd-analyze security --offline=yes --threshold=20 --no-pager "$dir/svmd.service" >/dev/null 2>&1; then
        echo "systemd-analyze does not notice an exposed unit" >&2
        exit 1
fi
sed '/^#/d' "$here/svmd.sysusers" >"$dir/sysusers.conf"
systemd-sysusers --dry-run "$dir/sysusers.conf" >/dev/null
echo "the units are good"
