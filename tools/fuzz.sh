#!/usr/bin/env bash
# Builds the fuzzers and runs each for some seconds, two at a time, from the seeds in fuzz/seeds.
#   usage: tools/fuzz.sh SECONDS
# A finding is left in build/fuzz/findings and replayed by: build/fuzz/NAME FILE
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: tools/fuzz.sh SECONDS}
cmake --preset fuzz >/dev/null
names=()
for seeds in fuzz/seeds/*/; do names+=("$(basename "$seeds")"); done
cmake --build build/fuzz -j "${JOBS:-$(nproc)}" --target "${names[@]/%/_fuzz}" >build/fuzz.log 2>&1 || { tail -n 60 build/fuzz.log; exit 1; }
mkdir -p build/fuzz/findings

run_one() {
  local name=$1 corpus=build/fuzz/corpus/$1
  mkdir -p "$corpus"
  if "build/fuzz/${name}_fuzz" "$corpus" "fuzz/seeds/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="build/fuzz/findings/$name-" >"build/fuzz/$name.log" 2>&1; then
    printf '%-8s %s\n' "$name" "$(grep -E '^Done' "build/fuzz/$name.log" || tail -n 1 "build/fuzz/$name.log")"
  else
    printf '%-8s FAILED\n' "$name"
    tail -n 40 "build/fuzz/$name.log"
    return 1
  fi
}

pids=()
for name in "${names[@]}"; do
  run_one "$name" &
  pids+=($!)
  if [ ${#pids[@]} -ge 2 ]; then
    wait "${pids[0]}"
    pids=("${pids[@]:1}")
  fi
done
for pid in "${pids[@]}"; do wait "$pid"; done
