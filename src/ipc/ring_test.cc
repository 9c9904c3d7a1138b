// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/ring.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

struct Shared {
  RingWords words;
  alignas(64) std::array<std::byte, kRingBytes> data{};
};

RecordHeader HeaderOf(std::uint64_t number) {
  return {.words = {std::uint64_t{1} << 32U, number}};
}

std::vector<std::byte> Pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(seed * 31 + i * 7);
  return out;
}

class RingTest : public ::testing::Test {
 protected:
  [[nodiscard]] RingMemory Memory() const {
    return {.words = &shared_->words, .data = shared_->data};
  }

  void ExpectRecord(std::uint64_t number, std::size_t bytes) {
    RecordView view;
    ASSERT_EQ(consumer_.Peek(view), RingStatus::kOk);
    EXPECT_EQ(view.header.words[1], number);
    const auto expected = Pattern(bytes, number);
    ASSERT_EQ(view.body.size(), (bytes + 63) / 64 * 64);
    EXPECT_TRUE(std::ranges::equal(view.body.first(bytes), expected)) << number;
    consumer_.Release();
  }

  void SetUpAgain() {
    shared_->words.tail = 0;
    shared_->words.head = 0;
    producer_ = RingProducer(Memory());
    consumer_ = RingConsumer(Memory());
  }

  RecordView view_;
  std::unique_ptr<Shared> shared_ = std::make_unique<Shared>();
  RingProducer producer_{Memory()};
  RingConsumer consumer_{Memory()};
};

TEST_F(RingTest, GivesRecordsInOrderAndNothingElse) {
  RecordView view;
  EXPECT_EQ(consumer_.Peek(view), RingStatus::kWait);
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_EQ(producer_.Write(HeaderOf(i), Pattern(100 * i, i)), RingStatus::kOk);
  }
  for (std::uint64_t i = 0; i < 3; ++i) ExpectRecord(i, 100 * i);
  EXPECT_EQ(consumer_.Peek(view), RingStatus::kWait);
}

TEST_F(RingTest, KeepsEveryPayloadInOnePieceAcrossManyWraps) {
  std::uint64_t written = 0;
  std::uint64_t read = 0;
  const auto size_of = [](std::uint64_t n) { return n * 7919 % (kMaxInlineBytes + 1); };
  while (read < 5000) {
    while (written < read + 7 &&
           producer_.Write(HeaderOf(written), Pattern(size_of(written), written)) ==
               RingStatus::kOk) {
      ++written;
    }
    ASSERT_LT(read, written);
    ExpectRecord(read, size_of(read));
    ++read;
  }
}

TEST_F(RingTest, AFullRingRefusesAndTakesAgainWhatWasReleased) {
  std::uint64_t written = 0;
  while (producer_.Write(HeaderOf(written), Pattern(1000, written)) == RingStatus::kOk) ++written;
  EXPECT_EQ(written, kRingBytes / 1088);
  const std::uint32_t tail = shared_->words.tail;
  EXPECT_EQ(producer_.Write(HeaderOf(written), Pattern(1000, written)), RingStatus::kWait);
  EXPECT_EQ(shared_->words.tail, tail) << "a refused record leaves no trace";
  EXPECT_EQ(producer_.WaitFor().seen, 0U);
  ExpectRecord(0, 1000);
  EXPECT_NE(shared_->words.head, producer_.WaitFor().seen) << "the producer's word has changed";
  ExpectRecord(1, 1000);
  ASSERT_EQ(producer_.Write(HeaderOf(written), Pattern(1000, written)), RingStatus::kOk);
  for (std::uint64_t i = 2; i <= written; ++i) ExpectRecord(i, 1000);
  EXPECT_EQ(consumer_.Peek(view_), RingStatus::kWait);
}

