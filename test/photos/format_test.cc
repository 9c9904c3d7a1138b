// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The pixel code of examples/photos on input that no photograph brings.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/photos/image.h"
#include "examples/photos/jpeg.h"
#include "examples/photos/png.h"
#include "examples/photos/resample.h"
#include "examples/photos/sharpen.h"
#include "examples/photos/sheet.h"
#include "test/support/must.h"

namespace photos {
namespace {

using ::cwasi::test::Must;
using Bytes = std::vector<std::byte>;

Bytes ToBytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// An image of one value, with the memory it lives in.
struct Owned {
  Bytes memory;
  Image image;

  explicit Owned(Size size, std::uint8_t value = 0)
      : memory(Must(ImageBytes(size))), image(StartImage(size, memory)) {
    std::ranges::fill(image.pixels, value);
  }
};

TEST(ImageTest, AHeaderIsFixedPpm) {
  const Owned owned({640, 9});
  const std::string header(reinterpret_cast<const char*>(owned.memory.data()), kHeaderBytes);
  EXPECT_EQ(header, "P6\n         640           9\n255\n");
  EXPECT_EQ(owned.memory.size(), kHeaderBytes + std::size_t{3} * 640 * 9);
}

TEST(ImageTest, ParsesWhatItWrites) {
  for (const Size size : {Size{1, 1}, Size{65535, 1}, Size{1, 65535}, Size{320, 213}}) {
    Owned owned(size, 7);
    const Image image = Must(ParseImage(owned.memory));
    EXPECT_EQ(image.size, size);
    EXPECT_EQ(image.pixels.data(), owned.image.pixels.data());
    EXPECT_EQ(image.pixels.size(), owned.image.pixels.size());
  }
}

TEST(ImageTest, RefusesEveryOtherHeader) {
  const std::string good = "P6\n           2           1\n255\nabcdef";
  Bytes bytes = ToBytes(good);
  ASSERT_TRUE(ParseImage(bytes));
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    for (int value = 0; value < 256; ++value) {
      const bool number_field = (i >= 3 && i < 15) || (i >= 16 && i < 27);
      bytes = ToBytes(good);
      bytes[i] = static_cast<std::byte>(value);
      const auto image = ParseImage(bytes);
      if (static_cast<char>(value) == good[i]) continue;
      // A leading zero is the same number; nothing else is.
      EXPECT_EQ(image.has_value(), number_field && value == '0' && (i == 13 || i == 25))
          << "byte " << i << " is " << value;
    }
  }
}

TEST(ImageTest, RefusesOtherLengths) {
  for (const std::string_view text :
       {"", "P6\n", "P6\n           2           1\n255\n",
        "P6\n           2           1\n255\nabcde", "P6\n           2           1\n255\nabcdefg",
        "P6\n           0           1\n255\n", "P6\n       65536           0\n255\n",
        "P6\n       65535       65535\n255\nabc"}) {
    Bytes bytes = ToBytes(text);
    EXPECT_FALSE(ParseImage(bytes)) << text;
  }
}

TEST(ImageTest, NoImageExceedsThePayloadLimit) {
  EXPECT_FALSE(ImageBytes({0, 1}));
  EXPECT_FALSE(ImageBytes({1, 0}));
  EXPECT_FALSE(ImageBytes({65536, 1}));
  EXPECT_FALSE(ImageBytes({65535, 65535}));
  EXPECT_EQ(ImageBytes({16384, 16384}), kHeaderBytes + std::size_t{3} * 16384 * 16384);
}

// A small JPEG of a pattern.
Bytes SmallJpeg() {
  const Owned pattern({45, 27});
  for (std::size_t i = 0; i < pattern.image.pixels.size(); ++i)
    pattern.image.pixels[i] = static_cast<std::uint8_t>(i * i / 7);
  Bytes jpeg;
  const auto append = [](void* out, void* data, int size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    static_cast<Bytes*>(out)->insert(static_cast<Bytes*>(out)->end(), bytes, bytes + size);
  };
  stbi_write_jpg_to_func(append, &jpeg, 45, 27, kChannels, pattern.image.pixels.data(), 80);
  return jpeg;
}

// As the guest does it, but for images over 16 MiB.
bool Decodes(std::span<const std::byte> jpeg) {
  const auto size = JpegSize(jpeg);
  if (!size) return false;
  const auto bytes = ImageBytes(*size);
  if (!bytes || *bytes > (std::size_t{16} << 20)) return false;
  Bytes memory(*bytes + kJpegSlackBytes);
  return DecodeJpeg(jpeg, *size, memory).has_value();
}

TEST(JpegTest, DecodesIntoTheMemoryGiven) {
  const Bytes jpeg = SmallJpeg();
  const Size size = Must(JpegSize(jpeg));
  ASSERT_EQ(size, (Size{45, 27}));
  const std::size_t bytes = Must(ImageBytes(size));
  Bytes memory(bytes + kJpegSlackBytes);
  const Image image = Must(DecodeJpeg(jpeg, size, memory));
  EXPECT_EQ(static_cast<void*>(image.pixels.data()), memory.data() + kHeaderBytes);
  EXPECT_TRUE(std::ranges::any_of(image.pixels, [](std::uint8_t value) { return value != 0; }));
  EXPECT_TRUE(ParseImage(std::span(memory).first(bytes)));
}

TEST(JpegTest, RefusesAJpegCutOffAnywhere) {
  const Bytes jpeg = SmallJpeg();
  ASSERT_TRUE(Decodes(jpeg));
  for (std::size_t length = 0; length < jpeg.size(); ++length)
    EXPECT_FALSE(Decodes(std::span(jpeg).first(length))) << length << " of " << jpeg.size();
}

TEST(JpegTest, SurvivesDamageInEveryByte) {
  const Bytes jpeg = SmallJpeg();
  std::size_t refused = 0;
  for (std::size_t i = 0; i < jpeg.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x40, 0x7f, 0x80, 0xd9, 0xff}) {
      Bytes damaged = jpeg;
      damaged[i] = static_cast<std::byte>(value);
      if (!Decodes(damaged)) ++refused;
    }
  }
  // Damage in the coefficients is not seen; damage in the tables and lengths is.
  EXPECT_GT(refused, 500U);
  EXPECT_TRUE(Decodes(jpeg)) << "an earlier failure must leave nothing behind";
}

