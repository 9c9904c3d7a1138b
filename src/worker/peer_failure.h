// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How a failed call travels between workers: its class in the reply's header, its message and its
// frames as the reply's payload, a NUL between them (docs/protocols/channel.md, "Failures").

#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/call_error.h"
#include "ipc/channel_message.h"

namespace cwasi::worker {

// A failure of local mode.
CallError LocalError(CallClass call_class, bool may_have_run, std::string message);

// At most 16 KiB; what is longer is cut.
std::string EncodeFailureText(const CallError& error);

// The failure in a kReply with a status. `text` is read once: the peer may change it.
CallError DecodeFailure(const ipc::Record& reply, std::span<const std::byte> text);

}  // namespace cwasi::worker
