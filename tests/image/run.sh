#!/usr/bin/env bash
# tests/image/run.sh WORK_DIR SUITE
#
# Builds the image with the repository's own Dockerfile, says how large it is, and runs SUITE (the test binary
# `image`) against it. Needs no container engine's service, no image registry and no other network than apt's and
# cargo's: buildah builds in a chroot, the base is made by debootstrap from this machine's own suite, and the builder
# is the base with a C compiler and this machine's Rust toolchain.
#
# Needs root (or sudo), buildah and debootstrap. Everything it makes is in WORK_DIR. Base and builder stay there for the
# next run, the rest is removed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)

fail() { echo "tests/image: $*" >&2; exit 1; }
[ $# = 2 ] || fail "usage: tests/image/run.sh WORK_DIR SUITE"

# What our program and its certificates may add to the base: a mistake in .dockerignore or in the stages, such as
# copying the target folder, is far above, and the program's own growth is wanted to be noticed.
ADDED_KIB_MAX=8192

if [ "$(id -u)" != 0 ]; then
  exec sudo env "PATH=$PATH" "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" \
    "${BASH_SOURCE[0]}" "$@"
fi
export PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$1"
work=$(cd "$1" && pwd)
suite=$(realpath "$2")
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# From the repository's folder, because its toolchain file may choose one.
toolchain=$(cd "$repository" && rustc --print sysroot)
[ -x "$toolchain/bin/cargo" ] && [ "$toolchain" != /usr ] ||
  fail "$toolchain is no toolchain that can be mounted elsewhere: use one of rustup"

exec 9>"$work/.lock"
flock 9                                       # two runs in one folder take turns

# A storage of our own: other containers of this machine are neither seen nor touched.
storage=$work/storage
cat >"$work/buildah" <<END
#!/bin/sh
exec buildah --storage-driver vfs --root '$storage' --runroot '$work/run' "\$@"
END
chmod 755 "$work/buildah"
buildah=$work/buildah
export BUILDAH_ISOLATION=chroot
base=localhost/bondkeeper-test-base
builder=localhost/bondkeeper-test-builder
image=localhost/bondkeeper-test

clean() {
  "$buildah" rm --all >/dev/null 2>&1 || true
  "$buildah" rmi --force "$image" >/dev/null 2>&1 || true
  "$buildah" rmi --prune >/dev/null 2>&1 || true
}
# Runs a command quietly; shows the end of its output when it fails.
quietly() {
  local what=$1
  shift
  "$@" >"$work/log" 2>&1 9>&- || { tail -n 20 "$work/log" >&2; fail "cannot $what"; }
}

# ---- base and builder, from this machine's own suite and mirror

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$codename" ] || fail "this machine names no suite of its own"
made_from="$codename $(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-16)"

make_images() {
  local mirror container
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
  [ -n "$mirror" ] || fail "apt has no list of $codename main: run apt-get update"
  rm -rf "$storage" "$work/run" "$work/root" "$work/complete"
  echo "tests/image: making base and builder of $codename"
  quietly "make the base" debootstrap --variant=minbase "$codename" "$work/root" "$mirror"
  rm -rf "$work/root"/var/cache/apt/*.bin "$work/root"/var/cache/apt/archives/*.deb
  container=$("$buildah" from scratch)
  quietly "fill the base" "$buildah" copy "$container" "$work/root" /
  quietly "commit the base" "$buildah" commit --rm "$container" "$base"
  rm -rf "$work/root"
  container=$("$buildah" from --pull-never "$base")
  quietly "install a C compiler in the builder" "$buildah" run "$container" -- sh -c \
    'apt-get -q update && apt-get -q install -y --no-install-recommends gcc libc6-dev ca-certificates && apt-get clean'
  # This machine may reach cargo's registry through an authority of its own.
  quietly "copy the certification authorities" "$buildah" copy "$container" \
    /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
  "$buildah" config --env PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/opt/cargo "$container"
  quietly "commit the builder" "$buildah" commit --rm "$container" "$builder"
  echo "$made_from" >"$work/complete"
}

trap clean EXIT
trap 'exit 130' INT TERM
if [ "$(cat "$work/complete" 2>/dev/null)" != "$made_from" ]; then
  make_images
fi
clean

# ---- the image, as the Supervisor builds it: with a version and an architecture

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/Cargo.toml" | head -n1)
case $(dpkg --print-architecture) in arm64) arch=aarch64 ;; *) arch=amd64 ;; esac
echo "tests/image: building bondkeeper $version for $arch"
mkdir -p "$cargo_home"
quietly "build the image" "$buildah" bud --pull-never --layers --format docker \
  --volume "$toolchain:/opt/rust:ro" --volume "$cargo_home:/opt/cargo" \
  --build-arg "BUILDER_IMAGE=$builder" --build-arg "BASE_IMAGE=$base" \
  --build-arg "BUILD_VERSION=$version" --build-arg "BUILD_ARCH=$arch" \
  --tag "$image" "$repository"

# ---- size and layers

layers=$("$buildah" inspect --type image --format '{{len .OCIv1.RootFS.DiffIDs}}' "$image")
kib_of() {
  local container
  container=$("$buildah" from --pull-never "$1")
  du -sk "$("$buildah" mount "$container")" | cut -f1
  "$buildah" rm "$container" >/dev/null
}
base_kib=$(kib_of "$base")
added_kib=$(($(kib_of "$image") - base_kib))
echo "tests/image: $layers layers, $base_kib KiB of the base and $added_kib KiB of ours"
[ "$added_kib" -le "$ADDED_KIB_MAX" ] ||
  fail "the image adds $added_kib KiB to its base, more than $ADDED_KIB_MAX: what got into it?"

# ---- what is in it, running

BONDKEEPER_TEST_BUILDAH=$buildah BONDKEEPER_TEST_IMAGE=$image "$suite" --test-threads=1 9>&-
