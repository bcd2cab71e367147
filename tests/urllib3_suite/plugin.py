"""A plugin of pytest's: writes down what came of each test and, where `URLLIB3_SUITE_CORE` names the
program of `core.rs`, puts our `Retry` in the place of urllib3's.
"""

import json
import os
import sys

import pytest
import urllib3  # All of it, before anything is replaced.
from urllib3.util.retry import Retry as original

results = {}
core = None
if "URLLIB3_SUITE_CORE" in os.environ:
    import retry

    core = retry.core
    for module in list(sys.modules.values()):
        if module is not retry and getattr(module, "Retry", None) is original:
            module.Retry = retry.Retry

    def gone(*_, **__):
        raise AssertionError("urllib3's own Retry was used")

    # Whatever still has it must not go unnoticed.
    for name, member in list(vars(original).items()):
        if callable(member) or isinstance(member, classmethod):
            setattr(original, name, gone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = core.decided if core else 0
    try:
        return (yield)
    finally:
        result = results.setdefault(item.nodeid, {"outcome": "passed", "why": ""})
        result["decided"] = (core.decided if core else 0) - before


def pytest_runtest_logreport(report):
    result = results.setdefault(report.nodeid, {"outcome": "passed", "why": ""})
    if report.outcome != "passed" and result["outcome"] != "failed":
        result["outcome"] = report.outcome
        result["why"] = str(report.longrepr)


def pytest_sessionfinish():
    with open(os.environ["URLLIB3_SUITE_RESULTS"], "w") as file:
        json.dump(results, file)
