#!/bin/sh
# Makes a machine of this process: boot.sh FOLDER NAME PROGRAM...
# It runs in mount and UTS namespaces of its own (unshare), in the network namespace
# of the host. The root is this machine's, with a layer above that is written to:
# whatever kubeadm, kubelet and containerd leave there goes with the last process.
set -eu
folder=$1 name=$2
shift 2
hostname "$name"

mkdir -p "$folder/mount"
mount -t tmpfs -o mode=755 machine "$folder/mount"
cd "$folder/mount"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work machine root
root=$folder/mount/root

for d in proc sys dev; do
	mount --rbind "/$d" "$root/$d"
done
mount -t tmpfs -o mode=755 run "$root/run"

# On the disk, and seen from outside.
for d in etc/kubernetes etc/vipd var/lib/kubelet var/lib/etcd var/lib/containerd var/log; do
	mkdir -p "$folder/disk/$d" "$root/$d"
	mount --bind "$folder/disk/$d" "$root/$d"
done
cp -r --remove-destination "$folder/files/." "$root/" # some of it is a link, where systemd-resolved runs
for p in "$@"; do
	touch "$root/usr/local/bin/${p##*/}"
	mount --bind "$p" "$root/usr/local/bin/${p##*/}"
done

# kubelet sets these, for the whole kernel: it finds them set, in files of its own.
sysctl() {
	[ -e "/proc/sys/$1" ] || return 0
	mkdir -p "$root/run/sysctl/${1%/*}"
	echo "$2" >"$root/run/sysctl/$1"
	mount --bind "$root/run/sysctl/$1" "$root/proc/sys/$1"
}
sysctl vm/overcommit_memory 1
sysctl vm/panic_on_oom 0
sysctl kernel/panic 10
sysctl kernel/panic_on_oops 1
sysctl kernel/keys/root_maxkeys 1000000
sysctl kernel/keys/root_maxbytes 25000000

cd "$root"
mkdir -p .before
pivot_root . .before
cd /
umount -l /.before
mount --make-rshared / # as systemd does: kubelet passes mounts on to pods
touch /var/log/booted
exec sleep infinity
