#!/usr/bin/env bash
# Everything that must be true before a change lands, cheapest first. Prints each part's time.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
started=$SECONDS

part() {
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@" || { printf '\n== %s FAILED after %d s\n' "$name" $((SECONDS - begin)); exit 1; }
  printf '== %s: %d s\n' "$name" $((SECONDS - begin))
}

configure_and_build() {
  local preset=$1
  shift
  cmake --preset "$preset" >/dev/null
  cmake --build "build/$preset" -j "$jobs" --target "$@" >"build/$preset.log" 2>&1 || { tail -n 60 "build/$preset.log"; return 1; }
}

run_tests() { ctest --test-dir "build/$1" --output-on-failure -j "$jobs" --no-tests=error "${@:2}"; }

check_format() {
  git ls-files '*.cc' '*.h' | xargs clang-format-16 --dry-run --Werror
}

mkdir -p build
part "format" check_format
part "house rules" python3 tools/check_house.py
part "build, release" configure_and_build release all
part "unit tests, scenarios, simulator" run_tests release
part "real clients, real processes" build/venv/bin/python -m pytest -q -x tests/integration
part "build, address and undefined sanitizers" configure_and_build asan all
part "tests under address and undefined sanitizers" run_tests asan
part "build, thread sanitizer" configure_and_build tsan base_test core_test wire_test net_test ingest_test store_test
part "tests under the thread sanitizer" run_tests tsan -R '^(base|core|wire|net|ingest|store)_test$'
part "fuzzers" tools/fuzz.sh 60
part "clang-tidy" tools/tidy.sh core
printf '\n== all parts passed in %d s\n' $((SECONDS - started))
