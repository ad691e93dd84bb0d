#!/usr/bin/env bash
# run-guest.sh -c CACHE [-o OUT] [-t SECONDS] [-m MIB] [-p SMP] [-d DISK] COMMAND [ARG...]
#
# Boots what build-guest.sh made under QEMU (emulated, no KVM needed), runs COMMAND there as
# root, streams the guest's console and exits with COMMAND's status.
#   124  it took longer than SECONDS (default 300)
#   125  the guest died, or never got as far as the command
#
# The guest's / is this machine's /: read-only, with a tmpfs on top, so COMMAND and whatever it
# needs are at the same paths, and nothing it does is seen here. COMMAND runs in the current
# directory. The one way out is OUT, shared read-write at /vmout in the guest; what is left there:
#   console.log  dmesg.txt  status  qemu.pid
# DISK, a raw image or an NBD address, is the guest's /dev/vda. Its cache is written back: a flush is a flush.
# OUT/env, if there is one, is sourced in the guest. There is no network but loopback.
# GUEST_CMDLINE adds to the kernel's command line. BONDKEEPER_GUEST=1 is set in the guest.
set -euo pipefail

usage() { sed -n '2s/^# /usage: /p' "${BASH_SOURCE[0]}" >&2; exit 2; }

cache= out= limit=300 memory=1024 processors=2 disk=()
while getopts c:o:t:m:p:d: option; do
    case $option in
        c) cache=$OPTARG ;;
        o) out=$OPTARG ;;
        t) limit=$OPTARG ;;
        m) memory=$OPTARG ;;
        p) processors=$OPTARG ;;
        d) disk=(-drive "file=$OPTARG,if=virtio,format=raw,cache=writeback") ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$cache" ] && [ $# -gt 0 ] || usage
[ -s "$cache/complete" ] || { echo "run-guest: $cache holds no finished guest: run build-guest.sh" >&2; exit 2; }

guest=
finish() {
    [ -z "$guest" ] || { kill "$guest" && wait "$guest"; } 2>/dev/null || true
    [ -z "${scratch:-}" ] || rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM
[ -n "$out" ] || { scratch=$(mktemp -d); out=$scratch; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out/status" "$out/dmesg.txt" "$out/qemu.pid"

# Through a file, so that spaces and quotes survive.
{ printf 'cd %q && exec' "$PWD"; printf ' %q' "$@"; echo; } >"$out/.command"

# oops=panic: a kernel bug ends the run at once instead of hanging it. no_timer_check: on a machine that is very busy the
# emulated timer looks broken at boot.
cmdline="console=ttyS0 quiet loglevel=3 panic=1 oops=panic mitigations=off no_timer_check audit=1 audit_backlog_limit=65536 log_buf_len=8M random.trust_cpu=on"
exec 3> >(sed -u 's/\r$//' | tee "$out/console.log")
console=$!
timeout -k 5 "$limit" qemu-system-x86_64 \
    -accel tcg,thread=multi -machine pc -cpu max -m "$memory" -smp "$processors" \
    -display none -monitor none -serial stdio -no-reboot -nic none -device virtio-rng-pci \
    -pidfile "$out/qemu.pid" "${disk[@]}" \
    -kernel "$cache/vmlinuz" -initrd "$cache/initrd.gz" -append "$cmdline ${GUEST_CMDLINE:-}" \
    -virtfs local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$out,mount_tag=vmout,security_model=none,multidevs=remap" \
    </dev/null >&3 2>&1 &
guest=$!
exec 3>&-
ended=0
wait "$guest" || ended=$?
guest=
wait "$console" || true

if [ -s "$out/status" ]; then
    exit "$(cat "$out/status")"
elif [ "$ended" = 124 ] || [ "$ended" = 137 ]; then
    echo "run-guest: timed out after $limit s" >&2
    exit 124
fi
echo "run-guest: the guest died" >&2
exit 125
