"""Says what urllib3 2.8.0 makes of requests whose attempts end as a script says.

Each line of the input is a case, each line of the output what came of it, in the same order and in
the form of the recorded cases (tests/urllib3/vectors/data/decisions.json). urllib3's own `urlopen` and
`Retry` run; only what happens on the wire is scripted, and clock, sleep and random numbers are set.
"""

import http.client
import io
import json
import logging
import random
import socket
import ssl
import sys
import time
import warnings

import urllib3
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, Retry
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

VERSION = "2.8.0"
NOW = 1767225600.0  # 2026-01-01T00:00:00Z
COUNTERS = ("total", "connect", "read", "redirect", "status", "other")
ALMOST_ONE = 1 - 2**-53

# What each kind of failure raises.
FAULTS = {
    "refused": lambda pool, conn: NewConnectionError(conn, "refused"),
    "unreachable": lambda pool, conn: NewConnectionError(conn, "unreachable"),
    "connect_timeout": lambda pool, conn: ConnectTimeoutError(conn, "timed out"),
    "dns": lambda pool, conn: NameResolutionError("a.test", conn, socket.gaierror()),
    "timeout": lambda pool, conn: ReadTimeoutError(pool, "/", "timed out"),
    "reset": lambda pool, conn: ConnectionResetError(),
    "pipe": lambda pool, conn: BrokenPipeError(),
    "closed": lambda pool, conn: http.client.RemoteDisconnected("closed"),
    "garbage": lambda pool, conn: http.client.BadStatusLine("garbage"),
    "tls": lambda pool, conn: ssl.SSLError("handshake"),
    "certificate": lambda pool, conn: ssl.SSLCertVerificationError("expired"),
}


class Trace:
    """What was seen of one request: a slot for each attempt."""

    def __init__(self, script):
        self.script = script
        self.charged = []
        self.slept = []
        self.counters = []


trace = Trace([])


class TracedRetry(Retry):
    def increment(self, method=None, url=None, response=None, error=None, *rest, **more):
        if error is None:
            kind = "redirect" if response.get_redirect_location() else "status"
        elif self._is_connection_error(error):
            kind = "connect"
        else:
            kind = "read" if self._is_read_error(error) else "other"
        trace.charged[-1] = kind
        retries = super().increment(method, url, response, error, *rest, **more)
        trace.counters.append(counters(retries))
        return retries


class ScriptedPool(HTTPConnectionPool):
    def _make_request(self, conn, method, url, retries=None, **rest):
        step = trace.script[len(trace.charged)]
        trace.charged.append(None)
        trace.slept.append(0.0)
        if "status" not in step:
            raise FAULTS[next(iter(step.values()))](self, conn)
        headers = HTTPHeaderDict()
        for name, value in step.get("headers", ()):
            # What every parser of HTTP does with what surrounds a value.
            headers.add(name, value.strip(" \t"))
        return HTTPResponse(
            io.BytesIO(),
            headers,
            step["status"],
            version=11,
            reason="X",
            preload_content=False,
            retries=retries,
            request_method=method,
        )


def counters(retries):
    return [getattr(retries, name) for name in COUNTERS]


def sleep(seconds):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    trace.slept[-1] += seconds


def run(pool, case, drawn):
    """One request, with every random number as `drawn`."""
    global trace
    trace = Trace(case["script"])
    random.random = lambda: drawn
    expect = {}
    try:
        response = pool.urlopen(
            case["method"],
            "/",
            retries=TracedRetry(**case["policy"]),
            redirect=False,
            preload_content=False,
        )
    except MaxRetryError as error:
        expect["result"] = {"raised": "MaxRetryError", "reason": type(error.reason).__name__}
    except Exception as error:
        expect["result"] = {"raised": type(error).__name__}
    else:
        expect["result"] = {"returned_status": response.status}
        expect["final_counters"] = counters(response.retries)
    expect["attempts"] = len(trace.charged)
    expect["charged"] = trace.charged
    expect["counters"] = trace.counters
    return expect, [seconds * 1000 for seconds in trace.slept[:-1]]


def main():
    if urllib3.__version__ != VERSION:
        sys.exit(f"urllib3 is {urllib3.__version__}, not {VERSION}")
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    time.sleep = sleep
    time.time = lambda: NOW
    pool = ScriptedPool("a.test")
    for line in sys.stdin:
        case = json.loads(line)
        expect, sleeps = run(pool, case, 0.0)
        if case["policy"].get("backoff_jitter"):
            longest = run(pool, case, ALMOST_ONE)[1]
            expect["sleeps_ms_bounds"] = [list(ends) for ends in zip(sleeps, longest)]
        else:
            expect["sleeps_ms"] = sleeps
        # As far as it was played.
        case["script"] = case["script"][: expect["attempts"]]
        print(json.dumps({**case, "expect": expect}))


main()
