"""The client that python_test.py runs: python_client.py ENDPOINT MODEL. Fails by assertion."""

import sys
import threading
import time

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)
from grpc_status import rpc_status
from inferd.v1 import generation_pb2, generation_pb2_grpc, model_pb2, model_pb2_grpc

CANCELS = 24


def request(model, text="The sea", max_tokens=None, **sampling):
    made = generation_pb2.GenerateStreamRequest(model=model, text=text)
    made.sampling.temperature = sampling.pop("temperature", 0)
    for name, value in sampling.items():
        setattr(made.sampling, name, value)
    made.stopping.ignore_eos = True
    made.output.token_ids = True
    if max_tokens is not None:
        made.stopping.max_tokens = max_tokens
    return made


def unary(stream_request):
    return generation_pb2.GenerateRequest.FromString(stream_request.SerializeToString())


def gather(events):
    """(text, token ids) of the one choice of a stream, whose order of messages is checked."""
    kinds, text, ids = [], "", []
    for event in events:
        kind = event.WhichOneof("event")
        kinds.append(kind)
        output = event.delta if kind == "delta" else event.finished.output
        text += output.text
        ids += output.token_ids
    assert kinds[0] == "started" and kinds[-1] == "finished", kinds
    assert set(kinds[1:-1]) <= {"delta"}, kinds
    return text, ids


def status_of(call):
    """The code of a call that must fail."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("the call did not fail")


def test_stream_equals_unary(stub, model):
    for sampling in ({}, {"temperature": 1.0, "seed": 11}):
        asked = request(model, max_tokens=24, **sampling)
        text, ids = gather(stub.GenerateStream(asked))
        whole = stub.Generate(unary(asked)).choices[0]
        assert (text, ids) == (whole.output.text, list(whole.output.token_ids))
        assert len(ids) == 24 and whole.usage.output_tokens == 24
        assert whole.finish_reason == generation_pb2.FINISH_REASON_LENGTH


def test_choices_differ(stub, model):
    asked = request(model, max_tokens=16, temperature=1.0, seed=5, n=2)
    reply = stub.Generate(unary(asked))
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].output.token_ids != reply.choices[1].output.token_ids


def test_unset_is_not_zero(stub, model):
    """An unset seed is drawn and echoed; a seed of zero is zero."""
    drawn = stub.Generate(unary(request(model, max_tokens=1, temperature=1.0))).started.seed
    zero = stub.Generate(unary(request(model, max_tokens=1, temperature=1.0, seed=0))).started.seed
    assert drawn != 0 and zero == 0, (drawn, zero)


def test_text_round_trip(stub, model):
    text = "Größe: naïve 水 🌊\n"
    ids = stub.Tokenize(generation_pb2.TokenizeRequest(model=model, text=text)).token_ids
    back = stub.Detokenize(generation_pb2.DetokenizeRequest(model=model, token_ids=ids))
    assert back.text == text, back.text
    chat = generation_pb2.ChatPrompt(
        messages=[generation_pb2.ChatMessage(role="user", content="Hi")])
    prompt = stub.ApplyChatTemplate(
        generation_pb2.ApplyChatTemplateRequest(model=model, chat=chat))
    assert "Hi" in prompt.text and prompt.token_ids


def test_refusals_have_reasons(stub, model):
    def refuse(asked):
        try:
            stub.Generate(unary(asked))
        except grpc.RpcError as error:
            details = rpc_status.from_call(error)
            infos = [error_details_pb2.ErrorInfo.FromString(any_.value) for any_ in details.details
                     if any_.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
            assert [info.domain for info in infos] == ["inferd"], details
            return error.code(), infos[0].reason
        raise AssertionError("was not refused")

    assert refuse(request("nobody")) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    code, reason = refuse(request(model, temperature=float("nan")))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    code, reason = refuse(request(model, text="word " * 5000))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED")
    pinned = request(model)
    pinned.expected_digest = "sha256:" + "0" * 64
    assert refuse(pinned) == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_PIN_MISMATCH")


def test_deadlines(stub, model):
    started = time.monotonic()
    # As many tokens as fit take longer than this, many times over.
    code = status_of(stub.GenerateStream(request(model), timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    assert time.monotonic() - started < 30


def cancel_midway(stub, model, number):
    call = stub.GenerateStream(request(model, text=f"Number {number}"))
    for event in call:
        if event.WhichOneof("event") == "delta":
            break
    call.cancel()
    assert status_of(call) == grpc.StatusCode.CANCELLED


def test_cancels_free_kv(stub, model, kv_tokens, context):
    """After many cancels a request that needs every block of the KV memory still gets them."""
    threads = [threading.Thread(target=cancel_midway, args=(stub, model, i))
               for i in range(CANCELS // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(CANCELS // 2):
        cancel_midway(stub, model, i)
    assert kv_tokens <= context, (kv_tokens, context)
    prompt = request(model)
    used = stub.Tokenize(generation_pb2.TokenizeRequest(model=model, text=prompt.text))
    prompt.stopping.max_tokens = kv_tokens - len(used.token_ids)
    reply = stub.Generate(unary(prompt), timeout=180)
    assert reply.choices[0].usage.output_tokens == prompt.stopping.max_tokens


def test_services(channel, model):
    listed = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"inferd.v1.GenerationService", "inferd.v1.ModelService"} <= set(listed), listed
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", f"model:{model}", "inferd.v1.GenerationService"):
        state = health.Check(health_pb2.HealthCheckRequest(service=service)).status
        assert state == health_pb2.HealthCheckResponse.SERVING, (service, state)


def main(endpoint, model):
    with grpc.insecure_channel(endpoint) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        served = model_pb2_grpc.ModelServiceStub(channel).GetModel(
            model_pb2.GetModelRequest(model=model)).model
        assert served.state == model_pb2.MODEL_STATE_READY
        assert served.ref.digest.startswith("sha256:"), served.ref
        for test in (test_stream_equals_unary, test_choices_differ, test_unset_is_not_zero,
                     test_text_round_trip, test_refusals_have_reasons, test_deadlines):
            print(test.__name__, flush=True)
            test(stub, model)
        print("test_services", flush=True)
        test_services(channel, model)
        print("test_cancels_free_kv", flush=True)
        test_cancels_free_kv(stub, model, served.kv_tokens_max, served.context_tokens_max)


if __name__ == "__main__":
    main(*sys.argv[1:])
