// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Tells a core WebAssembly module from what people hand over instead, so that the error can say
// what it is and what to do.
//
// Source: WebAssembly core specification 5.5.16 (magic and version); component-model Binary.md
// (version 13, layer 1).

#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/result.h"

namespace cwasi::wasm {

// Looks at the first bytes only; the engine validates the rest. `name` is for messages.
// Errors: kInvalidArgument.
Result<> CheckIsCoreModule(std::span<const std::byte> bytes, std::string_view name);

}  // namespace cwasi::wasm
