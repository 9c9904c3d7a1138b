// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Gives the engine memories that payload windows can lie in: the engine knows an interface, the
// payload layer knows no engine, and this joins them.

#pragma once

#include <memory>

#include "wasm/engine.h"

namespace cwasi::worker {

// The `guest` of every LinkedModule::Instantiate must be an Instance's Context().
class MemoryFactory final : public wasm::LinearMemoryFactory {
 public:
  Result<std::unique_ptr<wasm::LinearMemory>> Create(void* guest, std::size_t initial_bytes,
                                                     std::size_t maximum_bytes,
                                                     std::size_t reserved_bytes,
                                                     std::size_t guard_bytes) override;
};

}  // namespace cwasi::worker
