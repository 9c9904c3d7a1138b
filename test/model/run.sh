#!/usr/bin/env bash
# Checks the model of the channel with spin: without errors as it is, and with a counterexample for each of
# the five seeded bugs. A bug that is not found fails, too: the model would prove nothing.
set -euo pipefail
model=$(dirname "$(readlink -f "$0")")/channel.pml
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
bad=0
check() {  # NAME EXPECTED_ERRORS [-D...]
  local name=$1 expected=$2 out errors states
  shift 2
  spin -a "$@" "$model" >spin.out || { cat spin.out >&2; exit 1; }
  gcc -w -O2 -DSAFETY -DCOLLAPSE -DMEMLIM=4096 -o pan pan.c
  out=$(timeout 600 ./pan -m1000000 -w22)
  # The whole graph, or it says nothing; a counterexample may come before.
  if grep -q 'max search depth too small\|out of memory' <<<"$out"; then
    echo "$name: the search was cut short" >&2
    bad=1
  fi
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' <<<"$out")
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' <<<"$out")
  printf '%-18s %s error(s), %s expected; %s states; %s\n' "$name" "$errors" "$expected" "$states" \
    "$(grep -m1 '^pan:[0-9]*:' <<<"$out" || echo 'nothing found')"
  [[ $errors == "$expected" ]] || bad=1
}
check 'as it is' 0
check NO_RECHECK 1 -DNO_RECHECK
check EARLY_REUSE 1 -DEARLY_REUSE
check WRITE_AFTER_GIVE 1 -DWRITE_AFTER_GIVE
check CHANGER_CLEARS 1 -DCHANGER_CLEARS
check REUSE_UNHEARD 1 -DREUSE_UNHEARD
exit $bad
