// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Calls between real guests in one worker: what must work. hostile_guest_test.cc has what must not.

#include "worker/worker.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"
#include "test/support/worker_fixture.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::Given;
using test::Op;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kPlainReply = 2;
constexpr std::uint32_t kMiB = 1U << 20U;

std::uint32_t Status(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

class WorkerTest : public testing::TestWithParam<buf::MovePolicy> {
 protected:
  bool Moving() { return harness_.Get().Payloads().Moves(4 * kMiB); }
  EdgeStats& Edge(const std::string& from, const std::string& to) {
    return harness_.Get().Edges().Of({from, to});
  }

  test::WorkerHarness harness_{GetParam()};
  std::uint32_t script_ = harness_.Load("script", "script");
  std::uint32_t echo_ = harness_.Load("echo", "echo");
};
INSTANTIATE_TEST_SUITE_P(Policy, WorkerTest,
                         testing::Values(buf::MovePolicy::kAuto, buf::MovePolicy::kCopyAll),
                         [](const auto& policy) {
                           return policy.param == buf::MovePolicy::kAuto ? "Moved" : "Copied";
                         });

TEST_P(WorkerTest, EchoesPayloadsOfAnySize) {
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{65536}, std::size_t{65537},
        std::size_t{2 * kMiB - 1}, std::size_t{2 * kMiB}, std::size_t{2 * kMiB + 1},
        std::size_t{21 * kMiB}}) {
    const auto body = test::Pattern(bytes, 3);
    const auto reply = harness_.Invoke(echo_, body);
    ASSERT_TRUE(reply) << bytes << ": " << Describe(reply.error());
    ASSERT_EQ(reply->payload.Size(), bytes);
    EXPECT_TRUE(std::equal(body.begin(), body.end(), reply->payload.Bytes().begin())) << bytes;
  }
}

TEST_P(WorkerTest, APayloadThatIsMovedInAndOutIsNeverCopied) {
  auto payload = buf::Payload::CopyOf(test::Pattern(10 * kMiB, 1), harness_.Get().Payloads());
  ASSERT_TRUE(payload);
  const auto frames = test::PageFrames(payload->Bytes().data(), 10 * kMiB);
  Request request{.id = 1, .step = "s", .parts = {}, .metadata = {}};
  request.parts.push_back(
      {.value = {.payload = std::move(*payload)}, .name = "p", .producer = "in"});
  const auto before = harness_.Get().Payloads().Copies();
  const auto reply = harness_.Get().Invoke(echo_, request);
  ASSERT_TRUE(reply) << Describe(reply.error());
  EXPECT_EQ(harness_.Get().Payloads().Copies().copies - before.copies, Moving() ? 0U : 2U);
  EXPECT_EQ(Edge("in", "s").calls, 1U);
  EXPECT_EQ(Edge("in", "s").moved, Moving() ? 1U : 0U);
  EXPECT_EQ(Edge("in", "s").payload_bytes, 10U * kMiB);
  if (Moving()) {
    EXPECT_EQ(test::PageFrames(reply->payload.Bytes().data(), 10 * kMiB), frames);
  }
}

TEST_P(WorkerTest, AFunctionCallsAnotherAndGetsAPlainReply) {
  Script s;
  const auto echo = s.AddFind("echo");
  s.Add(Op::kFill, {Scratch(100), 64U, 9U});
  const auto status = s.AddCall(Given(echo), Scratch(100), 64U, 0, 1000, 2000, 64);
  const auto length = s.Add(Op::kLoad, {Scratch(1008)});
  const auto flags = s.Add(Op::kLoad, {Scratch(1012)});
  const auto data = s.Add(Op::kLoad, {Scratch(1000)});
  const auto same = s.Add(Op::kCheck, {Given(data), 64U, 9U});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  EXPECT_EQ(r[length], 64U);
  EXPECT_EQ(r[same], 1U);
  // echo moves its reply, so it comes in a buffer; embedded; the callee has run.
  EXPECT_EQ(r[flags], 1U | (1U << 8U) | (1U << 16U));
  EXPECT_EQ(Edge("script", "echo").calls, 1U);
  EXPECT_EQ(Edge("script", "echo").payload_bytes, 128U);
}

