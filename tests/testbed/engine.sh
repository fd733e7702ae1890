#!/usr/bin/env bash
# engine.sh DIRECTORY [USR] [DISK]: run the Docker Engine that DIRECTORY/daemon.json describes until standard input ends.
#
# Standard input is a pipe whose other end the tests hold, so it ends however they end: well, by a Ctrl-C, or killed.
# The engine's network, mounts and processes are in namespaces that go with it, bridges and containers included; its
# control groups and DIRECTORY are removed here. USR is a directory to use in the place of this machine's /usr; DISK is
# the size of a disk of its own in DIRECTORY/data, as mount takes it. Either may be empty.
set -euo pipefail

if (($$ != 1)); then
    unshare --mount-proc --net --pid --fork --kill-child "$BASH" "$0" "$@" || status=$?
    find /sys/fs/cgroup -depth -type d -path "*/${1##*/}*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$1"
    exit "${status:-0}"
fi

# The first process of the new namespaces comes here: the kernel ends all the others when it ends.
ip link set lo up
# What runs on the machine is not to be seen: dockerd would use a containerd that it finds there.
mount -t tmpfs tmpfs /run
# An /etc of its own over the machine's, for the tests to add names of hosts and certificates of registries to; what
# is a mount in the machine's does not show through.
mkdir /run/etc /run/etc.work
cp -L /etc/hosts /etc/resolv.conf /run/etc/ || true
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work overlay /etc
[[ -z ${2-} ]] || mount --bind "$2" /usr
if [[ -n ${3-} ]]; then
    mkdir "$1/data"
    mount -t tmpfs -o "size=$3" tmpfs "$1/data"
fi
# It starts anew when it was killed, as services do.
until dockerd --config-file "$1/daemon.json" </dev/null || (($? != 137)); do :; done &
cat <&0 >/dev/null &
wait -n
