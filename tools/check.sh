#!/usr/bin/env bash
# The longer suite, for before a release: everything of .ci/run and what takes too long for every change.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n=== %s (%d s since start)\n' "$*" "$SECONDS"; }

.ci/run
step mutants;        test/mutants/run.py
step repetition;     ctest --preset dev -L unit --repeat until-fail:5 -j "$(nproc)"
step fuzz;           for target in build/fuzz/bin/*_fuzz; do
                       name=$(basename "${target%_fuzz}")
                       "$target" -max_total_time="${FUZZ_SECONDS:-600}" "build/fuzz/fuzz/found_$name" "fuzz/corpus/$name"
                     done
step done
