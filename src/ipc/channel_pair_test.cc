// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Both ends of a channel at work at once: as two processes, and as two threads for ThreadSanitizer.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/check.h"
#include "ipc/channel.h"
#include "ipc/wait_set.h"
#include "os/memfd.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(60));
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kMessages = 100'000;
#else
constexpr std::uint64_t kMessages = 1'000'000;
#endif

// Of message `n`: what is in it and how long it is. Mostly short, now and then the longest.
std::size_t BytesOf(std::uint64_t n) {
  return n % 997 == 0 ? kMaxInlineBytes : 1 + n % 200;
}
// A piece of one pattern that starts elsewhere for each message.
std::span<const std::byte> Message(std::uint64_t n) {
  static const std::vector<std::byte> pattern = [] {
    std::vector<std::byte> bytes(kMaxInlineBytes + 251);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3U);
    return bytes;
  }();
  return std::span(pattern).subspan(n % 251, BytesOf(n));
}
bool IsMessage(std::span<const std::byte> payload, std::uint64_t n) {
  const auto expected = Message(n);
  return payload.size() == expected.size() &&
         std::memcmp(payload.data(), expected.data(), expected.size()) == 0;
}

// One end and its waiting.
struct End {
  explicit End(Channel c, SpinPolicy::Mode mode) : channel(std::move(c)) {
    set.Policy().SetMode(mode);
  }
  bool WaitFor(WaitWord word) {
    const std::array<WaitWord, 1> words = {word};
    return !set.Wait(words, Soon()).deadline;
  }
  bool Send(const Record& record, std::span<const std::byte> payload) {
    for (;;) {
      const ChannelStatus status = channel.Send(record, payload);
      if (status != ChannelStatus::kWait) return status == ChannelStatus::kOk;
      if (!WaitFor(channel.Room())) return false;
    }
  }
  // kWait: not by the deadline.
  ChannelStatus Receive(Channel::Incoming& incoming) {
    for (;;) {
      const ChannelStatus status = channel.Receive(incoming);
      if (status != ChannelStatus::kWait) return status;
      if (!WaitFor(channel.Records())) return ChannelStatus::kWait;
      if (channel.CheckSocket() == ChannelStatus::kFailed) return ChannelStatus::kFailed;
    }
  }

  Doorbell doorbell;
  WaitSet set{doorbell};
  Channel channel;
};

std::optional<Channel> MustOffer(UniqueFd socket) {
  auto channel = Channel::Offer(std::move(socket), Relation::kSameDomain, Soon());
  CHECK(channel);
  return std::move(*channel);
}
std::optional<Channel> MustAccept(UniqueFd socket) {
  auto channel = Channel::Accept(std::move(socket), Relation::kSameDomain, Soon());
  CHECK(channel);
  return std::move(*channel);
}

// Checks each call and answers it with a payload of its own, until the caller closes. False: some
// call was wrong, or none came.
bool Serve(UniqueFd socket, SpinPolicy::Mode mode) {
  End end(*MustAccept(std::move(socket)), mode);
  Channel::Incoming incoming;
  for (std::uint64_t n = 0;; ++n) {
    if (end.Receive(incoming) != ChannelStatus::kOk) return false;
    if (incoming.record.type == RecordType::kClose) return true;
    if (incoming.record.call_id != n || !IsMessage(incoming.payload, n)) return false;
    end.channel.Release();
    const auto payload = Message(n + 1);
    if (!end.Send({.type = RecordType::kReply,
                   .payload = PayloadKind::kInline,
                   .call_id = n,
                   .payload_bytes = payload.size()},
                  payload)) {
      return false;
    }
  }
}

// `in_flight` calls at a time.
void Drive(UniqueFd socket, SpinPolicy::Mode mode, std::uint64_t messages,
           std::uint64_t in_flight) {
  End end(*MustOffer(std::move(socket)), mode);
  Channel::Incoming incoming;
  std::uint64_t sent = 0;
  for (std::uint64_t answered = 0; answered < messages; ++answered) {
    while (sent < messages && sent < answered + in_flight) {
      const auto payload = Message(sent);
      const ChannelStatus status = end.channel.Send(
          {.payload = PayloadKind::kInline, .call_id = sent, .payload_bytes = payload.size()},
          payload);
      // Full: the answers that free it come first.
      if (status == ChannelStatus::kWait && sent > answered) break;
      ASSERT_EQ(status, ChannelStatus::kOk);
      ++sent;
    }
    ASSERT_EQ(end.Receive(incoming), ChannelStatus::kOk) << answered;
    ASSERT_EQ(incoming.record.call_id, answered);
    ASSERT_TRUE(IsMessage(incoming.payload, answered + 1)) << answered;
    end.channel.Release();
  }
  end.channel.Close();
  EXPECT_TRUE(mode != SpinPolicy::Mode::kNever || in_flight > 1 || end.set.Statistics().slept > 0);
  EXPECT_EQ(end.channel.Unanswered(), 0U);
}

