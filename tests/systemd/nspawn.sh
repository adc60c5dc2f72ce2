#!/usr/bin/env bash
# nspawn.sh PACKAGES: the packages in that folder on a Debian 12 of their own, with systemd as PID 1, in a container: what
# inside.sh says. Needs root. The system is made once, by debootstrap, and kept in $SVMD_CACHE or ~/.cache/svmd.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
packages=$(cd "$1" && pwd)
cache=${SVMD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/svmd}/systemd
base=$cache/rootfs-polkit-metrics
patience=300

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$base.done" ]; then
        echo "making a Debian 12 in $base (about a minute, once)"
        rm -rf "$base"
        include=systemd,systemd-sysv,dbus,libpam-systemd,polkitd,udev,procps,python3-minimal,libev4,libprotobuf-c1,libsqlite3-0,libinih1,libdrm2
        include+=,libhsakmt1,libjson-c5,libsmartcols1,libncursesw6,zlib1g,libnuma1,libmicrohttpd12,curl
        debootstrap --variant=minbase --include=$include bookworm "$base" "${SVMD_MIRROR:-http://deb.debian.org/debian}" \
                >"$cache/debootstrap.log" 2>&1 || { tail -20 "$cache/debootstrap.log" >&2; exit 1; }
        touch "$base.done"
fi
flock -u 9

work=$(mktemp -d)
mount -t tmpfs -o size=1G tmpfs "$work"
finish() {
        umount "$work/root" 2>/dev/null || true
        umount "$work"
        rmdir "$work"
}
trap finish EXIT
mkdir "$work/root" "$work/upper" "$work/overlay" "$work/dev"
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/overlay" overlay "$work/root"
root=$work/root
mkdir "$root/packages"
cp "$packages"/*.deb "$root/packages"
cp "$here/inside.sh" "$here/attempts.pl" "$root/packages"
# A later version of all packages: the same programs under another number.
mkdir "$root/packages/later"
for deb in "$packages"/*.deb; do
        dpkg-deb -R "$deb" "$work/repack"
        sed -i -E 's/^Version: .*/Version: 0.1.1-1/; s/libsvmd1 \(= [^)]*\)/libsvmd1 (= 0.1.1-1)/' "$work/repack/DEBIAN/control"
        dpkg-deb --root-owner-group -Znone -b "$work/repack" "$root/packages/later" >/dev/null
        rm -r "$work/repack"
done
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /packages/inside.sh
StandardOutput=file:/packages/log
StandardError=inherit
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=280
UNIT
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -sf ../inside.service "$root/etc/systemd/system/default.target.wants/inside.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# A device node of its own: what the rules of udev would make of the one that the machine has.
mknod -m 0666 "$work/dev/userfaultfd" c 10 "$(awk '$2 == "userfaultfd" { print $1 }' /proc/misc)"
binds=(--bind="$work/dev/userfaultfd:/dev/userfaultfd")

if ! timeout "$patience" systemd-nspawn -q -D "$root" --boot --register=no --keep-unit --private-network --console=pipe "${binds[@]}" \
        --system-call-filter="userfaultfd kcmp process_vm_readv process_vm_writev mbind set_mempolicy get_mempolicy" \
        --link-journal=no </dev/null >"$work/console" 2>&1; then
        tail -30 "$work/console" >&2
        cat "$root/packages/log" >&2 || true
        echo "systemd: the container did not come to its end" >&2
        exit 1
fi
cat "$root/packages/log" 2>/dev/null || tail -40 "$work/console"
grep -q '^everything held$' "$root/packages/log"
