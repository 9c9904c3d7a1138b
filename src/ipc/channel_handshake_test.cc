// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel_handshake.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "os/memfd.h"
#include "test/support/temp_dir.h"

namespace cwasi::ipc {
namespace {

constexpr std::size_t kBytes = 8192;

std::vector<std::byte> Bytes(const ChannelPacket& packet) {
  const auto bytes = EncodePacket(packet);
  return {bytes.begin(), bytes.end()};
}

TEST(ChannelHandshakeTest, EveryPacketComesBackAsItWas) {
  for (const ChannelPacket& packet :
       {ChannelPacket{ChannelOffer{.relation = Relation::kOtherDomain}},
        ChannelPacket{ChannelAnswer{.verdict = kLastVerdict}},
        ChannelPacket{SegmentPacket{.slot = kMaxSlots - 1, .units = kMaxSegmentUnits}}}) {
    const auto again = DecodePacket(Bytes(packet));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_TRUE(*again == packet);
  }
}

TEST(ChannelHandshakeTest, EveryBitIsRefusedOrMeansSomething) {
  for (const ChannelPacket& packet : {ChannelPacket{ChannelOffer{}}, ChannelPacket{ChannelAnswer{}},
                                      ChannelPacket{SegmentPacket{}}}) {
    for (std::size_t bit = 0; bit < 8 * kChannelPacketBytes; ++bit) {
      auto bytes = Bytes(packet);
      bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      const auto changed = DecodePacket(bytes);
      if (!changed) continue;
      EXPECT_FALSE(*changed == packet);
      EXPECT_EQ(Bytes(*changed), bytes);
    }
  }
}

TEST(ChannelHandshakeTest, NamesBothVersionsWhateverFollows) {
  for (const std::size_t size : {std::size_t{8}, std::size_t{24}, std::size_t{64}}) {
    auto bytes = Bytes(ChannelOffer{});
    bytes.resize(size);
    bytes[4] = std::byte{9};
    const auto decoded = DecodePacket(bytes);
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().code, ErrorCode::kFailedPrecondition);
    EXPECT_NE(decoded.error().message.find("version 9, this worker version 1"), std::string::npos)
        << decoded.error().message;
  }
}

TEST(ChannelHandshakeTest, RefusesPacketsOfAnotherLength) {
  for (const std::size_t size : {0U, 7U, 8U, 23U, 25U}) {
    auto bytes = Bytes(ChannelOffer{});
    bytes.resize(size);
    const auto decoded = DecodePacket(bytes);
    ASSERT_FALSE(decoded) << size;
    EXPECT_EQ(decoded.error().code, ErrorCode::kInvalidArgument);
  }
}

UniqueFd Memfd(unsigned flags, int seals, std::size_t bytes = kBytes) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | flags));
  EXPECT_EQ(::ftruncate(fd.Get(), static_cast<off_t>(bytes)), 0);
  EXPECT_TRUE(seals == 0 || ::fcntl(fd.Get(), F_ADD_SEALS, seals) == 0);
  return fd;
}
constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

TEST(ChannelHandshakeTest, TakesASealedMemfdOfTheRightSize) {
  const auto good = os::CreateSealedMemfd("test", kBytes);
  ASSERT_TRUE(good);
  const auto seals = CheckSealedMemory(good->Get(), kBytes);
  ASSERT_TRUE(seals) << seals.error().message;
  EXPECT_EQ(*seals & kSizeSeals, kSizeSeals);
}

TEST(ChannelHandshakeTest, RefusesEveryOtherKindOfDescriptor) {
  const test::TempDir folder;
  const std::string file = folder.Path() / "file";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd pipe_out(pipe[0]);
  const UniqueFd pipe_in(pipe[1]);
  const UniqueFd directory(::open(folder.Path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const UniqueFd plain(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(plain.Get(), kBytes), 0);
  const UniqueFd path(::open(file.c_str(), O_PATH | O_CLOEXEC));
  const UniqueFd device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  const UniqueFd unsealed = Memfd(MFD_ALLOW_SEALING, 0);
  const UniqueFd unsealable = Memfd(0, 0);
  const UniqueFd may_grow = Memfd(MFD_ALLOW_SEALING, F_SEAL_SHRINK);
  const UniqueFd may_shrink = Memfd(MFD_ALLOW_SEALING, F_SEAL_GROW);
  const UniqueFd small = Memfd(MFD_ALLOW_SEALING, kSizeSeals, kBytes - 1);
  const UniqueFd large = Memfd(MFD_ALLOW_SEALING, kSizeSeals, kBytes + 1);
  const UniqueFd good = Memfd(MFD_ALLOW_SEALING, kSizeSeals);
  const UniqueFd read_only(
      ::open(("/proc/self/fd/" + std::to_string(good.Get())).c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(read_only.IsOpen());
  const struct {
    const char* name;
    int fd;
  } wrong[] = {{"pipe, reading", pipe_out.Get()},
               {"pipe, writing", pipe_in.Get()},
               {"directory", directory.Get()},
               {"file", plain.Get()},
               {"path", path.Get()},
               {"device", device.Get()},
               {"unsealed", unsealed.Get()},
               {"unsealable", unsealable.Get()},
               {"may grow", may_grow.Get()},
               {"may shrink", may_shrink.Get()},
               {"too small", small.Get()},
               {"too large", large.Get()},
               {"read-only", read_only.Get()},
               {"closed", -1}};
  for (const auto& w : wrong) {
    const auto checked = CheckSealedMemory(w.fd, kBytes);
    ASSERT_FALSE(checked) << w.name;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument) << w.name;
  }
}

TEST(ChannelHandshakeTest, RefusesHugePages) {
  const UniqueFd huge(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (!huge.IsOpen()) GTEST_SKIP() << "this kernel has no huge pages for memfds";
  ASSERT_EQ(::ftruncate(huge.Get(), kSegmentUnitBytes), 0);
  ASSERT_EQ(::fcntl(huge.Get(), F_ADD_SEALS, kSizeSeals), 0);
  EXPECT_FALSE(CheckSealedMemory(huge.Get(), kSegmentUnitBytes));
}

}  // namespace
}  // namespace cwasi::ipc
