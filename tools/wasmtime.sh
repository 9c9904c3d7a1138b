#!/usr/bin/env bash
# Builds third_party/wasmtime once per content into the cache; prints nothing when it is there.
#   tools/wasmtime.sh              build if missing
#   tools/wasmtime.sh --print-dir  only print where the result is or will be
# Result: DIR/lib/libcwasi_wasmtime.a and DIR/include/. The folder appears whole, by a rename.
set -euo pipefail
cd "$(dirname "$0")/../third_party/wasmtime"
cache=${CWASI_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cwasi}
key=$(cat Cargo.toml Cargo.lock build.rs src/lib.rs | sha256sum | cut -c1-16)
dir=$cache/wasmtime-$key
if [[ ${1:-} == --print-dir ]]; then
  echo "$dir"
  exit 0
fi
[[ -f $dir/lib/libcwasi_wasmtime.a ]] && exit 0
command -v cargo >/dev/null || { echo "wasmtime: no cargo on PATH; run ./dev setup" >&2; exit 1; }
mkdir -p "$cache"
work=$(mktemp -d "$cache/.wasmtime-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "wasmtime: building the engine's library, once (4 to 8 minutes on two cores)"
CWASI_WASMTIME_INCLUDE_DIR=$work/out/include cargo build --release --locked --quiet --target-dir "$work/target"
mkdir -p "$work/out/lib"
cp "$work/target/release/libcwasi_wasmtime.a" "$work/out/lib/"
# A second build that came first wins; both are the same.
mv -T "$work/out" "$dir" 2>/dev/null || [[ -f $dir/lib/libcwasi_wasmtime.a ]]
