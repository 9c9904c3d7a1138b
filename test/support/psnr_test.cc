// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/support/psnr.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/must.h"

namespace cwasi::test {
namespace {

class PsnrTest : public ::testing::Test {
 protected:
  // Reads `text` back as a PPM file of this test's own.
  static Result<Picture> Read(const std::string& text) {
    const auto path = std::filesystem::path(::testing::TempDir()) /
                      (std::string("psnr_test_") +
                       ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::ofstream(path, std::ios::binary) << text;
    auto picture = ReadPpm(path);
    std::filesystem::remove(path);
    return picture;
  }
};

TEST_F(PsnrTest, ReadsWhatTheFormatAllows) {
  for (const std::string header :
       {"P6\n2 1\n255\n", "P6\n# a comment\n2 1\n255\n", "P6\n           2           1\n255\n"}) {
    const auto picture = Read(header + "abcdef");
    ASSERT_TRUE(picture) << header;
    EXPECT_EQ(picture->width, 2U);
    EXPECT_EQ(picture->height, 1U);
    EXPECT_EQ(picture->rgb, (std::vector<std::uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
  }
}

TEST_F(PsnrTest, RoundsSixteenBitsToEight) {
  // 0x80 and 0x81 parts of 257 above 1, and white.
  const auto picture = Read("P6\n1 1\n65535\n" + std::string("\x01\x81\x01\x82\xff\xff"));
  ASSERT_TRUE(picture);
  EXPECT_EQ(picture->rgb, (std::vector<std::uint8_t>{1, 2, 255}));
}

TEST_F(PsnrTest, RefusesOtherFiles) {
  for (const std::string text :
       {"", "P6", "P5\n2 1\n255\nabcdef", "P6\n2 1\n65535\nabcdef", "P6\n2 1\n255\nabcde",
        "P6\n2 1\n255\nabcdefg", "P6\n2 1\n1023\nabcdefabcdef", "P6\n#", "P6\n99999999999 1\n255\n",
        "P6\n2 x\n255\nabcdef"})
    EXPECT_FALSE(Read(text)) << text;
  EXPECT_EQ(ReadPpm("/nonexistent").error().code, ErrorCode::kNotFound);
}

TEST_F(PsnrTest, IsInfiniteOnlyForEqualPictures) {
  const Picture a{1, 1, {10, 20, 30}};
  EXPECT_TRUE(std::isinf(Must(Psnr(a, a))));
  EXPECT_NEAR(Must(Psnr(a, {1, 1, {11, 19, 31}})), 48.13, 0.01);
  EXPECT_NEAR(Must(Psnr({1, 1, {0, 0, 0}}, {1, 1, {255, 255, 255}})), 0, 1e-9);
}

TEST_F(PsnrTest, IsNoneForOtherSizes) {
  const Picture wide{2, 1, {0, 0, 0, 0, 0, 0}};
  const Picture tall{1, 2, {0, 0, 0, 0, 0, 0}};
  EXPECT_FALSE(Psnr(wide, tall));
}

}  // namespace
}  // namespace cwasi::test
