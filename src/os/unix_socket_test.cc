// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/unix_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"

namespace cwasi::os {
namespace {

using std::chrono::milliseconds;

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(10));
}

MonotonicNs Past() {
  return Now() - 1;
}

UniqueFd OpenNull() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

class UnixSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = CreatePacketPair();
    ASSERT_TRUE(pair) << pair.error().message;
    pair_ = *std::move(pair);
  }
  [[nodiscard]] int Left() const { return pair_.first.Get(); }
  [[nodiscard]] int Right() const { return pair_.second.Get(); }
  Result<Packet> Receive(std::size_t max_fds, MonotonicNs deadline) {
    return ReceivePacket(Right(), buffer_, max_fds, deadline);
  }
  ErrorCode ReceiveFailure(std::size_t max_fds, MonotonicNs deadline) {
    const auto packet = Receive(max_fds, deadline);
    EXPECT_FALSE(packet);
    return packet ? ErrorCode::kUnimplemented : packet.error().code;
  }

  SocketPair pair_;
  std::array<std::byte, 64> buffer_{};
  const std::vector<std::byte> hello_ = std::vector<std::byte>(5, std::byte{'h'});
};

TEST_F(UnixSocketTest, KeepsPacketsApart) {
  ASSERT_TRUE(SendPacket(Left(), hello_, {}, Soon()));
  ASSERT_TRUE(SendPacket(Left(), std::span(hello_).first(2), {}, Soon()));
  const auto first = Receive(0, Soon());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->size_bytes, 5U);
  const auto second = Receive(0, Soon());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->size_bytes, 2U);
}

TEST_F(UnixSocketTest, CarriesDescriptorsThatAreCloseOnExec) {
  const UniqueFd null = OpenNull();
  const std::array fds = {null.Get(), Left()};
  ASSERT_TRUE(SendPacket(Left(), hello_, fds, Soon()));
  const auto packet = Receive(2, Soon());
  ASSERT_TRUE(packet) << packet.error().message;
  ASSERT_EQ(packet->fds.size(), 2U);
  struct stat sent{};
  struct stat got{};
  ASSERT_EQ(::fstat(null.Get(), &sent), 0);
  ASSERT_EQ(::fstat(packet->fds[0].Get(), &got), 0);
  EXPECT_EQ(sent.st_rdev, got.st_rdev);
  EXPECT_NE(null.Get(), packet->fds[0].Get());
  for (const UniqueFd& fd : packet->fds) EXPECT_NE(::fcntl(fd.Get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(UnixSocketTest, ClosesAllDescriptorsWhenTooManyCame) {
  const UniqueFd null = OpenNull();
  const std::size_t before = test::CountDescriptors();
  // One too many still fits the alignment of the kernel's control buffer; twenty do not.
  for (const std::size_t count : {2U, 3U, 4U, 20U}) {
    const std::vector<int> fds(count, null.Get());
    ASSERT_TRUE(SendPacket(Left(), hello_, fds, Soon()));
    EXPECT_EQ(ReceiveFailure(1, Soon()), ErrorCode::kInvalidArgument) << count;
    EXPECT_EQ(test::CountDescriptors(), before) << count;
  }
}

TEST_F(UnixSocketTest, RefusesAPacketLongerThanTheBufferAndClosesItsDescriptors) {
  const UniqueFd null = OpenNull();
  const std::size_t before = test::CountDescriptors();
  ASSERT_TRUE(SendPacket(Left(), std::vector<std::byte>(65), std::array{null.Get()}, Soon()));
  EXPECT_EQ(ReceiveFailure(1, Soon()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(test::CountDescriptors(), before);
  ASSERT_TRUE(SendPacket(Left(), std::vector<std::byte>(64), {}, Soon()));
  EXPECT_TRUE(Receive(0, Soon())) << "the next packet is whole again";
}

TEST_F(UnixSocketTest, TellsWhenThePeerIsGone) {
  ASSERT_TRUE(SendPacket(Left(), hello_, {}, Soon()));
  pair_.first.Reset();
  EXPECT_TRUE(Receive(0, Soon())) << "what was sent before the end still comes";
  EXPECT_EQ(ReceiveFailure(0, Soon()), ErrorCode::kUnavailable);
  const auto sent = SendPacket(Right(), hello_, {}, Soon());
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
}

TEST_F(UnixSocketTest, APeerThatLeavesWithoutReadingIsGoneToo) {
  ASSERT_TRUE(SendPacket(Right(), hello_, {}, Soon()));
  pair_.first.Reset();
  EXPECT_EQ(ReceiveFailure(0, Soon()), ErrorCode::kUnavailable);
}

TEST_F(UnixSocketTest, GivesUpAtTheDeadline) {
  const MonotonicNs start = Now();
  EXPECT_EQ(ReceiveFailure(0, DeadlineAfter(start, milliseconds(20))),
            ErrorCode::kDeadlineExceeded);
  EXPECT_GE(Now() - start, 20'000'000);
  EXPECT_EQ(ReceiveFailure(0, Past()), ErrorCode::kDeadlineExceeded);
}

TEST_F(UnixSocketTest, TakesWhatIsThereEvenPastTheDeadline) {
  ASSERT_TRUE(SendPacket(Left(), hello_, {}, Past()));
  EXPECT_TRUE(Receive(0, Past()));
}

TEST_F(UnixSocketTest, AFullSocketGivesUpAtTheDeadlineAndLosesNothing) {
  int sent = 0;
  Result<> result;
  while ((result = SendPacket(Left(), hello_, {}, Past())) && sent < 1'000'000) ++sent;
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDeadlineExceeded);
  for (int i = 0; i < sent; ++i) ASSERT_TRUE(Receive(0, Past())) << i << " of " << sent;
  EXPECT_EQ(ReceiveFailure(0, Past()), ErrorCode::kDeadlineExceeded);
}

TEST_F(UnixSocketTest, RefusesToSendMoreThanAPacketTakes) {
  const auto sent = SendPacket(Left(), std::vector<std::byte>(8U << 20U), {}, Soon());
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cwasi::os