TEST(JpegTest, RefusesAHuffmanTableOfMoreThan256Codes) {
  Bytes jpeg = SmallJpeg();
  const std::array marker{std::byte{0xff}, std::byte{0xc4}};
  const auto segment = std::ranges::search(jpeg, marker).begin();
  ASSERT_NE(segment, jpeg.end());
  // Behind marker, length and the table's number: how many codes have 1 to 16 bits.
  segment[4 + 1 + 14] = std::byte{200};
  EXPECT_TRUE(internal::JpegTablesFit(SmallJpeg()));
  EXPECT_FALSE(Decodes(jpeg));
  segment[4 + 1 + 15] = std::byte{200};
  EXPECT_FALSE(internal::JpegTablesFit(jpeg));
  EXPECT_FALSE(Decodes(jpeg));
}

TEST(JpegTest, IgnoresWhatFollowsTheEnd) {
  Bytes jpeg = SmallJpeg();
  for (const int byte : {0xff, 0xc4, 0xff, 0xff, 0x01})
    jpeg.push_back(static_cast<std::byte>(byte));
  EXPECT_TRUE(Decodes(jpeg));
}

TEST(ResampleTest, KeepsAFlatImageFlatAtEverySize) {
  const Owned in({37, 23}, 200);
  for (const Kernel kernel : {Kernel::kCatmullRom, Kernel::kLanczos3}) {
    for (const Size size : {Size{1, 1}, Size{5, 91}, Size{37, 23}, Size{200, 3}}) {
      const Owned out(size);
      Resize(in.image, out.image, kernel);
      EXPECT_TRUE(std::ranges::all_of(out.image.pixels, [](auto value) { return value == 200; }))
          << size.width << "x" << size.height;
    }
  }
}

TEST(ResampleTest, ChangesNothingAtTheSameSize) {
  const Owned in({16, 16});
  for (std::size_t i = 0; i < in.image.pixels.size(); ++i)
    in.image.pixels[i] = static_cast<std::uint8_t>(i * 37);
  const Owned out({16, 16});
  Resize(in.image, out.image, Kernel::kCatmullRom);
  EXPECT_TRUE(std::ranges::equal(in.image.pixels, out.image.pixels));
}

TEST(ResampleTest, FitsABoxAndKeepsProportions) {
  EXPECT_EQ(Fit({4352, 2448}, {320, 240}), (Size{320, 180}));
  EXPECT_EQ(Fit({2056, 3088}, {320, 240}), (Size{160, 240}));
  EXPECT_EQ(Fit({4352, 2448}, {1600, 0}), (Size{1600, 900}));
  EXPECT_EQ(Fit({4352, 2448}, {0, 900}), (Size{1600, 900}));
  EXPECT_EQ(Fit({60000, 1}, {320, 240}), (Size{320, 1}));
  EXPECT_EQ(Scaled({100, 50}, 0.5), (Size{50, 25}));
}

TEST(SharpenTest, LeavesAFlatImageAndSmallOnesAlone) {
  for (const Size size : {Size{1, 1}, Size{2, 1}, Size{1, 3}, Size{40, 30}}) {
    const Owned owned(size, 90);
    Sharpen(owned.image, {.radius = 7, .sigma = 2, .amount = 3});
    EXPECT_TRUE(std::ranges::all_of(owned.image.pixels, [](auto value) { return value == 90; }));
  }
}

TEST(SheetTest, PutsImagesIntoCellsInOrder) {
  const SheetLayout layout{.columns = 2, .cell = {4, 2}, .margin = 1};
  const Owned sheet(SheetSize(layout, 3));
  EXPECT_EQ(sheet.image.size, (Size{12, 8}));
  ClearSheet(sheet.image);
  for (std::uint32_t i = 0; i < 3; ++i)
    EXPECT_TRUE(Paste(layout, i, Owned({4, 2}, static_cast<std::uint8_t>(i)).image, sheet.image));
  std::vector<int> seen;
  for (const auto& [x, y] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {7, 1}, {1, 5}, {7, 5}, {0, 0}})
    seen.push_back(sheet.image.Row(y)[kChannels * x]);
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 255, 255}));
}

TEST(SheetTest, RefusesAnImageLargerThanItsCell) {
  const SheetLayout layout{.columns = 1, .cell = {4, 2}};
  const Owned sheet(SheetSize(layout, 1));
  EXPECT_FALSE(Paste(layout, 0, Owned({5, 2}).image, sheet.image));
  EXPECT_FALSE(Paste(layout, 0, Owned({4, 3}).image, sheet.image));
}

TEST(SheetTest, ASheetTooLargeIsNoImage) {
  const SheetLayout layout{.columns = 65535, .cell = {65535, 65535}, .margin = 65535};
  EXPECT_FALSE(ImageBytes(SheetSize(layout, 65536)));
}

TEST(PngTest, WritesAPngFile) {
  const Png png = EncodePng(Owned({3, 2}, 77).image);
  ASSERT_GE(png.size, 8U);
  const std::string_view magic(reinterpret_cast<const char*>(png.memory.get()), 8);
  EXPECT_EQ(magic, "\x89PNG\r\n\x1a\n");
}

}  // namespace
}  // namespace photos
