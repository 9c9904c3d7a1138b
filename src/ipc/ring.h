// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One direction of a channel: records, in order, from one producer to one consumer, through memory
// that both processes map. Layout and trust: docs/protocols/channel.md.
//
// Positions count bytes since the start, modulo 2^32. Each side keeps its own position in its own
// memory and only publishes it; of the other's it keeps the last value that it believed. So a
// message moves two cache lines when the other side waits: the position and the record.
//
// Ownership: the memory is the channel's and outlives both objects.
// Thread: one for the producer, one for the consumer; they may be in different processes.
// Units: bytes. Records start at multiples of 64 and do not wrap: a skip record fills the end.
// The other side is not trusted: a word of shared memory is read once, compared, then used. Once it
// has lied the object is broken for good, and Violation() says how.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ipc/wait_word.h"

namespace cwasi::ipc {

inline constexpr std::uint32_t kRingBytes = 256U * 1024;  // A power of two.
// Where a position lies in the ring.
constexpr std::uint32_t RingOffset(std::uint32_t position) {
  return position & (kRingBytes - 1);
}
inline constexpr std::uint32_t kRecordAlignment = 64;
inline constexpr std::uint32_t kRecordHeaderBytes = 64;
inline constexpr std::uint32_t kMaxInlineBytes = 64U * 1024;
inline constexpr std::uint32_t kMaxRecordBytes = kRecordHeaderBytes + kMaxInlineBytes;
static_assert(2 * kMaxRecordBytes <= kRingBytes, "a record fits an empty ring wherever it starts");

// 128: processors fetch lines of 64 bytes in pairs (Intel Optimization Reference Manual 2.5.5.4).
inline constexpr std::size_t kLineBytes = 128;

// The shared words of a ring. Each line has one writer, so that neither side takes the other's line
// for something that did not change: the flags are apart because they change rarely.
struct RingWords {
  alignas(kLineBytes) SharedWord tail = 0;  // Producer: all before it is written.
  alignas(kLineBytes) SharedWord head = 0;  // Consumer: all before it may be overwritten.
  alignas(kLineBytes)
      SharedWord consumer_sleeps = 0;  // Consumer: it sleeps until the tail changes.
  alignas(kLineBytes)
      SharedWord producer_sleeps = 0;  // Producer: it sleeps until the head changes.
};
static_assert(sizeof(RingWords) == 4 * kLineBytes);

struct RingMemory {
  RingWords* words = nullptr;
  std::span<std::byte, kRingBytes> data;
};

// The first 64 bytes of a record. The ring knows only the first word: record_bytes in bits 0 to 31,
// which Write sets, and the type in bits 32 to 39, which is not kSkipType.
struct RecordHeader {
  std::array<std::uint64_t, kRecordHeaderBytes / 8> words = {};
  [[nodiscard]] std::uint32_t RecordBytes() const { return static_cast<std::uint32_t>(words[0]); }
  [[nodiscard]] std::uint8_t Type() const { return static_cast<std::uint8_t>(words[0] >> 32U); }
};
inline constexpr std::uint8_t kSkipType = 0;

enum class RingStatus : std::uint8_t {
  kOk,
  kWait,    // Full, or empty: wait for WaitFor().
  kBroken,  // The other side broke the protocol, now or earlier.
};

class RingProducer {
 public:
  // `start`: where both sides begin and what both words hold; 0 but in tests.
  explicit RingProducer(RingMemory memory, std::uint32_t start = 0)
      : memory_(memory), tail_(start), head_(start) {}

  // Copies the record in, publishes it and wakes the consumer if it sleeps. Nothing is written
  // unless kOk. CHECKs: at most kMaxInlineBytes, a type that is not kSkipType.
  RingStatus Write(RecordHeader header, std::span<const std::byte> payload);

  // Changes when room is made; for after kWait.
  [[nodiscard]] WaitWord WaitFor() const {
    return {.word = &memory_.words->head, .sleeps = &memory_.words->producer_sleeps, .seen = head_};
  }
  // Where the last record ends, and whether the consumer says that it has released it. A consumer
  // that lies only fools itself.
  [[nodiscard]] std::uint32_t End() const { return tail_; }
  [[nodiscard]] bool HasReleased(std::uint32_t end) const {
    return static_cast<std::int32_t>(memory_.words->head.load(std::memory_order_acquire) - end) >=
           0;
  }
  // What the consumer did wrong; null if nothing.
  [[nodiscard]] const char* Violation() const { return violation_; }

 private:
  RingStatus Reserve(std::uint32_t bytes);

  RingMemory memory_;
  std::uint32_t tail_ = 0;
  std::uint32_t head_ = 0;  // As last believed; at most kRingBytes behind tail_.
  const char* violation_ = nullptr;
};

// A record where it lies. The header is our copy; the payload's bytes can still be changed by the
// producer, so they are copied once and only the copy is looked at.
struct RecordView {
  RecordHeader header;
  std::span<const std::byte> body;  // record_bytes - 64; the payload and its padding.
};

class RingConsumer {
 public:
  explicit RingConsumer(RingMemory memory, std::uint32_t start = 0)
      : memory_(memory), head_(start), tail_(start) {}

  // The oldest record. Valid until Release; the same again until then.
  RingStatus Peek(RecordView& view);
  // Ends the record that Peek gave, and wakes the producer if it sleeps. CHECKs that there is one.
  void Release();

  // Changes when there is a record; for after kWait.
  [[nodiscard]] WaitWord WaitFor() const {
    return {.word = &memory_.words->tail,
            .sleeps = &memory_.words->consumer_sleeps,
            .seen = head_,
            .ahead = memory_.data.data() + RingOffset(head_)};
  }
  // What the producer did wrong; null if nothing.
  [[nodiscard]] const char* Violation() const { return violation_; }

 private:
  RingStatus Break(const char* violation) {
    violation_ = violation;
    return RingStatus::kBroken;
  }

  RingMemory memory_;
  std::uint32_t head_ = 0;
  std::uint32_t tail_ = 0;          // As last believed; at most kRingBytes ahead of head_.
  std::uint32_t record_bytes_ = 0;  // Of the record that Peek gave; 0: none.
  const char* violation_ = nullptr;
};

}  // namespace cwasi::ipc
