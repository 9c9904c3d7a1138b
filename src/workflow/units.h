// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Amounts as people write them in a workflow file.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cwasi::workflow {

// "65536", "64KiB", "512MiB", "4GiB": digits, then a unit or nothing. Empty: not such an amount, or
// beyond 64 bits.
std::optional<std::uint64_t> ParseBytes(std::string_view text);

// "500ns", "20us", "10ms", "30s", "5m", "1h": digits, then a unit. Empty: not such a time, or
// beyond 292 years.
std::optional<std::chrono::nanoseconds> ParseDuration(std::string_view text);

}  // namespace cwasi::workflow