TEST_P(WorkerTest, AMovedRequestIsGoneFromTheCallerAndTheReplyIsABuffer) {
  Script s;
  const auto echo = s.AddFind("echo");
  const auto buffer = s.AddNew(10 * kMiB);
  s.Add(Op::kFill, {Given(buffer), 10 * kMiB, 5U});
  const auto status = s.AddCall(Given(echo), Given(buffer), 10 * kMiB, kMove, 1000, 2000, 8);
  const auto reply = s.Add(Op::kLoad, {Scratch(1000)});
  const auto length = s.Add(Op::kLoad, {Scratch(1008)});
  const auto same = s.Add(Op::kCheck, {Given(reply), 10 * kMiB, 5U});
  const auto freed = s.Add(Op::kFree, {Given(reply)});
  const auto twice = s.Add(Op::kFree, {Given(reply)});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  EXPECT_EQ(r[length], 10 * kMiB);
  EXPECT_EQ(r[same], 1U);
  EXPECT_EQ(r[freed], 0U);
  EXPECT_EQ(r[twice], Status(CallClass::kInvalid));
  EXPECT_EQ(Edge("script", "echo").copies, Moving() ? 0U : 2U);
}

TEST_P(WorkerTest, OneGiBIsHandedOverWithEveryByte) {
  harness_.Load("sum", "sum");
  // The largest payload there is; where all is copied a smaller one, for the machine's sake.
  const std::uint32_t bytes = Moving() ? 1024 * kMiB : 64 * kMiB;
  Script s;
  const auto sum = s.AddFind("sum");
  const auto buffer = s.AddNew(bytes);
  s.Add(Op::kBulkFill, {Given(buffer), bytes});  // Ones.
  const auto status = s.AddCall(Given(sum), Given(buffer), bytes, kMove, 1000, 2000, 8);
  const auto low = s.Add(Op::kLoad, {Scratch(2000)});
  const auto high = s.Add(Op::kLoad, {Scratch(2004)});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  const std::uint64_t expected = bytes / 8 * std::uint64_t{0x0101010101010101};
  EXPECT_EQ((std::uint64_t{r[high]} << 32U) | r[low], expected);
  EXPECT_EQ(Edge("script", "sum").moved, Moving() ? 1U : 0U);
}

TEST_P(WorkerTest, ArenasAndTheGuestsOwnHeapNeverOverlap) {
  // The heap and the arenas grow in turn; both take memory by memory.grow.
  constexpr std::uint32_t kRounds = 30;
  Script s;
  std::vector<std::uint32_t> checks;
  std::vector<std::array<std::uint32_t, 3>> areas;  // Step that gave it, bytes, pattern.
  for (std::uint32_t i = 0; i < kRounds; ++i) {
    const std::uint32_t heap_bytes = 1000 + i * 37'000;
    const auto heap = s.Add(Op::kMalloc, {heap_bytes});
    s.Add(Op::kFill, {Given(heap), heap_bytes, 2 * i});
    areas.push_back({heap, heap_bytes, 2 * i});
    const std::uint32_t buffer_bytes = 500 + i * 190'000;
    const auto buffer = s.AddNew(buffer_bytes);
    s.Add(Op::kFill, {Given(buffer), buffer_bytes, 2 * i + 1});
    areas.push_back({buffer, buffer_bytes, 2 * i + 1});
  }
  for (const auto& [step, bytes, pattern] : areas)
    checks.push_back(s.Add(Op::kCheck, {Given(step), bytes, pattern}));
  const auto r = harness_.Run(script_, s);
  for (std::size_t i = 0; i < areas.size(); ++i) {
    EXPECT_NE(r[areas[i][0]], 0U) << i;
    EXPECT_EQ(r[checks[i]], 1U) << "area " << i << " was overwritten";
  }
}

