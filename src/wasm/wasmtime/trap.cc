// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/trap.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

namespace cwasi::wasm {
namespace {

constexpr std::size_t kMaxFrames = 32;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxReasonBytes = 1024;

std::string TextOf(const wasmtime_error_t& error) {
  ByteVector text;
  wasmtime_error_message(&error, text.Out());
  return {text.begin(), text.end()};
}

std::string TextOf(const wasm_trap_t& trap) {
  ByteVector text;
  wasm_trap_message(&trap, text.Out());
  std::string result(text.begin(), text.end());
  while (!result.empty() && result.back() == '\0')
    result.pop_back();  // wasm.h counts a final zero.
  return result;
}

void Erase(std::string& text, std::string_view part) {
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

// "   1: reason" -> "reason"
std::string_view WithoutNumber(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto digits = line.find_first_not_of("0123456789");
  if (digits != 0 && digits != std::string_view::npos && line.substr(digits, 2) == ": ") {
    line.remove_prefix(digits + 2);
  }
  return line;
}

// The engine prints its outermost context (a backtrace, "translation error"), then "Caused by:" and
// the chain of reasons, one a line, numbered if there are several.
std::string Reason(std::string_view text) {
  static constexpr std::string_view kCause = "Caused by:";
  if (const auto at = text.rfind(kCause); at != std::string_view::npos) {
    text.remove_prefix(at + kCause.size());
  }
  std::string reason;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = WithoutNumber(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    if (!reason.empty()) reason += ": ";
    reason += line;
  }
  Erase(reason, "wasm trap: ");
  return Printable(reason, kMaxReasonBytes);
}

TrapKind KindOf(const wasm_trap_t& trap) {
  wasmtime_trap_code_t code = 0;
  if (!wasmtime_trap_code(&trap, &code)) return TrapKind::kOther;
  switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW:
      return TrapKind::kStackOverflow;
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS:
      return TrapKind::kMemoryOutOfBounds;
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED:
      return TrapKind::kUnreachable;
    case WASMTIME_TRAP_CODE_INTERRUPT:
      return TrapKind::kInterrupted;
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO:
      return TrapKind::kIntegerDivideByZero;
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW:
      return TrapKind::kIntegerOverflow;
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS:
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL:
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE:
      return TrapKind::kIndirectCall;
    default:
      return TrapKind::kOther;
  }
}

std::string ToString(const wasm_name_t* name, std::string_view otherwise) {
  return name == nullptr ? std::string(otherwise) : std::string(name->data, name->size);
}

// rustc appends a hash to each name of its old scheme: "core::panicking::panic::h0123456789abcdef".
void DropRustHash(std::string& name) {
  constexpr std::size_t kHashBytes = 3 + 16;
  if (name.size() <= kHashBytes) return;
  const std::string_view tail = std::string_view(name).substr(name.size() - kHashBytes);
  if (!tail.starts_with("::h")) return;
  if (tail.find_first_not_of("0123456789abcdef", 3) != std::string_view::npos) return;
  name.resize(name.size() - kHashBytes);
}

// The C API gives a frame's name as the linker wrote it. The engine's own rendering of the
// backtrace has it demangled (C++, both schemes of Rust), on a line that begins with what we know
// of the frame.
std::string NameOf(const wasm_frame_t& frame, std::size_t index, std::string_view rendering) {
  const wasm_name_t* raw = wasmtime_frame_func_name(&frame);
  if (raw == nullptr || raw->size == 0) {
    return "function[" + std::to_string(wasm_frame_func_index(&frame)) + "]";
  }
  std::string name = ToString(raw, "");
  if (!name.starts_with("_Z") && !name.starts_with("_R")) return name;
  std::array<char, 64> place{};
  std::snprintf(place.data(), place.size(), "  %3zu: %#8zx - ", index,
                wasm_frame_module_offset(&frame));
  const auto at = rendering.find(place.data());
  if (at == std::string_view::npos) return name;
  rendering.remove_prefix(at + std::string_view(place.data()).size());
  rendering = rendering.substr(0, rendering.find('\n'));
  const std::string module = ToString(wasmtime_frame_module_name(&frame), "<unknown>") + "!";
  if (rendering.starts_with(module)) rendering.remove_prefix(module.size());
  std::string demangled(rendering);
  DropRustHash(demangled);
  return demangled.empty() ? name : demangled;
}

std::vector<Frame> ToFrames(const FrameVector& vector, std::string_view rendering) {
  std::vector<Frame> frames;
  for (const wasm_frame_t* frame : vector) {
    if (frames.size() == kMaxFrames) break;
    frames.push_back(
        {.function = Printable(NameOf(*frame, frames.size(), rendering), kMaxNameBytes),
         .function_index = wasm_frame_func_index(frame),
         .module_offset = wasm_frame_module_offset(frame)});
  }
  return frames;
}

}  // namespace

std::string Printable(std::string_view text, std::size_t max_bytes) {
  std::string result(text.substr(0, max_bytes));
  for (char& c : result) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  if (text.size() > max_bytes) result += "...";
  return result;
}

std::string ReasonOf(const wasmtime_error_t& error) {
  return Reason(TextOf(error));
}

std::unique_ptr<Trap> ToTrap(const wasmtime_error_t* error, const wasm_trap_t* trap) {
  auto result = std::make_unique<Trap>();
  FrameVector frames;
  std::string rendering;
  if (trap != nullptr) {
    rendering = TextOf(*trap);
    result->kind = KindOf(*trap);
    wasm_trap_trace(trap, frames.Out());
  } else {
    rendering = TextOf(*error);
    wasmtime_error_wasm_trace(error, frames.Out());
  }
  result->message = Reason(rendering);
  result->frames = ToFrames(frames, rendering);
  return result;
}

}  // namespace cwasi::wasm
