// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What an introduction says of two workers, and a channel then goes by.

#pragma once

#include <cstdint>

namespace cwasi::ipc {

// Whether they are of one trust domain: what may be done with segments.
enum class Relation : std::uint8_t { kSameDomain = 0, kOtherDomain = 1 };

}  // namespace cwasi::ipc
