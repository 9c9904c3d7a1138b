#!/usr/bin/env bash
# Runs one program of this build on Debian 12's own kernel (6.1, control groups of version 2) in QEMU,
# without KVM: test/qemu/run.sh PROGRAM [ARGUMENT...]. Its exit code is the program's; 124 if it did
# not end in ${CWASI_QEMU_SECONDS:-300}.
set -euo pipefail
program=$(readlink -f "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=${CWASI_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cwasi}/qemu

# The kernel's package is unpacked, not installed.
if ! compgen -G "$cache/boot/vmlinuz-*" >/dev/null; then
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
  mkdir -p "$cache"
  (cd "$work" && apt-get download -q "$package" >&2 && dpkg-deb -x ./*.deb unpacked)
  rm -rf "$cache/boot"
  mv "$work/unpacked/boot" "$cache/boot"
fi
kernel=$(compgen -G "$cache/boot/vmlinuz-*" | sort -V | tail -1)

root=$work/root
mkdir -p "$root"/{bin,dev,etc,next,proc,root,run,sys,tmp}
cp /bin/busybox "$root/bin/"
copy() {  # a program and the libraries it loads, to where they lie here
  install -D "$1" "$root$1"
  ldd "$1" | grep -o '/[^ ]*' | while read -r library; do install -D "$(readlink -f "$library")" "$root$library"; done
}
copy "$program"
beside=$(dirname "$program")  # what a program starts
[[ $(basename "$program") != cwasi ]] || copy "$beside/cwasi-host"
for guests in "$beside"/../guests "$beside"/../release/guests; do  # what tests run; the release build's lie elsewhere
  [[ ! -d $guests ]] || { mkdir -p "$root$guests"; cp "$guests"/*.wasm "$root$guests/"; }
done

printf -v line '%q ' "$program" "$@"
# What the tests try to read.
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
# The kernel's first root cannot be left by pivot_root(2): go on in one that can.
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t tmpfs -o mode=755 root /next
/bin/busybox cp -a /bin /dev /etc /proc /root /run /start /sys /tmp /next/
for folder in /*; do [ -e /next$folder ] || [ $folder = /next ] || /bin/busybox cp -a $folder /next/; done
exec /bin/busybox switch_root /next /start
INIT
cat >"$root/start" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
chmod 1777 /tmp
mount -t cgroup2 -o nsdelegate cgroup /sys/fs/cgroup
# As a login's session is: a group that has controllers and processes.
echo '+memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/session
echo \$\$ >/sys/fs/cgroup/session/cgroup.procs
ip link set lo up
cd /root
echo cwasi-qemu-begin
$line
echo "cwasi-qemu-end \$?"
poweroff -f
INIT
chmod +x "$root/init" "$root/start"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"

# -cpu max: what the engine's code is compiled for must be there.
timeout "${CWASI_QEMU_SECONDS:-300}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 2048 -nographic -no-reboot \
  -kernel "$kernel" -initrd "$work/initramfs.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null |
  tr -d '\r' | tee "$work/log" | sed -n '/cwasi-qemu-begin/,/cwasi-qemu-end/{/cwasi-qemu-/!p}' || exit 124
code=$(sed -n 's/.*cwasi-qemu-end \([0-9]*\).*/\1/p' "$work/log")
exit "${code:-125}"