// A child that runs `body` and exits with 0 if it returned true.
pid_t Fork(const std::function<bool()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body() ? 0 : 1);
  return pid;
}
void ExpectExit(pid_t pid) {
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

struct Load {
  SpinPolicy::Mode mode;
  std::uint64_t messages;
  std::uint64_t in_flight;
};
class ChannelPairTest : public ::testing::TestWithParam<Load> {
 protected:
  void SetUp() override {
    if (const auto supported = WaitSet::Supported(); !supported) GTEST_SKIP();
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    caller_ = std::move(pair->first);
    callee_ = std::move(pair->second);
  }
  UniqueFd caller_;
  UniqueFd callee_;
};

TEST_P(ChannelPairTest, TwoProcessesExchangeEveryMessageOnce) {
  const pid_t pid = Fork([&] {
    caller_.Reset();
    return Serve(std::move(callee_), GetParam().mode);
  });
  ASSERT_GT(pid, 0);
  callee_.Reset();
  Drive(std::move(caller_), GetParam().mode, GetParam().messages, GetParam().in_flight);
  ExpectExit(pid);
}

TEST_P(ChannelPairTest, TwoThreadsExchangeEveryMessageOnce) {
  bool served = false;
  std::thread callee([&] { served = Serve(std::move(callee_), GetParam().mode); });
  Drive(std::move(caller_), GetParam().mode, GetParam().messages / 10, GetParam().in_flight);
  callee.join();
  EXPECT_TRUE(served);
}

// Sleeps forced: one at a time, each wait may sleep. Many in flight: full rings, waits for room.
INSTANTIATE_TEST_SUITE_P(Loads, ChannelPairTest,
                         ::testing::Values(Load{SpinPolicy::Mode::kNever, kMessages / 10, 1},
                                           Load{SpinPolicy::Mode::kNever, kMessages, 200},
                                           Load{SpinPolicy::Mode::kAdaptive, kMessages / 10, 1},
                                           Load{SpinPolicy::Mode::kAdaptive, kMessages / 10, 200}));

class ChannelDeathTest : public ChannelPairTest {};

TEST_F(ChannelDeathTest, APeerKilledWhileTheOtherWaitsIsToldByTheDoorbell) {
  const pid_t pid = Fork([&] {
    caller_.Reset();
    End end(*MustAccept(std::move(callee_)), SpinPolicy::Mode::kNever);
    Channel::Incoming incoming;
    // Takes the call and never answers.
    if (end.Receive(incoming) != ChannelStatus::kOk) return false;
    for (;;) ::pause();
  });
  ASSERT_GT(pid, 0);
  callee_.Reset();
  End end(*MustOffer(std::move(caller_)), SpinPolicy::Mode::kNever);
  ASSERT_EQ(end.channel.Send({.call_id = 1}), ChannelStatus::kOk);
  // What a worker's watcher does: it sees the end of the process and rings.
  std::thread watcher([&] {
    while (end.channel.Records().sleeps->load() == 0) std::this_thread::yield();
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    end.doorbell.Ring();
  });
  Channel::Incoming incoming;
  EXPECT_EQ(end.Receive(incoming), ChannelStatus::kFailed);
  watcher.join();
  EXPECT_EQ(end.channel.Failure().code, ErrorCode::kUnavailable);
  EXPECT_EQ(end.channel.Unanswered(), 1U) << "delivered, no answer: the worker decides the class";
}

TEST_F(ChannelDeathTest, APeerThatEndsBetweenItsAnswersLosesNoneThatItSent) {
  const pid_t pid = Fork([&] {
    caller_.Reset();
    End end(*MustAccept(std::move(callee_)), SpinPolicy::Mode::kNever);
    Channel::Incoming incoming;
    for (std::uint64_t i = 0; i < 5; ++i) {
      if (end.Receive(incoming) != ChannelStatus::kOk) return false;
      end.channel.Release();
    }
    for (std::uint64_t i = 0; i < 3; ++i) {
      if (!end.Send({.type = RecordType::kReply, .call_id = i}, {})) return false;
    }
    return true;  // And ends, with two answers due.
  });
  ASSERT_GT(pid, 0);
  callee_.Reset();
  End end(*MustOffer(std::move(caller_)), SpinPolicy::Mode::kNever);
  for (std::uint64_t i = 0; i < 5; ++i) {
    ASSERT_EQ(end.channel.Send({.call_id = i}), ChannelStatus::kOk);
  }
  ExpectExit(pid);
  EXPECT_EQ(end.channel.CheckSocket(), ChannelStatus::kOk);
  Channel::Incoming incoming;
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_EQ(end.channel.Receive(incoming), ChannelStatus::kOk);
    EXPECT_EQ(incoming.record.call_id, i);
    end.channel.Release();
  }
  EXPECT_EQ(end.channel.Receive(incoming), ChannelStatus::kFailed);
  EXPECT_EQ(end.channel.Failure().code, ErrorCode::kUnavailable);
  EXPECT_EQ(end.channel.Unanswered(), 2U);
}