TEST_F(RingTest, ShowsTheSameRecordUntilItIsReleased) {
  ASSERT_EQ(producer_.Write(HeaderOf(4), {}), RingStatus::kOk);
  ASSERT_EQ(producer_.Write(HeaderOf(5), {}), RingStatus::kOk);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(consumer_.Peek(view_), RingStatus::kOk);
    EXPECT_EQ(view_.header.words[1], 4U);
  }
  consumer_.Release();
  ASSERT_EQ(consumer_.Peek(view_), RingStatus::kOk);
  EXPECT_EQ(view_.header.words[1], 5U);
}

TEST_F(RingTest, PositionsGoOnBeyondFourGiB) {
  constexpr std::uint32_t kStart = 0U - 3 * kRingBytes;
  shared_->words.tail = kStart;
  shared_->words.head = kStart;
  producer_ = RingProducer(Memory(), kStart);
  consumer_ = RingConsumer(Memory(), kStart);
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_EQ(producer_.Write(HeaderOf(i), Pattern(5000, i)), RingStatus::kOk);
    ASSERT_EQ(producer_.Write(HeaderOf(i + 1), Pattern(10, i + 1)), RingStatus::kOk);
    ExpectRecord(i, 5000);
    ExpectRecord(i + 1, 10);
  }
  EXPECT_LT(shared_->words.tail, kStart);
}

TEST_F(RingTest, AHeaderIsACopyThatTheProducerCannotChangeAnyMore) {
  ASSERT_EQ(producer_.Write(HeaderOf(7), {}), RingStatus::kOk);
  ASSERT_EQ(consumer_.Peek(view_), RingStatus::kOk);
  std::memset(shared_->data.data(), 0xff, 64);
  EXPECT_EQ(view_.header.words[1], 7U);
  consumer_.Release();
  EXPECT_EQ(consumer_.Peek(view_), RingStatus::kWait) << "the length that was checked counts";
}

TEST_F(RingTest, WritesNoWordOfTheOtherSide) {
  shared_->words.head = 0;
  shared_->words.consumer_sleeps = 0;
  ASSERT_EQ(producer_.Write(HeaderOf(1), {}), RingStatus::kOk);
  EXPECT_EQ(shared_->words.head, 0U);
  EXPECT_EQ(shared_->words.producer_sleeps, 0U);
  ExpectRecord(1, 0);
  EXPECT_EQ(shared_->words.tail, 64U);
}

TEST_F(RingTest, LeavesTheSleepersFlagToTheSleeper) {
  shared_->words.consumer_sleeps = 1;
  ASSERT_EQ(producer_.Write(HeaderOf(1), {}), RingStatus::kOk);
  EXPECT_EQ(shared_->words.consumer_sleeps, 1U);
  shared_->words.producer_sleeps = 1;
  ExpectRecord(1, 0);
  EXPECT_EQ(shared_->words.producer_sleeps, 1U);
}

// What a producer that writes the raw memory can say. `tail` is stored last.
struct ProducerLie {
  const char* name;
  std::uint32_t tail;
  std::uint64_t first_word;  // At offset `at`.
  std::uint32_t at = 0;
};
std::uint64_t First(std::uint64_t bytes, std::uint64_t type) {
  return bytes | type << 32U;
}

TEST_F(RingTest, EveryLieOfAProducerBreaksTheRingForGood) {
  const ProducerLie lies[] = {
      {"a tail that is not of a record", 63, First(64, 1)},
      {"a tail further than the ring is long", kRingBytes + 64, First(64, 1)},
      {"a tail behind the head", 0U - 64, First(64, 1)},
      {"no length", 64, First(0, 1)},
      {"a length below the header", 64, First(63, 1)},
      {"a length that is not aligned", 256, First(65, 1)},
      {"a length beyond the tail", 64, First(128, 1)},
      {"a length beyond any record", kRingBytes, First(kMaxRecordBytes + 64, 1)},
      {"a length beyond the end", kRingBytes, First(kRingBytes + 64, 1)},
      {"the largest length", kRingBytes, First(UINT32_MAX, 1)},
      {"a skip at the start", 128, First(64, 0)},
      {"a skip over the whole ring", kRingBytes, First(kRingBytes, 0)},
  };
  for (const ProducerLie& lie : lies) {
    SCOPED_TRACE(lie.name);
    SetUpAgain();
    std::memcpy(shared_->data.data() + lie.at, &lie.first_word, 8);
    shared_->words.tail = lie.tail;
    EXPECT_EQ(consumer_.Peek(view_), RingStatus::kBroken);
    EXPECT_NE(consumer_.Violation(), nullptr);
    shared_->words.tail = 64;
    const std::uint64_t good = First(64, 1);
    std::memcpy(shared_->data.data(), &good, 8);
    EXPECT_EQ(consumer_.Peek(view_), RingStatus::kBroken) << "no second chance";
    EXPECT_EQ(shared_->words.head, 0U);
  }
}

