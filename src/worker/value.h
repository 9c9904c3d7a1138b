// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Value: what a step or an input of a workflow made and the steps after it take. With several
// takers it is stored once and each gets a handle (design 1, rule 7); the last gets the payload
// itself, if by then nobody else has it.
//
// Thread: the guest thread.

#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "base/call_error.h"
#include "buf/payload.h"
#include "buf/shared_payload.h"
#include "worker/hand_over.h"

namespace cwasi::worker {

struct Value {
  buf::Payload payload = {};            // Empty if others have it, too:
  buf::SharedPayload shared = {};       // then this is a handle.
  HandOver given = {};                  // Counted on the first edge that takes it.
  CallMode mode = CallMode::kEmbedded;  // kLocal: another worker gave it.

  [[nodiscard]] std::size_t Size() const { return shared ? shared.Size() : payload.Size(); }
  [[nodiscard]] std::span<const std::byte> Bytes() const {
    return shared ? shared.Bytes() : payload.Bytes();
  }
  // Errors: as buf::Payload::WriteTo.
  [[nodiscard]] Result<> WriteTo(int fd) const {
    return shared ? shared.WriteTo(fd) : payload.WriteTo(fd);
  }

  // For one of several takers.
  [[nodiscard]] Value ForOneTaker() {
    if (!shared) shared = buf::SharedPayload(std::move(payload));
    payload = {};
    return {.shared = shared.Share(), .given = std::exchange(given, {}), .mode = mode};
  }
  // For the last; this one is empty then.
  [[nodiscard]] Value ForLastTaker() {
    Value last = std::exchange(*this, {});
    if (!last.shared) return last;
    if (auto own = last.shared.Take()) last.payload = std::move(*own);
    return last;
  }
};

}  // namespace cwasi::worker
