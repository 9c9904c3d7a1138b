// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Both ends of a channel as two threads with a worker each, in one process: for ThreadSanitizer,
// which sees no other process.

#include <chrono>
#include <cstring>
#include <latch>
#include <thread>

#include <gtest/gtest.h>

#include "test/support/peer_process.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::PeerHarness;

class PeersThreadTest : public testing::TestWithParam<ipc::Relation> {};
INSTANTIATE_TEST_SUITE_P(Domain, PeersThreadTest,
                         testing::Values(ipc::Relation::kSameDomain, ipc::Relation::kOtherDomain),
                         [](const auto& test) {
                           return test.param == ipc::Relation::kSameDomain ? "Same" : "Other";
                         });

TEST_P(PeersThreadTest, TwoWorkersOnTwoThreadsExchangePayloadsOfAllSizes) {
  auto pair = test::Pair();
  const auto relation = GetParam();
  // The engine unmaps by a bare system call. ThreadSanitizer sees only the C library's, takes two
  // compilers' memory at one address for one, and tells of a race: so one compiles after the other.
  std::latch caller_is_loaded(1);
  std::thread callee([&, socket = std::move(pair.second)]() mutable {
    RunOnGuestThread([&] {
      caller_is_loaded.wait();
      PeerHarness worker;
      worker.Load("relay", "w2", 20);
      ASSERT_TRUE(worker.Peers().Meet(
          {.role = ipc::PeerRole::kCallee, .relation = relation, .worker = 1, .functions = {20}},
          std::move(socket)));
      worker.ServeAll();
    });
  });
  {
    PeerHarness worker;
    worker.Load("relay", "w1", 10);
    caller_is_loaded.count_down();
    ASSERT_TRUE(worker.Peers().Declare({20, "w2", 20s}));
    ASSERT_TRUE(worker.Peers().Meet(
        {.role = ipc::PeerRole::kCaller, .relation = relation, .worker = 2, .functions = {20}},
        std::move(pair.first)));
    const auto id = worker.worker.Get().Find("w1")->Id();
    for (int round = 0; round < 20; ++round) {
      for (const std::size_t bytes : {16UL, 5000UL, 60'000UL, 300'000UL, 3UL << 20U}) {
        auto body = test::Pattern(bytes, 5);
        body.at(0) = std::byte{0};
        body.at(1) = std::byte{'2'};
        body.at(2) = std::byte{'e'};
        const auto reply = worker.worker.Invoke(id, body);
        ASSERT_TRUE(reply) << Describe(reply.error());
        ASSERT_EQ(reply->payload.Size(), bytes);
        EXPECT_EQ(std::memcmp(reply->payload.Bytes().data() + 3, body.data() + 3, bytes - 3), 0);
      }
    }
  }
  callee.join();
}

}  // namespace
}  // namespace cwasi::worker
