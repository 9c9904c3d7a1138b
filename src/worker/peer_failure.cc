// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/peer_failure.h"

#include <algorithm>
#include <utility>

namespace cwasi::worker {
namespace {

constexpr std::size_t kMaxPartBytes = 8UL << 10U;

}  // namespace

CallError LocalError(CallClass call_class, bool may_have_run, std::string message) {
  return {.call_class = call_class,
          .mode = CallMode::kLocal,
          .may_have_run = may_have_run,
          .message = std::move(message)};
}

std::string EncodeFailureText(const CallError& error) {
  std::string text = error.message.substr(0, kMaxPartBytes - 1);
  std::ranges::replace(text, '\0', ' ');
  text.push_back('\0');
  text.append(error.frames, 0, kMaxPartBytes);
  return text;
}

CallError DecodeFailure(const ipc::Record& reply, std::span<const std::byte> text) {
  text = text.first(std::min(text.size(), 2 * kMaxPartBytes));
  const std::string copy(reinterpret_cast<const char*>(text.data()), text.size());
  const std::size_t end = std::min(copy.find('\0'), copy.size());
  CallError error = LocalError(reply.status.value_or(CallClass::kInternal), reply.may_have_run,
                               copy.substr(0, end));
  error.guest_status = reply.guest_status;
  if (end < copy.size()) error.frames = copy.substr(end + 1);
  return error;
}

}  // namespace cwasi::worker
