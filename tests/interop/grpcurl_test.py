#!/usr/bin/env python3
"""grpcurl (Go) finds the API by reflection and calls it, streams included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import harness
from harness import check, check_equal

VERSION = "v1.9.3"
HERE = Path(__file__).resolve().parent


def grpcurl_path():
    path = harness.CACHE / "tools" / f"grpcurl-{VERSION}" / "grpcurl"
    with harness.install_lock("grpcurl"):
        if not path.exists():
            go = harness.need("go")
            harness.install([go, "install",
                             f"github.com/fullstorydev/grpcurl/cmd/grpcurl@{VERSION}"],
                            f"grpcurl {VERSION}",
                            env={**os.environ, "GOBIN": str(path.parent), "GOFLAGS": ""})
    return path


def messages_of(text):
    """The JSON documents that grpcurl printed one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        message, at = decoder.raw_decode(text, at)
        found.append(message)
    return found


def run(daemon, grpcurl):
    def call(*arguments, data=None, options=()):
        command = [str(grpcurl), "-plaintext", *options]
        if data is not None:
            command += ["-d", json.dumps(data)]
        return subprocess.run([*command, daemon.endpoint, *arguments], capture_output=True,
                              text=True, check=False, timeout=120)

    listed = call("list")
    check_equal(listed.returncode, 0, f"grpcurl list ({listed.stderr})")
    services = set(listed.stdout.split())
    for service in ("inferd.v1.GenerationService", "inferd.v1.ModelService",
                    "grpc.health.v1.Health"):
        check(service in services, f"reflection does not list {service}: {sorted(services)}")
    described = call("describe", "inferd.v1.GenerateStreamRequest")
    check("SamplingParams sampling" in described.stdout, "reflection does not describe messages")

    models = messages_of(call("inferd.v1.ModelService/ListModels", data={}).stdout)
    check_equal([model["ref"]["name"] for model in models[0]["models"]], [harness.MODEL],
                "served models")
    health = call("grpc.health.v1.Health/Check", data={"service": f"model:{harness.MODEL}"},
                  options=["-import-path", str(HERE), "-proto", "health.proto"])
    check_equal(messages_of(health.stdout), [{"status": "SERVING"}], "health of the model")

    request = {"model": harness.MODEL, "text": "The sea", "sampling": {"temperature": 0},
               "stopping": {"max_tokens": 12, "ignore_eos": True}, "output": {"token_ids": True}}
    unary = call("inferd.v1.GenerationService/Generate", data=request)
    check_equal(unary.returncode, 0, f"Generate ({unary.stderr})")
    whole = messages_of(unary.stdout)[0]["choices"][0]
    stream = call("inferd.v1.GenerationService/GenerateStream", data=request)
    check_equal(stream.returncode, 0, f"GenerateStream ({stream.stderr})")
    events = messages_of(stream.stdout)
    check("started" in events[0], f"the first message is {events[0]}")
    check("finished" in events[-1], f"the last message is {events[-1]}")
    outputs = [event["delta"] for event in events if "delta" in event]
    outputs += [event["finished"]["output"] for event in events
                if "output" in event.get("finished", {})]
    ids = [token for output in outputs for token in output.get("token_ids", [])]
    check_equal(len(ids), 12, "tokens of the stream")
    check_equal(ids, whole["output"]["token_ids"], "the stream's tokens and the unary call's")
    check_equal("".join(output.get("text", "") for output in outputs),
                whole["output"].get("text", ""), "the stream's text and the unary call's")

    refused = call("inferd.v1.GenerationService/Generate",
                   data={"model": "nobody", "text": "x"})
    check_equal(refused.returncode, 64 + 5, "exit code for NOT_FOUND")
    check("MODEL_NOT_FOUND" in refused.stderr, f"no ErrorInfo: {refused.stderr}")
    request["stopping"] = {"ignore_eos": True}
    late = call("inferd.v1.GenerationService/GenerateStream", data=request,
                options=["-max-time", "0.3"])
    check(late.returncode != 0 and "DeadlineExceeded" in late.stderr,
          f"no deadline: {late.returncode} {late.stderr}")


if __name__ == "__main__":
    sys.exit(harness.main(run, grpcurl_path))
