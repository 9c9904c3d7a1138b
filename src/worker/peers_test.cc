// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Functions in processes of their own: each test forks the callees' workers before it makes the
// caller's.

#include "worker/peers.h"

#include <cstring>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/peer_net.h"
#include "test/support/proc_self.h"

namespace cwasi::worker {
namespace {

using test::Given;
using test::Op;
using test::PeerHarness;
using test::PeerProcess;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kCallee = 20;
constexpr std::uint32_t kCaller = 10;
constexpr std::uint32_t kReplyAt = 1000;  // In scratch.

// A caller's worker with a script guest, and a callee's process that serves `guest`.
class PeersTest : public testing::TestWithParam<ipc::Relation> {
 protected:
  void StartCallee(const std::string& guest, FunctionSpec spec = {}) {
    auto pair = test::Pair();
    const auto relation = GetParam();
    process_.emplace([&] {
      pair.second.Reset();
      PeerHarness callee;
      callee.Load(guest, "callee", kCallee, spec);
      ASSERT_TRUE(callee.Peers().Declare({kCaller, "caller", std::chrono::seconds(60)}));
      ASSERT_TRUE(callee.Peers().Meet({.role = ipc::PeerRole::kCallee,
                                       .relation = relation,
                                       .worker = 1,
                                       .functions = {kCallee}},
                                      std::move(pair.first)));
      callee.ServeAll();
    });
    pair.first.Reset();
    caller_.emplace();
    caller_->Load("script", "caller", kCaller);
    ASSERT_TRUE(caller_->Peers().Declare({kCallee, "callee", std::chrono::seconds(20)}));
    ASSERT_TRUE(caller_->Peers().Meet(
        {.role = ipc::PeerRole::kCaller, .relation = relation, .worker = 2, .functions = {kCallee}},
        std::move(pair.second)));
  }
  test::Steps Run(const Script& script) {
    return caller_->worker.Run(caller_->worker.Get().Find("caller")->Id(), script);
  }
  const EdgeStats& Edge() {
    return caller_->worker.Get().Edges().Of({"caller", "callee", CallMode::kLocal});
  }

