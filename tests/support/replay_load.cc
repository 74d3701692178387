#include "tests/support/replay_load.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/random.h"
#include "governance/payload_access.h"
#include "tests/support/fake_audit_log.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

const char* const kSentences[] = {
    "The sea was calm, and nobody spoke. ",
    "A database keeps its index beside the rows. ",
    "In spring the river carries more water than the bridge was built for. ",
    "She counted the steps, then counted them again. ",
};

std::string TextPrompt(SplitMix64& random, const MixedLoad& load) {
  std::string text;
  for (int32_t i = 0; i < load.shared_sentences; ++i) {
    text += "Once there was a lighthouse keeper who wrote everything down. ";
  }
  const uint64_t sentences = random.Below(1 + static_cast<uint64_t>(load.prompt_tokens_max) / 20);
  for (uint64_t i = 0; i < sentences; ++i) {
    text += kSentences[random.Below(std::size(kSentences))];
  }
  return text;
}

void FillSampling(SplitMix64& random, int32_t vocab_size, v1::SamplingParams& sampling) {
  if (random.Below(4) == 0) {
    sampling.set_temperature(0);
  } else {
    sampling.set_temperature(0.5f + static_cast<float>(random.Unit()));
  }
  if (random.Below(2) == 0) {
    sampling.set_top_p(0.8f + 0.2f * static_cast<float>(random.Unit()));
  }
  if (random.Below(3) == 0) {
    sampling.set_top_k(static_cast<int32_t>(5 + random.Below(60)));
  }
  if (random.Below(4) == 0) {
    sampling.set_min_p(0.02f);
  }
  if (random.Below(3) == 0) {
    sampling.set_repetition_penalty(1.1f);
    sampling.set_presence_penalty(0.3f);
    sampling.set_frequency_penalty(0.2f);
  }
  if (random.Below(4) == 0) {
    for (int i = 0; i < 3; ++i) {
      (*sampling.mutable_logit_bias())[static_cast<int32_t>(
          random.Below(static_cast<uint64_t>(vocab_size)))] = static_cast<float>(i) - 1.5f;
    }
  }
  if (random.Below(2) == 0) {
    sampling.set_seed(random.Next());
  }
  if (random.Below(3) == 0) {
    sampling.set_n(static_cast<int32_t>(2 + random.Below(3)));
  }
}

void FillStopping(SplitMix64& random, const MixedLoad& load, v1::StoppingParams& stopping) {
  stopping.set_max_tokens(
      static_cast<int32_t>(1 + random.Below(static_cast<uint64_t>(load.output_tokens_max))));
  if (random.Below(3) == 0) {
    stopping.add_stop(random.Below(2) == 0 ? "." : "the");
    stopping.set_include_stop(random.Below(2) == 0);
  }
  if (random.Below(4) == 0) {
    for (int i = 0; i < 16; ++i) {
      stopping.add_stop_token_ids(
          static_cast<int32_t>(random.Below(static_cast<uint64_t>(load.vocab_size))));
    }
  }
  stopping.set_ignore_eos(random.Below(2) == 0);
  if (random.Below(10) < static_cast<uint64_t>(load.early_ends_of_ten)) {
    stopping.set_max_tokens(load.output_tokens_max);
    for (const char* const stop : {" ", "e", "a", "o"}) {
      stopping.add_stop(stop);
    }
  }
  if (random.Below(4) == 0) {
    stopping.set_min_tokens(std::min(3, stopping.max_tokens()));
  }
}

}  // namespace

std::vector<v1::GenerateStreamRequest> MixedRequests(const MixedLoad& load, int count) {
  SplitMix64 random(load.seed);
  std::vector<v1::GenerateStreamRequest> requests;
  for (int i = 0; i < count; ++i) {
    v1::GenerateStreamRequest& request = requests.emplace_back();
    request.set_model(load.model);
    if (random.Below(3) == 0) {
      const uint64_t length = 1 + random.Below(static_cast<uint64_t>(load.prompt_tokens_max));
      for (uint64_t token = 0; token < length; ++token) {
        request.mutable_token_ids()->add_ids(
            static_cast<int32_t>(random.Below(static_cast<uint64_t>(load.vocab_size))));
      }
    } else {
      request.set_text(TextPrompt(random, load));
    }
    FillSampling(random, load.vocab_size, *request.mutable_sampling());
    FillStopping(random, load, *request.mutable_stopping());
    const bool text = random.Below(5) != 0 || request.stopping().stop_size() > 0;
    request.mutable_output()->set_text(text);
    request.mutable_output()->set_token_ids(true);
    request.mutable_output()->set_show_control_tokens(random.Below(4) == 0);
  }
  return requests;
}

std::string ApproveReplays(const std::string& state_directory, const std::string& tenant) {
  namespace fs = std::filesystem;
  const std::string state = state_directory + "/state";
  fs::create_directories(state);
  fs::permissions(state, fs::perms::owner_all);
  TempFolder folder;
  auto keys =
      KeyStore::Open(folder / "keys.sqlite", *SecretKey::From(std::string(SecretKey::kBytes, 'r')));
  CHECK(keys.ok());
  Vault vault(folder.path().string(), **keys, SystemClock());
  FakeAuditLog log;
  auto access = PayloadAccess::Open(state + "/views.sqlite",
                                    {.log = log, .vault = vault, .clock = SystemClock()});
  CHECK(access.ok());
  const auto me = static_cast<int>(getuid());
  const WallTime now = SystemClock().WallNow();
  const auto view = (*access)->RequestReplays(
      Uid(me), tenant, now - std::chrono::hours(1), now + std::chrono::hours(24), "replay-test");
  CHECK(view.ok());
  CHECK((*access)->Approve(Uid(me + 1), view->id).ok());
  return view->id;
}

}  // namespace inferd
