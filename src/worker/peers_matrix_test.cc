// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The fault matrix of local calls: what the caller sees, and how soon, when its callee fails in
// each phase of a call. The callee speaks ipc::Channel itself, so that each phase is met exactly.
// And what is short: memory, mappings, descriptors; after each nothing is held.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ipc/channel.h"
#include "os/memfd.h"
#include "test/support/peer_net.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using ipc::Channel;
using ipc::ChannelStatus;
using ipc::Record;
using ipc::RecordType;
using ipc::Relation;
using test::Given;
using test::Op;
using test::PeerHarness;
using test::PeerNet;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kReplyAt = 1000;  // In scratch.
constexpr std::uint32_t kMiB = 1U << 20U;
constexpr auto kTimeout = 300ms;

enum class Phase { kHandshake, kBefore, kRunning, kAnnouncing, kAnswered };
enum class Fault { kKill, kStop, kClose, kLie, kLate };

const char* Name(Phase phase) {
  constexpr const char* kNames[] = {"handshake", "before it took the call", "while it runs",
                                    "announcing a segment", "after it answered"};
  return kNames[static_cast<int>(phase)];
}
const char* Name(Fault fault) {
  constexpr const char* kNames[] = {"killed", "stopped", "closes", "lies", "answers late"};
  return kNames[static_cast<int>(fault)];
}

