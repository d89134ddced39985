"""The agents' endpoint against the clients that people use, each unchanged."""
import json
import pathlib
import shutil
import subprocess
import time

import pytest
import redis

from conftest import ROOT, wait_until

CLIENTS = ROOT / "tests/integration/clients"


def message(agent_id, sequence, **fields):
    return json.dumps({"agentId": agent_id, "agentType": "test", "timestamp": int(time.time() * 1000), "sequence": sequence,
                       "status": "healthy", "metrics": {"cpuPercent": 1, "memoryMB": 2, "activeTasks": 0, "queueDepth": 0,
                                                        "tokensUsedThisHour": 0, "errorsLast5Min": 0}, **fields})


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_registers_beats_reads_back_and_says_goodbye(monitor, protocol):
    client = redis.Redis.from_url(monitor.redis_url, protocol=protocol, decode_responses=True)
    assert client.ping()
    now = int(time.time() * 1000)
    assert client.hset("agent:py", mapping={"registeredAt": now, "type": "test", "host": "h", "pid": 1, "status": "starting"}) == 5
    assert monitor.state("py") == "starting"
    assert client.publish("heartbeats", message("py", 1)) == 1
    assert monitor.state("py") == "healthy"
    assert client.hgetall("agent:py")["type"] == "test"
    assert client.hmget("agent:py", "host", "none") == ["h", None]
    assert client.expire("agent:py", 120) is True or client.expire("agent:py", 120) == 1
    assert 0 < client.ttl("agent:py") <= 120
    client.hset("agent:py", mapping={"status": "stopped", "stoppedAt": now + 5})
    assert monitor.state("py") == "stopped"
    assert client.delete("agent:py") == 1
    assert monitor.state("py") is None


@pytest.mark.parametrize("is_transaction", [False, True])
def test_redis_py_pipelines_keep_their_order(monitor, is_transaction):
    client = redis.Redis.from_url(monitor.redis_url, decode_responses=True)
    pipeline = client.pipeline(transaction=is_transaction)
    for i in range(1, 6):
        pipeline.publish("heartbeats", message("pipe", i))
        pipeline.hset("agent:pipe", "sequence", i)
        pipeline.hget("agent:pipe", "sequence")
    answers = pipeline.execute()
    assert answers[0::3] == [1] * 5
    assert answers[2::3] == ["1", "2", "3", "4", "5"]


def test_a_subscriber_hears_what_is_published(monitor):
    client = redis.Redis.from_url(monitor.redis_url, decode_responses=True)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("heartbeats")
    listener.get_message(timeout=5)
    body = message("heard", 1)
    wait_until("the subscription counts", lambda: client.publish("heartbeats", message("heard", int(time.time() * 1000))) == 2)
    assert json.loads(wait_until("a message", lambda: listener.get_message(timeout=5))["data"])["agentId"] == json.loads(body)["agentId"]


def test_a_refused_beat_is_answered_with_zero_and_makes_no_agent(monitor):
    client = redis.Redis.from_url(monitor.redis_url)
    for bad in ["not json", "null", "[]", "{}", '{"agentId": "-rm"}', '{"agentId": "a b"}', '{"agentId": 7}',
                '{"agentId": "x", "sequence": -1}', '{"agentId": "x", "metrics": {"cpuPercent": NaN}}',
                '{"agentId": "x", "metrics": {"cpuPercent": 1e999}}', '{"agentId": "x", "extra": [1,}']:
        assert client.publish("heartbeats", bad) == 0, bad
    assert monitor.get("/health/agents")["total"] == 0
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command("FLUSHALL")
    assert client.ping()


def test_redis_cli(monitor):
    def cli(*words):
        return subprocess.run(["redis-cli", "-p", str(monitor.agents_port), *words], capture_output=True, text=True,
                              timeout=20, check=True).stdout.strip()

    assert cli("PING") == "PONG"
    assert cli("PUBLISH", "heartbeats", message("cli", 1)) == "1"
    assert cli("-3", "PUBLISH", "heartbeats", message("cli", 2)) == "1"
    assert cli("HSET", "agent:cli", "registeredAt", "1700000000000") == "1"
    assert "redis_version" in cli("INFO")
    assert monitor.get("/v1/agents/cli")["sequence"] == 2


def test_redis_benchmark_publishes(monitor):
    done = subprocess.run(["redis-benchmark", "-p", str(monitor.agents_port), "-n", "20000", "-P", "16", "-c", "20", "-q",
                           "PUBLISH", "heartbeats", '{"agentId":"bench","agentType":"b"}'],
                          capture_output=True, text=True, timeout=60, check=True)
    assert "requests per second" in done.stdout
    assert "Error" not in done.stdout + done.stderr
    assert monitor.state("bench") == "healthy"


@pytest.mark.parametrize("script", ["node_redis.mjs", "ioredis.mjs"])
def test_node_clients(monitor, script):
    done = subprocess.run([shutil.which("node"), str(CLIENTS / script), monitor.redis_url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert monitor.state(pathlib.Path(script).stem) == "stopped"


def test_the_guides_own_client_registers_beats_stops_and_dies_as_it_means_it(monitor, processes):
    """The guide's TypeScript, made to compile; its calls are unchanged."""
    build = subprocess.run(["npx", "--no-install", "tsc", "-p", str(CLIENTS / "guide")], cwd=CLIENTS, capture_output=True, text=True, timeout=120)
    assert build.returncode == 0, build.stdout + build.stderr
    program = CLIENTS / "guide/out/agent.js"

    stopping = processes(["node", program, monitor.redis_url, "guide-stops", "300"])
    dying = processes(["node", program, monitor.redis_url, "guide-dies", "300"])
    monitor.wait_for_state("guide-stops", "healthy")
    monitor.wait_for_state("guide-dies", "healthy")
    stopping.terminate()
    assert stopping.wait(20) == 0
    monitor.wait_for_state("guide-stops", "stopped")
    dying.kill()
    monitor.wait_for_state("guide-dies", "failed")
    assert monitor.state("guide-stops") == "stopped"
    again = processes(["node", program, monitor.redis_url, "guide-dies", "300"])
    monitor.wait_for_state("guide-dies", "healthy")
    again.kill()
