// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Peers that break the protocol, or keep it and mean harm: each is a process that speaks
// ipc::Channel itself. The worker loses no time, no memory and no other peer by it.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
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

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kReplyAt = 1000;  // In scratch.
constexpr std::uint32_t kMiB = 1U << 20U;
constexpr ipc::WorkerId kCaller = 1;
constexpr ipc::WorkerId kCallee = 2;
constexpr ipc::WorkerId kLiar = 3;

std::uint32_t Status(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

MonotonicNs In(std::chrono::nanoseconds time) {
  return DeadlineAfter(Now(), time);
}

// The next record of a kind, released; ends the process if the channel ends first.
Record Await(Channel& channel, RecordType type) {
  for (;;) {
    Channel::Incoming incoming;
    switch (channel.Receive(incoming)) {
      case ChannelStatus::kOk:
        channel.Release();
        if (incoming.record.type == type) return incoming.record;
        break;
      case ChannelStatus::kFailed:
        ::_exit(0);
      case ChannelStatus::kWait:
        if (channel.CheckSocket() == ChannelStatus::kFailed) ::_exit(0);
        std::this_thread::yield();
    }
  }
}
void AwaitEnd(Channel& channel) {
  for (;;) static_cast<void>(Await(channel, RecordType::kClose));
}

std::uint32_t CallGiving(PeerHarness& caller, std::uint32_t bytes) {
  Script script;
  const auto function = script.AddFind("callee");
  const auto buffer = script.AddNew(bytes);
  script.Add(Op::kFill, {Given(buffer), bytes, 9U});
  const auto status =
      script.AddCall(Given(function), Given(buffer), bytes, kMove, kReplyAt, 2000, 8);
  return caller.worker.Run(caller.worker.Get().Find("caller")->Id(), script)[status];
}

class PeersHostileTest : public testing::Test {
 protected:
  PeersHostileTest() {
    net_.Serve(kCaller, {.guest = "script", .name = "caller", .number = 10});
    net_.Serve(kCallee, {.guest = "echo", .name = "callee", .number = 20, .timeout = 300ms});
  }
  PeerHarness& Join() {
    harness_.emplace();
    net_.Join(kCaller, *harness_);
    return *harness_;
  }
  PeerNet net_;
  std::optional<PeerHarness> harness_;
};

TEST_F(PeersHostileTest, AFloodOfRecordsDoesNotMakeAnotherCallLate) {
  net_.Connect(kCaller, kCallee);
  net_.Connect(kLiar, kCaller);
  net_.Start(kCallee);
  net_.StartRaw(kLiar, [](std::vector<UniqueFd> sockets) {
    auto channel = Channel::Offer(std::move(sockets[0]), Relation::kSameDomain, In(5s));
    if (!channel) return;
    for (std::uint64_t id = 1;;) {
      if (channel->Send({.type = RecordType::kCancel, .call_id = ++id}) == ChannelStatus::kFailed)
        return;
    }
  });
  PeerHarness& caller = Join();
  net_.Process(kCallee).Signal(SIGSTOP);
  EXPECT_EQ(CallGiving(caller, 4 * kMiB), Status(CallClass::kTimeout));
}

TEST_F(PeersHostileTest, AFloodOfRecordsDoesNotKeepTheWorkerFromItsOwner) {
  net_.Connect(kLiar, kCaller);
  auto introductions = test::Pair();
  net_.StartRaw(kLiar, [&](std::vector<UniqueFd> sockets) {
    introductions.first.Reset();
    introductions.second.Reset();
    auto channel = Channel::Offer(std::move(sockets[0]), Relation::kSameDomain, In(5s));
    if (!channel) return;
    for (std::uint64_t id = 1;;) {
      if (channel->Send({.type = RecordType::kCancel, .call_id = ++id}) == ChannelStatus::kFailed)
        return;
    }
  });
  PeerHarness& worker = Join();
  ASSERT_TRUE(worker.Peers().Use(ipc::IntroductionSocket(std::move(introductions.first))));
  const ipc::IntroductionSocket cwasi(std::move(introductions.second));
  ASSERT_TRUE(cwasi.Send(ipc::Refused{.token = 99}, {}, In(5s)));
  worker.Peers().Serve(In(60s));  // Returns because the doorbell rang.
  SUCCEED();
}

TEST_F(PeersHostileTest, ACallerThatReadsNoRepliesIsDropped) {
  PeerNet net;
  net.Serve(kCaller, {.guest = "echo", .name = "echo", .number = 10});
  net.Connect(kLiar, kCaller, Relation::kOtherDomain);
  net.StartRaw(kLiar, [](std::vector<UniqueFd> sockets) {
    auto channel = Channel::Offer(std::move(sockets[0]), Relation::kOtherDomain, In(5s));
    std::vector<std::byte> bytes(60'000);
    if (!channel) return;
    for (std::uint64_t id = 1;; ++id) {
      const Record call{.type = RecordType::kCall,
                        .payload = ipc::PayloadKind::kInline,
                        .call_id = id,
                        .function = 10,
                        .deadline = kNoDeadline,
                        .payload_bytes = bytes.size()};
      while (channel->Send(call, bytes) == ChannelStatus::kWait)
        if (channel->CheckSocket() == ChannelStatus::kFailed) return;
      if (channel->HasFailed()) return;
    }
  });
  harness_.emplace();
  net.Join(kCaller, *harness_);
  const MonotonicNs end = In(30s);
  while (harness_->Peers().Links() != 0 && Now() < end) harness_->Peers().Serve(In(1s));
  EXPECT_EQ(harness_->Peers().Links(), 0U);
}

// ---- answers that lie ----

// Takes the offer and answers the first calls by `answer`, then looks on.
void AnswerCalls(UniqueFd socket, Relation relation, int calls,
                 const std::function<void(Channel&, const Record&)>& answer) {
  auto channel = Channel::Accept(std::move(socket), relation, In(5s));
  if (!channel) return;
  for (int i = 0; i < calls; ++i) answer(*channel, Await(*channel, RecordType::kCall));
  AwaitEnd(*channel);
}

TEST_F(PeersHostileTest, APeerOfAnotherDomainCannotPutASegmentItSeesIntoAGuest) {
  net_.Connect(kCaller, kCallee, Relation::kOtherDomain);
  net_.StartRaw(kCallee, [](std::vector<UniqueFd> sockets) {
    AnswerCalls(std::move(sockets[0]), Relation::kOtherDomain, 1,
                [](Channel& channel, const Record& call) {
                  // "The answer is in your own segment": the guest would go on writing there, and
                  // this process has it mapped.
                  static_cast<void>(channel.Send({.type = RecordType::kReply,
                                                  .payload = ipc::PayloadKind::kSegment,
                                                  .home = ipc::SegmentHome::kReceiver,
                                                  .slot = call.slot,
                                                  .call_id = call.call_id,
                                                  .payload_bytes = call.payload_bytes}));
                });
  });
  PeerHarness& caller = Join();
  EXPECT_EQ(CallGiving(caller, 4 * kMiB), Status(CallClass::kOutcomeUnknown));
  EXPECT_EQ(caller.Peers().Liars(), 1U);
}

TEST_F(PeersHostileTest, AnotherSegmentThanTheCallsOwnDoesNotBecomeTheBuffer) {
  net_.Connect(kCaller, kCallee);
  net_.StartRaw(kCallee, [](std::vector<UniqueFd> sockets) {
    std::uint16_t first = 0;
    int calls = 0;
    AnswerCalls(std::move(sockets[0]), Relation::kSameDomain, 2,
                [&](Channel& channel, const Record& call) {
                  Record reply{.type = RecordType::kReply, .call_id = call.call_id};
                  if (calls++ == 0) {
                    first = call.slot;  // Retained, and a small one.
                  } else {
                    reply.status = CallClass::kDenied;
                    reply.returned_slot = first;
                  }
                  static_cast<void>(channel.Send(reply));
                });
  });
  PeerHarness& caller = Join();
  EXPECT_EQ(CallGiving(caller, 2 * kMiB), 0U);
  Script script;
  const auto function = script.AddFind("callee");
  const auto buffer = script.AddNew(10 * kMiB);
  script.Add(Op::kFill, {Given(buffer), 10 * kMiB, 9U});
  const auto status =
      script.AddCall(Given(function), Given(buffer), 10 * kMiB, kMove, kReplyAt, 2000, 8);
  const auto flags = script.Add(Op::kLoad, {Scratch(kReplyAt + 12)});
  const auto freed = script.Add(Op::kFree, {Given(buffer)});
  const auto steps = caller.worker.Run(caller.worker.Get().Find("caller")->Id(), script);
  // Dropped as a liar: the bytes are lost with it, and nothing says that the callee did not run.
  EXPECT_EQ(steps[status], Status(CallClass::kOutcomeUnknown));
  EXPECT_NE(steps[flags] & (1U << 16U), 0U);
  EXPECT_EQ(steps[freed], Status(CallClass::kInvalid));
  EXPECT_EQ(caller.Peers().Liars(), 1U);
}

TEST_F(PeersHostileTest, ASegmentThatTheOtherDomainCanWriteAnewIsALie) {
  net_.Connect(kCaller, kCallee, Relation::kOtherDomain);
  net_.StartRaw(kCallee, [](std::vector<UniqueFd> sockets) {
    AnswerCalls(std::move(sockets[0]), Relation::kOtherDomain, 1,
                [](Channel& channel, const Record& call) {
                  const auto fd = os::CreateSealedMemfd("lie", 2 * kMiB);
                  CHECK(fd.has_value());
                  CHECK(channel.SendSegment(0, fd->Get(), 1, In(1s)).has_value());
                  static_cast<void>(channel.Send({.type = RecordType::kReply,
                                                  .payload = ipc::PayloadKind::kSegment,
                                                  .slot = 0,
                                                  .call_id = call.call_id,
                                                  .payload_bytes = 2 * kMiB}));
                });
  });
  PeerHarness& caller = Join();
  EXPECT_EQ(CallGiving(caller, 4 * kMiB), Status(CallClass::kOutcomeUnknown));
  EXPECT_EQ(caller.Peers().Liars(), 1U);
}

TEST_F(PeersHostileTest, APeerOfAnotherDomainGivesNoValues) {
  net_.Connect(kLiar, kCaller, Relation::kOtherDomain);
  int told[2];
  ASSERT_EQ(::pipe2(told, O_CLOEXEC), 0);
  net_.StartRaw(kLiar, [&](std::vector<UniqueFd> sockets) {
    auto channel = Channel::Offer(std::move(sockets[0]), Relation::kOtherDomain, In(5s));
    if (!channel) return;
    std::array<std::byte, 8> bytes{};
    static_cast<void>(channel->Send({.type = RecordType::kValue,
                                     .payload = ipc::PayloadKind::kInline,
                                     .call_id = 1,
                                     .value_id = 77,
                                     .payload_bytes = bytes.size()},
                                    bytes));
    const Record reply = Await(*channel, RecordType::kReply);
    const char status = reply.status ? static_cast<char>(*reply.status) : 0;
    CHECK(::write(told[1], &status, 1) == 1);
    AwaitEnd(*channel);
  });
  PeerHarness& worker = Join();
  std::size_t came = 0;
  worker.Peers().SetOnValue([&](std::uint64_t, Value) { return ++came != 0; });
  ASSERT_EQ(::fcntl(told[0], F_SETFL, O_NONBLOCK), 0);
  char status = 0;
  const MonotonicNs end = In(20s);
  while (::read(told[0], &status, 1) != 1 && Now() < end) worker.Peers().Serve(In(10ms));
  EXPECT_EQ(came, 0U);
  EXPECT_EQ(status, static_cast<char>(CallClass::kDenied));
}

}  // namespace
}  // namespace cwasi::worker
