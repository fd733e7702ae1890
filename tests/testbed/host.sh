#!/usr/bin/env bash
# host.sh DIRECTORY SOCKET CLIENT DOCKER [WITHOUT...]: run sshd with DIRECTORY/sshd_config until standard input ends. The
# host has its own files, users and processes, and the network of this machine.
#
# Standard input is a pipe from the tests, so it ends when they end, even if they are killed. SOCKET is the socket of an
# engine; the host has it in the usual place. CLIENT is the docker command and DOCKER its path on the host (empty: none).
# WITHOUT lists commands to remove. DIRECTORY has the same path on both sides.
set -euo pipefail

if (($$ != 1)); then
    unshare --mount-proc --pid --fork --kill-child "$BASH" "$0" "$@" || status=$?
    rm -rf "$1"
    exit "${status:-0}"
fi

# The first process of the new namespaces continues here. When it ends, the kernel ends all others.
directory=$1 socket=$2 client=$3 docker=$4
shift 4
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
# A writable overlay of this machine's files.
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
for each in dev proc sys; do
    mount --rbind "/$each" "$each"
done
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/sshd data ".$directory"
mount --bind "$directory" ".$directory"

# Mount its directory: a restarted engine creates a new socket.
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

# dock can use docker, nodock only with sudo, plain not at all. Written here, because useradd takes much longer.
group=$(stat -c %g "$socket")
sed -i -E "s/^([^:]+:[^:]*:$group:.+)$/\1,dock/; s/^([^:]+:[^:]*:$group:)$/\1dock/" etc/group
id=$(awk -F: '$3 < 60000 && $3 > last { last = $3 } END { print (last < 999 ? 999 : last) + 1 }' etc/passwd etc/group)
for user in dock nodock plain; do
    echo "$user:x:$id:$id::$directory/home/$user:/bin/bash" >>etc/passwd
    echo "$user:*:::::::" >>etc/shadow
    echo "$user:x:$id:" >>etc/group
    cp -rT etc/skel ".$directory/home/$user"
    chown -R "$id:$id" ".$directory/home/$user"
    ((id += 1))
done
echo "nodock ALL=(root) NOPASSWD: ${docker:-/usr/bin/docker}" >etc/sudoers.d/nodock
# sudo looks up its own host name.
echo "127.0.0.1 localhost $HOSTNAME" >etc/hosts
cp "$directory/authorized_keys" etc/ssh/authorized_keys

cat <&0 >/dev/null &
# Last, because the host counts as started when it listens.
chroot . /usr/sbin/sshd -D -f "$directory/sshd_config" -E "$directory/log" </dev/null &
wait -n || cat "$directory/log" >&2
