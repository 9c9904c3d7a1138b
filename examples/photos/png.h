// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Pixels to PNG by stb_image_write: include it in one source of a program.

#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

#include "examples/photos/image.h"

#define STBIW_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace photos {

struct Png {
  struct Free {
    void operator()(unsigned char* png) const { std::free(png); }
  };
  std::unique_ptr<unsigned char, Free> memory;
  std::size_t size = 0;

  [[nodiscard]] std::span<const std::byte> Bytes() const {
    return {reinterpret_cast<const std::byte*>(memory.get()), size};
  }
};

// Empty if there is no memory.
inline Png EncodePng(ImageView image) {
  int size = 0;
  Png png;
  png.memory.reset(stbi_write_png_to_mem(
      image.pixels.data(), static_cast<int>(image.size.RowBytes()),
      static_cast<int>(image.size.width), static_cast<int>(image.size.height), kChannels, &size));
  if (png.memory != nullptr) png.size = static_cast<std::size_t>(size);
  return png;
}

}  // namespace photos
