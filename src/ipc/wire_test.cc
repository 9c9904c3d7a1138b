// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/wire.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

using std::chrono::nanoseconds;
using ::testing::HasSubstr;

enum class Colour : std::uint8_t { kRed = 2, kBlue = 3 };

std::vector<std::byte> Bytes(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

std::vector<std::byte> TakeFrom(WireWriter& writer) {
  auto bytes = writer.Take();
  EXPECT_TRUE(bytes) << bytes.error().message;
  return bytes.value_or(std::vector<std::byte>{});
}

TEST(WireTest, WritesLittleEndian) {
  WireWriter writer;
  writer.Number(std::uint8_t{1});
  writer.Number(std::uint16_t{0x0302});
  writer.Number(std::uint32_t{0x07060504});
  writer.Number(std::int32_t{-2});
  writer.Text("hi", 2, "greeting");
  EXPECT_EQ(TakeFrom(writer),
            Bytes({1, 2, 3, 4, 5, 6, 7, 0xfe, 0xff, 0xff, 0xff, 2, 0, 0, 0, 'h', 'i'}));
}

TEST(WireTest, ReadsBackWhatItWrote) {
  WireWriter writer;
  writer.Number(std::uint64_t{UINT64_MAX});
  writer.Flag(true);
  writer.Enum(Colour::kBlue, Colour::kRed, Colour::kBlue, "colour");
  writer.Duration(nanoseconds(1'500), "timeout");
  writer.Text(std::string("a\0b", 3), 3, "name");
  writer.List(std::vector<std::uint16_t>{7, 8}, 2, 2, "numbers",
              [](WireWriter& w, std::uint16_t n) { w.Number(n); });
  const auto bytes = TakeFrom(writer);

  WireReader reader(bytes);
  std::uint64_t number = 0;
  bool flag = false;
  Colour colour = Colour::kRed;
  nanoseconds timeout{};
  std::string name;
  std::vector<std::uint16_t> numbers;
  reader.Number(number);
  reader.Flag(flag);
  reader.Enum(colour, Colour::kRed, Colour::kBlue, "colour");
  reader.Duration(timeout, "timeout");
  reader.Text(name, 3, "name");
  reader.List(numbers, 2, 2, "numbers", [](WireReader& r, std::uint16_t& n) { r.Number(n); });
  EXPECT_TRUE(reader.Finish());
  EXPECT_EQ(number, UINT64_MAX);
  EXPECT_TRUE(flag);
  EXPECT_EQ(colour, Colour::kBlue);
  EXPECT_EQ(timeout, nanoseconds(1'500));
  EXPECT_EQ(name, std::string("a\0b", 3));
  EXPECT_EQ(numbers, (std::vector<std::uint16_t>{7, 8}));
}

TEST(WireReaderTest, RefusesWhatEndsTooEarly) {
  const auto bytes = Bytes({1, 2, 3});
  WireReader reader(bytes);
  std::uint32_t number = 99;
  reader.Number(number);
  EXPECT_EQ(number, 0U);
  EXPECT_EQ(reader.Finish().error().code, ErrorCode::kInvalidArgument);
}

TEST(WireReaderTest, RefusesBytesThatNobodyRead) {
  const auto bytes = Bytes({1, 2});
  WireReader reader(bytes);
  std::uint8_t number = 0;
  reader.Number(number);
  const auto end = reader.Finish();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kInvalidArgument);
}

TEST(WireReaderTest, RefusesATextLongerThanItsLimitOrThanTheMessage) {
  for (const auto& bytes : {Bytes({4, 0, 0, 0, 'a', 'b', 'c', 'd'}), Bytes({3, 0, 0, 0, 'a', 'b'}),
                            Bytes({0xff, 0xff, 0xff, 0xff, 'a'})}) {
    WireReader reader(bytes);
    std::string text;
    reader.Text(text, 3, "name");
    EXPECT_EQ(text, "");
    const auto end = reader.Finish();
    ASSERT_FALSE(end);
    EXPECT_THAT(end.error().message, HasSubstr("name"));
  }
}

TEST(WireReaderTest, RefusesACountThatTheMessageCannotHoldBeforeAllocating) {
  const auto bytes = Bytes({0xff, 0xff, 0xff, 0x7f, 1, 0, 2, 0});
  WireReader reader(bytes);
  std::vector<std::uint16_t> numbers;
  reader.List(numbers, SIZE_MAX, 2, "numbers",
              [](WireReader& r, std::uint16_t& n) { r.Number(n); });
  EXPECT_EQ(numbers.capacity(), 0U);
  EXPECT_FALSE(reader.Finish());
}

TEST(WireReaderTest, RefusesWhatIsOutOfRange) {
  const auto bytes = Bytes({4});
  WireReader colours(bytes);
  Colour colour = Colour::kBlue;
  colours.Enum(colour, Colour::kRed, Colour::kBlue, "colour");
  EXPECT_EQ(colour, Colour::kRed) << "must be an enumerator whatever came";
  EXPECT_FALSE(colours.Finish());
  WireReader flags(bytes);
  bool flag = true;
  flags.Flag(flag);
  EXPECT_FALSE(flags.Finish());
  const auto negative = Bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  WireReader durations(negative);
  nanoseconds timeout{};
  durations.Duration(timeout, "timeout");
  EXPECT_FALSE(durations.Finish());
}

TEST(WireReaderTest, KeepsTheFirstFailureAndYieldsZerosAfterIt) {
  const auto bytes = Bytes({9, 9, 9, 9, 9, 9});
  WireReader reader(bytes);
  reader.Refuse("first", "wrong");
  std::uint8_t number = 7;
  reader.Number(number);
  reader.Refuse("second", "wrong too");
  EXPECT_EQ(number, 0);
  EXPECT_EQ(reader.Finish().error().message, "decode first: wrong");
}

TEST(WireWriterTest, RefusesWhatTheReaderWouldRefuse) {
  WireWriter text;
  text.Text("abcd", 3, "name");
  EXPECT_FALSE(text.Take());
  WireWriter list;
  list.List(std::vector<std::uint8_t>(3), 2, 1, "numbers",
            [](WireWriter& w, std::uint8_t n) { w.Number(n); });
  EXPECT_FALSE(list.Take());
  WireWriter number;
  number.Number<std::uint8_t>(5, 1, 4, "level");
  EXPECT_FALSE(number.Take());
  WireWriter duration;
  duration.Duration(nanoseconds(-1), "timeout");
  EXPECT_FALSE(duration.Take());
}

TEST(WireWriterTest, CutsALongMessageBetweenCharacters) {
  WireWriter writer;
  // Ten bytes leave four beside the mark: "abc" and half of an e with an accent.
  writer.CutText(
      "abc\xc3\xa9"
      "defghij",
      10, "message");
  const auto bytes = TakeFrom(writer);
  WireReader reader(bytes);
  std::string text;
  reader.Text(text, 10, "message");
  EXPECT_TRUE(reader.Finish());
  EXPECT_EQ(text, "abc [cut]");
}

TEST(WireWriterTest, LeavesAMessageOfExactlyTheLimitAlone) {
  WireWriter writer;
  writer.CutText("0123456789", 10, "message");
  EXPECT_EQ(TakeFrom(writer).size(), 14U);
}

}  // namespace
}  // namespace cwasi::ipc
