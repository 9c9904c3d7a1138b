// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What travels between the steps of the photo workflow: one image, which is also a PPM file.
//
//   offset  0  "P6\n"          magic: three channels, R G B
//           3  width           decimal, right-aligned in 12 columns
//          15  " "
//          16  height          decimal, right-aligned in 11 columns
//          27  "\n255\n"       8 bits a channel
//          32  pixels          rows from the top, R G B, no padding; nothing follows
//
// PPM allows blanks before a number, so a header of fixed length is valid PPM: any step's value can
// be written to a file and opened elsewhere without a conversion, and the pixels of a buffer lie 32
// bytes behind its start.
//
// Errors: an image that is not exactly this is none (nullopt); a side is 1 to kMaxSide pixels.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace photos {

// What the functions of this workflow return from their handlers. Smaller numbers are a
// cwasi_status that an import gave.
enum Failure : int {
  kNotAnImage = 100,    // The request is not an image as above.
  kBadJpeg = 101,       // Not a JPEG that can be decoded to its end.
  kBadParameter = 102,  // A value under `with` is missing, no number or out of range.
  kTooLarge = 103,      // The result would be over kMaxSide or over the payload limit.
  kNoMemory = 104,
};

inline constexpr std::size_t kHeaderBytes = 32;
inline constexpr std::size_t kChannels = 3;
inline constexpr std::uint32_t kMaxSide = 65535;
inline constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 30;  // the ABI's payload limit

struct Size {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  [[nodiscard]] std::size_t RowBytes() const { return kChannels * width; }
  friend bool operator==(const Size&, const Size&) = default;
};

// Pixels somebody else owns; `pixels` has exactly size.height rows.
template <class Byte>
struct BasicImage {
  Size size;
  std::span<Byte> pixels;

  [[nodiscard]] Byte* Row(std::size_t y) const { return pixels.data() + y * size.RowBytes(); }
};
using ImageView = BasicImage<const std::uint8_t>;
struct Image : BasicImage<std::uint8_t> {
  operator ImageView() const {
    return {size, pixels};
  }  // NOLINT(google-explicit-constructor): as span
};

// Header and pixels of an image of this size; nullopt if a side is out of range or the whole too
// long.
inline std::optional<std::size_t> ImageBytes(Size size) {
  if (size.width == 0 || size.height == 0 || size.width > kMaxSide || size.height > kMaxSide)
    return std::nullopt;
  const std::uint64_t bytes = kHeaderBytes + std::uint64_t{kChannels} * size.width * size.height;
  if (bytes > kMaxImageBytes) return std::nullopt;
  return static_cast<std::size_t>(bytes);
}

namespace internal {

// A decimal right-aligned in `field`: blanks, then one to five digits.
inline std::optional<std::uint32_t> ParseField(std::span<const std::byte> field) {
  std::size_t i = 0;
  while (i < field.size() && field[i] == std::byte{' '}) ++i;
  if (i == field.size() || field.size() - i > 5) return std::nullopt;
  std::uint32_t value = 0;
  for (; i < field.size(); ++i) {
    const auto digit = static_cast<std::uint32_t>(field[i]) - '0';
    if (digit > 9) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

inline void WriteField(std::span<std::byte> field, std::uint32_t value) {
  std::size_t i = field.size();
  do {
    field[--i] = static_cast<std::byte>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (i > 0) field[--i] = std::byte{' '};
}

}  // namespace internal

// The image in `bytes`, checked; its pixels are those bytes.
inline std::optional<Image> ParseImage(std::span<std::byte> bytes) {
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), "P6\n", 3) != 0 ||
      bytes[15] != std::byte{' '} || std::memcmp(bytes.data() + 27, "\n255\n", 5) != 0)
    return std::nullopt;
  const auto width = internal::ParseField(bytes.subspan(3, 12));
  const auto height = internal::ParseField(bytes.subspan(16, 11));
  if (!width || !height) return std::nullopt;
  const Size size{*width, *height};
  if (ImageBytes(size) != bytes.size()) return std::nullopt;
  const auto pixels = bytes.subspan(kHeaderBytes);
  return Image{{size, {reinterpret_cast<std::uint8_t*>(pixels.data()), pixels.size()}}};
}

// Writes the header; the pixels are the caller's to fill. `memory` holds at least ImageBytes(size).
inline Image StartImage(Size size, std::span<std::byte> memory) {
  std::memcpy(memory.data(), "P6\n", 3);
  internal::WriteField(memory.subspan(3, 12), size.width);
  memory[15] = std::byte{' '};
  internal::WriteField(memory.subspan(16, 11), size.height);
  std::memcpy(memory.data() + 27, "\n255\n", 5);
  const auto pixels = memory.subspan(kHeaderBytes, size.RowBytes() * size.height);
  return Image{{size, {reinterpret_cast<std::uint8_t*>(pixels.data()), pixels.size()}}};
}

}  // namespace photos