TEST_F(ChannelDeathTest, ASegmentsBytesAreSeenByWhoTookIt) {
  auto fd = os::CreateSealedMemfd("test", kSegmentUnitBytes);
  ASSERT_TRUE(fd);
  auto* bytes = static_cast<std::byte*>(
      ::mmap(nullptr, kSegmentUnitBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd->Get(), 0));
  ASSERT_NE(bytes, MAP_FAILED);
  const pid_t pid = Fork([&] {
    caller_.Reset();
    End end(*MustAccept(std::move(callee_)), SpinPolicy::Mode::kNever);
    Channel::Incoming incoming;
    std::byte* mapped = nullptr;
    for (std::uint64_t i = 0; i < 100; ++i) {
      if (end.Receive(incoming) != ChannelStatus::kOk) return false;
      const Record call = incoming.record;
      end.channel.Release();
      if (auto segment = end.channel.ReceiveSegment(call.slot)) {
        mapped = static_cast<std::byte*>(::mmap(nullptr, kSegmentUnitBytes, PROT_READ | PROT_WRITE,
                                                MAP_SHARED, segment->fd.Get(), 0));
      }
      if (mapped[0] != static_cast<std::byte>(i)) return false;
      mapped[0] = static_cast<std::byte>(i + 1);
      if (!end.Send({.type = RecordType::kReply, .returned_slot = call.slot, .call_id = i}, {})) {
        return false;
      }
    }
    return true;
  });
  ASSERT_GT(pid, 0);
  callee_.Reset();
  End end(*MustOffer(std::move(caller_)), SpinPolicy::Mode::kNever);
  ASSERT_TRUE(end.channel.SendSegment(0, fd->Get(), 1, Soon()));
  Channel::Incoming incoming;
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(bytes[0], static_cast<std::byte>(i));
    ASSERT_TRUE(end.Send({.payload = PayloadKind::kSegment, .call_id = i, .payload_bytes = 1}, {}));
    ASSERT_EQ(end.Receive(incoming), ChannelStatus::kOk);
    end.channel.Release();
  }
  ExpectExit(pid);
  ::munmap(bytes, kSegmentUnitBytes);
}

// Writes rubbish over its words and rings until told to stop. The other side must not crash, must
// not see a record that breaks the rules, and its waits must end.
TEST_F(ChannelDeathTest, APeerThatScribblesOverTheMemoryCannotHoldTheOther) {
  std::atomic<bool> stop = false;
  const auto fd = os::CreateSealedMemfd("test", kChannelMemoryBytes);
  ASSERT_TRUE(fd);
  auto* memory = static_cast<std::byte*>(
      ::mmap(nullptr, kChannelMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd->Get(), 0));
  ASSERT_NE(memory, MAP_FAILED);
  const auto offer = EncodePacket(ChannelOffer{});
  std::memcpy(memory, offer.data(), offer.size());
  std::thread scribbler([&] {
    std::uint64_t x = 88172645463325252U;
    auto* words = reinterpret_cast<RingWords*>(memory + kRequestWordsAt);
    while (!stop.load(std::memory_order_relaxed)) {
      x ^= x << 13U, x ^= x >> 7U, x ^= x << 17U;
      const auto offset = (x >> 32U) % (kRingBytes / 64) * 64;
      std::atomic_ref(*reinterpret_cast<std::uint64_t*>(memory + kRequestDataAt + offset))
          .store((x % 17 * 64) | (x >> 40U & 7U) << 32U, std::memory_order_relaxed);
      words->tail.store(static_cast<std::uint32_t>(x >> 20U) & 0x7ffc0U, std::memory_order_relaxed);
      words->consumer_sleeps.store(static_cast<std::uint32_t>(x), std::memory_order_relaxed);
      Wake(words->tail, WakeScope::kShared);
    }
  });
  for (int round = 0; round < 200; ++round) {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    const std::array<int, 1> fds = {fd->Get()};
    ASSERT_TRUE(os::SendPacket(pair->first.Get(), offer, fds, Soon()));
    End end(*MustAccept(std::move(pair->second)), SpinPolicy::Mode::kNever);
    Channel::Incoming incoming;
    ChannelStatus status = ChannelStatus::kOk;
    while ((status = end.channel.Receive(incoming)) != ChannelStatus::kFailed) {
      if (status == ChannelStatus::kOk) {
        end.channel.Release();
      } else {
        end.WaitFor(end.channel.Records());
      }
    }
    EXPECT_EQ(end.channel.Failure().code, ErrorCode::kInvalidArgument);
  }
  stop = true;
  scribbler.join();
  ::munmap(memory, kChannelMemoryBytes);
}

}  // namespace
}  // namespace cwasi::ipc
