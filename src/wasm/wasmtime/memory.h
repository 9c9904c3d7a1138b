// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Linear memories: the embedder's through the engine's memory creator, or the engine's own.

#pragma once

#include <cstdint>
#include <optional>

#include "wasm/engine.h"
#include "wasm/wasmtime/handles.h"

namespace cwasi::wasm {

// What the settings promise to compiled code: it leaves bounds checks out because of it.
inline constexpr std::uint64_t kReservedBytes = std::uint64_t{4} << 30;
inline constexpr std::uint64_t kGuardBytes = std::uint64_t{32} << 20;

// The Instantiate under way on this thread. The engine's creator is told neither the store nor the
// instance that a memory is for; this is how it learns, and how its answer comes back. Memories are
// made before the start function runs, so a nested Instantiate never sees its caller's.
class Instantiation {
 public:
  explicit Instantiation(void* guest);
  Instantiation(const Instantiation&) = delete;
  Instantiation& operator=(const Instantiation&) = delete;
  Instantiation(Instantiation&&) = delete;
  Instantiation& operator=(Instantiation&&) = delete;
  ~Instantiation();

  [[nodiscard]] static Instantiation* Current();
  [[nodiscard]] void* Guest() const { return guest_; }

  LinearMemory* memory = nullptr;       // Made by the factory; owned by the engine.
  std::optional<Error> memory_failure;  // Why the factory refused.

 private:
  void* guest_;
  Instantiation* outer_;
};

// `factory` outlives the engine made from `config`.
void UseFactory(wasm_config_t& config, LinearMemoryFactory& factory);

// A memory that the engine made itself.
class EngineMemory final : public LinearMemory {
 public:
  EngineMemory(wasmtime_context_t* context, wasmtime_memory_t memory)
      : context_(context), memory_(memory) {}
  [[nodiscard]] std::byte* Base() const override;
  [[nodiscard]] std::size_t SizeBytes() const override;
  Result<> Grow(std::size_t new_size_bytes) override;

 private:
  wasmtime_context_t* context_;
  wasmtime_memory_t memory_;
};

}  // namespace cwasi::wasm
