#!/usr/bin/env bash
# engine.sh DIRECTORY [USR] [DISK]: run the Docker Engine that DIRECTORY/daemon.json describes until standard input ends.
#
# Standard input is a pipe from the tests, so it ends when they end, even if they are killed. Network, host name, mounts and
# processes of the engine live in namespaces that disappear with it; this script removes its control groups and DIRECTORY. USR
# replaces this machine's /usr; DISK is the size of a separate disk for DIRECTORY/data, as for mount. Both can be empty.
set -euo pipefail

if (($$ != 1)); then
    unshare --mount-proc --net --uts --pid --fork --kill-child "$BASH" "$0" "$@" || status=$?
    find /sys/fs/cgroup -depth -type d -path "*/${1##*/}*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$1"
    exit "${status:-0}"
fi

# The first process of the new namespaces continues here. When it ends, the kernel ends all others.
ip link set lo up
# Hide the /run of the machine: dockerd would use a containerd that it finds there.
mount -t tmpfs tmpfs /run
# A private overlay of /etc, where tests add host names and registry certificates. Files that are mounts on the machine do
# not show through, so copy them.
mkdir /run/etc /run/etc.work
cp -L /etc/hosts /etc/resolv.conf /run/etc/ || true
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work overlay /etc
[[ -z ${2-} ]] || mount --bind "$2" /usr
if [[ -n ${3-} ]]; then
    mkdir "$1/data"
    mount -t tmpfs -o "size=$3" tmpfs "$1/data"
fi
# Restart it after a kill, like a service; not before the tests remove the file `stopped`.
until dockerd --config-file "$1/daemon.json" </dev/null || (($? != 137)); do
    while [[ -e $1/stopped ]]; do sleep 0.1; done
done &
cat <&0 >/dev/null &
wait -n
