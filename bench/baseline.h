// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the same work costs without the runtime, in the same run: the engine alone for a call,
// memcpy and the kernel's own moving of pages for a hand-over.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bench/report.h"

namespace cwasi::bench {

// Two guests and nothing between them but two memcpys: the benchmark's own caller and callee,
// linked to host functions that check and count nothing.
class BareCall {
 public:
  BareCall();
  BareCall(const BareCall&) = delete;
  BareCall& operator=(const BareCall&) = delete;
  BareCall(BareCall&&) = delete;
  BareCall& operator=(BareCall&&) = delete;
  ~BareCall();
  // `count` round trips of `bytes`; the caller's checksum.
  std::uint64_t Drive(std::uint32_t count, std::uint32_t bytes, std::uint32_t seed);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// memcpy of warm memory to warm memory, over and over.
Samples TimeMemcpy(std::size_t bytes, int n);
// The same where the source has just been written and the target will be read, as in a hand-over.
Samples TimeMemcpyOfTouched(std::size_t bytes, int n);
// Moving a segment from one window to another, where the source has just been written and the
// target will be read: the kernel's part of a hand-over.
Samples TimeBareMove(std::size_t bytes, int n);

}  // namespace cwasi::bench
