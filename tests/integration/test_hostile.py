"""What strangers send: after each of it the monitor answers as before, has not grown, and has made an agent of nobody."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
import urllib.parse

import pytest
import redis

from conftest import DEFIB, wait_until

MIB = 2**20
# What the monitor may hold beyond its size at the start, whatever it is sent by a few connections.
GROWTH_BYTES_MAX = 48 * MIB
# And with ten thousand connections: 8 KB each is promised for an idle one.
GROWTH_BYTES_MAX_CROWDED = GROWTH_BYTES_MAX + 10_000 * 8 * 1024

BAD_IDS = ["", "-rm", "--help", ".hidden", "..", "a b", "a/b", "../etc/passwd", "a;reboot", "$(id)", "`id`", "a\nb", "a\0b", "ü", "a\"b", "x" * 129]
GOOD_IDS = ["a", "A-1.b_c:d", "x" * 128]


def rss_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024


@pytest.fixture
def target(make_monitor):
    """A monitor, and the proof that it is well afterwards."""
    monitor = make_monitor("policies: [{match: {id: '*'}, recovery: []}]")
    assert monitor.get("/healthz")["status"] == "ok"
    before = rss_bytes(monitor.process.pid)
    monitor.growth_bytes_max = GROWTH_BYTES_MAX
    monitor.agents_made = set()
    yield monitor
    is_well(monitor)
    growth = rss_bytes(monitor.process.pid) - before
    print(f"grew by {growth / MIB:.1f} MiB")
    assert growth < monitor.growth_bytes_max
    assert {a["agentId"] for a in monitor.get("/v1/agents")["agents"]} == monitor.agents_made
    assert monitor.get("/v1/incidents")["incidents"] == []
    assert monitor.stop() == 0


def is_well(monitor):
    """Both doors answer, and quickly."""
    started = time.monotonic()
    assert monitor.get("/healthz")["status"] == "ok"
    with redis.Redis.from_url(monitor.redis_url, socket_timeout=10) as client:
        assert client.ping()
    assert time.monotonic() - started < 5


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read_all(connection, seconds=10):
    """What comes until the monitor closes; fails where it does not."""
    connection.settimeout(seconds)
    came = b""
    try:
        while piece := connection.recv(65536):
            came += piece
    except ConnectionResetError:
        pass
    return came


def is_closed_after(port, sent, seconds=10):
    with connect(port) as connection:
        try:
            connection.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            return True
        read_all(connection, seconds)
        return True


def is_refusal_logged(monitor, *words):
    wait_until(f"the log names it: {monitor.log}", lambda: any(all(w in line for w in words) for line in monitor.log), 5)


# ---- Ids ------------------------------------------------------------------------------------------


def test_no_door_takes_an_id_outside_the_grammar(target):
    client = redis.Redis.from_url(target.redis_url)
    for bad in BAD_IDS:
        status, body = target.beat(bad, sequence=1)
        assert status == 400 and body["accepted"] == 0 and "agent" in body["refused"][0]["error"], bad
        message = json.dumps({"agentId": bad, "agentType": "t", "sequence": 1, "status": "healthy"})
        assert client.publish("heartbeats", message) == 0, bad
        with pytest.raises(redis.ResponseError):
            client.hset(f"agent:{bad}", mapping={"registeredAt": 1, "status": "starting"})
        quoted = urllib.parse.quote(bad, safe="")
        for path in [f"/ping/{quoted}", f"/ping/{quoted}/start", f"/ping/{quoted}/fail", f"/ping/{quoted}/1"]:
            assert 400 <= target.request("GET", path)[0] < 500, path
        assert 400 <= target.request("POST", f"/v1/agents/{quoted}/recover", {})[0] < 500, bad
        assert target.request("GET", f"/health/agents/{quoted}")[0] in (400, 404) or bad == "", bad
    is_refusal_logged(target, "refused", "agent id")
    for good in GOOD_IDS:
        assert target.beat(good, sequence=1)[0] == 200
        target.agents_made.add(good)


# ---- JSON -----------------------------------------------------------------------------------------

BROKEN = [b"", b"{", b"}", b"null", b"[]", b"{}", b"7", b'"x"', b'{"agentId": "x"', b'{"agentId": "x",}', b'{"agentId": "x"} trailing',
          b'{"agentId": "x", "agentId": "y", "sequence": "1"}', b'{"agentId": "\xff\xfe"}', b'{"agentId": "x\\ud800"}',
          b'{"agentId": "x", "extra": ' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 5000 + b"1" + b"}" * 5000,
          b'{"agentId": "x", "metrics": {"cpuPercent": 1e999}}', b'{"agentId": "x", "sequence": 1e400}',
          b'{"agentId": "x", "timestamp": NaN}', b'{"agentId": ["x"]}', b"\0" * 100, b"\xef\xbb\xbf{}"]


def test_broken_json_is_refused_at_both_doors(target):
    client = redis.Redis.from_url(target.redis_url)
    for broken in BROKEN:
        status, body = target.request("POST", "/v1/heartbeats", broken)
        assert status == 400, (broken[:60], status, body)
        assert client.publish("heartbeats", broken) == 0, broken[:60]
    assert client.ping()  # The same connection goes on.
    is_refusal_logged(target, "http: refused")
    is_refusal_logged(target, "a beat on connection", "was refused")


def giant(size):
    body = b'{"agentId": "giant", "sequence": 1, "extra": "'
    return body + b"x" * (size - len(body) - 2) + b'"}'


def test_a_message_above_64_kib_is_refused_and_one_above_a_mib_is_not_even_read(target):
    # Read over and answered; the connection goes on.
    with connect(target.agents_port) as connection:
        body = giant(65 * 1024)
        connection.sendall(b"*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n$%d\r\n%s\r\nPING\r\n" % (len(body), body))
        answers = b""
        while b"PONG" not in answers:
            answers += connection.recv(4096)
        assert answers == b":0\r\n+PONG\r\n"
    assert target.request("POST", "/v1/heartbeats", giant(65 * 1024))[0] in (400, 413)
    # Larger: closed.
    assert is_closed_after(target.agents_port, b"*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n$2097152\r\n" + giant(2 * MIB) + b"\r\n")
    with connect(target.http_port) as connection:
        try:
            connection.sendall(b"POST /v1/heartbeats HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Content-Length: 2097152\r\n\r\n" + giant(2 * MIB))
        except (BrokenPipeError, ConnectionResetError):
            pass
        came = read_all(connection)
        assert came == b"" or came.startswith(b"HTTP/1.1 413")
    # Five thousand messages in one body, each too large an answer if it were echoed.
    status, body = target.request("POST", "/v1/heartbeats", b"\n".join([b'{"agentId": "-"}'] * 5000), {"Content-Type": "application/x-ndjson"})
    assert status in (400, 413), body


# ---- The Redis protocol ---------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [
    b"*1000000000\r\n", b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*-5\r\n", b"*1e9\r\n",
    b"*1\r\n$1000000000\r\n", b"*1\r\n$-7\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n:5\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGPING\r\n", b"x" * 2 * MIB, b"*1024\r\n" + b"$65536\r\n" + b"x" * 65536,
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"post /v1/heartbeats HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"\0" * 1000, os.urandom(4096)],
    ids=lambda sent: repr(sent[:24]))
def test_what_is_no_command_costs_nothing(target, sent):
    with connect(target.agents_port) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        came = read_all(connection)
        assert len(came) < 64 * 1024
        assert b"+OK" not in came and not came.startswith(b"HTTP")


def test_a_page_that_posts_to_the_agents_door_publishes_nothing(target):
    """A browser can send a POST whose body is a command; the connection ends before it gets there."""
    beat = b'PUBLISH heartbeats {"agentId":"smuggled","sequence":1}\r\n'
    for head in [b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"Host: x\r\n"]:
        assert is_closed_after(target.agents_port, head + beat)


def test_thousands_of_arguments_and_channels_are_bounded(target):
    client = redis.Redis.from_url(target.redis_url)
    # A client that knows no bounds: one connection listens to more channels than anyone needs, and writes more keys.
    with connect(target.agents_port) as connection:
        connection.sendall(b"".join(b"SUBSCRIBE channel%d\r\n" % i for i in range(50_000)))
        connection.shutdown(socket.SHUT_WR)
        read_all(connection, 30)
    for i in range(2000):
        try:
            client.hset(f"agent:full{i % 3}", mapping={f"field{i}": "x" * 1000})
        except redis.RedisError:
            break
    target.agents_made |= {f"full{i}" for i in range(3)} & {a["agentId"] for a in target.get("/v1/agents")["agents"]}


# ---- Connections ----------------------------------------------------------------------------------


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(hard, limit)))
            break
        except (ValueError, PermissionError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.fixture
def descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield raise_descriptor_limit(20_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


BEGINNINGS = {"agents": b"*3\r\n$7\r\nPUBL", "http": b"GET /v1/ag"}


def half_open(monitor, doors, count, held):
    for _ in range(count):
        for door in doors:
            connection = socket.create_connection(("127.0.0.1", getattr(monitor, f"{door}_port")), timeout=20)
            held.append(connection)
            try:
                connection.sendall(BEGINNINGS[door])
            except OSError:
                pass  # Above the bound it is closed at once.


def close_all(held):
    for connection in held:
        connection.close()


def test_a_thousand_half_open_connections_at_each_door_hold_nobody_up(descriptors, target):
    held = []
    try:
        half_open(target, ["agents", "http"], 1000, held)
        is_well(target)
        assert target.beat("honest", sequence=1)[0] == 200
        target.agents_made.add("honest")
    finally:
        close_all(held)


@pytest.mark.parametrize("door", ["agents", "http"])
def test_ten_thousand_connections_meet_a_bound_and_it_goes_on_afterwards(descriptors, target, door):
    assert descriptors > 10_500, "raise `ulimit -n`"
    target.growth_bytes_max = GROWTH_BYTES_MAX_CROWDED
    before = rss_bytes(target.process.pid)
    honest, held = redis.Redis.from_url(target.redis_url), []
    assert honest.ping()
    try:
        half_open(target, [door], 10_000, held)
        # Who was connected before is served, and so is the other door; who comes after hears why not, or is closed.
        assert honest.publish("heartbeats", json.dumps({"agentId": "honest", "sequence": 1})) == 1
        target.agents_made.add("honest")
        print(f"10,000 at {door}: grew by {(rss_bytes(target.process.pid) - before) / MIB:.1f} MiB")
        if door == "agents":
            assert target.get("/healthz")["status"] == "ok"
            with connect(target.agents_port) as late:
                assert read_all(late).startswith(b"-ERR max number of clients")
        else:
            with connect(target.http_port) as late:
                assert b"200" not in read_all(late)
    finally:
        close_all(held)
    wait_until("there is room again", lambda: pings(target), 30)


def pings(monitor):
    try:
        is_well(monitor)
        return True
    except (OSError, redis.RedisError):
        return False


def test_a_slow_writer_is_given_up_and_holds_nobody_up(target):
    with connect(target.http_port) as slow:
        slow.settimeout(0.2)
        started, came = time.monotonic(), None
        while time.monotonic() - started < 30:
            try:
                slow.sendall(b"G")
                came = slow.recv(4096)
                break
            except TimeoutError:
                is_well(target)
            except OSError:
                break
        # 10 s for a head (net/http_server.h).
        assert 5 < time.monotonic() - started < 20, came


def test_a_slow_reader_of_the_agents_door_is_closed_before_it_costs_much(target):
    ask = b"*2\r\n$4\r\nECHO\r\n$60000\r\n" + b"x" * 60000 + b"\r\n"
    with connect(target.agents_port) as slow:
        slow.settimeout(2)
        sent = 0
        try:
            for _ in range(2000):
                slow.sendall(ask)
                sent += len(ask)
        except (TimeoutError, OSError):
            pass
        # 120 MB of answers are asked for; it stops reading from us, or closes, long before.
        assert sent < 40 * MIB
        is_well(target)


def test_slow_readers_of_lists_and_events_are_bounded(target):
    held = []
    try:
        for _ in range(50):
            reader = connect(target.http_port)
            held.append(reader)
            reader.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
            events = connect(target.http_port)
            held.append(events)
            events.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for i in range(300):
            target.beat("talks", instanceId=f"i{i}", sequence=1)
        target.agents_made.add("talks")
        is_well(target)
    finally:
        close_all(held)


# ---- HTTP -----------------------------------------------------------------------------------------

INNER = b'{"agentId":"smuggled","sequence":1}'
POST = b"POST /v1/heartbeats HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SECOND = POST + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER
SHAPES = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SECOND) + SECOND,
    "a list of lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(SECOND) + SECOND,
    "a signed length": POST + b"Content-Length: +0\r\n\r\n" + SECOND,
    "a length in hex": POST + b"Content-Length: 0x0\r\n\r\n" + SECOND,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SECOND,
    "blank before the colon": POST + b"Content-Length : 0\r\n\r\n" + SECOND,
    "a folded line": POST + b"X-Fold: a\r\n Content-Length: 0\r\n\r\n" + SECOND,
    "chunks by another name": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + SECOND,
    "no host": b"GET / HTTP/1.1\r\n\r\n" + SECOND,
    "bare line feeds": b"GET / HTTP/1.1\nHost: localhost\n\n" + SECOND,
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 5\r\n\r\n" + SECOND,
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n" + SECOND,
    "a whole URL": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n" + SECOND,
    "another version": b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n" + SECOND,
    "no version": b"GET /\r\n\r\n" + SECOND,
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + SECOND,
    "a long head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n" + SECOND,
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(1000)) + b"\r\n" + SECOND,
    "redis": b"*1\r\n$4\r\nPING\r\n" + SECOND,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_that_can_be_read_in_two_ways_hides_none(target, shape):
    with connect(target.http_port) as connection:
        try:
            connection.sendall(SHAPES[shape])
        except (BrokenPipeError, ConnectionResetError):
            pass
        came = read_all(connection)
    answers = re.findall(rb"HTTP/1\.1 (\d+)", came)
    assert len(answers) <= 1 and all(400 <= int(a) < 600 for a in answers), came[:500]
    is_refusal_logged(target, "http: refused")


def test_foreign_names_and_pages_are_refused(target):
    target.beat("watched", sequence=1)
    target.agents_made.add("watched")
    for headers in [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}, {"Origin": "https://evil.example"},
                    {"Origin": "null"}]:
        for method, path, body in [("GET", "/v1/agents", None), ("POST", "/v1/heartbeats", {"agentId": "page", "sequence": 1}),
                                   ("GET", "/ping/page", None), ("POST", "/v1/agents/watched/recover", {"force": True})]:
            status, answer = target.request(method, path, body, headers)
            assert status in (400, 403), (headers, method, path, status, answer)
            assert answer["code"] and answer["error"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_acting_without_saying_json_is_refused(target, content_type):
    target.beat("watched", sequence=1)
    target.agents_made.add("watched")
    for path, body in [("/v1/agents/watched/recover", {"force": True}), ("/v1/incidents/1/ack", {}), ("/v1/incidents/1/close", {}),
                       ("/v1/heartbeats", {"agentId": "page", "sequence": 1})]:
        status, answer = target.request("POST", path, body, {"Content-Type": content_type})
        assert status == 415, (path, status, answer)


# ---- The process ----------------------------------------------------------------------------------


def test_term_ends_it_well_with_clients_on_every_door(target):
    held = []
    try:
        half_open(target, ["agents", "http"], 20, held)
        with connect(target.http_port) as events:
            events.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert events.recv(100)
            listener = redis.Redis.from_url(target.redis_url).pubsub()
            listener.subscribe("heartbeats")
            started = time.monotonic()
            assert target.stop(signal.SIGTERM) == 0
            assert time.monotonic() - started < 3
    finally:
        close_all(held)
    target.start()  # For what is checked after each of these.


@pytest.mark.parametrize("door", ["http", "agents"])
def test_a_port_that_is_taken_is_told(tmp_path, door):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = {"http": "agents", "agents": "http"}[door]
        done = subprocess.run([DEFIB, "monitor", f"--{door}", address, f"--{other}", "127.0.0.1:0", "--data-dir", "memory"],
                              capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert done.returncode == 1
    assert address in done.stderr and "in use" in done.stderr
    assert "terminate" not in done.stderr


@pytest.mark.parametrize("words", [["monitor", "--htpp", "127.0.0.1:0"], ["monitr"], ["monitor", "--http"], ["monitor", "--http", "nonsense"]])
def test_wrong_use_is_told(tmp_path, words):
    done = subprocess.run([DEFIB, *words], capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip()
