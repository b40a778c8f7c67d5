#!/bin/sh
# Boots the machine's own systemd as the first process of namespaces of its own (see systemd.rs):
#
#     boot.sh enter CGROUP DIR    makes the namespaces; CGROUP is a directory of cgroup2, DIR an empty one
#     boot.sh boot DIR            inside them: gives systemd a root and becomes it
#
# The root is the machine's, and what is written there is kept in memory. What DIR has under `files`
# lies over it, and its `program` is /usr/bin/redirector, as its own directory may be hidden there.
set -eu

if [ "$1" = enter ]; then
    echo $$ >"$2/cgroup.procs"
    exec unshare --mount --propagation private --pid --uts --ipc --cgroup --fork --kill-child \
        sh "$0" boot "$3"
fi

dir=$2
mount -t tmpfs -o mode=0755,size=256m tmpfs "$dir/root"
mkdir "$dir/root/upper" "$dir/root/work" "$dir/root/merged"
mount -t overlay -o "lowerdir=/,upperdir=$dir/root/upper,workdir=$dir/root/work" overlay "$dir/root/merged"
cd "$dir/root/merged"

# Nothing that this machine starts or mounts: only what comes with systemd, and what is laid over it.
rm -rf etc/systemd/system etc/rc?.d etc/fstab etc/modules etc/modules-load.d
mkdir -p etc/systemd/system
cp -R "$dir/files/." .
touch usr/bin/redirector
mount --bind "$dir/program" usr/bin/redirector
# As a package's scripts do it.
systemd-sysusers --root="$PWD" redirector.conf
systemctl --root="$PWD" --quiet enable redirector.service
# With an identity it is no first boot, which would enable every service that is installed.
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id

mount -t proc proc proc
# The kernel's parameters are not only its own.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
while read -r node major minor; do
    mknod -m 0666 "dev/$node" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
mkdir dev/shm dev/pts
ln -s pts/ptmx dev/ptmx

mkdir -p mnt
pivot_root . mnt
umount -l /mnt
# It can neither load modules nor set the clock of the machine that it shares.
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog \
    env -i container=redirector-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=multi-user.target --show-status=no
