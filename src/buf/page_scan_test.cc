// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/page_scan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "buf/page_mover.h"
#include "buf/units.h"
#include "os/mapping.h"
#include "os/memfd.h"
#include "test/support/child.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

class PageScannerTest : public testing::Test {
 protected:
  static constexpr std::size_t kScanned = 4 * kUnitBytes;
  void SetUp() override {
    std::memset(shared_.Base(), 1, kScanned);
    ASSERT_TRUE(MapCopyOnWrite(private_.Base(), kScanned, fd_.Get()));
    if (!scanner_.DropPrivatePages(private_.Base(), kScanned))
      GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  }
  static os::Mapping Reserve() { return std::move(*os::Mapping::Reserve(kScanned, kUnitBytes)); }
  bool IsClean() const {
    return std::all_of(private_.Base(), private_.Base() + kScanned,
                       [](std::byte b) { return b == std::byte{1}; });
  }
  // Writes every n-th page; how many.
  std::size_t WriteEvery(std::size_t n) {
    std::size_t pages = 0;
    for (std::size_t at = 0; at < kScanned; at += n * kPageBytes, ++pages)
      private_.Base()[at + 7] = std::byte{9};
    return pages;
  }

  UniqueFd fd_ = std::move(*os::CreateSealedMemfd("scanned", kScanned));
  os::Mapping shared_ = [this] {
    auto mapping = Reserve();
    EXPECT_TRUE(MapShared(mapping.Base(), kScanned, fd_.Get()));
    return mapping;
  }();
  os::Mapping private_ = Reserve();
  PageScanner scanner_;
};

TEST_F(PageScannerTest, CountsAndDropsExactlyThePagesThatWereWritten) {
  for (const std::size_t every : {1U, 2U, 3U, 10U, 64U, 1000U, 2047U}) {
    const std::size_t written = WriteEvery(every);
    EXPECT_EQ(scanner_.DropPrivatePages(private_.Base(), kScanned), written) << every;
    EXPECT_TRUE(IsClean()) << every;
    EXPECT_EQ(scanner_.DropPrivatePages(private_.Base(), kScanned), 0U) << every;
  }
}

TEST_F(PageScannerTest, LeavesThePagesOfTheFileMapped) {
  ASSERT_TRUE(IsClean());
  WriteEvery(100);
  ASSERT_TRUE(scanner_.DropPrivatePages(private_.Base(), kScanned));
  EXPECT_GT(test::CountPresent(private_.Base(), kScanned), kScanned / kPageBytes * 98 / 100);
}

TEST_F(PageScannerTest, DropsEverythingInAChildWhoseMemoryItsDescriptorDoesNotMean) {
  EXPECT_EQ(test::InChild([&]() -> int {
              if (!MapCopyOnWrite(private_.Base(), kScanned, fd_.Get())) return 1;
              WriteEvery(3);
              if (scanner_.DropPrivatePages(private_.Base(), kScanned)) return 2;
              return IsClean() ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace cwasi::buf
