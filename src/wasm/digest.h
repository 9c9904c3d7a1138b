// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Names for content: SHA-256 where two contents must never share one, XXH64 to notice damage fast.
//
// Source: FIPS 180-4 (libmd); XXH64 from its specification, doc/xxhash_spec.md of Cyan4973/xxHash
// 0.8.2. Measured, see docs/adr/0003: SHA-256 0.2 GB/s, XXH64 more than 20 times that.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace cwasi::wasm {

// 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::span<const std::byte> bytes);

// XXH64 with seed 0 of everything given to Update, in any cuts.
class Xxh64 {
 public:
  Xxh64();
  void Update(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t Value() const;

 private:
  static constexpr std::size_t kStripeBytes = 32;

  std::array<std::uint64_t, 4> lanes_;
  std::uint64_t total_bytes_ = 0;
  std::array<std::byte, kStripeBytes> rest_{};  // The first total_bytes_ % kStripeBytes count.
};

}  // namespace cwasi::wasm
