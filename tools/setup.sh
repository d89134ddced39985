#!/usr/bin/env bash
# Installs what a fresh Debian 12 needs.  usage: tools/setup.sh run|test
#   run   what building the binary and running the demo needs
#   test  that, and what the tests need: clang, redis-server, Node and Python clients
# Debian packages as root or through sudo; npm and pip packages below build/, where nothing else looks.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: tools/setup.sh run|test}

packages=(build-essential cmake ninja-build ccache pkg-config ca-certificates curl git
  libboost1.81-dev libboost-json1.81-dev libssl-dev libsimdjson-dev libsqlite3-dev libcurl4-openssl-dev
  libyaml-cpp-dev libcli11-dev libspdlog-dev libfmt-dev libsystemd-dev libgtest-dev libgmock-dev
  python3 python3-venv)
if [ "$what" = test ]; then
  packages+=(librapidcheck-dev libbenchmark-dev libhiredis-dev clang-16 clang-tidy-16 clang-format-16
    libclang-rt-16-dev redis-server redis-tools procps)
fi

# A Node of 18 or newer that is here already is used; Debian's npm would clash with it.
has_node() { command -v node >/dev/null && command -v npm >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ]; }
if [ "$what" = test ] && ! has_node; then packages+=(nodejs npm); fi

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ]; then as_root=(env); elif command -v sudo >/dev/null; then as_root=(sudo); else
    echo "setup: these packages are missing, and neither root nor sudo is at hand: ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >build-setup.log 2>&1 ||
    { tail -n 20 build-setup.log >&2; exit 1; }
  rm -f build-setup.log
fi

# The demo's and the tests' Python clients, in an environment of their own.
venv=build/venv
requirements=tests/integration/requirements.txt
if [ "$what" = run ]; then requirements=examples/quickstart/requirements.txt; fi
stamp="$venv/.installed-$(md5sum <"$requirements" | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  touch "$stamp"
fi
if [ "$what" = test ]; then
  clients=tests/integration/clients
  if [ ! -e "$clients/node_modules/.package-lock.json" ] || [ "$clients/package-lock.json" -nt "$clients/node_modules/.package-lock.json" ]; then
    (cd "$clients" && npm ci --silent --no-audit --no-fund)
  fi
fi
echo "setup: everything is here"
