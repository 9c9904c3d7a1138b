#!/usr/bin/env bash
# Does what README.md says to a new user, word by word, with what `./dev install` installs.
#   readme.sh BUILD-FOLDER README.md
set -euo pipefail
build=$(readlink -f "$1") readme=$(readlink -f "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >/dev/null
block() { awk -v kind="$1" '$0 == "```" kind && !seen { on = seen = 1; next } /^```/ { on = 0 } on' "$readme"; }
cd "$work"
block cpp >invert.cc
block yaml >workflow.yaml
[[ -s invert.cc && -s workflow.yaml ]] || { echo "readme: no C++ or no YAML in $readme" >&2; exit 1; }
clang++-19 --config="$work/prefix/share/cwasi/sdk/cwasi.cfg" -std=c++20 -O2 -Wall -Wextra -Werror invert.cc -o invert.wasm
printf '\x00\x01\xff' >a.raw
CWASI_CACHE_DIR=$work/cache prefix/bin/cwasi run workflow.yaml
[[ $(od -An -tx1 out/a.raw) == ' ff fe 00' ]] || { echo "readme: out/a.raw is not a.raw inverted" >&2; exit 1; }