// Does not come back.
[[noreturn]] void Do(Fault fault, std::optional<Channel> channel, UniqueFd socket,
                     std::uint64_t call_id) {
  if (fault == Fault::kKill) ::raise(SIGKILL);
  if (fault == Fault::kStop) ::raise(SIGSTOP);
  if (fault == Fault::kClose) {
    channel.reset();
    socket.Reset();
  }
  if (fault == Fault::kLie && channel) {
    // A segment of an impossible kind.
    const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    static_cast<void>(channel->SendSegment(0, null.Get(), 1, DeadlineAfter(Now(), 1s)));
    static_cast<void>(channel->Send({.type = RecordType::kReply,
                                     .payload = ipc::PayloadKind::kSegment,
                                     .slot = 0,
                                     .call_id = call_id,
                                     .payload_bytes = 10}));
  }
  if (fault == Fault::kLate && channel) {
    ::usleep(600'000);
    static_cast<void>(channel->Send({.type = RecordType::kReply, .call_id = call_id}));
  }
  for (;;) ::pause();
}

void Callee(UniqueFd socket, Relation relation, Phase phase, Fault fault) {
  if (phase == Phase::kHandshake) Do(fault, std::nullopt, std::move(socket), 0);
  auto accepted = Channel::Accept(std::move(socket), relation, DeadlineAfter(Now(), 5s));
  if (!accepted) ::_exit(1);
  std::optional<Channel> channel(std::move(*accepted));
  Channel::Incoming call;
  while (channel->Receive(call) != ChannelStatus::kOk) std::this_thread::yield();
  const std::uint64_t id = call.record.call_id;
  if (phase == Phase::kBefore) Do(fault, std::move(channel), {}, id);
  channel->Release();
  if (phase == Phase::kAnnouncing) {
    const auto fd = os::CreateSealedMemfd("segment", 2 * kMiB);
    static_cast<void>(channel->SendSegment(0, fd->Get(), 1, DeadlineAfter(Now(), 1s)));
  }
  if (phase != Phase::kAnswered) Do(fault, std::move(channel), {}, id);
  static_cast<void>(channel->Send({.type = RecordType::kReply, .call_id = id}));
  Do(fault, std::move(channel), {}, id);
}

std::uint32_t CallGiving(PeerHarness& caller, std::uint32_t bytes) {
  Script script;
  const auto function = script.AddFind("callee");
  const auto buffer = script.AddNew(bytes);
  const auto status = script.AddCall(Given(function), Given(buffer), bytes, 1, kReplyAt, 2000, 8);
  script.Add(Op::kFree, {Given(buffer)});
  const auto reply = script.Add(Op::kLoad, {Scratch(kReplyAt)});
  script.Add(Op::kFree, {Given(reply)});
  return caller.worker.Run(caller.worker.Get().Find("caller")->Id(), script)[status];
}

std::string ClassName(std::uint32_t status) {
  const auto c = CallClassFromNumber(status);
  return c ? std::string(cwasi::Name(*c)) : "ok";
}

void Describe(PeerNet& net, Relation relation) {
  net.Serve(1, {.guest = "script", .name = "caller", .number = 10});
  net.Serve(2, {.guest = "echo", .name = "callee", .number = 20, .timeout = kTimeout});
  net.Connect(1, 2, relation);
}

class PeersMatrixTest : public testing::TestWithParam<Relation> {};
INSTANTIATE_TEST_SUITE_P(Domain, PeersMatrixTest,
                         testing::Values(Relation::kSameDomain, Relation::kOtherDomain),
                         [](const auto& test) {
                           return test.param == Relation::kSameDomain ? "Same" : "Other";
                         });

TEST_P(PeersMatrixTest, EachFaultInEachPhaseHasItsClassAndItsTime) {
  struct Cell {
    Phase phase;
    Fault fault;
    const char* expected;
  };
  constexpr Cell kCells[] = {
      {Phase::kHandshake, Fault::kKill, "unavailable"},
      {Phase::kHandshake, Fault::kStop, "timeout"},
      {Phase::kHandshake, Fault::kClose, "unavailable"},
      {Phase::kBefore, Fault::kKill, "unavailable"},
      {Phase::kBefore, Fault::kStop, "timeout"},
      {Phase::kBefore, Fault::kClose, "unavailable"},
      {Phase::kBefore, Fault::kLate, "timeout"},
      {Phase::kRunning, Fault::kKill, "outcome_unknown"},
      {Phase::kRunning, Fault::kStop, "timeout"},
      {Phase::kRunning, Fault::kClose, "outcome_unknown"},
      {Phase::kRunning, Fault::kLate, "timeout"},
      {Phase::kRunning, Fault::kLie, "outcome_unknown"},
      {Phase::kAnnouncing, Fault::kKill, "outcome_unknown"},
      {Phase::kAnnouncing, Fault::kStop, "timeout"},
      {Phase::kAnnouncing, Fault::kClose, "outcome_unknown"},
      {Phase::kAnswered, Fault::kKill, "ok"},
      {Phase::kAnswered, Fault::kStop, "ok"},
      {Phase::kAnswered, Fault::kClose, "ok"},
  };
  for (const Cell& cell : kCells) {
    SCOPED_TRACE(std::string(Name(cell.phase)) + ", " + Name(cell.fault));
    PeerNet net;
    Describe(net, GetParam());
    net.StartRaw(2, [&](std::vector<UniqueFd> sockets) {
      Callee(std::move(sockets[0]), GetParam(), cell.phase, cell.fault);
    });
    PeerHarness caller;
    net.Join(1, caller);
    const MonotonicNs start = Now();
    const std::string got = ClassName(CallGiving(caller, 4 * kMiB));
    const MonotonicNs took = Now() - start;
    std::printf("%-24s %-13s %-16s %4lld ms\n", Name(cell.phase), Name(cell.fault), got.c_str(),
                static_cast<long long>(took / 1'000'000));
    EXPECT_EQ(got, cell.expected);
    EXPECT_LT(took, DeadlineAfter(0, 5s)) << "it hangs";
    net.Process(2).Signal(SIGKILL);
    net.Process(2).Wait();
    const MonotonicNs end = DeadlineAfter(Now(), 20s);
    while (caller.Peers().Links() != 0 && Now() < end)
      caller.Peers().Serve(DeadlineAfter(Now(), 10ms));
    EXPECT_EQ(caller.Peers().Links(), 0U);
    caller.worker.Get().DropInstances();
    auto& memory = caller.worker.Get().Payloads();
    EXPECT_EQ(memory.Pool().GetStats().in_use, 0U);
    EXPECT_EQ(memory.Foreign().Used(), 0U);
  }
}

TEST_P(PeersMatrixTest, ACallerThatDiesWhileItWaitsLeavesNothingWithItsCallee) {
  PeerNet net;
  net.Serve(1, {.guest = "relay", .name = "w1", .number = 10});
  net.Serve(2, {.guest = "relay", .name = "w2", .number = 20});
  net.Connect(2, 1, GetParam());
  net.Start(2, [](PeerHarness& harness) {
    auto body = test::Pattern(4 * kMiB, 5);
    body[0] = std::byte{0};
    // w1 keeps the request; the second call is never answered in time.
    for (const char* actions : {"1k", "1bbbl"}) {
      std::memcpy(body.data() + 1, actions, std::strlen(actions));
      static_cast<void>(harness.worker.Invoke(harness.worker.Get().Find("w2")->Id(), body, 200ms));
    }
    ::raise(SIGKILL);
  });
  PeerHarness callee;
  net.Join(1, callee);
  const MonotonicNs end = DeadlineAfter(Now(), 30s);
  while (callee.Peers().Links() != 0 && Now() < end) {
    callee.Peers().Serve(DeadlineAfter(Now(), 10ms));
    // A link stays while a guest keeps what came over it.
    callee.worker.Get().DropInstances();
  }
  EXPECT_EQ(callee.Peers().Links(), 0U);
  EXPECT_EQ(callee.worker.Get().Payloads().Foreign().Used(), 0U);
}

TEST_P(PeersMatrixTest, ShortOfForeignMemoryACallIsRefusedAndTheNextOneIsNot) {
  PeerNet net;
  Describe(net, GetParam());
  // The callee cannot map the request.
  int step[2];
  ASSERT_EQ(::pipe2(step, O_CLOEXEC), 0);
  net.Start(2, [&](PeerHarness& harness) {
    auto& foreign = harness.worker.Get().Payloads().Foreign();
    auto all = std::make_optional(buf::Reservation::Try(foreign, foreign.Limit()));
    CHECK(all->Held() && ::fcntl(step[0], F_SETFL, O_NONBLOCK) == 0);
    char c = 0;
    while (harness.Peers().Links() != 0) {
      harness.Peers().Serve(DeadlineAfter(Now(), 1ms));
      if (all && ::read(step[0], &c, 1) == 1) all.reset();
    }
  });
  PeerHarness caller;
  net.Join(1, caller);
  EXPECT_EQ(ClassName(CallGiving(caller, 4 * kMiB)), "out_of_memory");
  ASSERT_EQ(::write(step[1], "x", 1), 1);
  std::string got = "out_of_memory";
  const MonotonicNs end = DeadlineAfter(Now(), 20s);
  while (got == "out_of_memory" && Now() < end) got = ClassName(CallGiving(caller, 4 * kMiB));
  EXPECT_EQ(got, "ok") << "the segment that was refused once is refused for ever";
}

TEST(PeersShortageTest, WithoutADescriptorForTheAnswerItsOutcomeIsUnknownAndNobodyLied) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "UBSan opens a pipe to look at an object's type, which fails here";
#endif
  PeerNet net;
  Describe(net, Relation::kOtherDomain);
  net.Start(2);
  PeerHarness caller;
  net.Join(1, caller);
  EXPECT_EQ(ClassName(CallGiving(caller, 100)), "ok");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // One for the segment that goes there, none for the one that comes.
  std::size_t highest = 0;
  for (int fd = 0; fd < 1000; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) highest = static_cast<std::size_t>(fd);
  rlimit few = before;
  few.rlim_cur = highest + 2;
  std::vector<UniqueFd> filled;
  for (;;) {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (fd.Get() > static_cast<int>(highest) || !fd.IsOpen()) break;
    filled.push_back(std::move(fd));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const std::string got = ClassName(CallGiving(caller, 4 * kMiB));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(got == "outcome_unknown" || got == "overloaded" || got == "out_of_memory") << got;
  EXPECT_EQ(caller.Peers().Liars(), 0U);
}

}  // namespace
}  // namespace cwasi::worker
