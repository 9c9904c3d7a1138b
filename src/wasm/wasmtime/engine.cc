// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/engine.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "wasm/module_bytes.h"
#include "wasm/wasmtime/fingerprint.h"
#include "wasm/wasmtime/handles.h"
#include "wasm/wasmtime/instance.h"
#include "wasm/wasmtime/memory.h"
#include "wasm/wasmtime/module.h"
#include "wasm/wasmtime/trap.h"

namespace cwasi::wasm {
namespace {

// The engine's own bound; above it creation aborts the process (48.0.8, c-api engine.rs).
constexpr std::size_t kMostStackBytes = std::size_t{2} << 20;
// For what runs on top of compiled code: host functions, and the engine's own.
constexpr std::size_t kHostStackBytes = std::size_t{256} << 10;

class WasmtimeEngine final : public Engine {
 public:
  WasmtimeEngine(EngineHandle engine, const EngineOptions& options, LinearMemoryFactory* factory)
      : engine_(std::move(engine)), fingerprint_(EngineFingerprint(options)) {
    plan_.engine = engine_.get();
    plan_.native_stack_bytes = options.max_wasm_stack_bytes + kHostStackBytes;
    plan_.max_table_elements = options.max_table_elements;
    plan_.has_factory = factory != nullptr;
  }

  Result<std::vector<std::byte>> Compile(std::span<const std::byte> wasm,
                                         std::string_view name) override;
  Result<std::unique_ptr<Module>> Load(const std::filesystem::path& path) override;
  void Interrupt() noexcept override { wasmtime_engine_increment_epoch(engine_.get()); }
  [[nodiscard]] std::string_view Fingerprint() const override { return fingerprint_; }

 private:
  EngineHandle engine_;
  std::string fingerprint_;
  InstancePlan plan_;
};

Result<std::vector<std::byte>> WasmtimeEngine::Compile(std::span<const std::byte> wasm,
                                                       std::string_view name) {
  TRY(CheckIsCoreModule(wasm, name));
  wasmtime_module_t* raw_module = nullptr;
  const ErrorHandle refused(wasmtime_module_new(
      engine_.get(), reinterpret_cast<const std::uint8_t*>(wasm.data()), wasm.size(), &raw_module));
  if (refused) {
    return Fail(ErrorCode::kInvalidArgument,
                "compile " + std::string(name) + ": " + ReasonOf(*refused));
  }
  const ModuleHandle module(raw_module);
  ByteVector bytes;
  const ErrorHandle error(wasmtime_module_serialize(module.get(), bytes.Out()));
  if (error) {
    return Fail(ErrorCode::kInternal, "compile " + std::string(name) + ": " + ReasonOf(*error));
  }
  const auto* first = reinterpret_cast<const std::byte*>(bytes.begin());
  return std::vector<std::byte>(first, first + (bytes.end() - bytes.begin()));
}

Result<std::unique_ptr<Module>> WasmtimeEngine::Load(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    const int failure = errno;
    return Fail(
        failure == ENOENT ? ErrorCode::kNotFound : ErrorCode::kInternal,
        "load compiled module " + path.string() + ": " + std::generic_category().message(failure),
        failure);
  }
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                "load compiled module " + path.string() + ": not a regular file");
  }
  wasmtime_module_t* module = nullptr;
  const ErrorHandle error(wasmtime_module_deserialize_file(engine_.get(), path.c_str(), &module));
  if (error) {
    return Fail(ErrorCode::kFailedPrecondition,
                "load compiled module " + path.string() + ": " + ReasonOf(*error));
  }
  return std::make_unique<WasmtimeModule>(ModuleHandle(module), plan_, path.string());
}

// Everything here that compiled code depends on has its part in EngineFingerprint.
wasm_config_t* NewConfig(const EngineOptions& options) {
  wasm_config_t* config = wasm_config_new();
  wasmtime_config_strategy_set(config, WASMTIME_STRATEGY_CRANELIFT);
  wasmtime_config_cranelift_opt_level_set(config, WASMTIME_OPT_LEVEL_SPEED);
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_consume_fuel_set(config, false);
  wasmtime_config_max_wasm_stack_set(config, options.max_wasm_stack_bytes);

  // With 4 GiB and a guard compiled code has no bounds checks on a 32-bit memory.
  wasmtime_config_memory_reservation_set(config, kReservedBytes);
  wasmtime_config_memory_guard_size_set(config, kGuardBytes);
  wasmtime_config_memory_may_move_set(config, false);
  // Images of data segments and a memory creator exclude each other: instantiation would abort.
  wasmtime_config_memory_init_cow_set(config, false);
  wasmtime_config_native_unwind_info_set(config, false);
  wasmtime_config_debug_info_set(config, false);

  wasmtime_config_wasm_simd_set(config, true);
  wasmtime_config_wasm_relaxed_simd_set(config, true);
  wasmtime_config_wasm_relaxed_simd_deterministic_set(config, true);
  wasmtime_config_wasm_bulk_memory_set(config, true);
  wasmtime_config_wasm_multi_value_set(config, true);
  wasmtime_config_wasm_tail_call_set(config, true);
  // Proposals are on unless turned off.
#ifdef WASMTIME_FEATURE_THREADS
  wasmtime_config_wasm_threads_set(config, false);
#endif
  wasmtime_config_shared_memory_set(config, false);
  wasmtime_config_wasm_memory64_set(config, false);
  wasmtime_config_wasm_multi_memory_set(config, false);
  wasmtime_config_wasm_custom_page_sizes_set(config, false);
  wasmtime_config_wasm_wide_arithmetic_set(config, false);
  wasmtime_config_wasm_stack_switching_set(config, false);
  wasmtime_config_gc_support_set(config, false);
#ifdef WASMTIME_FEATURE_GC
  wasmtime_config_wasm_gc_set(config, false);
  wasmtime_config_wasm_exceptions_set(config, false);
#endif
#ifdef WASMTIME_FEATURE_COMPONENT_MODEL
  wasmtime_config_wasm_component_model_set(config, false);
#endif
#ifdef WASMTIME_FEATURE_PARALLEL_COMPILATION
  wasmtime_config_parallel_compilation_set(config, false);  // Its threads do not survive a fork.
#endif
  return config;
}

}  // namespace

Result<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options,
                                             LinearMemoryFactory* factory) {
  if (options.max_wasm_stack_bytes == 0 || options.max_wasm_stack_bytes > kMostStackBytes) {
    return Fail(ErrorCode::kInvalidArgument,
                "create engine: stack of " + std::to_string(options.max_wasm_stack_bytes) +
                    " bytes; from 1 to " + std::to_string(kMostStackBytes) + " are possible");
  }
  wasm_config_t* config = NewConfig(options);
  if (options.interpreter) {
    const ErrorHandle error(wasmtime_config_target_set(config, "pulley64"));
    if (error) {
      wasm_config_delete(config);
      return Fail(ErrorCode::kInternal, "create engine: " + ReasonOf(*error));
    }
  }
  if (factory != nullptr) UseFactory(*config, *factory);
  EngineHandle engine(wasm_engine_new_with_config(config));
  if (!engine) return Fail(ErrorCode::kInternal, "create engine: refused by Wasmtime");
  return std::make_unique<WasmtimeEngine>(std::move(engine), options, factory);
}

}  // namespace cwasi::wasm
