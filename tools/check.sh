#!/usr/bin/env bash
# The longer suite, for before a release: everything of .ci/run and what takes too long for every change.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n=== %s (%d s since start)\n' "$*" "$SECONDS"; }

.ci/run
step model;          test/model/run.sh
step mutants;        test/mutants/run.py
step repetition;     ctest --preset dev -L unit --repeat until-fail:5 -j "$(nproc)"
step linux-6.1;      tools/setup.sh qemu-system-x86 busybox-static cpio
                     # The release build: without KVM a debug build takes half an hour.
                     in_qemu() { CWASI_QEMU_SECONDS=1200 test/qemu/run.sh "build/bin/$1" "${@:2}"; }
                     in_qemu sandbox_test --gtest_brief=1
                     in_qemu buf_test --gtest_brief=1 '--gtest_filter=-*HundredThousand*:*OneGiB*'
                     in_qemu worker_test --gtest_brief=1 '--gtest_filter=*Peers*:*Sandboxed*'
                     in_qemu cwasi doctor
step fuzz;           for target in build/fuzz/bin/*_fuzz; do
                       name=$(basename "${target%_fuzz}")
                       "$target" -max_total_time="${FUZZ_SECONDS:-600}" "build/fuzz/fuzz/found_$name" "fuzz/corpus/$name"
                     done
step "faults of local calls"; build/dev/bin/local_soak --faults "${SOAK_FAULTS:-10000}"
                              build/dev/bin/local_soak --minutes "${SOAK_MINUTES:-15}" --seed "$RANDOM"
step done
