#!/usr/bin/env bash
# Runs the benchmarks of the release build one after another; JSON goes to build/bench. With a name, only
# those whose program's name holds it.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bench
for program in build/bin/*"${1:-}"*_bench; do
  name=$(basename "$program")
  printf '\n== %s, commit %s\n' "$name" "$(git rev-parse --short HEAD)"
  if [[ $name =~ ^(transfer|segment|channel|local|functions)_bench$ ]]; then
    "$program" --json "build/bench/$name.json"
  else
    "$program" --benchmark_repetitions=10 --benchmark_report_aggregates_only=true \
      --benchmark_out="build/bench/$name.json" --benchmark_out_format=json
  fi
done
