// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What compiled code depends on besides the module.

#pragma once

#include <string>

#include "wasm/engine.h"

namespace cwasi::wasm {

// One line of words: engine version, key of its build, settings, processor.
std::string EngineFingerprint(const EngineOptions& options);

}  // namespace cwasi::wasm
