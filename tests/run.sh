#!/usr/bin/env bash
# tests/run.sh [STAGE...]
#
# Everything that says whether bondkeeper works, in one go: formatting and lints, unit tests,
# the real service over a real Mosquitto with a simulated kernel, the add-on's image, really built and started, and
# the same scenarios on a real Linux kernel in a QEMU guest. Installs what is missing on Debian 12 or 13 and says so; needs
# root or sudo for that, and for the image.
#
# Stages: lint unit blackbox image kernel. Without any, all of them.
# Environment: BONDKEEPER_TEST_SUITES  Debian suites whose kernels are used (default "trixie"; "trixie bookworm" adds an older one)
set -euo pipefail
cd "$(dirname "$0")/.."
stages=${*:-lint unit blackbox image kernel}
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/test-bench
mkdir -p "$work"

say() { printf '\n== %s\n' "$*"; }
wants() { case " $stages " in *" $1 "*) return 0;; *) return 1;; esac; }

# Installs the Debian packages of which the named command is missing: command=package ...
install_missing() {
  local pair missing=()
  for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin:/usr/libexec/bluetooth" command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get -q update >"$work/apt.log" 2>&1 &&
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" >>"$work/apt.log" 2>&1 || {
      tail -n 20 "$work/apt.log" >&2
      echo "tests/run.sh: the packages could not be installed; the tests need them" >&2
      exit 1
    }
}

# A Python environment with the independent peers. Pinned: what they do is part of what is tested.
make_venv() {
  venv=$work/venv
  local wanted="bumble==0.0.236 habluetooth==7.1.2"
  if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    say "making a Python environment with $wanted"
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" -q install $wanted
    echo "$wanted" >"$venv/installed"
  fi
  export BONDKEEPER_TEST_PYTHON=$venv/bin/python
}

# Builds a test binary that `cargo test` alone does not run, and prints its path.
build_suite() {
  local suite
  suite=$(cargo test --no-run --message-format=json --test "$1" 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    row = json.loads(line)
    if row.get("executable") and row["target"]["name"] == sys.argv[1]: print(row["executable"])' "$1")
  [ -x "$suite" ] || { cargo test --no-run --test "$1" >&2; echo "tests/run.sh: the $1 suite could not be built" >&2; return 1; }
  echo "$suite"
}

# The unit as it would be installed, and how much its process could do to the host.
check_unit() {
  # Measured: 2.0 of 10 with systemd 252. Other versions weigh a little differently.
  local most_tenths=25 program
  program=$(readlink -f /bin/true)
  sed "s,/usr/local/bin/bondkeeper,$program," addon/systemd/bondkeeper.service >"$work/bondkeeper.service"
  systemd-analyze verify "$work/bondkeeper.service"
  systemd-analyze security --offline=true --threshold="$most_tenths" "$work/bondkeeper.service" >"$work/exposure" || {
    cat "$work/exposure" >&2
    return 1
  }
  tail -n 1 "$work/exposure"
}

if wants unit || wants blackbox || wants image || wants kernel; then
  install_missing mosquitto=mosquitto python3=python3 cc=gcc openssl=openssl dbus-daemon=dbus \
    age=age script=bsdutils gio=libglib2.0-bin
fi
if wants unit || wants blackbox || wants kernel; then
  python3 -c 'import ensurepip' 2>/dev/null || install_missing no-ensurepip=python3-venv
  make_venv
fi

if wants lint; then
  say "formatting and lints"
  cargo fmt --check
  cargo clippy --all-targets --quiet -- -D warnings
  # Not among "all": they do not run with `cargo test`.
  cargo clippy --quiet --test kernel --test image --test cut --test reboot -- -D warnings
  install_missing systemd-analyze=systemd
  check_unit
fi

if wants unit; then
  say "unit tests, and the simulator against the facts"
  cargo test --quiet --lib --bins --test simulator
fi

if wants blackbox; then
  say "the service as a process, over Mosquitto, on a simulated kernel"
  # They wait more than they work.
  cargo test --quiet --test blackbox -- --test-threads=4
  say "the service on disks, brokers and kernels that fail it"
  cargo test --quiet --test faults -- --test-threads=4
fi

if wants image; then
  install_missing buildah=buildah debootstrap=debootstrap
  say "the image, built by the Dockerfile and started"
  suite=$(build_suite image)
  tests/image/run.sh "$work/image" "$suite"
fi

if wants kernel; then
  install_missing qemu-system-x86_64=qemu-system-x86 depmod=kmod cpio=cpio xz=xz-utils zstd=zstd \
    busybox=busybox-static bluetoothd=bluez btvirt=bluez-test-tools setpriv=util-linux \
    apparmor_parser=apparmor aa-exec=apparmor tini-static=tini mkfs.ext4=e2fsprogs
  python3 -c 'import dbus' 2>/dev/null || [ -e /usr/lib/python3/dist-packages/dbus ] || install_missing no-dbus-python=python3-dbus
  say "building for the guest"
  suite=$(build_suite kernel)
  cut=$(build_suite cut)
  reboot=$(build_suite reboot)
  for debian in ${BONDKEEPER_TEST_SUITES:-trixie}; do
    say "the same scenarios on the Linux kernel of Debian $debian"
    tests/kernel/build-guest.sh -s "$debian" "$work/guest-$debian"
    tests/kernel/run-guest.sh -c "$work/guest-$debian" -o "$work/out-$debian" -t 2700 \
      env BONDKEEPER_TEST_PYTHON="$BONDKEEPER_TEST_PYTHON" "$suite" --test-threads=1 --color never
    say "that machine is rebooted, with bluetoothd first and with bluetoothd last"
    "$reboot" "$work/guest-$debian" "$work/out-reboot-$debian"
    say "the power of that machine goes at random moments"
    "$cut" "$work/guest-$debian" "$work/out-cut-$debian"
    "$cut" control "$work/guest-$debian" "$work/out-cut-$debian"
  done
fi
say "all stages passed: $stages"
