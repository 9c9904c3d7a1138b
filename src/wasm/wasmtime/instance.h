// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One instance in a store of its own, and the way between its code and ours.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "wasm/engine.h"
#include "wasm/wasmtime/handles.h"
#include "wasm/wasmtime/memory.h"

namespace cwasi::wasm {

// Exports by name, made once a module: asking the engine for the type of a function allocates.
using ExportIndex = std::unordered_map<std::string, ExportType>;

// What all instances of a LinkedModule share; it outlives them.
struct InstancePlan {
  wasm_engine_t* engine = nullptr;
  const wasmtime_instance_pre_t* instance_pre = nullptr;
  const ExportIndex* exports = nullptr;
  std::size_t native_stack_bytes = 0;  // What a call may need; see Instance::Call.
  std::int64_t max_table_elements = 0;
  bool has_factory = false;
};

class WasmtimeInstance final : public Instance {
 public:
  using Started = tl::expected<std::unique_ptr<Instance>, LinkedModule::StartFailure>;
  static Started Start(const InstancePlan& plan, void* guest, std::uint64_t ticks);

  WasmtimeInstance(const InstancePlan& plan, void* guest);
  WasmtimeInstance(const WasmtimeInstance&) = delete;
  WasmtimeInstance& operator=(const WasmtimeInstance&) = delete;
  WasmtimeInstance(WasmtimeInstance&&) = delete;
  WasmtimeInstance& operator=(WasmtimeInstance&&) = delete;
  ~WasmtimeInstance() override;

  [[nodiscard]] std::optional<FunctionHandle> FindFunction(std::string_view name,
                                                           const FunctionType& type) override;
  [[nodiscard]] std::optional<std::uint32_t> FindGlobalU32(std::string_view name) override;
  [[nodiscard]] LinearMemory* Memory() override { return memory_; }
  Outcome Call(const FunctionHandle& function, std::span<Value> values) override;
  void SetInterruptDeadline(std::uint64_t ticks) override;

  // The engine's form of every host function; `env` is the HostFunction.
  static wasm_trap_t* CallHost(void* env, wasmtime_caller_t* caller, wasmtime_val_raw_t* values,
                               std::size_t count) noexcept;

 private:
  Outcome Fail(wasmtime_error_t* error, wasm_trap_t* trap);
  LinkedModule::StartFailure StartFailed(wasmtime_error_t* error, wasm_trap_t* trap,
                                         std::optional<Error> memory_failure);
  void FindMemory(LinearMemory* made);
  [[nodiscard]] std::optional<wasmtime_extern_t> Export(std::string_view name, ExternKind kind);

  const InstancePlan& plan_;
  void* guest_;
  int depth_ = 0;           // Calls under way.
  bool unwinding_ = false;  // A host function answered kUnwind; the call that ends next takes it.
  LinearMemory* memory_ = nullptr;
  std::unique_ptr<EngineMemory> engine_memory_;
  StoreHandle store_;
  wasmtime_context_t* context_;
  wasmtime_instance_t instance_{};
};

}  // namespace cwasi::wasm
