#!/bin/bash
# Runs a command on a machine that is not there: enter.sh EMUL MACHINE COMMAND...
#
# In a mount namespace of its own, /dev has the files of the emulator EMUL (and of the real one what programs need), and
# /sys has what MACHINE/sys has over the real one. MACHINE is a recorded machine, or one that mksys.py completed. Nothing
# of it is seen outside, and all of it ends with the command. Needs root and /dev/fuse; exit status 77 says it lacks them.
# EMUL_LOG names a file for what the emulator says. LD_PRELOAD is not set here: who needs the preload sets it, and says so.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
        [ "$(id -u)" -eq 0 ] && [ -c /dev/fuse ] || {
                echo "enter.sh: not applicable: it needs root and /dev/fuse" >&2
                exit 77
        }
        work=$(mktemp -d "${TMPDIR:-/tmp}/svmd-emul-XXXXXX")
        status=0
        unshare --mount --propagation private bash "$0" --inside "$work" "$@" || status=$?
        rmdir "$work"
        exit $status
fi
shift
work=$1 emul=$2 machine=$(readlink -f "$3")
shift 3

mount -t tmpfs none "$work"
mkdir "$work"/{files,dev,cgroup}
"$emul" "$machine" "$work/files" 2>"${EMUL_LOG:-/dev/null}" &
server=$!
for ((i = 0; i < 3000; i++)); do
        mountpoint -q "$work/files" && break
        kill -0 $server 2>/dev/null || { echo "enter.sh: the emulator ended" >&2; exit 1; }
        sleep 0.01
done

# A /dev of its own, so that nobody outside sees an empty file where a device should be.
mount -t tmpfs -o mode=755 none "$work/dev"
find /dev -mindepth 1 -maxdepth 1 \( -type c -o -type l \) -exec cp -a -t "$work/dev" {} +
for folder in shm pts mqueue hugepages dma_heap; do
        [ -d "/dev/$folder" ] || continue
        mkdir "$work/dev/$folder"
        mount --rbind "/dev/$folder" "$work/dev/$folder"
done
if [ -e "$work/files/kfd" ]; then
        rm -f "$work/dev/kfd"
        touch "$work/dev/kfd"
        mount --bind "$work/files/kfd" "$work/dev/kfd"
fi
if [ -d "$work/files/dri" ]; then
        mkdir -p "$work/dev/dri"
        mount --bind "$work/files/dri" "$work/dev/dri"
fi
mount --rbind "$work/dev" /dev

# The overlay hides what is mounted below /sys; control groups are wanted.
[ -d /sys/fs/cgroup ] && mount --rbind /sys/fs/cgroup "$work/cgroup"
mount -t overlay -o "lowerdir=$machine/sys:/sys" overlay /sys
[ -d /sys/fs/cgroup ] && mount --rbind "$work/cgroup" /sys/fs/cgroup
if [ -d "$work/files/kfd-proc" ] && [ -d /sys/devices/virtual/kfd/kfd/proc ]; then
        mount --bind "$work/files/kfd-proc" /sys/devices/virtual/kfd/kfd/proc
fi

status=0
"$@" || status=$?
kill $server 2>/dev/null || true
wait $server 2>/dev/null || true
exit $status
