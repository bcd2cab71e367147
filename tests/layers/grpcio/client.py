"""Calls with grpcio what a test asks for, and says how each call ended.

Each line of the input is a case in JSON: `id`, `target`, `config` (a service config as a text), and
`calls` (paths of methods, called in order on a channel of their own). Each line of the output has
the case's `id` and the `codes`.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

WRITING = threading.Lock()


def raw(message):
    return message


def call(channel, path, number):
    method = channel.unary_unary(path, request_serializer=raw, response_deserializer=raw)
    try:
        # One that hangs is a mistake of the test's.
        method(b"ping", timeout=30, metadata=[("case-call", str(number)), ("case-by", "grpcio")])
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def run(line):
    case = json.loads(line)
    options = [
        ("grpc.service_config", case["config"]),
        ("grpc.enable_retries", 1),
        # Each case is a client of its own.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(case["target"], options=options) as channel:
        codes = [call(channel, path, at) for at, path in enumerate(case["calls"])]
    with WRITING:
        print(json.dumps({"id": case["id"], "codes": codes}), flush=True)


def main():
    with ThreadPoolExecutor(max_workers=8) as pool:
        for running in [pool.submit(run, line) for line in sys.stdin]:
            running.result()


main()
