#!/usr/bin/env bash
# clang-tidy by .clang-tidy, warnings as errors.  usage: tools/tidy.sh core|all
#   core  the rooms where a mistake costs most and which are quick to read: base, core, wire
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:?usage: tools/tidy.sh core|all} in
  core) files=$(git ls-files 'src/base/*.cc' 'src/core/*.cc' 'src/wire/*.cc' | grep -v _test.cc) ;;
  all) files=$(git ls-files 'src/*.cc' | grep -v _test.cc) ;;
esac
cmake --preset release >/dev/null
echo "$files" | xargs -P "${JOBS:-$(nproc)}" -n 4 clang-tidy-16 -p build/release --quiet --extra-arg=-Wno-unknown-warning-option 2>/dev/null
