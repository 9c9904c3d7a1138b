// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/call_error.h"

#include "base/check.h"

namespace cwasi {
namespace {

enum class Ran : std::uint8_t { kNo, kYes, kEither };

struct ClassInfo {
  std::string_view name;
  Ran ran = Ran::kEither;
  ErrorCode code = ErrorCode::kInternal;
};

// No default: a new class does not compile until it has a line here.
ClassInfo Info(CallClass call_class) {
  switch (call_class) {
    case CallClass::kNotFound:
      return {"not_found", Ran::kNo, ErrorCode::kNotFound};
    case CallClass::kDenied:
      return {"denied", Ran::kNo, ErrorCode::kPermissionDenied};
    case CallClass::kInvalid:
      return {"invalid", Ran::kEither, ErrorCode::kInvalidArgument};
    // The same payload is as large the next time: not a matter of releasing something.
    case CallClass::kTooLarge:
      return {"too_large", Ran::kEither, ErrorCode::kInvalidArgument};
    case CallClass::kOverloaded:
      return {"overloaded", Ran::kNo, ErrorCode::kResourceExhausted};
    case CallClass::kTimeout:
      return {"timeout", Ran::kYes, ErrorCode::kDeadlineExceeded};
    // kDeadlineExceeded is the code for "may or may not have happened".
    case CallClass::kCancelled:
      return {"cancelled", Ran::kEither, ErrorCode::kDeadlineExceeded};
    case CallClass::kUnavailable:
      return {"unavailable", Ran::kNo, ErrorCode::kUnavailable};
    case CallClass::kOutcomeUnknown:
      return {"outcome_unknown", Ran::kYes, ErrorCode::kDeadlineExceeded};
    case CallClass::kGuestError:
      return {"guest_error", Ran::kYes, ErrorCode::kFailedPrecondition};
    case CallClass::kGuestTrap:
      return {"guest_trap", Ran::kYes, ErrorCode::kFailedPrecondition};
    case CallClass::kOutOfMemory:
      return {"out_of_memory", Ran::kEither, ErrorCode::kResourceExhausted};
    case CallClass::kInternal:
      return {"internal", Ran::kEither, ErrorCode::kInternal};
  }
  CHECK(false && "a CallClass that is none; numbers from outside go through CallClassFromNumber");
}

}  // namespace

std::string_view Name(CallClass call_class) {
  return Info(call_class).name;
}

std::string_view Name(CallMode mode) {
  switch (mode) {
    case CallMode::kNone:
      return "none";
    case CallMode::kEmbedded:
      return "embedded";
    case CallMode::kLocal:
      return "local";
    case CallMode::kNetwork:
      return "network";
  }
  CHECK(false && "a CallMode that is none; numbers from outside go through CallModeFromNumber");
}

std::optional<CallClass> CallClassFromNumber(std::uint32_t number) {
  if (number < 1 || number > static_cast<std::uint32_t>(kLastCallClass)) return std::nullopt;
  return static_cast<CallClass>(number);
}

std::optional<CallMode> CallModeFromNumber(std::uint32_t number) {
  if (number > static_cast<std::uint32_t>(kLastCallMode)) return std::nullopt;
  return static_cast<CallMode>(number);
}

std::optional<bool> FixedMayHaveRun(CallClass call_class) {
  const Ran ran = Info(call_class).ran;
  if (ran == Ran::kEither) return std::nullopt;
  return ran == Ran::kYes;
}

ErrorCode ToErrorCode(CallClass call_class) {
  return Info(call_class).code;
}

std::string Describe(const CallError& error) {
  std::string text(Name(error.call_class));
  if (error.call_class == CallClass::kGuestError) text += " " + std::to_string(error.guest_status);
  text += " (";
  if (error.mode != CallMode::kNone) text += std::string(Name(error.mode)) + ", ";
  text += error.may_have_run ? "may have run)" : "did not run)";
  if (!error.message.empty()) text += ": " + error.message;
  return text;
}

}  // namespace cwasi
