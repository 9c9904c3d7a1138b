// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Little-endian bytes out of values and back, with every length bounded.
//
// Writer and reader have the same member functions, so that a message is described once, by a
// function template over both, and the two directions cannot drift apart. Both keep the first
// failure and go on doing nothing (the reader then yields zeros), so a description needs no checks
// in between; Take or Finish tells.
//
// Thread: the one that owns the object. Errors: kInvalidArgument, naming the field.

#pragma once

#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace cwasi::ipc {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

class WireWriter {
 public:
  static constexpr bool kReads = false;

  template <class T>
    requires std::is_integral_v<T>
  void Number(T value) {
    Append(std::as_bytes(std::span(&value, 1)));
  }
  // Refused when outside of [lowest, highest], as the reader would.
  template <class T>
    requires std::is_integral_v<T>
  void Number(T value, T lowest, T highest, std::string_view field) {
    if (value < lowest || value > highest) return Refuse(field, "out of range");
    Number(value);
  }
  void Flag(bool value) { Number(static_cast<std::uint8_t>(value)); }
  // One byte.
  template <class E>
    requires std::is_enum_v<E>
  void Enum(E value, [[maybe_unused]] E first, [[maybe_unused]] E last, std::string_view) {
    Number(static_cast<std::uint8_t>(value));
  }
  // Nanoseconds as i64, at least 0.
  void Duration(std::chrono::nanoseconds value, std::string_view field) {
    Number<std::int64_t>(value.count(), 0, INT64_MAX, field);
  }
  // A u32 length, then the bytes.
  void Text(std::string_view value, std::size_t max_bytes, std::string_view field);
  // As Text, but a longer value is cut and marked: for messages to people, where the start counts.
  void CutText(std::string_view value, std::size_t max_bytes, std::string_view field);
  // A u32 count, then `each(*this, item)` for every item.
  template <class T, class Each>
  void List(const std::vector<T>& items, std::size_t max_items, std::size_t /*min_item_bytes*/,
            std::string_view field, Each each) {
    if (items.size() > max_items) return Refuse(field, "too many");
    Number(static_cast<std::uint32_t>(items.size()));
    for (const T& item : items) each(*this, item);
  }
  void Refuse(std::string_view field, std::string_view why);

  // The bytes written, or the first refusal. Leaves the writer empty.
  Result<std::vector<std::byte>> Take();

 private:
  void Append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  std::vector<std::byte> bytes_;
  std::string problem_;
};

// Reads what is not trusted. `bytes` outlive the reader.
class WireReader {
 public:
  static constexpr bool kReads = true;

  explicit WireReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <class T>
    requires std::is_integral_v<T>
  void Number(T& value) {
    value = 0;
    Take(std::as_writable_bytes(std::span(&value, 1)));
  }
  template <class T>
    requires std::is_integral_v<T>
  void Number(T& value, T lowest, T highest, std::string_view field) {
    Number(value);
    if (value < lowest || value > highest) Refuse(field, "out of range");
  }
  void Flag(bool& value) {
    std::uint8_t number = 0;
    Number<std::uint8_t>(number, 0, 1, "flag");
    value = number == 1;
  }
  // The enumerators from `first` to `last` must be without gaps.
  template <class E>
    requires std::is_enum_v<E>
  void Enum(E& value, E first, E last, std::string_view field) {
    std::uint8_t number = 0;
    Number(number, static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), field);
    // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): checked one line above.
    value = problem_.empty() ? static_cast<E>(number) : first;
  }
  void Duration(std::chrono::nanoseconds& value, std::string_view field) {
    std::int64_t count = 0;
    Number<std::int64_t>(count, 0, INT64_MAX, field);
    value = std::chrono::nanoseconds(count);
  }
  void Text(std::string& value, std::size_t max_bytes, std::string_view field);
  void CutText(std::string& value, std::size_t max_bytes, std::string_view field) {
    Text(value, max_bytes, field);
  }
  // A count that the remaining bytes cannot hold is refused before anything is allocated for it:
  // `min_item_bytes` (at least 1) is what an item takes at least.
  template <class T, class Each>
  void List(std::vector<T>& items, std::size_t max_items, std::size_t min_item_bytes,
            std::string_view field, Each each) {
    items.clear();
    std::uint32_t count = 0;
    Number(count);
    if (count > max_items || count > rest_.size() / min_item_bytes) {
      return Refuse(field, "too many");
    }
    items.resize(count);
    for (T& item : items) each(*this, item);
  }
  void Refuse(std::string_view field, std::string_view why);

  // Fails on the first refusal, and on bytes that nobody read.
  Result<> Finish();

 private:
  // Copies the next bytes, or refuses and leaves `out` as it is.
  void Take(std::span<std::byte> out);

  std::span<const std::byte> rest_;
  std::string problem_;
};

}  // namespace cwasi::ipc
