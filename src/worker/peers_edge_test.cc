// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Buffers made for one edge into another trust domain: one copy, and nothing else goes into them.

#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>

#include <gtest/gtest.h>

#include "test/support/peer_net.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using test::Given;
using test::Op;
using test::PeerHarness;
using test::PeerNet;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kBytes = 10U << 20U;
constexpr std::uint32_t kReplyAt = 1000;  // In scratch.
constexpr ipc::WorkerId kCaller = 1;
constexpr ipc::WorkerId kCallee = 2;
constexpr ipc::WorkerId kOwn = 3;  // Of the caller's trust domain.

// A callee ends with the number of payloads of kBytes and more that were copied there.
void CountCopies(PeerHarness& harness) {
  harness.ServeAll();
  const auto& copies = harness.worker.Get().Payloads().Copies();
  ::_exit(static_cast<int>(copies.bytes / kBytes));
}

class PeersEdgeTest : public testing::TestWithParam<ipc::Relation> {
 protected:
  static bool IsSame() { return GetParam() == ipc::Relation::kSameDomain; }
  void Start(const char* callee) {
    net_.Serve(kCaller, {.guest = "script", .name = "caller", .number = 10});
    net_.Serve(kCallee, {.guest = callee, .name = "callee", .number = 20});
    net_.Connect(kCaller, kCallee, GetParam());
    net_.Start(kCallee, CountCopies);
    net_.Join(kCaller, harness_.emplace());
  }
  test::Steps Run(const Script& script) {
    return harness_->worker.Run(harness_->worker.Get().Find("caller")->Id(), script);
  }
  std::uint64_t CopiedHere() { return harness_->worker.Get().Payloads().Copies().bytes / kBytes; }
  std::uint64_t CopiedThere() {
    harness_.reset();
    return static_cast<std::uint64_t>(net_.Process(kCallee).Wait());
  }
  PeerNet net_;
  std::optional<PeerHarness> harness_;
};
INSTANTIATE_TEST_SUITE_P(Domain, PeersEdgeTest,
                         testing::Values(ipc::Relation::kSameDomain, ipc::Relation::kOtherDomain),
                         [](const auto& test) {
                           return test.param == ipc::Relation::kSameDomain ? "Same" : "Other";
                         });

TEST_P(PeersEdgeTest, ARequestInABufferForItsCalleeIsCopiedOnceAtMost) {
  Start("sum");
  for (std::uint64_t round = 0; round < 3; ++round) {
    Script script;
    const auto callee = script.AddFind("callee");
    const auto buffer = script.AddNewFor(Given(callee), kBytes);
    script.Add(Op::kBulkFill, {Given(buffer), kBytes, 1U});
    const auto status =
        script.AddCall(Given(callee), Given(buffer), kBytes, kMove, kReplyAt, 2000, 8);
    const auto total = script.Add(Op::kLoad, {Scratch(2000)});
    const auto again = script.Add(Op::kFree, {Given(buffer)});
    const auto steps = Run(script);
    ASSERT_EQ(steps[status], 0U);
    EXPECT_EQ(steps[total], static_cast<std::uint32_t>(0x0101010101010101U * (kBytes / 8)));
    EXPECT_EQ(steps[again], 3U) << "given is given";
  }
  EXPECT_EQ(CopiedHere(), 0U);
  EXPECT_EQ(CopiedThere(), IsSame() ? 0U : 3U);
}

TEST_P(PeersEdgeTest, AReplyInABufferForTheCallerIsCopiedOnceAtMost) {
  Start("script");
  Script there;
  const auto made = there.AddNewFor(UINT32_MAX, kBytes);
  there.Add(Op::kBulkFill, {Given(made), kBytes, 1U});
  there.Add(Op::kRespond, {Given(made), kBytes, kMove});
  const auto body = there.Bytes();
  Script script;
  const auto callee = script.AddFind("callee");
  for (std::uint32_t at = 0; at < body.size(); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, body.data() + at, 4);
    script.Add(Op::kStore, {Scratch(4000 + at), word});
  }
  const auto status = script.AddCall(Given(callee), Scratch(4000),
                                     static_cast<std::uint32_t>(body.size()), 0, kReplyAt, 2000, 8);
  const auto length = script.Add(Op::kLoad, {Scratch(kReplyAt + 8)});
  const auto data = script.Add(Op::kLoad, {Scratch(kReplyAt)});
  const auto first = script.Add(Op::kLoad, {Given(data)});
  const auto steps = Run(script);
  ASSERT_EQ(steps[status], 0U);
  EXPECT_EQ(steps[length], kBytes);
  EXPECT_EQ(steps[first], 0x01010101U);
  EXPECT_EQ(CopiedHere(), IsSame() ? 0U : 1U);
  EXPECT_EQ(CopiedThere(), 0U);
}

// Else the next guest would write where another trust domain can read.
TEST_P(PeersEdgeTest, GivenElsewhereItIsCopied) {
  net_.Serve(kOwn, {.guest = "sum", .name = "own", .number = 30});
  net_.Connect(kCaller, kOwn);
  net_.Start(kOwn, CountCopies);
  net_.Serve(kCaller, {.guest = "sum", .name = "embedded", .number = 11});
  Start("sum");
  std::uint64_t copied = 0;
  for (const char* elsewhere : {"own", "embedded"}) {
    Script script;
    const auto callee = script.AddFind("callee");
    const auto other = script.AddFind(elsewhere);
    const auto buffer = script.AddNewFor(Given(callee), kBytes);
    script.Add(Op::kBulkFill, {Given(buffer), kBytes, 1U});
    const auto status =
        script.AddCall(Given(other), Given(buffer), kBytes, kMove, kReplyAt, 2000, 8);
    const auto total = script.Add(Op::kLoad, {Scratch(2000)});
    const auto steps = Run(script);
    ASSERT_EQ(steps[status], 0U) << elsewhere;
    EXPECT_EQ(steps[total], static_cast<std::uint32_t>(0x0101010101010101U * (kBytes / 8)));
    if (!IsSame()) ++copied;
    EXPECT_EQ(CopiedHere(), copied) << elsewhere;
  }
}

TEST_P(PeersEdgeTest, IsOnlyForFunctionsThatThereAre) {
  Start("sum");
  Script script;
  const auto none = script.Add(Op::kNewFor, {5U, kBytes, Scratch(0)});
  const auto no_remote = script.Add(Op::kNewFor, {(1U << 31U) + 5, kBytes, Scratch(0)});
  const auto callee = script.AddFind("callee");
  const auto nothing = script.Add(Op::kNewFor, {Given(callee), 0U, Scratch(0)});
  const auto unaligned = script.Add(Op::kNewFor, {Given(callee), kBytes, Scratch(1)});
  const auto steps = Run(script);
  EXPECT_EQ(steps[none], static_cast<std::uint32_t>(CallClass::kNotFound));
  EXPECT_EQ(steps[no_remote], static_cast<std::uint32_t>(CallClass::kNotFound));
  EXPECT_EQ(steps[nothing], static_cast<std::uint32_t>(CallClass::kInvalid));
  EXPECT_EQ(steps[unaligned], static_cast<std::uint32_t>(CallClass::kInvalid));
}

}  // namespace
}  // namespace cwasi::worker
