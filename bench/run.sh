#!/bin/bash
# Measures, prints the table, and holds the ratios against bench/budget.json. `make bench` builds first.
# Flags go on to defib_bench: bench/run.sh --only beats --runs 10
set -euo pipefail
cd "$(dirname "$0")/.."
budget=(--budget bench/budget.json)
# A part of the benches can't keep the whole budget.
[[ " $* " == *" --only"* ]] && budget=()
exec build/release/defib_bench --defib build/release/defib "${budget[@]}" "$@"
