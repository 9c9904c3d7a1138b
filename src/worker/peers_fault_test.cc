// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Local calls when a worker dies, stops or refuses: each ends in time with the right class, and a
// buffer is still its giver's exactly if the callee cannot have run.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/peer_net.h"
#include "test/support/proc_self.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using ipc::Relation;
using test::Given;
using test::Op;
using test::PeerHarness;
using test::PeerNet;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kMayHaveRun = 1U << 16U;
constexpr std::uint32_t kReplyAt = 1000;  // In scratch.
constexpr std::uint32_t kMiB = 1U << 20U;

std::uint32_t Status(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

// What a script saw of one call that gave a buffer.
struct Seen {
  std::uint32_t status = 0;
  bool may_have_run = false;
  bool intact = false;  // Every byte of the buffer is still there.
  bool freed = false;   // It was still the guest's.
};

// Gives the first `given` of a buffer of `bytes` to `callee`.
Seen CallGiving(PeerHarness& caller, const std::string& callee, std::uint32_t bytes,
                std::uint32_t given) {
  Script script;
  const auto function = script.AddFind(callee);
  const auto buffer = script.AddNew(bytes);
  script.Add(Op::kFill, {Given(buffer), bytes, 9U});
  const auto status =
      script.AddCall(Given(function), Given(buffer), given, kMove, kReplyAt, 2000, 8);
  const auto flags = script.Add(Op::kLoad, {Scratch(kReplyAt + 12)});
  const auto intact = script.Add(Op::kCheck, {Given(buffer), bytes, 9U});
  const auto freed = script.Add(Op::kFree, {Given(buffer)});
  const auto reply = script.Add(Op::kLoad, {Scratch(kReplyAt)});
  script.Add(Op::kFree, {Given(reply)});
  const auto steps = caller.worker.Run(caller.worker.Get().Find("caller")->Id(), script);
  return {.status = steps[status],
          .may_have_run = (steps[flags] & kMayHaveRun) != 0,
          .intact = steps[intact] == 1,
          .freed = steps[freed] == 0};
}

// Calls `callee` with a script; gives the status.
std::uint32_t CallWith(PeerHarness& caller, const std::string& callee, const Script& inner) {
  Script script;
  const auto function = script.AddFind(callee);
  const auto bytes = inner.Bytes();
  script.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto status =
      script.AddCall(Given(function), Scratch(4000), static_cast<std::uint32_t>(bytes.size()), 0,
                     kReplyAt, 2000, 1000);
  return caller.worker.Run(caller.worker.Get().Find("caller")->Id(), script)[status];
}

// What test/guests/relay.c is to do with a payload of `bytes`, called as function "w1".
tl::expected<Reply, CallError> Relay(PeerHarness& harness, const std::string& actions,
                                     std::size_t bytes) {
  auto body = test::Pattern(bytes, 5);
  body[0] = std::byte{0};
  std::memcpy(body.data() + 1, actions.data(), actions.size());
  return harness.worker.Invoke(harness.worker.Get().Find("w1")->Id(), std::move(body));
}

constexpr ipc::WorkerId kCaller = 1;
constexpr ipc::WorkerId kCallee = 2;

class PeersFaultTest : public testing::TestWithParam<Relation> {
 protected:
  void Connect(const std::string& guest, std::chrono::nanoseconds timeout = 20s) {
    net_.Serve(kCaller, {.guest = "script", .name = "caller", .number = 10});
    net_.Serve(kCallee, {.guest = guest, .name = "callee", .number = 20, .timeout = timeout});
    net_.Connect(kCaller, kCallee, GetParam());
  }
  PeerHarness& Join() {
    harness_.emplace();
    net_.Join(kCaller, *harness_);
    return *harness_;
  }
  // What a caller's worker holds of payload memory.
  std::size_t InUse() { return harness_->worker.Get().Payloads().Pool().GetStats().in_use; }

  PeerNet net_;
  std::optional<PeerHarness> harness_;
};
INSTANTIATE_TEST_SUITE_P(Domain, PeersFaultTest,
                         testing::Values(Relation::kSameDomain, Relation::kOtherDomain),
                         [](const auto& test) {
                           return test.param == Relation::kSameDomain ? "Same" : "Other";
                         });

TEST_P(PeersFaultTest, ACalleeKilledBeforeItTookTheCallLeavesTheBufferWithItsGiver) {
  Connect("echo");
  auto& callee = net_.Start(kCallee);
  PeerHarness& caller = Join();
  ASSERT_EQ(CallGiving(caller, "callee", 4 * kMiB, 4 * kMiB).status, 0U);  // It is up.
  callee.Signal(SIGSTOP);
  std::thread killer([&, self = test::ThisThread()] {
    EXPECT_TRUE(test::UntilAsleep(::getpid(), self));
    callee.Signal(SIGKILL);
  });
  const Seen seen = CallGiving(caller, "callee", 4 * kMiB, 3 * kMiB);
  killer.join();
  EXPECT_EQ(seen.status, Status(CallClass::kUnavailable));
  EXPECT_FALSE(seen.may_have_run);
  EXPECT_TRUE(seen.intact);
  EXPECT_TRUE(seen.freed);
  EXPECT_EQ(InUse(), 0U);
}

TEST_P(PeersFaultTest, ACalleeKilledWhileItRunsMayHaveRun) {
  Connect("script");
  int said[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  auto& callee = net_.Start(kCallee, [&](PeerHarness& harness) {
    ::dup2(said[1], 2);
    harness.ServeAll();
  });
  PeerHarness& caller = Join();
  std::thread killer([&] {
    char c = 0;
    EXPECT_EQ(::read(said[0], &c, 1), 1);
    callee.Signal(SIGKILL);
  });
  Script inner;
  inner.AddText(0, "now\n");
  inner.Add(Op::kPrint, {Scratch(0), 4U});
  inner.Add(Op::kLoop);
  EXPECT_EQ(CallWith(caller, "callee", inner), Status(CallClass::kOutcomeUnknown));
  killer.join();
  ::close(said[0]);
  ::close(said[1]);
}

TEST_P(PeersFaultTest, AStoppedCalleeTimesOutAndAnswersAgainOnceContinued) {
  Connect("echo", 300ms);
  auto& callee = net_.Start(kCallee);
  PeerHarness& caller = Join();
  ASSERT_EQ(CallGiving(caller, "callee", 4 * kMiB, 4 * kMiB).status, 0U);
  callee.Signal(SIGSTOP);
  const Seen late = CallGiving(caller, "callee", 4 * kMiB, 4 * kMiB);
  EXPECT_EQ(late.status, Status(CallClass::kTimeout));
  EXPECT_TRUE(late.may_have_run);
  EXPECT_FALSE(late.intact);
  callee.Signal(SIGCONT);
  // Its late answer is for nobody, and brings the segment home.
  const Seen again = CallGiving(caller, "callee", 4 * kMiB, 4 * kMiB);
  EXPECT_EQ(again.status, 0U);
  EXPECT_TRUE(again.may_have_run);
}

TEST_P(PeersFaultTest, ACalleeStopsAtTheDeadlineOfItsCaller) {
  Connect("script", 200ms);  // The callee's own time is a minute.
  net_.Start(kCallee);
  PeerHarness& caller = Join();
  Script endless;
  endless.Add(Op::kLoop);
  EXPECT_EQ(CallWith(caller, "callee", endless), Status(CallClass::kTimeout));
  Script quick;
  quick.Add(Op::kDeadline);
  std::uint32_t status = Status(CallClass::kTimeout);
  for (const MonotonicNs end = DeadlineAfter(Now(), 10s);
       status == Status(CallClass::kTimeout) && Now() < end;)
    status = CallWith(caller, "callee", quick);
  EXPECT_EQ(status, 0U);
}

TEST_P(PeersFaultTest, ARefusedCallLeavesTheWholeBufferWithItsGiver) {
  net_.Serve(kCaller, {.guest = "script", .name = "caller", .number = 10});
  net_.Serve(kCallee, {.guest = "echo", .name = "callee", .number = 20, .denied = true});
  net_.Connect(kCaller, kCallee, GetParam());
  net_.Start(kCallee);
  PeerHarness& caller = Join();
  const Seen seen = CallGiving(caller, "callee", 20 * kMiB, 9 * kMiB);
  EXPECT_EQ(seen.status, Status(CallClass::kDenied));
  EXPECT_FALSE(seen.may_have_run);
  EXPECT_TRUE(seen.intact);
  EXPECT_TRUE(seen.freed);
  EXPECT_EQ(InUse(), 0U);
}

TEST(PeersLifeTest, AWorkerThatWasStoppedIsNotTakenForOneWhoseGuestOverran) {
  int said[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  test::PeerProcess worker([&] {
    ::dup2(said[1], 2);
    PeerHarness harness;
    harness.Load("relay", "w1", 10);
    const auto id = harness.worker.Get().Find("w1")->Id();
    for (int i = 0; i < 5; ++i) {
      auto body = test::Pattern(64, 5);
      body[0] = std::byte{0};
      std::memcpy(body.data() + 1, "pl", 2);
      const auto reply = harness.worker.Invoke(id, body, 100ms);
      CHECK(!reply && reply.error().call_class == CallClass::kTimeout);
    }
  });
  for (int i = 0; i < 5; ++i) {
    std::array<char, 64> text{};
    ASSERT_GT(::read(said[0], text.data(), text.size()), 0);
    worker.Signal(SIGSTOP);
    // Until well beyond the deadline and the grace.
    for (const MonotonicNs end = DeadlineAfter(Now(), 250ms); Now() < end;) ::usleep(10'000);
    worker.Signal(SIGCONT);
  }
  EXPECT_EQ(worker.Wait(), 0);
}

// Two workers whose functions call each other, each for a request of its own.
TEST(PeersCycleTest, TwoWorkersThatCallEachOtherAtOnceBothGetTheirAnswers) {
  PeerNet net;
  net.Serve(1, {.guest = "script", .name = "one", .number = 10, .timeout = 5s});
  net.Serve(2, {.guest = "script", .name = "two", .number = 20, .timeout = 5s});
  net.Connect(1, 2);
  net.Connect(2, 1);
  int said[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  int go[2];
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  // A guest that says that it runs, waits to be told, calls and gives the status.
  const auto body = [&](PeerHarness& harness, const char* self, const char* other) {
    Script script;
    const auto function = script.AddFind(other);
    const auto status = script.AddCall(Given(function), Scratch(0), 0U, 0, kReplyAt, 2000, 1000);
    char c = 'x';
    CHECK(::write(said[1], &c, 1) == 1);
    CHECK(::read(go[0], &c, 1) == 1);
    return harness.worker.Run(harness.worker.Get().Find(self)->Id(), script)[status];
  };
  net.Start(2, [&](PeerHarness& harness) {
    EXPECT_EQ(body(harness, "two", "one"), 0U);
    harness.ServeAll();
  });
  std::optional<PeerHarness> local(std::in_place);
  net.Join(1, *local);
  char c = 0;
  ASSERT_EQ(::read(said[0], &c, 1), 1);
  ASSERT_EQ(::write(go[1], "gg", 2), 2);
  const MonotonicNs start = Now();
  EXPECT_EQ(body(*local, "one", "two"), 0U);
  EXPECT_LT(Now() - start, DeadlineAfter(0, 4s));
  while (local->Peers().Links() != 0 && Now() - start < DeadlineAfter(0, 1s))
    local->Peers().Serve(DeadlineAfter(Now(), 100ms));
  local.reset();
  EXPECT_EQ(net.Process(2).Wait(), 0);
}

TEST(PeersLifeTest, AWorkerSurvivesTheDeathOfOneOfSeveralPeersOfOtherDomains) {
  PeerNet net;
  net.Serve(1, {.guest = "script", .name = "caller", .number = 10});
  net.Serve(2, {.guest = "echo", .name = "first", .number = 20});
  net.Serve(3, {.guest = "echo", .name = "second", .number = 30});
  net.Connect(1, 2, Relation::kOtherDomain);
  net.Connect(1, 3, Relation::kOtherDomain);
  net.Start(2);
  net.Start(3);
  PeerHarness local;
  net.Join(1, local);
  EXPECT_EQ(CallGiving(local, "first", 4 * kMiB, 4 * kMiB).status, 0U);
  EXPECT_EQ(CallGiving(local, "second", 4 * kMiB, 4 * kMiB).status, 0U);
  net.Process(2).Signal(SIGKILL);
  net.Process(2).Wait();
  while (local.Peers().Links() == 2) local.Peers().Serve(DeadlineAfter(Now(), 1s));
  EXPECT_EQ(CallGiving(local, "second", 4 * kMiB, 4 * kMiB).status, 0U);
}

TEST(PeersLifeTest, AWorkerEndsWellWhileASegmentThatItForwardedIsStillAway) {
  PeerNet net;
  net.Serve(1, {.guest = "relay", .name = "w1", .number = 10});
  net.Serve(2, {.guest = "relay", .name = "w2", .number = 20});
  net.Serve(3, {.guest = "relay", .name = "w3", .number = 30, .timeout = 300ms});
  net.Connect(1, 2);
  net.Connect(2, 3);
  int done[2];
  ASSERT_EQ(::pipe2(done, O_CLOEXEC | O_NONBLOCK), 0);
  auto& middle = net.Start(2, [&](PeerHarness& harness) {
    char c = 0;
    while (::read(done[0], &c, 1) != 1) harness.Peers().Serve(DeadlineAfter(Now(), 50ms));
  });
  net.Start(3);
  PeerHarness local;
  net.Join(1, local);
  ASSERT_TRUE(Relay(local, "23e", 4 * kMiB));
  net.Process(3).Signal(SIGSTOP);
  const auto late = Relay(local, "23e", 4 * kMiB);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().guest_status, static_cast<std::int32_t>(CallClass::kGuestError))
      << "w2 says that its own call failed";
  ASSERT_EQ(::write(done[1], "x", 1), 1);
  EXPECT_EQ(middle.Wait(), 0);
}

TEST(PeersLifeTest, AChannelOverWhichTooMuchWasLostToOthersIsEndedAndItsHomeGetsTheMemoryBack) {
  constexpr std::size_t kBytes = 24 * kMiB;
  PeerNet net;
  net.Serve(1, {.guest = "relay", .name = "w1", .number = 10});
  net.Serve(2, {.guest = "relay", .name = "w2", .number = 20});
  net.Connect(1, 2);
  constexpr ipc::WorkerId kFirstVictim = 3;
  constexpr ipc::WorkerId kVictims = 3;
  for (ipc::WorkerId victim = kFirstVictim; victim < kFirstVictim + kVictims; ++victim) {
    net.Serve(victim, {.guest = "relay",
                       .name = "w" + std::to_string(victim),
                       .number = 10 * victim,
                       .timeout = 100ms});
    net.Connect(2, victim);
  }
  net.Start(2);
  for (ipc::WorkerId victim = kFirstVictim; victim < kFirstVictim + kVictims; ++victim)
    net.Start(victim);
  PeerHarness local;
  net.Join(1, local);
  const auto& pool = local.worker.Get().Payloads().Pool();
  for (ipc::WorkerId victim = kFirstVictim; victim < kFirstVictim + kVictims; ++victim) {
    ASSERT_EQ(local.Peers().Links(), 1U) << "the middle one has lost " << victim - kFirstVictim;
    const std::string name = std::to_string(victim);
    ASSERT_TRUE(Relay(local, "2" + name + "x", 16));
    net.Process(victim).Signal(SIGSTOP);
    EXPECT_FALSE(Relay(local, "2" + name + "e", kBytes));
    // What it has may be anywhere, so it stays lent.
    EXPECT_EQ(pool.GetStats().in_use, victim - kFirstVictim + 1);
    net.Process(victim).Signal(SIGKILL);
    net.Process(victim).Wait();
  }
  for (const MonotonicNs end = DeadlineAfter(Now(), 20s);
       local.Peers().Links() != 0 && Now() < end;)
    local.Peers().Serve(DeadlineAfter(Now(), 100ms));
  EXPECT_EQ(local.Peers().Links(), 0U);
  EXPECT_EQ(pool.GetStats().in_use, 0U);
  EXPECT_EQ(pool.GetStats().idle, 0U) << "what others may have mapped is used again";
}

}  // namespace
}  // namespace cwasi::worker
