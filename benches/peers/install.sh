#!/usr/bin/env bash
# benches/peers/install.sh FOLDER
#
# Puts the programs that bondkeeper is compared with into FOLDER, once; nothing outside of it is changed:
#   FOLDER/venv             a Python environment with habluetooth, and of Home Assistant what its storage needs: all of
#                           it would be a hundred packages more, of which none takes part in a save or a load
#   FOLDER/micropython/run  MicroPython: this machine's, or else Debian trixie's, unpacked with the libraries it wants
# Exits with 1 when one of them could not be had; the other is there all the same.
set -uo pipefail
[ $# -eq 1 ] || { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
failed=0

# The newest release that Python 3.11 takes. How its storage writes has not changed since (seen up to 2026.2.3).
homeassistant=homeassistant==2024.3.3
needed="habluetooth==7.1.2 aiohttp atomicwrites-homeassistant awesomeversion ciso8601 cryptography orjson python-slugify
  ulid-transform voluptuous yarl"

make_venv() {
  local venv=$folder/venv wanted
  # shellcheck disable=SC2086
  wanted="$homeassistant $(echo $needed)"
  [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ] || return 0
  echo "peers: installing $wanted into $venv" >&2
  rm -rf "$venv"
  # pip warns of all that Home Assistant would want besides.
  # shellcheck disable=SC2086
  {
    python3 -m venv "$venv" && "$venv/bin/pip" -q install --no-deps "$homeassistant" && "$venv/bin/pip" -q install $needed &&
      "$venv/bin/python" -c 'import habluetooth, homeassistant.core, homeassistant.helpers.storage'
  } >"$folder/venv.log" 2>&1 || { tail -n 5 "$folder/venv.log" >&2; return 1; }
  echo "$wanted" >"$venv/installed"
}

# Prints the address of this machine's Debian archive.
debian() {
  awk '$1 == "URIs:" {print $2; exit} $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null
}

unpack_micropython() {
  local into=$1 uri apt=$folder/apt options
  uri=$(debian)
  [ -n "$uri" ] || { echo "peers: no Debian source found" >&2; return 1; }
  rm -rf "$apt" "$into"
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,empty} "$into/deb"
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" >"$apt/sources.list"
  options=(
    -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/empty"
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3
  )
  apt-get "${options[@]}" -q update && cd "$into/deb" &&
    apt-get "${options[@]}" -q download micropython libc6 libffi8 libmbedcrypto16 libmbedtls21 libmbedx509-7 || return 1
  for package in "$into"/deb/*.deb; do dpkg -x "$package" "$into/root" || return 1; done
  rm -rf "$apt" "$into/deb"
}

# The heap that it takes by itself does not hold a thousand bonds, as a microcontroller's would not.
make_micropython() {
  local into=$folder/micropython program loader
  [ ! -x "$into/run" ] || return 0
  if program=$(command -v micropython); then
    mkdir -p "$into"
    program="\"$program\""
  else
    echo "peers: unpacking Debian's micropython into $into" >&2
    (unpack_micropython "$into") >"$folder/micropython.log" 2>&1 || { tail -n 5 "$folder/micropython.log" >&2; return 1; }
    loader=$(echo "$into"/root/usr/lib/*-linux-gnu*/ld-linux*)
    program="\"$loader\" --library-path \"${loader%/*}\" \"$into/root/usr/bin/micropython\""
  fi
  printf '#!/bin/sh\nexec %s -X heapsize=256m "$@"\n' "$program" >"$into/run"
  chmod +x "$into/run"
  "$into/run" -c 'import binascii, json, time' || { rm "$into/run"; return 1; }
}

make_venv || { echo "peers: Home Assistant's storage and habluetooth could not be had" >&2; failed=1; }
make_micropython || { echo "peers: MicroPython could not be had" >&2; failed=1; }
exit "$failed"
