#!/usr/bin/env bash
# Runs examples/photos with `cwasi run`, every step's value to a file, and compares each with ImageMagick's.
#   run_and_compare.sh CWASI COMPARE_STEPS STEPS_YAML
# On three photographs, or on all with CWASI_PHOTOS=all.
set -euo pipefail
cwasi=$1 compare=$2 steps=$3
few='Picture_1A_by_freespace|life_by_Aitzol_Berasategi|picosdeeuropa_by_Aitzol_Berasategi'
work=$(mktemp -d)
workflow=$(mktemp "$(dirname "$steps")/steps-XXXXXX.yaml")  # Beside the functions that it names.
trap 'rm -rf "$work" "$workflow"' EXIT
if [[ ${CWASI_PHOTOS:-} == all ]]; then
  cp "$steps" "$workflow"
else
  awk -v few="/($few)[.]jpg$" '!/^ *- .*[.]jpg$/ || $0 ~ few' "$steps" >"$workflow"
fi
CWASI_CACHE_DIR=$work/cache "$cwasi" run "$workflow" --output-dir "$work/out"
"$compare" "$work/out"
