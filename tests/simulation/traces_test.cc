// The readers on small texts, and on the real files where they are.
#include "tests/simulation/traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace inferd::sim {
namespace {

TEST(Traces, AzureCsv) {
  const auto requests = ParseAzureCsv(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n"
      "2023-11-16 23:59:59.9000000,4808,10\n"
      "2023-11-17 00:00:00.1500000,3180,8\r\n");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2);
  EXPECT_EQ((*requests)[0].prompt_tokens, 4808);
  EXPECT_EQ((*requests)[1].output_tokens, 8);
  EXPECT_EQ((*requests)[1].at, std::chrono::milliseconds(250));
}

TEST(Traces, MooncakeJsonl) {
  const auto requests = ParseMooncakeJsonl(
      R"({"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]})"
      "\n");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 1);
  EXPECT_EQ((*requests)[0].at, std::chrono::seconds(3));
  EXPECT_THAT((*requests)[0].blocks, testing::ElementsAre(0, 7));
}

TEST(Traces, VtcJsonComesOutInOrderOfTime) {
  const auto requests = ParseVtcJson(
      R"({"result": {"responses": [
        {"adapter_dir": "b", "prompt_len": 2, "output_len": 3, "req_time": 1.5},
        {"adapter_dir": "a", "prompt_len": 4, "output_len": 5, "req_time": 0.5}]}})");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2);
  EXPECT_EQ((*requests)[0].tenant, "a");
  EXPECT_EQ((*requests)[1].at, std::chrono::milliseconds(1500));
}

TEST(Traces, WhatIsNoTraceIsAnErrorWithItsLine) {
  const auto azure = ParseAzureCsv("heading\n2023-11-16 18:17:03.9799600,many,10\n");
  EXPECT_EQ(azure.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(azure.status())), testing::HasSubstr("line 2"));
  for (const char* text : {"{}", "[1", R"({"timestamp": 1e99})", "7", "{\"timestamp\": -1}"}) {
    EXPECT_FALSE(ParseMooncakeJsonl(text).ok()) << text;
    EXPECT_FALSE(ParseVtcJson(text).ok()) << text;
  }
  EXPECT_EQ(ReadTrace("/nonexistent/azure.csv").status().code(), StatusCode::kNotFound);
}

// What docs say of the real traces; they are not part of the repository.
TEST(Traces, TheRealFilesAreWhatTheirPageSays) {
  const std::string folder = TraceDir();
  if (folder.empty()) {
    GTEST_SKIP() << "no traces here: set INFERD_TRACES to the folder that holds them";
  }
  struct Expected {
    const char* name;
    size_t requests;
    size_t tenants;
  };
  for (const Expected& expected : {Expected{"azure_2023_code.csv", 8819, 1},
                                   Expected{"azure_2023_conv.csv", 19366, 1},
                                   Expected{"mooncake_conversation.jsonl", 12031, 1},
                                   Expected{"vtc_27_tenants.jsonl", 1500, 27},
                                   Expected{"vtc_2_clients_FCFS.jsonl", 2700, 2},
                                   Expected{"vtc_2_clients_VTC.jsonl", 1620, 2}}) {
    const auto requests = ReadTrace(folder + "/" + expected.name);
    ASSERT_TRUE(requests.ok()) << requests.status();
    EXPECT_EQ(requests->size(), expected.requests) << expected.name;
    std::set<std::string> tenants;
    Duration last{};
    for (const TraceRequest& request : *requests) {
      tenants.insert(request.tenant);
      EXPECT_GE(request.at, last);
      last = request.at;
    }
    EXPECT_EQ(tenants.size(), expected.tenants) << expected.name;
  }
}

}  // namespace
}  // namespace inferd::sim
