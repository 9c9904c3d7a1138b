#!/usr/bin/env bash
# Installs what the build, the tests and the example need on Debian 12, then builds the engine's
# library into the cache. Safe to run again; quick when there is nothing to do. Arguments: further packages.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  g++ cmake ninja-build git python3 ccache ca-certificates        # build
  libexpected-dev libmd-dev libyaml-dev libcli11-dev libseccomp-dev  # libraries, see docs/dependencies.md
  libgtest-dev libgmock-dev libbenchmark-dev                      # tests, benchmarks
  redis-server libhiredis-dev libcpp-httplib-dev                  # what benchmarks compare with
  clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev       # lint, fuzzing
  lld-19 wasi-libc libclang-rt-19-dev-wasm32                      # guests
  libc++-19-dev-wasm32 libc++abi-19-dev-wasm32 wabt
  libstb-dev lomiri-wallpapers-16.04 lomiri-wallpapers-20.04      # example photos
  imagemagick                                                     # its reference
  spin                                                            # the channel's model, ./dev check
  "$@"
)
# The wrapper crate needs rustc 1.95. An own toolchain is kept; Debian's suffices otherwise.
rust_is_new_enough() {
  command -v cargo >/dev/null && command -v rustc >/dev/null &&
    printf '1.95.0\n%s\n' "$(rustc --version | cut -d' ' -f2 | cut -d- -f1)" | sort -V -C
}

missing=()
rust_is_new_enough || missing+=(cargo-web rustc-web)  # Also if an older one is installed.
for p in "${packages[@]}"; do
  [[ $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null) == 'install ok installed' ]] || missing+=("$p")
done
if ((${#missing[@]})); then
  sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "setup: as root, run: apt-get install ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
  fi
  echo "setup: installing ${#missing[@]} Debian packages"
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
rust_is_new_enough || {
  echo "setup: the engine needs rustc 1.95, and here is $(rustc --version 2>&1 || true): Debian 12 has it in" \
    "bookworm-security (add it to apt's sources), or put a newer toolchain on PATH" >&2
  exit 1
}
tools/wasmtime.sh
