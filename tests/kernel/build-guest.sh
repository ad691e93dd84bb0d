#!/usr/bin/env bash
# build-guest.sh [-s SUITE] CACHE_DIR
#
# Makes the kernel and the initramfs that run-guest.sh boots, from Debian packages alone.
#   -s SUITE   the Debian suite to take the kernel from (default: this machine's own);
#              the tests are written for trixie (6.12), bookworm (6.1) is run beside it
# Leaves CACHE_DIR/{vmlinuz,initrd.gz,modules.list,complete}. Does nothing when they are there
# already and were made from the same suite by the same scripts. An interrupted build leaves
# no `complete` and is simply done again.
#
# Nothing outside CACHE_DIR is changed: apt gets a state directory of its own, with one source
# derived from this machine's (same mirror, wanted suite).
# Needs an amd64 Debian machine with: kmod cpio gzip xz-utils zstd busybox-static.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "build-guest: $*" >&2; exit 1; }
usage() { echo "usage: build-guest.sh [-s SUITE] CACHE_DIR" >&2; exit 2; }

suite=
while getopts s: option; do
    case $option in s) suite=$OPTARG ;; *) usage ;; esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
mkdir -p "$1"
cache=$(cd "$1" && pwd)
suite=${suite:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
[ -n "$suite" ] || fail "this machine names no suite of its own: give one with -s"

# The guest's root is this machine's /, so its programs must suit the guest's processor.
[ "$(dpkg --print-architecture)" = amd64 ] || fail "only amd64 is supported"
for tool in apt-get dpkg depmod modprobe cpio gzip xz zstd busybox flock; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || fail "$tool is missing"
done
export PATH=$PATH:/usr/sbin:/sbin
busybox=$(readlink -f "$(command -v busybox)")
! ldd "$busybox" >/dev/null 2>&1 || fail "$busybox is not static: install busybox-static"

exec 9>"$cache/.lock"
flock 9                                       # two builds into one directory take turns
made_from="$suite $(cat "${BASH_SOURCE[0]}" "$here/guest-init.sh" | sha256sum | cut -c1-16)"
if [ -s "$cache/complete" ] && [ "$(head -n1 "$cache/complete")" = "$made_from" ]; then
    echo "build-guest: up to date: kernel $(tail -n1 "$cache/complete") in $cache"
    exit 0
fi
rm -rf "$cache/complete" "$cache"/build.*     # what a killed build left
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# ---- a private apt, looking at the wanted suite of this machine's own mirror

# Prints the archive's address and its key ring (may be empty) from this machine's sources.
machine_source() {
    local file uri
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        uri=$(awk '/^URIs:/ {print $2; exit}' "$file")
        case $uri in
            */debian | */debian/) echo "$uri $(awk '/^Signed-By:/ {print $2; exit}' "$file")"; return ;;
        esac
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] || continue
        uri=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /\/debian\/?$/) {print $i; exit}}' "$file")
        [ -z "$uri" ] || { echo "$uri"; return; }
    done
}

read -r uri keyring <<<"$(machine_source)" || true
[ -n "$uri" ] || fail "no Debian source found in /etc/apt"
keyring=${keyring:-/usr/share/keyrings/debian-archive-keyring.gpg}
apt=$work/apt
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,empty}
: >"$apt/status"
for part in "$suite" "${suite%-backports}"; do
    echo "deb [signed-by=$keyring] $uri $part main"
done | sort -u >"$apt/sources.list"
options=(
    -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/empty"
    -o "Dir::Etc::preferencesparts=$apt/empty" -o "APT::Default-Release=$suite"
    -o APT::Architecture=amd64 -o APT::Architectures=amd64
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3
)

# Runs a command quietly; shows the end of its output when it fails.
quietly() {
    local what=$1
    shift
    "$@" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "cannot $what"; }
}
depends() { apt-cache "${options[@]}" show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Depends: //p' | tr ',|' '\n\n' | awk '{print $1}'; }

quietly "read the package lists of $suite" apt-get "${options[@]}" -q update
image=$(depends linux-image-amd64 | grep '^linux-image-' | head -n1 || true)
[ -n "$image" ] || fail "$suite has no linux-image-amd64"
echo "build-guest: unpacking $image of $suite"
mkdir "$work/deb"
cd "$work/deb"
# Newer kernels come split: the image package depends on one with the binary and one with modules.
parts=$(depends "$image" | grep -E '^linux-(binary|modules)-' || true)
# shellcheck disable=SC2086  # a list of names
quietly "download $image" apt-get "${options[@]}" -q download "$image" $parts

# ---- kernel and modules

tree=$work/tree
for package in *.deb; do dpkg -x "$package" "$tree"; done
kernel=$(find "$tree" -name 'vmlinuz*' -type f | head -n1)
[ -n "$kernel" ] || fail "$image holds no kernel"
if [ ! -d "$tree/lib/modules" ]; then         # merged /usr: depmod -b wants /lib/modules
    mkdir -p "$tree/lib"
    ln -s ../usr/lib/modules "$tree/lib/modules"
fi
release=$(ls "$tree/lib/modules")

# The initramfs' insmod does not unpack.
find "$tree" -name '*.ko.xz' -exec xz -d {} +
find "$tree" -name '*.ko.zst' -exec zstd -q -d --rm {} +
quietly "index the modules of $image" depmod -b "$tree" "$release"

# drbg comes before ecdh_generic: on 6.1 the latter's self-test fails without a random number
# generator, and then LE Secure Connections is dead. Modules that a kernel has built in, or does
# not have, are skipped.
modules="virtio_pci 9pnet_virtio 9p overlay virtio_rng virtio_blk crc32c_generic ext4
    sha512_generic sha256_generic hmac jitterentropy_rng ctr drbg ecdh_generic
    bluetooth hci_vhci rfcomm bnep hidp uhid algif_hash algif_skcipher cmac ccm ecb aesni-intel"
initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,dev,proc,sys,lib,modules}
for module in $modules; do
    modprobe -d "$tree" -S "$release" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >"$work/order"
while read -r file; do
    [ -e "$file" ] || file=$tree/${file#/}
    cp "$file" "$initramfs/modules/"
    basename "$file"
done <"$work/order" >"$initramfs/modules/order"
for module in bluetooth hci_vhci 9p overlay; do
    grep -q "^$module\.ko" "$initramfs/modules/order" \
        || grep -qs "/$module\.ko" "$tree/lib/modules/$release/modules.builtin" \
        || fail "$image has no module $module"
done

cp "$busybox" "$initramfs/bin/busybox"
install -m 755 "$here/guest-init.sh" "$initramfs/init"
(cd "$initramfs" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --quiet | gzip -1) >"$work/initrd.gz"

# ---- into place, the marker last

mv -f "$kernel" "$cache/vmlinuz"
mv -f "$work/initrd.gz" "$cache/initrd.gz"
cp "$initramfs/modules/order" "$cache/modules.list"
printf '%s\n%s\n' "$made_from" "$release" >"$work/complete"
mv "$work/complete" "$cache/complete"
echo "build-guest: built kernel $release with $(wc -l <"$cache/modules.list") modules in $cache"
