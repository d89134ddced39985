#!/usr/bin/env bash
# The demo behind `make run`: a monitor, a small fleet of real agents, and three things that happen to them at night.
# Runs until Ctrl-C, which ends all that it started.
#
#   researcher  Python and a plain Redis client, as the guide writes it   -> is killed (-9); restarted by a script
#   crawler     a shell program under `defib run`                         -> is frozen (SIGSTOP); restarted by its runner
#   importer    a shell program under `defib run`                         -> comes to its end; nobody is bothered
#   backup      a loop that only calls /ping/ with curl                   -> goes on
set -euo pipefail
cd "$(dirname "$0")/../.."
http=${DEFIB_DEMO_HTTP:-127.0.0.1:7070}
agents=${DEFIB_DEMO_AGENTS:-127.0.0.1:7379}
defib=build/release/defib
here=examples/quickstart
DEFIB_DEMO_DIR=$(mktemp -d)
export DEFIB_DEMO_DIR
pids=()

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Waits up to 5 s, then kills. Not by `wait`: in a trap that interrupts another wait, bash 5.2 now and then misses the end.
await_end() {
  for _ in $(seq 50); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
}

end_everything() {
  trap - EXIT
  trap "" INT TERM  # A second Ctrl-C would leave half of it behind.
  say "Ending everything that was started."
  # Agents first, so that they can say goodbye; the monitor last.
  local pid others
  others=$(cat "$DEFIB_DEMO_DIR"/*.pid 2>/dev/null || true)
  for pid in $others "${pids[@]:1}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $others "${pids[@]:1}"; do await_end "$pid"; done
  if [ ${#pids[@]} -gt 0 ]; then
    kill -TERM "${pids[0]}" 2>/dev/null || true
    await_end "${pids[0]}"
  fi
  rm -rf "$DEFIB_DEMO_DIR"
}
trap end_everything EXIT
trap 'exit 0' INT TERM

if curl -fsS --max-time 2 "http://$http/healthz" >/dev/null 2>&1; then
  echo "a monitor answers at $http already: end it, or set DEFIB_DEMO_HTTP and DEFIB_DEMO_AGENTS to other addresses" >&2
  exit 1
fi
# In sessions of their own: Ctrl-C is for this script, which ends them in order.
setsid "$defib" monitor --config "examples/quickstart.yaml" --http "$http" --agents "$agents" &
pids+=($!)
is_up=
for _ in $(seq 100); do
  sleep 0.1
  kill -0 "${pids[0]}" 2>/dev/null || break
  if curl -fsS --max-time 2 "http://$http/healthz" >/dev/null 2>&1; then is_up=yes && break; fi
done
[ -n "$is_up" ] || { echo "the monitor did not start (see above)" >&2; exit 1; }

REDIS_URL=redis://$agents "$here/restart-agent.sh" researcher
export DEFIB_URL=redis://$agents
setsid "$defib" run --id crawler --type shell --interval 2s -- "$here/crawler.sh" >"$DEFIB_DEMO_DIR/crawler.log" 2>&1 &
pids+=($!)
setsid "$defib" run --id importer --type shell --interval 2s -- "$here/importer.sh" 18 >"$DEFIB_DEMO_DIR/importer.log" 2>&1 &
pids+=($!)
(while true; do curl -fsS "http://$http/ping/backup?type=cron&interval=2s" >/dev/null 2>&1 || true; sleep 2; done) &
pids+=($!)

say "Four agents are watched. The page: http://$http/"
sleep 6
say "Killing researcher (kill -9). It beats every 2 s, so it has failed after 6.2 s of silence."
kill -9 "$(cat "$DEFIB_DEMO_DIR/researcher.pid")"
sleep 1
say "Freezing crawler (SIGSTOP). Its runner lives, and does not beat for a program that stands still."
program=$(curl -fsS "http://$http/v1/agents/crawler" | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
kill -STOP "$program"
say "importer comes to its end by itself in a few seconds: exit code 0, a clean stop."

# Both are back when each has a recovered incident; half a minute is ample.
for _ in $(seq 60); do
  recovered=$("$defib" incidents --json --server "http://$http" | grep -o '"outcome":"recovered"' | wc -l || true)
  stopped=$("$defib" agent importer --json --server "http://$http" | grep -c '"state":"stopped"' || true)
  [ "$recovered" -ge 2 ] && [ "$stopped" -ge 1 ] && break
  sleep 0.5
done
say "What happened (defib incidents; defib agents):"
"$defib" incidents --server "http://$http" || true
"$defib" agents --server "http://$http" || true
if [ "$recovered" -ge 2 ] && [ "$stopped" -ge 1 ]; then
  say "Both are back, importer ended cleanly, nobody had to get up. Running on until Ctrl-C: http://$http/"
else
  say "Not everything came back within half a minute; see above."
fi
wait "${pids[0]}"
