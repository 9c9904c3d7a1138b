// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/payload.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace cwasi::buf {
namespace {

UniqueFd FileOf(std::size_t bytes) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 31 + (i >> 9U));
  if (bytes != 0) {
    EXPECT_EQ(::write(fd.Get(), data.data(), bytes), static_cast<ssize_t>(bytes));
  }
  ::lseek(fd.Get(), 0, SEEK_SET);
  return fd;
}

class PayloadTest : public testing::TestWithParam<MovePolicy> {
 protected:
  static PayloadMemory::Options Options() {
    PayloadMemory::Options options;
    options.policy = GetParam();
    options.max_payload_bytes = 8 * kUnitBytes;
    return options;
  }
  PayloadMemory memory_{Options()};
};
INSTANTIATE_TEST_SUITE_P(Policy, PayloadTest,
                         testing::Values(MovePolicy::kAuto, MovePolicy::kCopyAll),
                         [](const auto& policy) {
                           return policy.param == MovePolicy::kAuto ? "Moved" : "Copied";
                         });

TEST_P(PayloadTest, ReadsAndWritesFilesOfAnySizeWithoutACopyOfItsOwn) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, kUnitBytes - 1,
                                  kUnitBytes + 1, 8 * kUnitBytes}) {
    const UniqueFd in = FileOf(bytes);
    auto payload = Payload::ReadFrom(in.Get(), bytes, memory_);
    ASSERT_TRUE(payload) << payload.error().message;
    EXPECT_EQ(payload->Size(), bytes);
    EXPECT_EQ(payload->IsSegment(), memory_.Moves(bytes));
    const UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
    ASSERT_TRUE(payload->WriteTo(out.Get()));
    std::vector<std::byte> a(bytes);
    std::vector<std::byte> b(bytes);
    EXPECT_EQ(::pread(in.Get(), a.data(), bytes, 0), static_cast<ssize_t>(bytes));
    EXPECT_EQ(::pread(out.Get(), b.data(), bytes, 0), static_cast<ssize_t>(bytes));
    EXPECT_EQ(a, b);
  }
  EXPECT_EQ(memory_.Copies().copies, 0U);
}

TEST_P(PayloadTest, ReadsAPipeToItsEnd) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  std::thread writer([&] {
    const std::vector<char> data(100'000, 'x');
    EXPECT_EQ(::write(out.Get(), data.data(), data.size()), 100'000);
    out.Reset();
  });
  const auto payload = Payload::ReadFrom(in.Get(), Payload::kUnknownSize, memory_);
  writer.join();
  ASSERT_TRUE(payload) << payload.error().message;
  EXPECT_EQ(payload->Size(), 100'000U);
  EXPECT_EQ(payload->Bytes()[99'999], std::byte{'x'});
}

TEST_P(PayloadTest, RefusesWhatIsOverTheLimit) {
  const auto known = Payload::ReadFrom(0, 8 * kUnitBytes + 1, memory_);
  ASSERT_FALSE(known);
  EXPECT_EQ(known.error().sys_errno, EMSGSIZE);
  const UniqueFd file = FileOf(8 * kUnitBytes + 1);
  const auto unknown = Payload::ReadFrom(file.Get(), Payload::kUnknownSize, memory_);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().sys_errno, EMSGSIZE);
}

TEST_P(PayloadTest, AFileThatBecameShorterIsAnError) {
  const UniqueFd file = FileOf(1000);
  const auto payload = Payload::ReadFrom(file.Get(), 3 * kUnitBytes, memory_);
  ASSERT_FALSE(payload);
  EXPECT_EQ(payload.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(memory_.Pool().GetStats().in_use, 0U);
}

TEST_P(PayloadTest, ACopyIsCounted) {
  for (const std::size_t bytes : {std::size_t{100}, 3 * kUnitBytes}) {
    const UniqueFd file = FileOf(bytes);
    const auto first = Payload::ReadFrom(file.Get(), bytes, memory_);
    ASSERT_TRUE(first);
    const auto before = memory_.Copies();
    const auto second = Payload::CopyOf(first->Bytes(), memory_);
    ASSERT_TRUE(second);
    EXPECT_EQ(memory_.Copies().copies, before.copies + 1);
    EXPECT_EQ(memory_.Copies().bytes, before.bytes + bytes);
    EXPECT_TRUE(std::equal(first->Bytes().begin(), first->Bytes().end(), second->Bytes().begin(),
                           second->Bytes().end()));
    EXPECT_NE(first->Bytes().data(), second->Bytes().data());
  }
}

TEST_P(PayloadTest, AFullDiskIsAnError) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const auto written = Payload(std::vector<std::byte>(10)).WriteTo(full.Get());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().sys_errno, ENOSPC);
}

}  // namespace
}  // namespace cwasi::buf