TEST_P(WorkerTest, WhatWasGivenIsGone) {
  harness_.Load("sum", "sum");
  Script s;
  const auto sum = s.AddFind("sum");
  const auto buffer = s.AddNew(4 * kMiB);
  s.Add(Op::kFill, {Given(buffer), 4 * kMiB, 1U});
  const auto status = s.AddCall(Given(sum), Given(buffer), 4 * kMiB, kMove, 1000, 2000, 8);
  const auto zero = s.Add(Op::kAllZero, {Given(buffer), 4 * kMiB});
  const auto again = s.AddCall(Given(sum), Given(buffer), 4 * kMiB, kMove, 1000, 2000, 8);
  const auto flags = s.Add(Op::kLoad, {Scratch(1012)});
  const auto freed = s.Add(Op::kFree, {Given(buffer)});
  const auto responded = s.Add(Op::kRespond, {Given(buffer), 100U, kMove});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  if (Moving()) {
    EXPECT_EQ(r[zero], 1U) << "the caller still sees what it gave";
  }
  EXPECT_EQ(r[again], Status(CallClass::kInvalid));
  EXPECT_EQ(r[flags] >> 16U, 0U) << "the callee cannot have run";
  EXPECT_EQ(r[freed], Status(CallClass::kInvalid));
  EXPECT_EQ(r[responded], Status(CallClass::kInvalid));
}

TEST_P(WorkerTest, AReplyLongerThanTheCapacityComesInABufferOrIsRefused) {
  Script s;
  const auto self = s.AddFind("script");
  // The inner script's own request is large, and so is its reply: 4 bytes a step.
  Script inner;
  for (int i = 0; i < 40; ++i) inner.Add(Op::kCount);
  const auto bytes = inner.Bytes();
  s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto size = static_cast<std::uint32_t>(bytes.size());
  const auto status = s.AddCall(Given(self), Scratch(4000), size, 0, 1000, 2000, 100);
  const auto flags = s.Add(Op::kLoad, {Scratch(1012)});
  const auto address = s.Add(Op::kLoad, {Scratch(1000)});
  const auto last = s.Add(Op::kLoad, {Given(address)});
  const auto refused = s.AddCall(Given(self), Scratch(4000), size, kPlainReply, 1000, 2000, 100);
  const auto no_length = s.Add(Op::kLoad, {Scratch(1008)});
  const auto fits = s.AddCall(Given(self), Scratch(4000), size, kPlainReply, 1000, 2000, 160);
  const auto length = s.Add(Op::kLoad, {Scratch(1008)});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  EXPECT_EQ(r[flags] & 1U, 1U);
  EXPECT_EQ(r[last], 1U);
  EXPECT_EQ(r[refused], Status(CallClass::kTooLarge));
  EXPECT_EQ(r[no_length], 0U);
  EXPECT_EQ(r[fits], 0U);
  EXPECT_EQ(r[length], 160U);
}

// A calls B calls C: a payload of 5 MiB goes down two levels and comes back up.
TEST_P(WorkerTest, CallsNestAndPassAPayloadOn) {
  harness_.Load("script", "b");
  Script inner;
  {
    const auto echo = inner.AddFind("echo");
    const auto buffer = inner.AddNew(5 * kMiB);
    inner.Add(Op::kFill, {Given(buffer), 5 * kMiB, 2U});
    inner.AddCall(Given(echo), Given(buffer), 5 * kMiB, kMove, 1000, 2000, 8);
    const auto reply = inner.Add(Op::kLoad, {Scratch(1000)});
    inner.Add(Op::kRespond, {Given(reply), 5 * kMiB, kMove});
  }
  Script s;
  const auto b = s.AddFind("b");
  const auto bytes = inner.Bytes();
  s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto status = s.AddCall(Given(b), Scratch(4000), static_cast<std::uint32_t>(bytes.size()),
                                0, 1000, 2000, 8);
  const auto reply = s.Add(Op::kLoad, {Scratch(1000)});
  const auto same = s.Add(Op::kCheck, {Given(reply), 5 * kMiB, 2U});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], 0U);
  EXPECT_EQ(r[same], 1U);
  EXPECT_EQ(Edge("b", "echo").copies, Moving() ? 0U : 2U);
}

