// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the runtime asks of a WebAssembly engine: compile, load, link against host functions,
// instantiate, call, interrupt. One implementation: src/wasm/wasmtime/. Nothing here names it, so
// that a second engine can come.
//
// Ownership: Engine outlives Modules, a Module outlives its LinkedModules, those their Instances.
// Thread: Engine, Module and LinkedModule may be used by any thread after construction; an Instance
// by one at a time. Interrupt may be called by any thread and in a signal handler.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cwasi::wasm {

enum class ValueType : std::uint8_t { kI32, kI64, kF32, kF64, kOther };

struct FunctionType {
  std::vector<ValueType> parameters;
  std::vector<ValueType> results;
  bool operator==(const FunctionType&) const = default;
};

// One argument or result as compiled code passes it: 16 bytes, aligned to 8, untagged, little
// endian. The function's type says which member is valid. Results overwrite arguments from index 0.
union Value {
  std::int32_t i32;
  std::uint32_t u32;
  std::int64_t i64;
  float f32;
  double f64;
  std::byte raw[16];
};

// What a host function asks the engine to do next.
enum class HostAction : std::uint8_t {
  kReturn,  // Back to the guest with the results.
  kUnwind,  // Out of the guest: Instance::Call returns Outcome::kUnwound. The host keeps the
            // reason.
};

// `guest` is the pointer given at Instantiate. `values` holds max(parameters, results) entries.
// Must not throw. It may call back into the same or other instances.
using HostFunction = HostAction (*)(void* guest, Value* values);

struct HostImport {
  std::string module;
  std::string name;
  FunctionType type;
  HostFunction function = nullptr;
};

enum class ExternKind : std::uint8_t { kFunction, kMemory, kTable, kGlobal, kOther };

struct ImportType {
  std::string module;
  std::string name;
  ExternKind kind = ExternKind::kOther;
  FunctionType type;  // For kFunction.
};

struct ExportType {
  std::string name;
  ExternKind kind = ExternKind::kOther;
  FunctionType type;  // For kFunction.
};

// The memory of one instance, made by the embedder. Destroyed with the instance.
class LinearMemory {
 public:
  LinearMemory() = default;
  LinearMemory(const LinearMemory&) = delete;
  LinearMemory& operator=(const LinearMemory&) = delete;
  LinearMemory(LinearMemory&&) = delete;
  LinearMemory& operator=(LinearMemory&&) = delete;
  virtual ~LinearMemory() = default;
  // Never changes. Page-aligned.
  [[nodiscard]] virtual std::byte* Base() const = 0;
  [[nodiscard]] virtual std::size_t SizeBytes() const = 0;
  // Called by the engine on the guest's memory.grow, never by others: compiled code keeps the size
  // too. Refused: the guest gets -1. New bytes are zero.
  virtual Result<> Grow(std::size_t new_size_bytes) = 0;
};

// Makes the memories that modules define. The engine asks for `reserved_bytes` of address space
// plus `guard_bytes` that never become accessible; the first `initial_bytes` are zero and
// accessible. `guest` is the pointer given to the Instantiate under way (null outside one).
class LinearMemoryFactory {
 public:
  LinearMemoryFactory() = default;
  LinearMemoryFactory(const LinearMemoryFactory&) = delete;
  LinearMemoryFactory& operator=(const LinearMemoryFactory&) = delete;
  LinearMemoryFactory(LinearMemoryFactory&&) = delete;
  LinearMemoryFactory& operator=(LinearMemoryFactory&&) = delete;
  virtual ~LinearMemoryFactory() = default;
  virtual Result<std::unique_ptr<LinearMemory>> Create(void* guest, std::size_t initial_bytes,
                                                       std::size_t maximum_bytes,
                                                       std::size_t reserved_bytes,
                                                       std::size_t guard_bytes) = 0;
};

enum class TrapKind : std::uint8_t {
  kStackOverflow,
  kMemoryOutOfBounds,
  kUnreachable,
  kInterrupted,  // The epoch passed the instance's deadline.
  kIntegerDivideByZero,
  kIntegerOverflow,
  kIndirectCall,  // Null, wrong type or outside the table.
  kOther,
};

struct Frame {
  std::string function;  // From the name section, demangled; "function[3]" if it has none.
  std::uint32_t function_index = 0;
  std::size_t module_offset = 0;  // Bytes from the start of the module.
};

struct Trap {
  TrapKind kind = TrapKind::kOther;
  std::string message;        // The engine's own words, one line.
  std::vector<Frame> frames;  // Innermost first, at most 32.
};

// How a call into a guest ended.
struct Outcome {
  enum class Kind : std::uint8_t { kReturned, kTrapped, kUnwound };
  Kind kind = Kind::kReturned;
  std::unique_ptr<Trap> trap;  // With kTrapped.
};

