// What the engine's tests share: tiny models over the fake device, a sink that keeps and checks
// every event, and requests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "model/model_file.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"

namespace inferd {

// Everything that came out for one choice.
struct ChoiceResult {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<SampledToken> logprobs;
  std::optional<GenerationEvent> finished;
};

struct StreamResult {
  bool started = false;
  bool last = false;
  std::vector<ChoiceResult> choices{1};  // as many as events named
};

// Keeps events by stream and checks their order. Thread-safe.
class CollectingSink final : public EventSink {
 public:
  void Publish(std::vector<GenerationEvent>&& events) override {
    {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(events.empty());
      for (GenerationEvent& event : events) {
        Take(std::move(event));
      }
    }
    changed_.notify_all();
  }

  // Until `done` holds, asked after every batch.
  template <typename Done>
  void Wait(Done done) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(120), [&] { return done(streams_); }))
        << "nothing came for two minutes";
  }
  StreamResult WaitFor(StreamHandle stream) {
    Wait([&](auto& streams) { return streams[stream].last; });
    return Get(stream);
  }
  void WaitForTokens(StreamHandle stream, size_t tokens) {
    Wait([&](auto& streams) {
      return streams[stream].choices[0].tokens.size() >= tokens || streams[stream].last;
    });
  }
  StreamResult Get(StreamHandle stream) {
    const std::lock_guard lock(mutex_);
    return streams_[stream];
  }

 private:
  void Take(GenerationEvent&& event) {
    StreamResult& stream = streams_[event.stream];
    EXPECT_FALSE(stream.last) << "an event after the last";
    const size_t index = static_cast<size_t>(event.choice);
    stream.choices.resize(std::max(stream.choices.size(), index + 1));
    ChoiceResult& choice = stream.choices[index];
    EXPECT_FALSE(choice.finished.has_value()) << "an event after the choice's end";
    if (event.kind == GenerationEvent::Kind::kStarted) {
      EXPECT_FALSE(stream.started);
      stream.started = true;
      return;
    }
    EXPECT_TRUE(stream.started || event.tokens.empty());
    EXPECT_TRUE(IsValidUtf8(event.text));
    choice.text += event.text;
    choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (event.kind == GenerationEvent::Kind::kFinished) {
      EXPECT_EQ(event.usage.output_tokens, static_cast<int32_t>(choice.tokens.size()));
      stream.last = event.last;
      choice.finished = std::move(event);
    } else {
      EXPECT_EQ(event.tokens.size(), 1u);
      EXPECT_FALSE(event.last);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<StreamHandle, StreamResult> streams_;
};

// A tiny random model of `family` on disk, removed with the object.
class TinyModelFile {
 public:
  explicit TinyModelFile(std::string_view family) {
    RandomModelSpec spec = TinyModel(family, 11, QuantFormat::kF32);
    spec.context = 1024;
    path_ = ::testing::TempDir() + "inferd_engine_test_" + std::string(family) + "_" +
            std::to_string(RandomSeed()) + ".gguf";
    const Status written = WriteRandomModel(spec, path_);
    EXPECT_TRUE(written.ok()) << written;
    StatusOr<std::unique_ptr<ModelFile>> opened = ModelFile::Open(path_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    file_ = *std::move(opened);
  }
  ~TinyModelFile() { std::remove(path_.c_str()); }
  TinyModelFile(const TinyModelFile&) = delete;
  TinyModelFile& operator=(const TinyModelFile&) = delete;

  const ModelFile& file() const { return *file_; }
  int64_t num_groups() const {
    return static_cast<int64_t>(file_->config().geometry.groups.size());
  }

 private:
  std::string path_;
  std::unique_ptr<ModelFile> file_;
};

// An engine over the fake device. `kv_blocks`: blocks of each state group of each model.
struct EngineUnderTest {
  explicit EngineUnderTest(EngineOptions options = {}, const Clock& clock = SystemClock())
      : engine(std::make_unique<Engine>(device, clock, sink, options)) {}

  static EngineOptions WithBlocks(int64_t kv_blocks, int64_t groups, EngineOptions options = {}) {
    options.kv_bytes = kv_blocks * groups * FakeDevice::kUnitBytes;
    return options;
  }
  ModelSlot Load(const TinyModelFile& model) {
    const auto resident = engine->LoadModel("tiny", Digest{}, model.file());
    EXPECT_TRUE(resident.ok()) << resident.status();
    models.push_back(*resident);
    return (*resident)->slot;
  }
  StreamHandle Submit(GenerationRequest request) {
    const StatusOr<StreamHandle> stream = engine->Submit(std::move(request));
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.value_or(0);
  }
  StreamResult Generate(GenerationRequest request) {
    return sink.WaitFor(Submit(std::move(request)));
  }
  // After the last event of every stream.
  void WaitUntilIdle() {
    while (!engine->idle()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  FakeDevice device;
  CollectingSink sink;
  std::vector<std::shared_ptr<const ResidentModel>> models;
  std::unique_ptr<Engine> engine;  // goes first
};

inline std::shared_ptr<const std::vector<TokenId>> RandomPrompt(SplitMix64& random,
                                                                int64_t tokens) {
  auto prompt = std::make_shared<std::vector<TokenId>>();
  for (int64_t i = 0; i < tokens; ++i) {
    prompt->push_back(static_cast<TokenId>(random.Below(300)));
  }
  return prompt;
}

// Greedy, any end token ends it.
inline GenerationRequest Ask(int64_t prompt_tokens, std::optional<int32_t> max_tokens) {
  SplitMix64 random(static_cast<uint64_t>(prompt_tokens));
  GenerationRequest request;
  request.prompt = RandomPrompt(random, prompt_tokens);
  request.sampling.temperature = 0.0f;
  request.stopping.max_tokens = max_tokens;
  return request;
}

}  // namespace inferd
