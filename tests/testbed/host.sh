#!/usr/bin/env bash
# host.sh DIRECTORY SOCKET CLIENT DOCKER [WITHOUT...]: run sshd as DIRECTORY/sshd_config has it until standard input
# ends, on a machine of its own as far as files, users and processes go; its network is this machine's.
#
# Standard input is a pipe whose other end the tests hold, so it ends however they end: well, by a Ctrl-C, or killed.
# SOCKET is an engine's; it is at its usual place there. CLIENT is the docker command, and DOCKER where it is there
# (nowhere when this is empty). WITHOUT are commands that are not there. DIRECTORY is the same on both sides.
set -euo pipefail

if (($$ != 1)); then
    unshare --mount-proc --pid --fork --kill-child "$BASH" "$0" "$@" || status=$?
    rm -rf "$1"
    exit "${status:-0}"
fi

# The first process of the new namespaces comes here: the kernel ends all the others when it ends.
directory=$1 socket=$2 client=$3 docker=$4
shift 4
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
# What this machine has, to write over at will.
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
for each in dev proc sys; do
    mount --rbind "/$each" "$each"
done
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/sshd data ".$directory"
mount --bind "$directory" ".$directory"

# By its directory: an engine that starts anew makes another socket.
mkdir run/engine
mount --bind "${socket%/*}" run/engine
ln -s "engine/${socket##*/}" run/docker.sock
for each in docker "$@"; do
    rm -f usr/{,local/}{,s}bin/"$each"
done
if [[ -n $docker ]]; then
    mkdir -p ".${docker%/*}"
    touch ".$docker"
    mount --bind "$client" ".$docker"
fi

# dock may use docker, nodock by way of sudo alone, plain not at all.
group=$(stat -c %g "$socket")
for user in dock nodock plain; do
    groups=()
    [[ $user != dock ]] || groups=(--groups "$group")
    chroot . useradd --create-home --base-dir "$directory/home" --shell /bin/bash --password '*' "${groups[@]}" "$user"
done
echo "nodock ALL=(root) NOPASSWD: ${docker:-/usr/bin/docker}" >etc/sudoers.d/nodock
# sudo looks for its own host.
echo "127.0.0.1 localhost $HOSTNAME" >etc/hosts
cp "$directory/authorized_keys" etc/ssh/authorized_keys

cat <&0 >/dev/null &
# Last, because the host is up when it listens.
chroot . /usr/sbin/sshd -D -f "$directory/sshd_config" -E "$directory/log" </dev/null &
wait -n || cat "$directory/log" >&2