TEST_P(WorkerTest, AFunctionThatCallsItselfRunsInAnotherInstance) {
  Script inner;
  const auto inner_count = inner.Add(Op::kCount);
  Script s;
  const auto outer_count = s.Add(Op::kCount);
  const auto self = s.AddFind("script");
  const auto bytes = inner.Bytes();
  s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto status = s.AddCall(Given(self), Scratch(4000),
                                static_cast<std::uint32_t>(bytes.size()), 0, 1000, 2000, 8);
  const auto counted = s.Add(Op::kLoad, {Scratch(2000)});
  const auto again = s.Add(Op::kCount);
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(inner_count, 0U);
  EXPECT_EQ(r[status], 0U);
  EXPECT_EQ(r[outer_count], 1U);
  EXPECT_EQ(r[counted], 1U) << "the inner call ran in an instance of its own";
  EXPECT_EQ(r[again], 2U);
}

TEST_P(WorkerTest, AnInstanceIsReusedUnlessTheFunctionWantsFreshOnes) {
  FunctionSpec spec;
  spec.instances = Instances::kFresh;
  const auto fresh = harness_.Load("script", "fresh", spec);
  Script s;
  const auto count = s.Add(Op::kCount);
  EXPECT_EQ(harness_.Run(script_, s)[count], 1U);
  EXPECT_EQ(harness_.Run(script_, s)[count], 2U);
  EXPECT_EQ(harness_.Run(fresh, s)[count], 1U);
  EXPECT_EQ(harness_.Run(fresh, s)[count], 1U);
}

TEST_P(WorkerTest, ARequestOfManyPartsBringsEachWhenItIsTaken) {
  Request request{.id = 1, .step = "s", .parts = {}, .metadata = {}};
  Script s;
  const auto count = s.Add(Op::kPartCount);
  const auto one = s.Add(Op::kPartTake, {1U, Scratch(0)});
  const auto one_at = s.Add(Op::kLoad, {Scratch(0)});
  const auto one_length = s.Add(Op::kLoad, {Scratch(4)});
  const auto one_same = s.Add(Op::kCheck, {Given(one_at), 3 * kMiB, 8U});
  const auto twice = s.Add(Op::kPartTake, {1U, Scratch(0)});
  const auto none = s.Add(Op::kPartTake, {3U, Scratch(0)});
  const auto far = s.Add(Op::kPartTake, {0xffffffffU, Scratch(0)});
  const auto zeroth = s.Add(Op::kPartTake, {0U, Scratch(0)});
  const auto empty = s.Add(Op::kPartTake, {2U, Scratch(0)});
  const auto empty_at = s.Add(Op::kLoad, {Scratch(0)});
  s.AddText(100, "cwasi.part.2.name");
  const auto name = s.Add(Op::kMetadata, {Scratch(100), 17U, Scratch(200), 16U, Scratch(300)});
  const auto text = s.Add(Op::kLoad, {Scratch(200)});
  request.parts.push_back(
      {.value = {.payload = buf::Payload(s.Bytes())}, .name = "zero", .producer = "a"});
  auto large = buf::Payload::CopyOf(test::Pattern(3 * kMiB, 8), harness_.Get().Payloads());
  request.parts.push_back(
      {.value = {.payload = std::move(*large)}, .name = "one", .producer = "b"});
  request.parts.push_back({.value = {.payload = buf::Payload()}, .name = "two!", .producer = "c"});
  const auto reply = harness_.Get().Invoke(script_, request);
  ASSERT_TRUE(reply) << Describe(reply.error());
  test::Steps r;
  r.values.resize(reply->payload.Size() / 4);
  std::memcpy(r.values.data(), reply->payload.Bytes().data(), reply->payload.Size());
  EXPECT_EQ(r[count], 3U);
  EXPECT_EQ(r[one], 0U);
  EXPECT_EQ(r[one_length], 3 * kMiB);
  EXPECT_EQ(r[one_same], 1U);
  for (const auto wrong : {twice, none, far, zeroth})
    EXPECT_EQ(r[wrong], Status(CallClass::kInvalid));
  EXPECT_EQ(r[empty], 0U);
  EXPECT_EQ(r[empty_at], 0U);
  EXPECT_EQ(r[name], 0U);
  EXPECT_EQ(r[text], 0x216f7774U);  // "two!"
  EXPECT_EQ(Edge("b", "s").payload_bytes, 3U * kMiB);
}

