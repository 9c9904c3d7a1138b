// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The engine's errors and traps in our words. A guest chooses its function names: what comes out of
// here has no control characters and a bounded length.

#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "wasm/engine.h"
#include "wasm/wasmtime/handles.h"

namespace cwasi::wasm {

// The reason alone, in one line: without the backtrace and the outer layers of context.
std::string ReasonOf(const wasmtime_error_t& error);

// Exactly one of the two is not null.
std::unique_ptr<Trap> ToTrap(const wasmtime_error_t* error, const wasm_trap_t* trap);

// Control characters replaced, cut at `max_bytes`.
std::string Printable(std::string_view text, std::size_t max_bytes);

}  // namespace cwasi::wasm
