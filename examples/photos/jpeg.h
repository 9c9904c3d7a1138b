// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// JPEG to pixels by stb_image, straight into the caller's memory: include it in one source of a
// program.
//
// stb_image allocates its result itself. Its allocator is replaced by one that answers the request
// of exactly the result's size with the memory given to DecodeJpeg, so that 72 MB of pixels are not
// copied once more into a buffer.
//
// Thread: any; a decode in progress is the thread's own. Orientation in EXIF is not applied.
// stb_image checks its input but is no hardened decoder: a JPEG from a stranger belongs into the
// sandbox that a guest is. What is known to pass its checks is refused here before.

#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>

#include "examples/photos/image.h"

namespace photos::internal {

struct JpegResult {
  std::uint8_t* memory = nullptr;
  std::size_t size = 0;
  bool taken = false;
};
inline thread_local JpegResult jpeg_result;

inline void* JpegAllocate(std::size_t size) {
  JpegResult& result = jpeg_result;
  if (size == result.size && result.memory != nullptr && !result.taken) {
    result.taken = true;
    return result.memory;
  }
  return std::malloc(size);
}

inline void JpegFree(void* memory) {
  JpegResult& result = jpeg_result;
  if (memory != nullptr && memory == result.memory)
    result.taken = false;  // A working array that happened to have the result's size.
  else
    std::free(memory);
}

}  // namespace photos::internal

#define STBI_MALLOC(size) photos::internal::JpegAllocate(size)
#define STBI_FREE(memory) photos::internal::JpegFree(memory)
#define STBI_REALLOC(memory, size) std::realloc(memory, size)  // JPEG needs none.
#define STBI_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#define STBI_MAX_DIMENSIONS 65535
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

namespace photos {
namespace internal {

// Whether each Huffman table of a DHT segment's payload has at most 256 codes. stb_image up to 2.28
// (Debian 12 has 2.27) writes as many as are announced into arrays of 256.
inline bool HuffmanTablesFit(std::span<const std::byte> payload) {
  constexpr std::size_t kHead = 17;  // class and number, then how many codes have 1 to 16 bits
  while (!payload.empty()) {
    if (payload.size() < kHead) return false;
    std::size_t codes = 0;
    for (std::size_t i = 1; i < kHead; ++i) codes += static_cast<std::size_t>(payload[i]);
    if (codes > 256 || codes > payload.size() - kHead) return false;
    payload = payload.subspan(kHead + codes);
  }
  return true;
}

// Walks the segments as a decoder does: 0xff and a marker, then for most a length and a payload;
// coded data (after SOS) and padding have neither and are passed over.
inline bool JpegTablesFit(std::span<const std::byte> jpeg) {
  std::size_t at = 0;
  while (at + 1 < jpeg.size()) {
    const auto byte = static_cast<unsigned>(jpeg[at]);
    const auto marker = static_cast<unsigned>(jpeg[at + 1]);
    if (byte != 0xff || marker == 0xff) {
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xd9) return true;  // The end; what cameras append is nobody's business.
    const bool alone = marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    if (alone) continue;
    if (jpeg.size() - at < 2) return false;
    const std::size_t length =
        static_cast<std::size_t>(jpeg[at]) << 8 | static_cast<std::size_t>(jpeg[at + 1]);
    if (length < 2 || length > jpeg.size() - at) return false;
    if (marker == 0xc4 && !HuffmanTablesFit(jpeg.subspan(at + 2, length - 2))) return false;
    at += length;
  }
  return true;
}

}  // namespace internal

// stb writes one byte beyond the last pixel.
inline constexpr std::size_t kJpegSlackBytes = 1;

// The size in the JPEG's header; nullopt if there is none to be read.
inline std::optional<Size> JpegSize(std::span<const std::byte> jpeg) {
  int width = 0;
  int height = 0;
  int channels = 0;
  if (jpeg.size() > INT_MAX || !internal::JpegTablesFit(jpeg) ||
      stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(jpeg.data()),
                            static_cast<int>(jpeg.size()), &width, &height, &channels) == 0)
    return std::nullopt;
  return Size{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
}

// Decodes into `memory`, which holds ImageBytes(size) + kJpegSlackBytes; `size` is JpegSize's.
// Grey becomes RGB. Nullopt: broken, cut off, or no memory; `memory` is then unspecified.
inline std::optional<Image> DecodeJpeg(std::span<const std::byte> jpeg, Size size,
                                       std::span<std::byte> memory) {
  const Image image = StartImage(size, memory);
  const std::size_t bytes = image.pixels.size();
  internal::jpeg_result = {image.pixels.data(), bytes + kJpegSlackBytes, false};
  int width = 0;
  int height = 0;
  int channels = 0;
  stbi_uc* pixels =
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(jpeg.data()),
                            static_cast<int>(jpeg.size()), &width, &height, &channels, kChannels);
  internal::jpeg_result = {};
  if (pixels == nullptr) return std::nullopt;
  const bool same_size =
      Size{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)} == size;
  if (pixels != image.pixels.data()) {  // Right all the same, for the price of a copy.
    if (same_size) std::memcpy(image.pixels.data(), pixels, bytes);
    std::free(pixels);
  }
  if (!same_size) return std::nullopt;
  return image;
}

}  // namespace photos