  std::optional<PeerProcess> process_;
  std::optional<PeerHarness> caller_;
};

INSTANTIATE_TEST_SUITE_P(Domain, PeersTest,
                         testing::Values(ipc::Relation::kSameDomain, ipc::Relation::kOtherDomain),
                         [](const auto& test) {
                           return test.param == ipc::Relation::kSameDomain ? "Same" : "Other";
                         });

TEST_P(PeersTest, EchoesWhatIsCopied) {
  StartCallee("echo");
  for (const std::uint32_t bytes : {0U, 1U, 64U, 4096U, 60'000U}) {
    Script script;
    const auto callee = script.AddFind("callee");
    script.Add(Op::kFill, {Scratch(0), bytes, 7U});
    script.Add(Op::kStore, {Scratch(62'000), 0U});
    const auto status = script.AddCall(Given(callee), Scratch(0), bytes, 0, 62'100, 0, 61'000);
    const auto length = script.Add(Op::kLoad, {Scratch(62'108)});
    const auto flags = script.Add(Op::kLoad, {Scratch(62'112)});
    const auto same = script.Add(Op::kCheck, {Scratch(0), bytes, 7U});
    const auto steps = Run(script);
    EXPECT_EQ(steps[status], 0U) << bytes;
    EXPECT_EQ(steps[length], bytes);
    EXPECT_EQ(steps[flags] >> 8U, 0x102U) << "local, may have run";
    EXPECT_EQ(steps[same], steps[same]);
  }
}

TEST_P(PeersTest, AMovedRequestComesBackMovedWithEveryByte) {
  StartCallee("echo");
  for (const std::uint32_t bytes : {1U, 100'000U, 2U << 20U, (10U << 20U) + 1, 10U << 20U}) {
    Script script;
    const auto callee = script.AddFind("callee");
    const auto buffer = script.AddNew(bytes);
    script.Add(Op::kFill, {Given(buffer), bytes, 9U});
    const auto status =
        script.AddCall(Given(callee), Given(buffer), bytes, kMove, kReplyAt, 2000, 8);
    const auto free = script.Add(Op::kFree, {Given(buffer)});
    const auto length = script.Add(Op::kLoad, {Scratch(kReplyAt + 8)});
    const auto data = script.Add(Op::kLoad, {Scratch(kReplyAt)});
    const auto same = script.Add(Op::kCheck, {Given(data), bytes, 9U});
    const auto freed = script.Add(Op::kFree, {Given(data)});
    const auto steps = Run(script);
    EXPECT_EQ(steps[status], 0U) << bytes;
    EXPECT_EQ(steps[length], bytes);
    EXPECT_EQ(steps[same], 1U) << bytes;
    EXPECT_EQ(steps[freed], 0U);
    if (steps[data] != steps[buffer]) {
      EXPECT_EQ(steps[free], 3U) << "given is given";
    }
  }
}

// Scratch from 1000 on: call numbers; from 2000 on: replies, 20 bytes each; 3000: which ended.
std::uint32_t AddStart(Script& script, test::Arg function, test::Arg request, std::uint32_t bytes,
                       std::uint32_t flags, std::uint32_t slot) {
  return script.Add(Op::kStart, {function, request, bytes, flags, Scratch(1000 + 4 * slot)});
}
std::uint32_t AddWait(Script& script, std::uint32_t first, std::uint32_t count,
                      std::uint32_t data) {
  script.Add(Op::kStore, {Scratch(2000), Scratch(data)});
  script.Add(Op::kStore, {Scratch(2004), 100U});
  return script.Add(Op::kWait,
                    {Scratch(1000 + 4 * first), count, 0U, Scratch(2000), Scratch(3000)});
}

TEST_P(PeersTest, StartedCallsEndOneAfterTheOther) {
  StartCallee("echo");
  Script script;
  const auto callee = script.AddFind("callee");
  std::vector<std::uint32_t> statuses;
  for (std::uint32_t i = 0; i < 5; ++i) {
    script.Add(Op::kFill, {Scratch(0), 32U, 10 + i});
    statuses.push_back(AddStart(script, Given(callee), Scratch(0), 32, 0, i));
  }
  std::vector<std::uint32_t> same;
  for (std::uint32_t i = 0; i < 5; ++i) {
    statuses.push_back(AddWait(script, i, 5 - i, 4000));
    statuses.push_back(script.Add(Op::kLoad, {Scratch(3000)}));  // One worker: in order.
    const auto data = script.Add(Op::kLoad, {Scratch(2000)});    // echo gives a buffer.
    same.push_back(script.Add(Op::kCheck, {Given(data), 32U, 10 + i}));
  }
  const auto again = AddWait(script, 0, 1, 4000);
  const auto steps = Run(script);
  for (const auto status : statuses) EXPECT_EQ(steps[status], 0U) << status;
  for (const auto step : same) EXPECT_EQ(steps[step], 1U) << step;
  EXPECT_EQ(steps[again], 3U) << "waited for already";
}

TEST_P(PeersTest, AMovedRequestOfAStartedCallIsNobodysUntilItIsWaitedFor) {
  StartCallee("echo");
  constexpr std::uint32_t kBytes = 4U << 20U;
  Script script;
  const auto callee = script.AddFind("callee");
  const auto buffer = script.AddNew(kBytes);
  script.Add(Op::kFill, {Given(buffer), kBytes, 5U});
  const auto started = AddStart(script, Given(callee), Given(buffer), kBytes, kMove, 0);
  const auto zero = script.Add(Op::kAllZero, {Given(buffer), kBytes});
  const auto free = script.Add(Op::kFree, {Given(buffer)});
  const auto twice = AddStart(script, Given(callee), Given(buffer), kBytes, kMove, 1);
  const auto waited = AddWait(script, 0, 1, 4000);
  const auto data = script.Add(Op::kLoad, {Scratch(2000)});
  const auto same = script.Add(Op::kCheck, {Given(data), kBytes, 5U});
  const auto steps = Run(script);
  EXPECT_EQ(steps[started], 0U);
  EXPECT_EQ(steps[zero], 1U);
  EXPECT_EQ(steps[free], 3U);
  EXPECT_EQ(steps[twice], 3U);
  EXPECT_EQ(steps[waited], 0U);
  EXPECT_EQ(steps[same], 1U);
}

TEST_P(PeersTest, WhatIsNotWaitedForIsGivenUpAndTheNextCallGoesOn) {
  StartCallee("echo");
  for (int round = 0; round < 50; ++round) {
    Script script;
    const auto callee = script.AddFind("callee");
    const auto buffer = script.AddNew(3U << 20U);
    const auto moved = AddStart(script, Given(callee), Given(buffer), 3U << 20U, kMove, 0);
    const auto copied = AddStart(script, Given(callee), Scratch(0), 64, 0, 1);
    const auto steps = Run(script);
    ASSERT_EQ(steps[moved], 0U) << round;
    ASSERT_EQ(steps[copied], 0U) << round;
  }
  // Late answers and what they bring home are taken when this worker is idle.
  const MonotonicNs patience = DeadlineAfter(Now(), std::chrono::seconds(20));
  while (caller_->worker.Get().Payloads().Pool().GetStats().in_use != 0 && Now() < patience)
    caller_->Peers().Serve(DeadlineAfter(Now(), std::chrono::milliseconds(10)));
  EXPECT_EQ(caller_->worker.Get().Payloads().Pool().GetStats().in_use, 0U);
}

TEST_P(PeersTest, AFunctionOfTheSameWorkerHasRunWhenItIsStarted) {
  StartCallee("echo");
  caller_->Load("echo", "near", 11);
  Script script;
  const auto near = script.AddFind("near");
  const auto buffer = script.AddNew(2U << 20U);
  script.Add(Op::kFill, {Given(buffer), 2U << 20U, 5U});
  const auto started = AddStart(script, Given(near), Given(buffer), 2U << 20U, kMove, 0);
  const auto waited = AddWait(script, 0, 1, 4000);
  const auto flags = script.Add(Op::kLoad, {Scratch(2012)});
  const auto data = script.Add(Op::kLoad, {Scratch(2000)});
  const auto same = script.Add(Op::kCheck, {Given(data), 2U << 20U, 5U});
  const auto steps = Run(script);
  EXPECT_EQ(steps[started], 0U);
  EXPECT_EQ(steps[waited], 0U);
  EXPECT_EQ(steps[flags], 0x10101U) << "embedded, a buffer, may have run";
  EXPECT_EQ(steps[same], 1U);
}

TEST_P(PeersTest, ACalleeUnmapsTheSegmentsThatItsCallerHasFreed) {
  StartCallee("echo");
  constexpr std::uint32_t kBytes = 128U << 20U;
  for (int round = 0; round < 20; ++round) {  // 2.5 GiB, over what a worker maps of others.
    Script script;
    const auto callee = script.AddFind("callee");
    const auto buffer = script.AddNew(kBytes);
    const auto status =
        script.AddCall(Given(callee), Given(buffer), kBytes, kMove, kReplyAt, 2000, 8);
    const auto data = script.Add(Op::kLoad, {Scratch(kReplyAt)});
    script.Add(Op::kFree, {Given(data)});
    const auto steps = Run(script);
    ASSERT_EQ(steps[status], 0U) << round;
    auto& pool = caller_->worker.Get().Payloads().Pool();
    const MonotonicNs patience = DeadlineAfter(Now(), std::chrono::seconds(20));
    while (pool.GetStats().in_use != 0 && Now() < patience)
      caller_->Peers().Serve(DeadlineAfter(Now(), std::chrono::milliseconds(1)));
    pool.Trim(kNoDeadline);
  }
}

// ---- chains of workers ----

tl::expected<Reply, CallError> Relay(PeerHarness& harness, const std::string& actions,
                                     std::size_t bytes) {
  auto body = test::Pattern(bytes, 5);
  body[0] = std::byte{0};
  std::memcpy(body.data() + 1, actions.data(), actions.size());
  return harness.worker.Invoke(harness.worker.Get().Find("w1")->Id(), std::move(body));
}

class PeersChainTest : public testing::Test {
 protected:
  // w1 here, w2 and w3 in processes; each may call each.
  PeersChainTest() {
    for (std::uint32_t w = 1; w <= 3; ++w)
      net_.Serve(w, {.guest = "relay", .name = "w" + std::to_string(w), .number = 10 * w});
    for (std::uint32_t from = 1; from <= 3; ++from)
      for (std::uint32_t to = 1; to <= 3; ++to)
        if (from != to) net_.Connect(from, to);
    net_.Start(2);
    net_.Start(3);
    net_.Join(1, local_.emplace());
  }
  void ExpectWhole(const tl::expected<Reply, CallError>& reply, std::size_t bytes) {
    ASSERT_TRUE(reply) << Describe(reply.error());
    ASSERT_EQ(reply->payload.Size(), bytes);
    const auto whole = test::Pattern(bytes, 5);
    EXPECT_EQ(std::memcmp(reply->payload.Bytes().data() + 16, whole.data() + 16, bytes - 16), 0);
  }
  test::PeerNet net_;
  std::optional<PeerHarness> local_;
};

TEST_F(PeersChainTest, ASegmentGoesThroughThreeWorkersAndBackWithoutACopyHere) {
  ASSERT_TRUE(Relay(*local_, "23e", 10U << 20U));
  const EdgeStats& edge = local_->worker.Get().Edges().Of({"w1", "w2", CallMode::kLocal});
  const std::uint64_t before = edge.copies;
  ExpectWhole(Relay(*local_, "23e", 10U << 20U), 10U << 20U);
  EXPECT_EQ(edge.copies, before);
  EXPECT_EQ(edge.moved, 4U);
}

TEST_F(PeersChainTest, ACalleeMayCallItsCallerBack) {
  ExpectWhole(Relay(*local_, "21e", 4U << 20U), 4U << 20U);
  ExpectWhole(Relay(*local_, "212131e", 4U << 20U), 4U << 20U);
}

TEST_F(PeersChainTest, AKeptRequestIsAnsweredWithLater) {
  ASSERT_TRUE(Relay(*local_, "2k", 4U << 20U));
  ExpectWhole(Relay(*local_, "2g", 4U << 20U), 4U << 20U);
}

TEST_F(PeersChainTest, ATrapsFramesComeFromTheWorkerWhereItHappened) {
  const auto reply = Relay(*local_, "23t", 4U << 20U);
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().message, testing::HasSubstr("its call of w3 had failed: guest_trap"));
  const auto near = Relay(*local_, "2t", 64);
  ASSERT_FALSE(near);
  EXPECT_EQ(near.error().guest_status, static_cast<std::int32_t>(CallClass::kGuestTrap));
  EXPECT_THAT(near.error().frames, testing::HasSubstr("cwasi_handle"));
}

}  // namespace
}  // namespace cwasi::worker