TEST_F(RingTest, EverySkipThatDoesNotLeadToARecordAtTheStartBreaksTheRing) {
  // The consumer stands 128 bytes before the end.
  constexpr std::uint32_t kAt = kRingBytes - 128;
  const ProducerLie lies[] = {
      {"a skip short of the end", kRingBytes + 64, First(64, 0)},
      {"a skip beyond the end", kRingBytes + 64, First(192, 0)},
      {"a skip of nothing", kRingBytes + 64, First(0, 0)},
      {"a skip with nothing after it", kRingBytes, First(128, 0)},
      {"a skip beyond the tail", kRingBytes - 64, First(128, 0)},
      {"a record over the end", kRingBytes + 64, First(192, 1)},
      {"a second skip after the first", kRingBytes + 64, First(128, 0)},
  };
  for (const ProducerLie& lie : lies) {
    SCOPED_TRACE(lie.name);
    SetUpAgain();
    while (shared_->words.tail != kAt) {
      ASSERT_EQ(producer_.Write(HeaderOf(0), {}), RingStatus::kOk);
      ExpectRecord(0, 0);
    }
    const std::uint64_t second_skip = First(64, 0);
    std::memcpy(shared_->data.data(), &second_skip, 8);
    std::memcpy(shared_->data.data() + kAt, &lie.first_word, 8);
    shared_->words.tail = lie.tail;
    EXPECT_EQ(consumer_.Peek(view_), RingStatus::kBroken);
    EXPECT_EQ(shared_->words.head, kAt);
  }
}

TEST_F(RingTest, EveryLieOfAConsumerBreaksTheRingForGood) {
  for (const std::uint32_t head : {1U, 63U, 1088U * 300, 0U - 64, kRingBytes + 64}) {
    SCOPED_TRACE(head);
    SetUpAgain();
    while (producer_.Write(HeaderOf(0), Pattern(1000, 0)) == RingStatus::kOk) {
    }
    const std::uint32_t tail = shared_->words.tail;
    shared_->words.head = head;
    EXPECT_EQ(producer_.Write(HeaderOf(0), Pattern(1000, 0)), RingStatus::kBroken);
    EXPECT_NE(producer_.Violation(), nullptr);
    shared_->words.head = 0;
    EXPECT_EQ(producer_.Write(HeaderOf(0), {}), RingStatus::kBroken);
    EXPECT_EQ(shared_->words.tail, tail);
  }
}

TEST_F(RingTest, AConsumerThatGoesBackIsCaught) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(producer_.Write(HeaderOf(i), Pattern(1000, i)), RingStatus::kOk);
    ExpectRecord(i, 1000);
  }
  RingStatus status = RingStatus::kOk;
  while (status == RingStatus::kOk) status = producer_.Write(HeaderOf(0), Pattern(1000, 0));
  ASSERT_EQ(status, RingStatus::kWait);
  shared_->words.head = shared_->words.head - 1088;
  EXPECT_EQ(producer_.Write(HeaderOf(0), Pattern(1000, 0)), RingStatus::kBroken);
}

}  // namespace
}  // namespace cwasi::ipc
