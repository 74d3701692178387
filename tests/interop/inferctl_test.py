#!/usr/bin/env python3
"""inferctl from its command line: data on stdout, messages on stderr, exit codes, JSON."""

import json
import sys

import harness
from harness import check, check_equal

GREEDY = ("--temperature", "0", "--max-tokens", "12", "--ignore-eos")


def run(daemon, _):
    def good(*arguments, text=""):
        done = daemon.inferctl(*arguments, text=text)
        check_equal(done.returncode, 0, f"inferctl {arguments} ({done.stderr})")
        return done

    streamed = good("generate", "The sea", *GREEDY)
    check_equal(streamed.stderr, "", "stderr without --stats")
    whole = json.loads(good("generate", *GREEDY, "-o", "json", text="The sea").stdout)
    choice = whole["choices"][0]
    check_equal(streamed.stdout, choice["text"] + "\n", "streamed text and that of -o json")
    check_equal(len(choice["token_ids"]), 12, "tokens of the answer")
    check_equal(good("generate", "--no-stream", "The sea", *GREEDY).stdout, streamed.stdout,
                "text of the unary call")
    stats = good("generate", "The sea", *GREEDY, "--stats").stderr
    check("tokens/s" in stats and "time to first token" in stats, f"--stats: {stats!r}")

    ids = good("tokenize", text="The sea").stdout
    by_ids = json.loads(good("generate", "--ids", ids, *GREEDY, "-o", "json").stdout)
    check(by_ids["prompt_tokens"] <= whole["prompt_tokens"], "a prompt of ids gets no more tokens")
    chat = json.loads(good("chat", "Hi", *GREEDY, "-o", "json").stdout)
    check(chat["prompt_tokens"] > 1, "chat goes through the template")

    listed = json.loads(good("model", "list", "-o", "json").stdout)["models"]
    check_equal([model["name"] for model in listed], [harness.MODEL], "models")
    got = json.loads(good("model", "get", harness.MODEL, "-o", "json").stdout)
    check_equal(got, listed[0], "model get and model list")
    check_equal(whole["digest"], got["digest"], "the digest of an answer")
    check("serving" in good("status").stdout, "status")

    bench = json.loads(good("bench", "--requests", "12", "--concurrency", "4", "--prompt-tokens",
                            "20", "--output-tokens", "8", "-o", "json").stdout)
    check_equal((bench["completed"], bench["output_tokens"]), (12, 96), "bench, closed loop")
    check_equal(bench["prompt_tokens"], 240, "prompt tokens of bench")
    opened = json.loads(good("bench", "--requests", "10", "--rate", "50", "--prompt-tokens", "4",
                             "--output-tokens", "2", "-o", "json").stdout)
    check_equal(opened["completed"], 10, "bench, open loop")

    for arguments, code in ((("generate", "x", "-m", "nobody"), 3),
                            (("generate", "x", "--temperature", "1000"), 2),
                            (("generate", "x", "--no-such-flag"), 2),
                            (("generate", "x", "--ignore-eos", "--timeout", "100ms"), 5),
                            (("model", "get", "nobody"), 3)):
        done = daemon.inferctl(*arguments)
        check_equal(done.returncode, code, f"exit code of {arguments} ({done.stderr})")
        check(done.stderr.startswith("error: "), f"stderr of {arguments}: {done.stderr!r}")
    daemon.stop()
    check_equal(daemon.inferctl("status").returncode, 5, "exit code without a daemon")


if __name__ == "__main__":
    sys.exit(harness.main(run))
