#!/bin/bash
# Runs one test in the guest, as its process 1, and ends the machine. run.py has written what is to be done into the
# folder "out" of the host: `job`. Here `output` and `status` are written there.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root LANG=C.UTF-8
end() {
        busybox reboot -f
}
trap end EXIT

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/vm /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
ip link set lo up 2>/dev/null
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 out /run/vm || exit
. /run/vm/job

mkdir -p /lib/modules
mount --bind "$VM_MODULES" /lib/modules
while read -r module; do
        modprobe $module </dev/null || { echo "modprobe $module failed" >/run/vm/output && exit; }
done </run/vm/modules

cd "$SVMD_SOURCE" || exit
echo "svmd-vm: $VM_TEST begins" >/dev/kmsg
"$VM_TEST" </dev/null >>/run/vm/output 2>&1
status=$?
echo "svmd-vm: $VM_TEST ended with $status" >/dev/kmsg
echo $status >/run/vm/status
