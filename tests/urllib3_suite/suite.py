"""Runs urllib3's own tests with this crate in the place of its `Retry`, and makes the account.

    python suite.py SOURCES CORE

SOURCES is an unpacked source distribution of urllib3, CORE the program of `core.rs`. The same tests
are run with urllib3's own `Retry` first: what fails there, too, says nothing about this crate. A
test counts if there was something to decide in it; one that only comes to successes does not.

A test that fails is run again, alone, before it is believed: many of them wait for sockets.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections import Counter

from excuses import EXCUSES, RULES

FILES = (
    "test/test_retry.py",
    "test/test_connectionpool.py",
    "test/test_poolmanager.py",
    "test/with_dummyserver/test_connectionpool.py",
    "test/with_dummyserver/test_poolmanager.py",
    "test/with_dummyserver/test_socketlevel.py",
)
# Every test of it counts, whether it comes to a decision or not.
ITS_OWN = FILES[0]


def run(sources, core, tests):
    """What came of each test; `core` is None for urllib3's own `Retry`."""
    here = pathlib.Path(__file__).parent.resolve()
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder, "results.json")
        env = dict(
            os.environ,
            PYTHONPATH=f"{sources / 'src'}{os.pathsep}{here}",
            PYTHONDONTWRITEBYTECODE="1",
            URLLIB3_SUITE_RESULTS=str(results),
        )
        env.pop("URLLIB3_SUITE_CORE", None)
        if core:
            env["URLLIB3_SUITE_CORE"] = str(core)
        pytest = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "plugin", "-q", "--timeout=60"),
                # Sockets that a test has left to the garbage collector fail any other test.
                *("-p", "no:unraisableexception", "-p", "no:cacheprovider", *tests),
            ],
            cwd=sources,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # 0: all passed, 1: some failed; anything else is no run.
        if pytest.returncode not in (0, 1) or not results.exists():
            sys.exit(f"{pytest.stdout[-5000:]}\npytest ended with {pytest.returncode}")
        return json.loads(results.read_text())


def main():
    sources, core = (pathlib.Path(path).resolve() for path in sys.argv[1:])
    theirs = run(sources, None, FILES)
    ours = run(sources, core, FILES)
    if theirs.keys() != ours.keys():
        sys.exit(f"not the same tests: {sorted(theirs.keys() ^ ours.keys())}")
    again = [
        test
        for test, result in ours.items()
        if result["outcome"] == "failed"
        and theirs[test]["outcome"] == "passed"
        and test not in EXCUSES
    ]
    for test in again:
        print(f"again: {test}")
        ours.update(run(sources, core, [test]))

    counts, excused, problems = Counter(), [], []
    for test, result in ours.items():
        outcome = result["outcome"]
        failed_anyway = theirs[test]["outcome"] == "failed"
        if test in EXCUSES:
            if outcome == "failed":
                counts["excused"] += 1
                excused.append(test)
            else:
                problems.append((test, f"excused by `{EXCUSES[test]}`, and {outcome}"))
        elif outcome == "failed" and failed_anyway:
            counts["not ours"] += 1
            print(f"not ours: {test} fails here with urllib3's own Retry, too")
        elif outcome == "failed":
            problems.append((test, result["why"]))
        elif outcome == "skipped":
            counts["skipped"] += 1
        elif result["decided"] or test.startswith(ITS_OWN):
            counts["passed"] += 1
        else:
            counts["nothing to decide"] += 1
    for test in EXCUSES.keys() - ours.keys():
        problems.append((test, "excused, and there is no such test"))
    for rule in sorted({EXCUSES[test] for test in excused}):
        print(f"excused by `{rule}`: {RULES[rule]}")
        for test in excused:
            if EXCUSES[test] == rule:
                print(f"    {test}")
    for test, why in problems:
        print(f"FAILED: {test}\n{why}\n")
    print(
        f"urllib3_suite: {counts['passed']} passed, {counts['excused']} excused, "
        f"{len(problems)} failed "
        f"({counts['nothing to decide']} pass without anything to decide, "
        f"{counts['not ours']} fail with urllib3's own Retry, too, {counts['skipped']} skipped)"
    )
    # A suite that has decided next to nothing has not run.
    sys.exit(bool(problems) or counts["passed"] < 100)


main()
