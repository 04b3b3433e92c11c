# Bare roots, and commands in them: for ci/fresh and ci/release, which source it.
# shellcheck shell=bash

# Where this machine's packages come from; nothing where that is not Debian, and debootstrap knows where its own come from.
mirror() {
  local uri='' release
  # shellcheck disable=SC2016 # $(REPO_URI) is apt's, not the shell's
  while IFS='|' read -r uri release; do
    [[ $release == "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" ]] && { echo "$uri"; return; }
  done < <([[ $(. /etc/os-release && echo "${ID:-}") == debian ]] && apt-get indextargets --format '$(REPO_URI)|$(RELEASE)' 'Created-By: Packages' 'Component: main')
}

# The process that whoever is interrupted has to end.
inside=''
end_inside() {
  [[ -z $inside ]] || { kill -KILL "$inside" 2>/dev/null && wait "$inside"; } 2>/dev/null || true
}

# debian_root SUITE ROOT LOG [PACKAGE...]: a new root of a release of Debian with its essential packages.
debian_root() {
  local suite=$1 root=$2 log=$3 packages from; shift 3
  from=$(mirror)
  packages=$(IFS=,; echo "$*")
  # It mounts things in there itself, and starts much: all of it in namespaces that go when it is killed.
  unshare --mount --pid --fork --kill-child --mount-proc debootstrap --variant=minbase ${packages:+"--include=$packages"} \
    "$suite" "$root" ${from:+"$from"} >"$log" 2>&1 &
  inside=$!
  local code=0
  wait "$inside" || code=$?
  inside=''
  return "$code"
}

# Not chroot: whose root is not its mount namespace's may not make user namespaces, which the real clock needs.
enter='
root=$1 user=$2 command=$3 shm=$4; shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
echo localhost >proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,nosuid dev dev
for device in null zero full random urandom tty net/tun; do
  [ -e "/dev/$device" ] || continue
  mkdir -p "dev/$(dirname "$device")"
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
mount -t tmpfs -o "mode=1777,nosuid,nodev$shm" shm dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev run run
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
while [ $# -gt 1 ]; do
  mount --bind "$1" ".$2"
  mount -o remount,bind,ro ".$2"
  shift 2
done
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
# Not exec: the first process of a PID namespace must reap what others leave behind, as a shell does.
code=0
su - "$user" -c "$command" || code=$?
exit "$code"
'
# in_root ROOT USER COMMAND SHM [FROM TO]...: runs a shell command there, on a tmpfs /dev/shm with the further options SHM (",…" or
# nothing); FROM of this machine is lent, read-only, as TO.
in_root() {
  # A terminal of its own is nobody here; what is started is the first process of its PID namespace.
  env -i TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --mount --pid --fork --kill-child --uts --ipc \
    bash -euc "$enter" enter "$@" </dev/null &
  inside=$!
  local code=0
  wait "$inside" || code=$?
  inside=''
  return "$code"
}
