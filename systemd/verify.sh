#!/usr/bin/env bash
# systemd accepts the units without a word, and finds them exposed to 2.0 at most. Arguments: build directory, directory of
# the units that were made.
set -euo pipefail
build=$1 units=$2 here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
services=(svmd.service svmd-keeper.service svmd-dbus.service svmd-exporter.service svmd-cgroup.service svmd-smi.service svmd-cuda.service
        svmd@x.service svmd-keeper@x.service svmd-dbus@x.service svmd-cgroup@x.service svmd-smi@x.service svmd-cuda@x.service)
sockets=(svmd.socket svmd-admin.socket svmd-exporter.socket svmd-keeper.socket svmd-cgroup.socket svmd-smi.socket svmd-cuda.socket
        svmd@x.socket svmd-admin@x.socket svmd-keeper@x.socket svmd-cgroup@x.socket svmd-smi@x.socket svmd-cuda@x.socket)
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
# Whatever it finds open has a comment that names it; ProtectClock's own device is one.
unexplained() {
        systemd-analyze security --offline=yes --no-pager "$dir/$1" 2>/dev/null | sed -nE 's/^✗ ([A-Za-z]+)=.*/\1/p' | sort -u |
                while read -r setting; do
                        grep -qE "^#.*\b$setting\b" "$dir/${1/@x/@}" || echo "$1: $setting"
                done
}
for unit in "${services[@]}"; do
        out=$(unexplained "$unit")
        [ -z "$out" ] || { echo "no comment says why this is open: $out" >&2; exit 1; }
done
# The checks must be able to fail.
sed -i 's/^PrivateMounts=.*//' "$dir/svmd-keeper.service"
[ "$(unexplained svmd-keeper.service)" = "svmd-keeper.service: PrivateMounts" ] ||
        { echo "what is open without a comment is not noticed: $(unexplained svmd-keeper.service)" >&2; exit 1; }
sed -i 's/^Type=notify/Type=nonsense/; s/^ProtectSystem=.*//; s/^SystemCallFilter=.*//; s/^CapabilityBounding.*//' "$dir/svmd.service"
verify | grep -q 'svmd.service' || { echo "systemd-analyze does not notice a wrong unit" >&2; exit 1; }
if systemd-analyze security --offline=yes --threshold=20 --no-pager "$dir/svmd.service" >/dev/null 2>&1; then
        echo "systemd-analyze does not notice an exposed unit" >&2
        exit 1
fi
sed '/^#/d' "$here/svmd.sysusers" >"$dir/sysusers.conf"
systemd-sysusers --dry-run "$dir/sysusers.conf" >/dev/null
echo "the units are good"
