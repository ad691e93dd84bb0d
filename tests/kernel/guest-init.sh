#!/bin/busybox sh
# PID 1 of the test guest. Loads the modules, mounts the host's / read-only under a tmpfs
# overlay and the output share beside it, runs the command that run-guest.sh left there, reports
# its status through the share (which works whatever the machine type) and powers off.
b=/bin/busybox

$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
    $b insmod "/modules/$module" 2>/dev/null || echo "guest: cannot load $module" >/dev/kmsg
done </modules/order

$b mkdir -p /lower /upper /root
if ! $b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose hostroot /lower; then
    echo "guest: cannot mount the host's /"
    $b poweroff -f
fi
$b mount -t tmpfs tmpfs /upper
$b mkdir -p /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root \
    || echo "guest: cannot mount the overlay"

for directory in proc sys dev; do $b mount --move /$directory /root/$directory; done
$b mkdir -p /root/dev/pts /root/dev/shm /root/run /root/vmout
$b mount -t devpts devpts /root/dev/pts
$b mount -t tmpfs tmpfs /root/dev/shm
$b mount -t tmpfs tmpfs /root/run
$b mount -t debugfs debugfs /root/sys/kernel/debug
$b ln -sf /proc/self/fd /root/dev/fd
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none vmout /root/vmout \
    || echo "guest: cannot mount the output share"
$b ip link set lo up

# The new root takes the place of the old one, as on any host: AppArmor names files by their path from there.
cd /root || $b poweroff -f
$b mount --move . /
$b chroot . /bin/bash -c '
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=/root LANG=C.UTF-8 BONDKEEPER_GUEST=1
    if [ -e /vmout/env ]; then set -a; . /vmout/env; set +a; fi
    . /vmout/.command' <dev/null
status=$?

$b chroot . /bin/dmesg >vmout/dmesg.txt 2>/dev/null
echo $status >vmout/status
$b sync
$b poweroff -f
