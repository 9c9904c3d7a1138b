#!/usr/bin/env bash
# Runs examples/photos with `cwasi run`, every step's value to a file, and compares each with ImageMagick's.
#   run_and_compare.sh CWASI COMPARE_STEPS STEPS_YAML [MODE]
# On three photographs, or on all with CWASI_PHOTOS=all. With a MODE the edges between steps must have it, and
# page_frames.py looks on.
set -euo pipefail
cwasi=$1 compare=$2 steps=$3 mode=${4:-}
look=("$(dirname "$0")/page_frames.py")
[[ -n $mode ]] || look=()
few='Picture_1A_by_freespace|life_by_Aitzol_Berasategi|picosdeeuropa_by_Aitzol_Berasategi'
work=$(mktemp -d)
workflow=$(mktemp "$(dirname "$steps")/steps-XXXXXX.yaml")  # Beside the functions that it names.
trap 'rm -rf "$work" "$workflow"' EXIT
if [[ ${CWASI_PHOTOS:-} == all ]]; then
  cp "$steps" "$workflow"
else
  awk -v few="/($few)[.]jpg$" '!/^ *- .*[.]jpg$/ || $0 ~ few' "$steps" >"$workflow"
fi
CWASI_CACHE_DIR=$work/cache "${look[@]}" "$cwasi" run "$workflow" --output-dir "$work/out" | tee "$work/table"
for edge in 'decoded +resized' 'resized +sharpened' 'sharpened +thumbs' 'thumbs +sheet'; do
  [[ -z $mode ]] || grep -Eq "^$edge +$mode " "$work/table" || { echo "no edge $edge in mode $mode" >&2; exit 1; }
done
"$compare" "$work/out"
