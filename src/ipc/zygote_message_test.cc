// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/zygote_message.h"

#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "os/unix_socket.h"
#include "test/support/proc_self.h"

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(10));
}

std::vector<ZygoteMessage> EveryMessage() {
  return {Greet{},
          ForkWorker{.worker = 7},
          EndAll{},
          Greeting{.pid = 99, .sandbox = "sandboxed by seccomp"},
          Forked{.worker = 7, .pid = 100},
          ForkFailed{.worker = 8, .sys_errno = 11, .message = "fork"},
          Ended{.worker = 7, .by_signal = true, .code = 9}};
}

std::vector<std::byte> Encoded(const ZygoteMessage& message) {
  auto bytes = EncodeZygoteMessage(message);
  EXPECT_TRUE(bytes) << bytes.error().message;
  return bytes.value_or(std::vector<std::byte>{});
}

TEST(ZygoteMessageTest, BringsBackEveryMessage) {
  for (const ZygoteMessage& message : EveryMessage()) {
    const auto back = DecodeZygoteMessage(Encoded(message));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, message);
  }
}

TEST(ZygoteMessageTest, RefusesWhatEndsEarlyOrLate) {
  for (const ZygoteMessage& message : EveryMessage()) {
    auto bytes = Encoded(message);
    for (std::size_t length = 0; length < bytes.size(); ++length)
      EXPECT_FALSE(DecodeZygoteMessage(std::span(bytes).first(length))) << length;
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(DecodeZygoteMessage(bytes));
  }
}

TEST(ZygoteMessageTest, AnyChangedByteIsRefusedOrMeansWhatItSays) {
  for (const ZygoteMessage& message : EveryMessage()) {
    const auto bytes = Encoded(message);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned value : {0U, 1U, 2U, 8U, 0x7fU, 0xffU}) {
        auto changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        if (const auto back = DecodeZygoteMessage(changed)) {
          EXPECT_EQ(Encoded(*back), changed);
        }
      }
    }
  }
}

TEST(ZygoteMessageTest, ThreeDescriptorsOrTooFewAreAnErrorAndClosed) {
  auto pair = os::CreatePacketPair();
  const auto other = os::CreatePacketPair();
  const ZygoteSocket ours(std::move(pair->first));
  const std::size_t before = test::CountDescriptors();
  const int fd = other->first.Get();
  for (const auto& fds : std::vector<std::vector<int>>{{}, {fd}, {fd, fd, fd}}) {
    ASSERT_TRUE(os::SendPacket(pair->second.Get(), Encoded(ForkWorker{.worker = 1}), fds, Soon()));
    const auto got = ours.Receive(Soon());
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(test::CountDescriptors(), before);
}

}  // namespace
}  // namespace cwasi::ipc
