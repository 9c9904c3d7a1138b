#!/usr/bin/env bash
# Runs the photo workflow with the release build; `./dev demo` builds first. Arguments go to `cwasi run`.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
workflow=build/release/guests/photos/workflow.yaml
output=build/demo
count=$(grep -c '^ *- .*\.jpg$' "$workflow")
functions=$(grep -c 'path: .*\.wasm' "$workflow")

echo "demo: $count photographs become a contact sheet by $functions WebAssembly functions"
mkdir -p "$output"
rm -f "$output/contact-sheet.png"
build/bin/cwasi run "$workflow" --output-dir "$output" "$@"
echo "demo: the contact sheet is $output/contact-sheet.png"
