// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Writes requests for test/guests/script.c.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

namespace cwasi::test {

// In the order of the guest's enum.
enum class Op : std::uint32_t {
  kFind,
  kCall,
  kNew,
  kFree,
  kRetain,
  kRespond,
  kPartCount,
  kPartTake,
  kMetadata,
  kDeadline,
  kLoad,
  kStore,
  kFill,
  kCheck,
  kAllZero,
  kMalloc,
  kOwnFree,
  kGrow,
  kTrap,
  kExit,
  kLoop,
  kRecurse,
  kBulkFill,
  kAllocator,
  kReturn,
  kText,
  kGrowForEver,
  kCount,
  kRequest,
  kPrint,
  kStart,
  kWait,
  kNewFor,
};
enum class Allocator : std::uint32_t {
  kHonest,
  kUnaligned,
  kNull,
  kOutside,
  kStack,
  kLive,
  kPartlyOutside,
  kLoop,
  kTrap,
  kCallsBack,
  kExit,
};

struct Arg {
  std::uint32_t kind = 0;
  std::uint32_t value = 0;
  Arg(std::uint32_t literal)
      : value(literal) {}  // NOLINT(google-explicit-constructor): reads as a number
  Arg(std::uint32_t k, std::uint32_t v) : kind(k), value(v) {}
};
// What step `index` gave.
inline Arg Given(std::uint32_t index) {
  return {1, index};
}
// An address in the guest's scratch memory, 64 KiB, zeroed at each call.
inline Arg Scratch(std::uint32_t offset) {
  return {2, offset};
}

class Script {
 public:
  // Returns the step's index, for Given().
  std::uint32_t Add(Op op, std::initializer_list<Arg> args = {}) {
    Step step{};
    step.op = static_cast<std::uint32_t>(op);
    std::uint32_t i = 0;
    for (const Arg& arg : args) {
      step.kinds |= arg.kind << (2 * i);
      step.args[i++] = arg.value;
    }
    steps_.push_back(step);
    return static_cast<std::uint32_t>(steps_.size() - 1);
  }
  // Puts text into scratch memory, four bytes a step.
  void AddText(std::uint32_t offset, std::string_view text) {
    for (std::size_t i = 0; i < text.size(); i += 4) {
      std::uint32_t word = 0;
      std::memcpy(&word, text.data() + i, std::min<std::size_t>(4, text.size() - i));
      Add(Op::kText, {Scratch(offset + static_cast<std::uint32_t>(i)), word});
    }
  }
  // Finds a function by name; the result is its number. Uses scratch from 60,000 on.
  std::uint32_t AddFind(std::string_view name) {
    AddText(60'000, name);
    Add(Op::kFind, {Scratch(60'000), static_cast<std::uint32_t>(name.size()), Scratch(60'200)});
    return Add(Op::kLoad, {Scratch(60'200)});
  }
  // A new buffer; the result is its address, 0 if refused.
  std::uint32_t AddNew(std::uint32_t bytes) {
    Add(Op::kStore, {Scratch(60'204), 0U});
    Add(Op::kNew, {bytes, Scratch(60'204)});
    return Add(Op::kLoad, {Scratch(60'204)});
  }
  // The same for a buffer that goes to `function`.
  std::uint32_t AddNewFor(Arg function, std::uint32_t bytes) {
    Add(Op::kStore, {Scratch(60'204), 0U});
    Add(Op::kNewFor, {function, bytes, Scratch(60'204)});
    return Add(Op::kLoad, {Scratch(60'204)});
  }
  // Calls with a reply structure at `reply` in scratch and room for `capacity` bytes at `data` in
  // scratch; the result is the status.
  std::uint32_t AddCall(Arg function, Arg request, Arg length, std::uint32_t flags,
                        std::uint32_t reply, std::uint32_t data, std::uint32_t capacity) {
    Add(Op::kStore, {Scratch(reply), Scratch(data)});
    Add(Op::kStore, {Scratch(reply + 4), capacity});
    return Add(Op::kCall, {function, request, length, flags, Scratch(reply)});
  }
  [[nodiscard]] std::vector<std::byte> Bytes() const {
    const auto bytes = std::as_bytes(std::span(steps_));
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] std::size_t Size() const { return steps_.size(); }

 private:
  struct Step {
    std::uint32_t op;
    std::uint32_t kinds;
    std::array<std::uint32_t, 5> args;
  };
  std::vector<Step> steps_;
};

}  // namespace cwasi::test
