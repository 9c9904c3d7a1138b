// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Mapping: sole owner of one range of address space.

#pragma once

#include <cstddef>
#include <utility>

#include "base/result.h"

namespace cwasi::os {

// Unmaps the whole range on destruction, whatever lies in it by then.
//
// Thread: none; one thread owns the object at a time. Units: bytes, multiples of the page.
class Mapping {
 public:
  Mapping() = default;
  // Address space only (PROT_NONE, no memory accounted), starting at a multiple of `alignment`, a
  // power of two of at least a page. Errors: kResourceExhausted.
  static Result<Mapping> Reserve(std::size_t size_bytes, std::size_t alignment);

  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      Unmap();
      base_ = std::exchange(other.base_, nullptr);
      size_bytes_ = std::exchange(other.size_bytes_, 0);
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Unmap(); }

  [[nodiscard]] std::byte* Base() const noexcept { return base_; }
  [[nodiscard]] std::size_t SizeBytes() const noexcept { return size_bytes_; }

 private:
  Mapping(std::byte* base, std::size_t size_bytes) : base_(base), size_bytes_(size_bytes) {}
  void Unmap() noexcept;

  std::byte* base_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace cwasi::os
