// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a hand-over took, and its measuring. Thread: the guest thread.

#pragma once

#include <cstdint>

#include "base/clock.h"
#include "buf/payload.h"

namespace cwasi::worker {

// What it took to take a payload from its giver, or to bring it to its taker.
struct HandOver {
  MonotonicNs duration = 0;
  std::uint64_t copies = 0;
  std::uint64_t copied_bytes = 0;

  HandOver& operator+=(const HandOver& other) {
    duration += other.duration;
    copies += other.copies;
    copied_bytes += other.copied_bytes;
    return *this;
  }
};

// Measures one hand-over.
class HandOverTimer {
 public:
  explicit HandOverTimer(const buf::PayloadMemory& memory)
      : memory_(memory), before_(memory.Copies()), start_(FastNow()) {}
  [[nodiscard]] HandOver Take() const {
    return {.duration = FastNow() - start_,
            .copies = memory_.Copies().copies - before_.copies,
            .copied_bytes = memory_.Copies().bytes - before_.bytes};
  }

 private:
  const buf::PayloadMemory& memory_;
  buf::CopyCount before_;
  MonotonicNs start_;
};

}  // namespace cwasi::worker
