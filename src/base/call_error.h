// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How a call between functions failed: class, mode, and whether the callee may have run. It is not
// the program's Error: the class is what a guest sees as a status, and the mode is never hidden.
//
// Source: docs/protocols/guest-abi.md, "Status". The numbers are part of that contract.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cwasi {

enum class CallClass : std::uint8_t {
  kNotFound = 1,
  kDenied = 2,
  kInvalid = 3,
  kTooLarge = 4,
  kOverloaded = 5,
  kTimeout = 6,
  kCancelled = 7,
  kUnavailable = 8,
  kOutcomeUnknown = 9,
  kGuestError = 10,
  kGuestTrap = 11,
  kOutOfMemory = 12,
  kInternal = 13,
};
inline constexpr CallClass kLastCallClass = CallClass::kInternal;

enum class CallMode : std::uint8_t {
  kNone = 0,  // The call failed before a mode was chosen.
  kEmbedded = 1,
  kLocal = 2,
  kNetwork = 3,
};
inline constexpr CallMode kLastCallMode = CallMode::kNetwork;

struct [[nodiscard]] CallError {
  CallClass call_class = CallClass::kInternal;
  CallMode mode = CallMode::kNone;
  bool may_have_run = false;      // Agrees with FixedMayHaveRun(call_class) where that has a value.
  std::int32_t guest_status = 0;  // What the handler returned, or its exit code; with kGuestError.
  std::string message = {};       // For a person, one line, no trailing period.
  std::string frames = {};        // The guest's stack with kGuestTrap, one frame a line; or empty.
  bool operator==(const CallError&) const = default;
};

// As the guest ABI spells them: "not_found", "embedded". CallMode::kNone is "none".
std::string_view Name(CallClass call_class);
std::string_view Name(CallMode mode);

// A number from outside; empty if it names no class or no mode.
std::optional<CallClass> CallClassFromNumber(std::uint32_t number);
std::optional<CallMode> CallModeFromNumber(std::uint32_t number);

// The last column of the ABI's table: what the class alone says about whether the callee ran. Empty
// where it can be either.
std::optional<bool> FixedMayHaveRun(CallClass call_class);

// What a caller outside of the guests can do about it. A class after which the call may have
// happened never becomes kUnavailable, since that invites to try again.
ErrorCode ToErrorCode(CallClass call_class);

// "guest_error 7 (embedded, may have run): message". Without the frames.
std::string Describe(const CallError& error);

}  // namespace cwasi
