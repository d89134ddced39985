#!/bin/sh
# What the monitor runs to restart an agent of the demo: `restart-agent.sh AGENT_ID`. Starts it in the background and
# ends; the monitor believes it only when the agent beats. REDIS_URL is where agents connect.
set -eu
agent=$1
here=$(dirname "$0")
log=${DEFIB_DEMO_DIR:-/tmp}/$agent.log
setsid "$here/../../build/venv/bin/python" "$here/researcher.py" "$agent" "$REDIS_URL" >>"$log" 2>&1 </dev/null &
# So that the demo can end what it started.
if [ -n "${DEFIB_DEMO_DIR:-}" ]; then echo $! >"$DEFIB_DEMO_DIR/$agent.pid"; fi
