// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// First byte even: whatever a producer leaves in a ring's memory, the consumer yields records that
// lie within what was published, or breaks for good, and a record is refused or encodes to itself
// again. Odd: operations on a ring do what a queue does.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "ipc/channel_message.h"
#include "ipc/ring.h"

namespace {

using namespace cwasi::ipc;  // NOLINT(google-build-using-namespace): a program of one file.

struct Shared {
  RingWords words;
  alignas(64) std::array<std::byte, kRingBytes> data{};
};

Shared& Memory() {
  static const auto memory = std::make_unique<Shared>();
  return *memory;
}

void Require(bool condition) {
  if (!condition) std::abort();
}

// Yields zeros when the input ends.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  template <class T>
  T Take() {
    T value{};
    const std::size_t n = std::min(sizeof value, rest_.size());
    if (n != 0) std::memcpy(&value, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return value;
  }
  [[nodiscard]] bool Empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

void ConsumeWhatAProducerLeft(Input input) {
  Shared& shared = Memory();
  const auto start = static_cast<std::uint32_t>(input.Take<std::uint16_t>()) * kRecordAlignment;
  shared.words.head = start;
  shared.words.tail = start + input.Take<std::uint32_t>();
  std::vector<std::uint32_t> dirty;
  while (!input.Empty() && dirty.size() < 64) {
    const std::uint32_t at =
        (start + std::uint32_t{input.Take<std::uint16_t>()} * kRecordAlignment) % kRingBytes;
    const auto header = input.Take<RecordHeader>();
    std::memcpy(shared.data.data() + at, header.words.data(), kRecordHeaderBytes);
    dirty.push_back(at);
  }
  RingConsumer consumer({.words = &shared.words, .data = shared.data}, start);
  const std::uint32_t published = shared.words.tail - start;
  RecordView view;
  std::uint32_t before = start;
  RingStatus status = RingStatus::kOk;
  while ((status = consumer.Peek(view)) == RingStatus::kOk) {
    Require(published <= kRingBytes);
    const std::byte* const begin = shared.data.data() + kRecordHeaderBytes;
    Require(view.body.data() >= begin &&
            view.body.data() + view.body.size() <= shared.data.data() + kRingBytes);
    Require(view.body.size() <= kMaxInlineBytes && view.body.size() % kRecordAlignment == 0);
    const char* why = nullptr;
    if (const auto record = DecodeRecord(view.header, view.body.size(), &why)) {
      RecordHeader again = EncodeRecord(*record);
      again.words[0] |= view.header.RecordBytes();
      Require(again.words == view.header.words);
    } else {
      Require(why != nullptr);
    }
    consumer.Release();
    const std::uint32_t head = shared.words.head;
    Require(head - before >= kRecordHeaderBytes && head - start <= published);
    before = head;
  }
  // All was consumed, or it is broken and stays so.
  if (status == RingStatus::kWait) Require(shared.words.head == shared.words.tail);
  if (status == RingStatus::kBroken) {
    shared.words.tail = shared.words.head.load();
    Require(consumer.Peek(view) == RingStatus::kBroken && consumer.Violation() != nullptr);
  }
  for (const std::uint32_t at : dirty) std::memset(shared.data.data() + at, 0, kRecordHeaderBytes);
}

void DoWhatAQueueDoes(Input input) {
  Shared& shared = Memory();
  const auto start = static_cast<std::uint32_t>(input.Take<std::uint16_t>()) * kRecordAlignment;
  shared.words.head = start;
  shared.words.tail = start;
  RingProducer producer({.words = &shared.words, .data = shared.data}, start);
  RingConsumer consumer({.words = &shared.words, .data = shared.data}, start);
  static const std::vector<std::byte> pattern = [] {
    std::vector<std::byte> bytes(kMaxInlineBytes + 256);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 5U);
    return bytes;
  }();
  struct Entry {
    std::uint64_t number;
    std::size_t bytes;
  };
  std::deque<Entry> queue;
  std::size_t held = 0;  // Bytes of records in the queue, without skips.
  std::uint64_t number = 0;
  const auto record_bytes = [](std::size_t n) { return kRecordHeaderBytes + (n + 63) / 64 * 64; };
  while (!input.Empty()) {
    const auto operation = input.Take<std::uint32_t>();
    if ((operation & 1U) != 0) {
      const std::size_t bytes = (operation >> 1U) % (kMaxInlineBytes + 1);
      const RecordHeader header{.words = {std::uint64_t{1} << 32U, ++number}};
      const auto payload = std::span(pattern).subspan(number % 256, bytes);
      const RingStatus status = producer.Write(header, payload);
      Require(status != RingStatus::kBroken);
      // A skip wastes less than the longest record.
      if (status == RingStatus::kWait) {
        Require(held + record_bytes(bytes) + kMaxRecordBytes > kRingBytes);
      } else {
        held += record_bytes(bytes);
        Require(held <= kRingBytes);
        queue.push_back({number, bytes});
      }
      continue;
    }
    RecordView view;
    const RingStatus status = consumer.Peek(view);
    Require(status == (queue.empty() ? RingStatus::kWait : RingStatus::kOk));
    if (queue.empty()) continue;
    const Entry entry = queue.front();
    queue.pop_front();
    Require(view.header.words[1] == entry.number);
    Require(kRecordHeaderBytes + view.body.size() == record_bytes(entry.bytes));
    Require(std::memcmp(view.body.data(), pattern.data() + entry.number % 256, entry.bytes) == 0);
    consumer.Release();
    held -= record_bytes(entry.bytes);
  }
  std::memset(shared.data.data(), 0, shared.data.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Input input(std::span(data, size).subspan(1));
  if (data[0] % 2 == 0) {
    ConsumeWhatAProducerLeft(input);
  } else {
    DoWhatAQueueDoes(input);
  }
  return 0;
}
