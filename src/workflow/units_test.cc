// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/units.h"

#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

using std::chrono::nanoseconds;

TEST(UnitsTest, ReadsEveryUnit) {
  EXPECT_EQ(ParseBytes("65536"), 65'536U);
  EXPECT_EQ(ParseBytes("64KiB"), 65'536U);
  EXPECT_EQ(ParseBytes("3MiB"), 3U << 20U);
  EXPECT_EQ(ParseBytes("4GiB"), 4ULL << 30U);
  EXPECT_EQ(ParseDuration("1ns"), nanoseconds(1));
  EXPECT_EQ(ParseDuration("2us"), nanoseconds(2'000));
  EXPECT_EQ(ParseDuration("3ms"), nanoseconds(3'000'000));
  EXPECT_EQ(ParseDuration("4s"), nanoseconds(4'000'000'000));
  EXPECT_EQ(ParseDuration("5m"), nanoseconds(300'000'000'000));
  EXPECT_EQ(ParseDuration("6h"), nanoseconds(21'600'000'000'000));
}

TEST(UnitsTest, RefusesWhatIsNotANumberAndAUnit) {
  for (const char* text :
       {"", "MiB", "1MB", "1 MiB", " 1MiB", "1mib", "-1", "+1", "1.5GiB", "1KiBx", "0x10"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
  for (const char* text : {"", "s", "1", "1 s", "1S", "-1s", "1.5s", "1d", "1ss", "1s "}) {
    EXPECT_FALSE(ParseDuration(text)) << text;
  }
}

TEST(UnitsTest, RefusesWhatDoesNotFit) {
  EXPECT_EQ(ParseBytes("18446744073709551615"), UINT64_MAX);
  EXPECT_FALSE(ParseBytes("18446744073709551616"));
  EXPECT_FALSE(ParseBytes("17179869184GiB"));
  EXPECT_EQ(ParseDuration("9223372036854775807ns"), nanoseconds(INT64_MAX));
  EXPECT_FALSE(ParseDuration("9223372036854775808ns"));
  EXPECT_FALSE(ParseDuration("9223372037s"));
}

}  // namespace
}  // namespace cwasi::workflow
