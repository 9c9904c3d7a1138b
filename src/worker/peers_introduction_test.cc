// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a worker asks `cwasi` for and tells it, with a `cwasi` that is a socket in this test.

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ipc/channel.h"
#include "test/support/peer_process.h"
#include "test/support/script.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::Given;
using test::Scratch;
using test::Script;

MonotonicNs In(std::chrono::nanoseconds time) {
  return DeadlineAfter(Now(), time);
}
std::uint32_t Status(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

class PeersIntroductionTest : public testing::Test {
 protected:
  PeersIntroductionTest() {
    auto pair = test::Pair();
    cwasi_ = ipc::IntroductionSocket(std::move(pair.second));
    EXPECT_TRUE(worker_.Peers().Use(ipc::IntroductionSocket(std::move(pair.first))));
    worker_.Load("script", "caller", 10);
  }
  // Functions 1000 and on, named "f0" and on, of which nobody has a worker.
  void Declare(std::uint32_t functions) {
    for (std::uint32_t i = 0; i < functions; ++i)
      ASSERT_TRUE(worker_.Peers().Declare({1000 + i, "f" + std::to_string(i), 2ms}));
  }
  std::uint32_t Call(const std::string& callee) {
    Script script;
    const auto function = script.AddFind(callee);
    const auto status = script.AddCall(Given(function), Scratch(4000), 8U, 0, 1000, 2000, 8);
    return worker_.worker.Run(worker_.worker.Get().Find("caller")->Id(), script)[status];
  }
  // What has come to cwasi.
  std::vector<ipc::Introduction> Said() {
    std::vector<ipc::Introduction> said;
    while (auto incoming = cwasi_.Receive(Now())) said.push_back(std::move(incoming->message));
    return said;
  }
  // One message, a Want: its token.
  std::uint64_t SaidAWant() {
    const auto said = Said();
    EXPECT_EQ(said.size(), 1U);
    if (said.size() != 1 || !std::holds_alternative<ipc::Want>(said[0])) {
      ADD_FAILURE() << "no want";
      return 0;
    }
    return std::get<ipc::Want>(said[0]).token;
  }

  ipc::IntroductionSocket cwasi_;
  test::PeerHarness worker_;
};

TEST_F(PeersIntroductionTest, AFunctionThatWasNotFoundInTimeIsAskedForOnce) {
  Declare(1);
  for (std::size_t i = 0; i < 2 * ipc::kMaxWants; ++i)
    ASSERT_EQ(Call("f0"), Status(CallClass::kUnavailable)) << i;
  const std::uint64_t token = SaidAWant();
  // The answer is for nobody; the next call asks anew.
  ASSERT_TRUE(
      cwasi_.Send(ipc::Refused{.token = token, .call_class = CallClass::kUnavailable, .text = "no"},
                  {}, In(5s)));
  worker_.Peers().Serve(In(5s));
  EXPECT_EQ(Call("f0"), Status(CallClass::kUnavailable));
  EXPECT_NE(SaidAWant(), token);
}

TEST_F(PeersIntroductionTest, MoreWantsThanMayWaitAreOverloaded) {
  constexpr auto kMost = static_cast<std::uint32_t>(ipc::kMaxWants);
  Declare(kMost + 2);
  for (std::uint32_t i = 0; i < kMost; ++i)
    ASSERT_EQ(Call("f" + std::to_string(i)), Status(CallClass::kUnavailable)) << i;
  EXPECT_EQ(Call("f" + std::to_string(kMost)), Status(CallClass::kOverloaded));
  const auto said = Said();
  ASSERT_EQ(said.size(), ipc::kMaxWants);
  // With one answered there is room for one.
  ASSERT_TRUE(cwasi_.Send(ipc::Refused{.token = std::get<ipc::Want>(said[3]).token,
                                       .call_class = CallClass::kUnavailable,
                                       .text = "no"},
                          {}, In(5s)));
  worker_.Peers().Serve(In(5s));
  EXPECT_EQ(Call("f" + std::to_string(kMost)), Status(CallClass::kUnavailable));
  EXPECT_EQ(Call("f" + std::to_string(kMost + 1)), Status(CallClass::kOverloaded));
}

TEST_F(PeersIntroductionTest, AChannelThatEndsIsToldBeforeTheNextWant) {
  Declare(1);
  for (const ipc::WorkerId callee : {7U, 8U}) {
    auto pair = test::Pair();
    // Any descriptor stands for its pidfd: this worker does not use it.
    ASSERT_TRUE(cwasi_.Send(ipc::Peer{.role = ipc::PeerRole::kCaller,
                                      .channel = ipc::PeerChannel::kNew,
                                      .worker = callee,
                                      .functions = {1000}},
                            std::vector<int>{pair.first.Get(), cwasi_.Fd()}, In(5s)));
    pair.first.Reset();
    worker_.Peers().Serve(In(5s));
    ASSERT_EQ(worker_.Peers().Links(), 1U);
    {
      const auto callee_end =
          ipc::Channel::Accept(std::move(pair.second), ipc::Relation::kSameDomain, In(5s));
      ASSERT_TRUE(callee_end);
      EXPECT_TRUE(Said().empty());
    }
    EXPECT_EQ(Call("f0"), Status(CallClass::kUnavailable));
    const auto said = Said();
    ASSERT_GE(said.size(), 1U);
    EXPECT_EQ(said[0], ipc::Introduction(ipc::Lost{.worker = callee}));
    while (worker_.Peers().Links() != 0) worker_.Peers().Serve(In(100ms));
  }
}

}  // namespace
}  // namespace cwasi::worker
