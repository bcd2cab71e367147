"""urllib3's `Retry`, with this crate behind it.

Translates arguments, exceptions and responses, and asks the process of `core.rs` whatever is to be
decided.
"""

import atexit
import json
import os
import subprocess
import threading
import time

from urllib3.exceptions import (
    ConnectTimeoutError,
    IncompleteRead,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)
from urllib3.util.retry import RequestHistory, Retry as original
from urllib3.util.util import reraise

# What this crate calls the failure that an exception tells of; the first that fits.
CAUSES = (
    (NameResolutionError, "dns"),
    (NewConnectionError, "connection_refused"),
    (ConnectTimeoutError, "connect_timeout"),
    (ReadTimeoutError, "timeout"),
    (IncompleteRead, "incomplete_message"),
    (ProtocolError, "connection_reset"),
    (SSLError, "certificate"),
    (Exception, "unknown"),
)
COUNTERS = ("total", "connect", "read", "redirect", "status", "other")


class Core:
    """The process that decides."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lock = threading.Lock()
        # How often there was something to decide.
        self.decided = 0
        # As they are now: tests replace them.
        self.dumps, self.loads = json.dumps, json.loads
        atexit.register(self.close)

    def ask(self, ask, **question):
        question = self.dumps({"ask": ask, "now": time.time(), **question})
        with self.lock:
            self.decided += is_decision(ask)
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the core has died of {question}")
        answer = self.loads(answer)
        if isinstance(answer, dict) and "invalid" in answer:
            raise TypeError(answer["invalid"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def is_decision(ask):
    """Whether it is about something that went wrong, or else is to be retried."""
    success = isinstance(ask, dict) and ask.get("is_retry", {}).get("status", 0) in range(200, 300)
    return not success and ask != "attributes"


core = Core(os.environ["URLLIB3_SUITE_CORE"])


def plain(value):
    """As JSON can write it."""
    if isinstance(value, (set, frozenset, tuple, range)):
        return list(value)
    return value


def of_error(method, error):
    if isinstance(error, ProxyError):
        error = error.original_error
        # What was not a failure to connect is one with the proxy.
        if not isinstance(error, ConnectTimeoutError):
            return {"method": method, "cause": "unknown"}
    cause = next(cause for kind, cause in CAUSES if isinstance(error, kind))
    return {"method": method, "cause": cause}


def of_response(method, response):
    if not response or not response.status:
        return {"method": method}
    lines = [[str(name), str(value)] for name, value in response.headers.items()]
    return {"method": method, "status": response.status, "headers": lines}


def of_past(entry):
    if entry.error is not None:
        return of_error(entry.method, entry.error)
    if entry.status is None:
        return {"method": entry.method}
    lines = []
    if entry.redirect_location is not None:
        lines.append(["location", entry.redirect_location])
    return {"method": entry.method, "status": entry.status, "headers": lines}


class Retry:
    # What follows redirects is another layer, so its default is none of the core's.
    DEFAULT_REMOVE_HEADERS_ON_REDIRECT = original.DEFAULT_REMOVE_HEADERS_ON_REDIRECT

    # In the order in which they may be given without a name.
    ARGUMENTS = (
        "total",
        "connect",
        "read",
        "redirect",
        "status",
        "other",
        "allowed_methods",
        "status_forcelist",
        "backoff_factor",
        "backoff_max",
        "raise_on_redirect",
        "raise_on_status",
        "history",
        "respect_retry_after_header",
        "remove_headers_on_redirect",
        "backoff_jitter",
        "retry_after_max",
    )

    def __init__(self, *values, **arguments):
        arguments = {**dict(zip(self.ARGUMENTS, values)), **arguments}
        self.history = arguments.pop("history", None) or ()
        # That much of the history is in the counters that were given.
        self._before = len(self.history)
        arguments.setdefault(
            "remove_headers_on_redirect", self.DEFAULT_REMOVE_HEADERS_ON_REDIRECT
        )
        self._arguments = {name: plain(value) for name, value in arguments.items()}
        self._look()

    def _ask(self, ask):
        return core.ask(
            ask,
            arguments=self._arguments,
            history=[of_past(entry) for entry in self.history],
            before=self._before,
        )

    def _look(self):
        attributes = self._ask("attributes")
        self._exhausted = attributes.pop("is_exhausted")
        for name in "status_forcelist", "remove_headers_on_redirect":
            attributes[name] = frozenset(attributes[name])
        self.__dict__.update(attributes)

    def new(self, **changes):
        arguments = dict(self._arguments, history=self.history)
        if len(self.history) > self._before:
            arguments.update({name: getattr(self, name) for name in COUNTERS})
        return type(self)(**{**arguments, **changes})

    @classmethod
    def from_int(cls, retries, redirect=True, default=None):
        if retries is None:
            retries = cls.DEFAULT if default is None else default
        if isinstance(retries, Retry):
            return retries
        return cls(retries, redirect=None if redirect else False)

    def increment(
        self,
        method=None,
        url=None,
        response=None,
        error=None,
        _pool=None,
        _stacktrace=None,
    ):
        step = of_error(method, error) if error else of_response(method, response)
        decision = self._ask({"increment": step})
        if decision["ended"] == "bare":
            raise reraise(type(error), error, _stacktrace)
        status, location, cause = None, None, ResponseError.GENERIC_ERROR
        if decision["charged"] in ("status", "redirect"):
            status = response.status
            cause = ResponseError.SPECIFIC_ERROR.format(status_code=status)
        if decision["charged"] == "redirect":
            location = response.get_redirect_location()
            cause = "too many redirects"
        if decision["ended"] == "exhausted":
            reason = error or ResponseError(cause)
            raise MaxRetryError(_pool, url, reason) from reason
        later = object.__new__(type(self))
        later.__dict__.update(self.__dict__)
        entry = RequestHistory(method, url, error, status, location)
        later.history = (*self.history, entry)
        later._look()
        return later

    def is_exhausted(self):
        core.decided += 1
        return self._exhausted

    def is_retry(self, method, status_code, has_retry_after=False):
        return self._ask(
            {
                "is_retry": {
                    "method": method,
                    "status": status_code,
                    "has_retry_after": has_retry_after,
                }
            }
        )

    def get_backoff_time(self):
        return self._ask("backoff")

    def parse_retry_after(self, retry_after):
        seconds = self._ask({"parse_retry_after": retry_after})
        if seconds is None:
            raise InvalidHeader(f"Invalid Retry-After header: {retry_after}")
        return seconds

    def get_retry_after(self, response):
        retry_after = response.headers.get("Retry-After")
        return None if retry_after is None else self.parse_retry_after(retry_after)

    def sleep_for_retry(self, response):
        seconds = self._ask({"sleep_for_retry": of_response(None, response)})
        if seconds is not None:
            time.sleep(seconds)
        return seconds is not None

    def sleep(self, response=None):
        seconds = self._ask(
            {"sleep": of_response(None, response)} if response else "backoff"
        )
        # Python has no sleep of nothing: another thread would get its turn.
        if seconds:
            time.sleep(seconds)

    def __repr__(self):
        counters = ", ".join(f"{name}={getattr(self, name)}" for name in COUNTERS[:5])
        return f"{type(self).__name__}({counters})"


def defaults():
    """What urllib3 says once for all: the core's, too."""
    usual = Retry()
    Retry.DEFAULT_ALLOWED_METHODS = frozenset(usual.allowed_methods)
    Retry.DEFAULT_BACKOFF_MAX = usual.backoff_max
    Retry.DEFAULT_RETRY_AFTER_MAX = usual.retry_after_max
    Retry.DEFAULT = Retry(3)


defaults()