// A resolved export. Valid as long as its instance. Plain data of the implementation.
struct FunctionHandle {
  std::uint64_t opaque[2] = {0, 0};
};

class Instance {
 public:
  Instance() = default;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  Instance(Instance&&) = delete;
  Instance& operator=(Instance&&) = delete;
  virtual ~Instance() = default;
  // Absent, or of another type: empty.
  [[nodiscard]] virtual std::optional<FunctionHandle> FindFunction(std::string_view name,
                                                                   const FunctionType& type) = 0;
  // The value of an exported i32 global.
  [[nodiscard]] virtual std::optional<std::uint32_t> FindGlobalU32(std::string_view name) = 0;
  // The exported memory named "memory", or null. Owned by the instance.
  [[nodiscard]] virtual LinearMemory* Memory() = 0;
  // `values` holds the arguments, then the results; max(parameters, results) entries. May be called
  // inside a host function of this or another instance. Traps with kStackOverflow, without running,
  // if the thread has less native stack left than max_wasm_stack_bytes and 256 KiB for host
  // functions: calls from instance to instance add up, and the guard page would end the process.
  virtual Outcome Call(const FunctionHandle& function, std::span<Value> values) = 0;
  // Interrupts count from now: after `ticks` more calls of Engine::Interrupt the guest traps with
  // kInterrupted, or at once when `ticks` is 0. Callable inside host functions; compiled code reads
  // the deadline on entry to each function, so one already running notices a later deadline in
  // time, an earlier one not.
  virtual void SetInterruptDeadline(std::uint64_t ticks) = 0;
};

// A module bound to the host functions it imports.
class LinkedModule {
 public:
  LinkedModule() = default;
  LinkedModule(const LinkedModule&) = delete;
  LinkedModule& operator=(const LinkedModule&) = delete;
  LinkedModule(LinkedModule&&) = delete;
  LinkedModule& operator=(LinkedModule&&) = delete;
  virtual ~LinkedModule() = default;
  struct StartFailure {
    Error error;
    std::unique_ptr<Trap> trap;  // If the start function or a data segment trapped.
    bool unwound = false;        // If a host function asked for kUnwind in it.
  };
  // Runs the start function, if any, but not `_initialize`. The interrupt deadline is `ticks`.
  // `guest` goes to host functions and to the memory factory. Errors: the factory's own as it
  // stands; kInvalidArgument (trapped), kDeadlineExceeded (interrupted), kFailedPrecondition
  // (unwound), kResourceExhausted (a limit of the engine's).
  virtual tl::expected<std::unique_ptr<Instance>, StartFailure> Instantiate(
      void* guest, std::uint64_t ticks) = 0;
};

class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&&) = delete;
  Module& operator=(Module&&) = delete;
  virtual ~Module() = default;
  [[nodiscard]] virtual std::vector<ImportType> Imports() const = 0;
  [[nodiscard]] virtual std::vector<ExportType> Exports() const = 0;
  // `imports` may offer more than the module wants, but nothing twice. Errors: kInvalidArgument
  // with every import that `imports` does not provide or provides with another type, one a line.
  virtual Result<std::unique_ptr<LinkedModule>> Link(std::span<const HostImport> imports) = 0;
};

struct EngineOptions {
  std::size_t max_wasm_stack_bytes = std::size_t{1} << 20;    // At most 2 MiB.
  std::uint32_t max_table_elements = std::uint32_t{1} << 20;  // In each table; 8 bytes an element.
  bool interpreter = false;                                   // Pulley; for measurements.
};

class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  Engine(Engine&&) = delete;
  Engine& operator=(Engine&&) = delete;
  virtual ~Engine() = default;
  // To the engine's own ahead-of-time format. `name` is for messages.
  // Errors: kInvalidArgument: not WebAssembly, a component, truncated, invalid, or beyond what is
  // enabled (threads, shared memory, memory64, multi-memory and GC are off); the message says which
  // and where.
  virtual Result<std::vector<std::byte>> Compile(std::span<const std::byte> wasm,
                                                 std::string_view name) = 0;
  // Maps a file that Compile wrote. The file must not change while the Module lives; its code runs
  // as it stands, so only files that this user's compile step wrote may be given. Errors:
  // kFailedPrecondition (made by another version, for other settings or another CPU: compile
  // again), kNotFound, kInternal.
  virtual Result<std::unique_ptr<Module>> Load(const std::filesystem::path& path) = 0;
  // Lets instances whose deadline is reached trap.
  virtual void Interrupt() noexcept = 0;
  // Names engine version, build and every setting that compiled code depends on; part of the cache
  // key.
  [[nodiscard]] virtual std::string_view Fingerprint() const = 0;
};

// `factory` is not owned and outlives the engine. Null: memories of the engine's own, as for
// compiling; compiled code is the same. Errors: kInvalidArgument (options), kInternal.
Result<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options,
                                             LinearMemoryFactory* factory);

}  // namespace cwasi::wasm
