// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a guest has started and not waited for yet (imports call_start and call_wait).
//
// Ownership: the call under way that started them; they end with it.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>

#include "base/call_error.h"
#include "buf/payload.h"
#include "worker/peers.h"

namespace cwasi::worker {

inline constexpr std::size_t kMaxStartedCalls = 1024;  // At once, by one call.

// A call of a function in this worker: it has run already.
struct EndedCall {
  tl::expected<void, CallError> outcome;
  buf::Payload reply = {};
  bool reply_is_buffer = false;
};

struct StartedCall {
  std::string callee;
  std::variant<std::unique_ptr<EndedCall>, std::unique_ptr<Peers::InFlight>> state;
};

struct StartedCalls {
  std::uint32_t next_number = 1;
  std::unordered_map<std::uint32_t, StartedCall> calls;
};

}  // namespace cwasi::worker
