#!/usr/bin/env python3
"""An agent that knows nothing of defib: a plain Redis client that sends what the guide's client sends.

usage: researcher.py AGENT_ID REDIS_URL

It registers in the hash agent:AGENT_ID, publishes a heartbeat every two seconds, and on SIGTERM says goodbye in
its hash and ends. The guide beats every 30 s; two make the demo quick.
"""
import json
import os
import resource
import signal
import socket
import sys
import time

import redis

INTERVAL_S = 2
PAPERS = ["survey of failure detectors", "heartbeats considered harmless", "how agents loop"]


def now_ms():
    return int(time.time() * 1000)


def main(agent_id, url):
    client = redis.Redis.from_url(url)
    key = f"agent:{agent_id}"
    client.hset(key, mapping={"registeredAt": now_ms(), "type": "researcher", "host": socket.gethostname(),
                              "pid": os.getpid(), "status": "starting"})
    is_stopping = []
    signal.signal(signal.SIGTERM, lambda *_: is_stopping.append(True))
    sequence = 0
    while not is_stopping:
        sequence += 1
        metrics = {"cpuPercent": 3, "memoryMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                   "activeTasks": 1, "queueDepth": 0, "tokensUsedThisHour": 120 * sequence, "errorsLast5Min": 0}
        beat = {"agentId": agent_id, "agentType": "researcher", "timestamp": now_ms(), "sequence": sequence,
                "status": "healthy", "metrics": metrics, "currentTask": f"reading: {PAPERS[sequence // 5 % len(PAPERS)]}",
                "taskProgress": sequence * 7 % 100}
        client.publish("heartbeats", json.dumps(beat))
        client.hset(key, mapping={"lastHeartbeat": beat["timestamp"], "sequence": sequence, "status": "healthy"})
        client.expire(key, INTERVAL_S * 4)
        time.sleep(INTERVAL_S)
    client.hset(key, mapping={"status": "stopped", "stoppedAt": now_ms()})
    client.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
