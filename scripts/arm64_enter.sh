#!/usr/bin/env bash
# Run a command inside an arm64 root folder under qemu-user: arm64_enter.sh ROOT PROCESSOR COMMAND...
# Everything happens in namespaces of its own, so that neither mounts nor the registration of qemu reach the system.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    exec unshare --user --map-root-user --mount --pid --fork --kill-child -- bash "$0" --inside "$@"
fi
shift
root=$1
processor=$2
shift 2

registry=/proc/sys/fs/binfmt_misc
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if ! grep -qs enabled "$registry/qemu-aarch64"; then
    # Since Linux 6.7 a user namespace has a registry of its own. F: qemu is opened now, from outside the root folder.
    mount -t binfmt_misc binfmt_misc "$registry"
    magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf ':qemu-aarch64:M::%s:%s:%s:F' "$magic" "$mask" "$(command -v qemu-aarch64-static)" > "$registry/register"
fi
exec env --ignore-environment PATH=/usr/bin:/bin HOME=/root PYTHONPATH=/opt/libraries QEMU_CPU="$processor" \
    "$(command -v chroot || echo /usr/sbin/chroot)" "$root" "$@"
