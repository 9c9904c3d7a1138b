// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include <gtest/gtest.h>

namespace cwasi::os {
namespace {

bool IsMapped(const std::byte* address) {
  unsigned char resident = 0;
  return ::mincore(const_cast<std::byte*>(address), 4096, &resident) == 0 || errno != ENOMEM;
}

TEST(MappingTest, StartsWhereAskedAndEndsWithItsOwner) {
  const std::byte* base = nullptr;
  {
    auto mapping = Mapping::Reserve(std::size_t{6} << 20, std::size_t{2} << 20);
    ASSERT_TRUE(mapping) << mapping.error().message;
    base = mapping->Base();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(base) % (std::size_t{2} << 20), 0U);
    EXPECT_TRUE(IsMapped(base));
    EXPECT_TRUE(IsMapped(base + mapping->SizeBytes() - 4096));
  }
  EXPECT_FALSE(IsMapped(base));
}

TEST(MappingTest, MoveLeavesOneOwner) {
  auto first = Mapping::Reserve(4096, 4096);
  ASSERT_TRUE(first) << first.error().message;
  const std::byte* base = first->Base();
  {
    const Mapping second = std::move(*first);
    EXPECT_EQ(second.Base(), base);
  }
  EXPECT_FALSE(IsMapped(base));
}

TEST(MappingTest, RefusesMoreThanThereIs) {
  const auto mapping = Mapping::Reserve(std::size_t{1} << 62, 4096);
  ASSERT_FALSE(mapping);
  EXPECT_EQ(mapping.error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace cwasi::os