TEST_P(WorkerTest, ARetainedBufferLivesOnAndOthersEndWithTheCall) {
  Script keep;
  const auto request = keep.Add(Op::kRequest, {0U});
  const auto retained = keep.Add(Op::kRetain, {Given(request)});
  const auto own = keep.AddNew(3 * kMiB);
  keep.Add(Op::kFill, {Given(own), 3 * kMiB, 4U});
  const auto first = harness_.Run(script_, keep);
  ASSERT_EQ(first[retained], 0U);
  Script use;
  const auto first_word = use.Add(Op::kLoad, {first[request]});
  const auto freed = use.Add(Op::kFree, {first[request]});
  const auto same = use.Add(Op::kCheck, {first[own], 3 * kMiB, 4U});
  const auto own_freed = use.Add(Op::kFree, {first[own]});
  const auto second = harness_.Run(script_, use);
  EXPECT_EQ(second[first_word], static_cast<std::uint32_t>(Op::kRequest));
  EXPECT_EQ(second[freed], 0U);
  EXPECT_EQ(second[same], 1U);
  EXPECT_EQ(second[own_freed], 0U);
}

TEST(PayloadLimitTest, HoldsForAPlainReplyToo) {
  test::WorkerHarness harness(buf::MovePolicy::kAuto, std::size_t{8} << 30, 8192);
  const auto script = harness.Load("script", "script");
  for (const std::uint32_t length : {8192U, 8193U}) {
    Script inner;
    inner.Add(Op::kRespond, {Scratch(0), length, 0U});
    const auto bytes = inner.Bytes();
    Script s;
    const auto self = s.AddFind("script");
    s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const auto size = static_cast<std::uint32_t>(bytes.size());
    const auto status = s.AddCall(Given(self), Scratch(4000), size, 0, 1000, 5000, 10'000);
    const auto r = harness.Run(script, s);
    EXPECT_EQ(r[status], length > 8192 ? Status(CallClass::kTooLarge) : 0U);
  }
}

TEST_P(WorkerTest, TellsMetadataAndTheTimeLeft) {
  Script s;
  s.AddText(0, "colour");
  const auto ok = s.Add(Op::kMetadata, {Scratch(0), 6U, Scratch(100), 16U, Scratch(200)});
  const auto length = s.Add(Op::kLoad, {Scratch(200)});
  const auto text = s.Add(Op::kLoad, {Scratch(100)});
  const auto small = s.Add(Op::kMetadata, {Scratch(0), 6U, Scratch(100), 3U, Scratch(200)});
  const auto needed = s.Add(Op::kLoad, {Scratch(200)});
  const auto absent = s.Add(Op::kMetadata, {Scratch(0), 5U, Scratch(100), 16U, Scratch(200)});
  s.AddText(300, "cwasi.function");
  const auto function = s.Add(Op::kMetadata, {Scratch(300), 14U, Scratch(400), 16U, Scratch(200)});
  const auto name = s.Add(Op::kLoad, {Scratch(400)});
  const auto left = s.Add(Op::kDeadline);
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[ok], 0U);
  EXPECT_EQ(r[length], 4U);
  EXPECT_EQ(r[text], 0x65756c62U);  // "blue"
  EXPECT_EQ(r[small], Status(CallClass::kTooLarge));
  EXPECT_EQ(r[needed], 4U);
  EXPECT_EQ(r[absent], Status(CallClass::kNotFound));
  EXPECT_EQ(r[function], 0U);
  EXPECT_EQ(r[name], 0x69726373U);  // "scri"
  EXPECT_GT(r[left], 50'000U);
  EXPECT_LE(r[left], 60'000U);
}

TEST_P(WorkerTest, OnlyFunctionsThatAllowEmbeddingAreFoundByOthers) {
  FunctionSpec spec;
  spec.name = "private";
  ASSERT_TRUE(harness_.TryLoad("echo", spec));
  Script s;
  s.AddText(0, "private");
  const auto denied = s.Add(Op::kFind, {Scratch(0), 7U, Scratch(100)});
  const auto absent = s.Add(Op::kFind, {Scratch(0), 6U, Scratch(100)});
  const auto by_number = s.AddCall(2U, Scratch(0), 1U, 0, 1000, 2000, 8);
  const auto no_number = s.AddCall(99U, Scratch(0), 1U, 0, 1000, 2000, 8);
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[denied], Status(CallClass::kDenied));
  EXPECT_EQ(r[absent], Status(CallClass::kNotFound));
  EXPECT_EQ(r[by_number], Status(CallClass::kDenied)) << "a number is no permission";
  EXPECT_EQ(r[no_number], Status(CallClass::kNotFound));
}

TEST_P(WorkerTest, AHundredThousandCallsLeaveNothingBehind) {
  // Each request makes 50 calls with 64 bytes and one of 3 MiB, moved.
  Script s;
  const auto echo = s.AddFind("echo");
  for (int i = 0; i < 16; ++i) {
    s.AddCall(Given(echo), Scratch(100), 64U, 0, 1000, 2000, 64);
    const auto reply = s.Add(Op::kLoad, {Scratch(1000)});
    s.Add(Op::kFree, {Given(reply)});
  }
  const auto buffer = s.AddNew(3 * kMiB);
  const auto moved = s.AddCall(Given(echo), Given(buffer), 3 * kMiB, kMove, 1000, 2000, 8);
  const auto reply = s.Add(Op::kLoad, {Scratch(1000)});
  const auto freed = s.Add(Op::kFree, {Given(reply)});
  std::size_t descriptors = 0;
  std::size_t mappings = 0;
  std::size_t tables = 0;
  std::size_t resident = 0;
  constexpr int kRequests = 100'000 / 18;
  for (int i = 0; i < kRequests; ++i) {
    if (i == 1000 / 18) {
      descriptors = test::CountDescriptors();
      mappings = test::CountMappings();
      tables = test::StatusKib("VmPTE");
      resident = test::StatusKib("VmRSS");
    }
    const auto r = harness_.Run(script_, s);
    ASSERT_EQ(r[moved], 0U) << i;
    ASSERT_EQ(r[freed], 0U) << i;
  }
  EXPECT_EQ(Edge("script", "echo").calls, static_cast<std::uint64_t>(kRequests) * 17);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
  EXPECT_LE(test::CountMappings(), mappings + test::kSlackMappings);
  EXPECT_LE(test::StatusKib("VmPTE"), tables + test::kSlackTablesKib);
  EXPECT_LE(test::StatusKib("VmRSS"), resident + 256 + test::kSlackResidentKib);
}

TEST_P(WorkerTest, PrintsUnderTheFunctionsName) {
  testing::internal::CaptureStderr();
  Script s;
  s.AddText(0, "hello\n");
  s.Add(Op::kPrint, {Scratch(0), 6U});
  harness_.Run(script_, s);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "[script] hello\n");
}

}  // namespace
}  // namespace cwasi::worker
