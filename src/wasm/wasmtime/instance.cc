// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/instance.h"

#include <pthread.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>

#include "base/check.h"
#include "wasm/wasmtime/trap.h"

namespace cwasi::wasm {
namespace {

static_assert(sizeof(Value) == sizeof(wasmtime_val_raw_t));
static_assert(alignof(Value) == alignof(wasmtime_val_raw_t));
static_assert(offsetof(wasmtime_val_raw_t, i32) == 0 && offsetof(wasmtime_val_raw_t, i64) == 0);
static_assert(offsetof(wasmtime_val_raw_t, f32) == 0 && offsetof(wasmtime_val_raw_t, f64) == 0);
static_assert(sizeof(FunctionHandle) == sizeof(wasmtime_func_t));
static_assert(alignof(FunctionHandle) == alignof(wasmtime_func_t));
static_assert(std::endian::native == std::endian::little);  // The engine's raw values are.

// Ticks are added to the present epoch; keep the sum from wrapping.
constexpr std::uint64_t kMaxTicks = std::uint64_t{1} << 62;

// The lowest address of this thread's stack; 0: not asked yet, 1: unknown, and no limit. A fork
// keeps it. Initialised by constant: a call in costs 13 ns, a guard would add one.
constinit thread_local std::uintptr_t native_stack_low = 0;

// glibc reads /proc for the main thread, so this is asked once a thread.
[[gnu::noinline]] void FindNativeStack() {
  native_stack_low = 1;
  pthread_attr_t attributes{};
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* address = nullptr;
  std::size_t size_bytes = 0;
  if (pthread_attr_getstack(&attributes, &address, &size_bytes) == 0) {
    native_stack_low = reinterpret_cast<std::uintptr_t>(address);
  }
  pthread_attr_destroy(&attributes);
}

// Each store has a stack limit of its own, counted from where the thread's stack is on entry: calls
// from instance to instance add up. Compiled code that met the guard page of the native stack would
// end the process.
bool NativeStackHas(std::size_t size_bytes) {
  if (native_stack_low == 0) [[unlikely]] {
    FindNativeStack();
  }
  // Wraps to a large number on some other stack, which lies below: no limit either.
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - native_stack_low >=
         size_bytes;
}

std::unique_ptr<Trap> NoNativeStack() {
  auto trap = std::make_unique<Trap>();
  trap->kind = TrapKind::kStackOverflow;
  trap->message = "calls nest too deeply for the native stack";
  return trap;
}

ErrorCode CodeOf(TrapKind kind) {
  switch (kind) {
    case TrapKind::kInterrupted:
      return ErrorCode::kDeadlineExceeded;
    case TrapKind::kStackOverflow:
    case TrapKind::kMemoryOutOfBounds:
    case TrapKind::kUnreachable:
    case TrapKind::kIntegerDivideByZero:
    case TrapKind::kIntegerOverflow:
    case TrapKind::kIndirectCall:
    case TrapKind::kOther:
      break;
  }
  return ErrorCode::kInvalidArgument;
}

}  // namespace

WasmtimeInstance::WasmtimeInstance(const InstancePlan& plan, void* guest)
    : plan_(plan),
      guest_(guest),
      store_(wasmtime_store_new(plan.engine, this, nullptr)),
      context_(wasmtime_store_context(store_.get())) {
  // One instance and one memory a store; the factory limits the memory's size.
  wasmtime_store_limiter(store_.get(), -1, plan.max_table_elements, 1, -1, 1);
}

WasmtimeInstance::~WasmtimeInstance() {
  CHECK(depth_ == 0);
}

WasmtimeInstance::Started WasmtimeInstance::Start(const InstancePlan& plan, void* guest,
                                                  std::uint64_t ticks) {
  if (!NativeStackHas(plan.native_stack_bytes)) {
    return tl::unexpected(LinkedModule::StartFailure{
        .error = {.code = ErrorCode::kResourceExhausted, .message = "start: no native stack left"},
        .trap = NoNativeStack()});
  }
  auto instance = std::make_unique<WasmtimeInstance>(plan, guest);
  instance->SetInterruptDeadline(ticks);
  Instantiation instantiation(guest);
  wasm_trap_t* trap = nullptr;
  ++instance->depth_;
  wasmtime_error_t* error = wasmtime_instance_pre_instantiate(plan.instance_pre, instance->context_,
                                                              &instance->instance_, &trap);
  --instance->depth_;
  if (error != nullptr || trap != nullptr) {
    return tl::unexpected(
        instance->StartFailed(error, trap, std::move(instantiation.memory_failure)));
  }
  instance->FindMemory(instantiation.memory);
  return instance;
}

// Only a memory that the module exports as "memory" is the embedder's business; it can only be the
// one the module defines, since imported ones are refused and there is at most one.
void WasmtimeInstance::FindMemory(LinearMemory* made) {
  const auto found = plan_.exports->find("memory");
  if (found == plan_.exports->end() || found->second.kind != ExternKind::kMemory) return;
  if (plan_.has_factory) {
    memory_ = made;
    return;
  }
  const auto item = Export("memory", ExternKind::kMemory);
  CHECK(item.has_value());
  engine_memory_ = std::make_unique<EngineMemory>(context_, item->of.memory);
  memory_ = engine_memory_.get();
}

std::optional<wasmtime_extern_t> WasmtimeInstance::Export(std::string_view name, ExternKind kind) {
  wasmtime_extern_t item{};
  if (!wasmtime_instance_export_get(context_, &instance_, name.data(), name.size(), &item)) {
    return std::nullopt;
  }
  const wasmtime_extern_kind_t wanted = kind == ExternKind::kFunction ? WASMTIME_EXTERN_FUNC
                                        : kind == ExternKind::kGlobal ? WASMTIME_EXTERN_GLOBAL
                                                                      : WASMTIME_EXTERN_MEMORY;
  // Functions, globals and memories own nothing: no wasmtime_extern_delete.
  CHECK(item.kind == wanted);
  return item;
}

std::optional<FunctionHandle> WasmtimeInstance::FindFunction(std::string_view name,
                                                             const FunctionType& type) {
  const auto found = plan_.exports->find(std::string(name));
  if (found == plan_.exports->end() || found->second.kind != ExternKind::kFunction) return {};
  const FunctionType& actual = found->second.type;
  // kOther equals nothing: it stands for several types.
  if (actual != type || std::ranges::count(actual.parameters, ValueType::kOther) != 0 ||
      std::ranges::count(actual.results, ValueType::kOther) != 0) {
    return {};
  }
  const auto item = Export(name, ExternKind::kFunction);
  CHECK(item.has_value());
  return std::bit_cast<FunctionHandle>(item->of.func);
}

std::optional<std::uint32_t> WasmtimeInstance::FindGlobalU32(std::string_view name) {
  const auto found = plan_.exports->find(std::string(name));
  if (found == plan_.exports->end() || found->second.kind != ExternKind::kGlobal) return {};
  const auto item = Export(name, ExternKind::kGlobal);
  CHECK(item.has_value());
  wasmtime_val_t value{};
  wasmtime_global_get(context_, &item->of.global, &value);
  std::optional<std::uint32_t> result;
  if (value.kind == WASMTIME_I32) result = static_cast<std::uint32_t>(value.of.i32);
  wasmtime_val_unroot(&value);
  return result;
}

Outcome WasmtimeInstance::Call(const FunctionHandle& function, std::span<Value> values) {
  if (!NativeStackHas(plan_.native_stack_bytes)) [[unlikely]] {
    return {.kind = Outcome::Kind::kTrapped, .trap = NoNativeStack()};
  }
  wasm_trap_t* trap = nullptr;
  ++depth_;
  wasmtime_error_t* error = wasmtime_func_call_unchecked(
      context_, reinterpret_cast<const wasmtime_func_t*>(&function),
      reinterpret_cast<wasmtime_val_raw_t*>(values.data()), values.size(), &trap);
  --depth_;
  if (error == nullptr && trap == nullptr) [[likely]] {
    return {};
  }
  return Fail(error, trap);
}

Outcome WasmtimeInstance::Fail(wasmtime_error_t* error, wasm_trap_t* trap) {
  const ErrorHandle owned_error(error);
  const TrapHandle owned_trap(trap);
  if (std::exchange(unwinding_, false)) return {.kind = Outcome::Kind::kUnwound, .trap = nullptr};
  return {.kind = Outcome::Kind::kTrapped, .trap = ToTrap(error, trap)};
}

LinkedModule::StartFailure WasmtimeInstance::StartFailed(wasmtime_error_t* error, wasm_trap_t* trap,
                                                         std::optional<Error> memory_failure) {
  LinkedModule::StartFailure failure;
  if (memory_failure) {
    const ErrorHandle owned_error(error);
    const TrapHandle owned_trap(trap);
    failure.error = *std::move(memory_failure);
    return failure;
  }
  // An error without a trap and without frames is not the guest's code: a limit, or no memory.
  const bool engine_refused = trap == nullptr && !unwinding_;
  Outcome outcome = Fail(error, trap);
  if (outcome.kind == Outcome::Kind::kUnwound) {
    failure.unwound = true;
    failure.error = {.code = ErrorCode::kFailedPrecondition,
                     .message = "start: a host function ended the start function"};
  } else if (engine_refused) {
    failure.error = {.code = ErrorCode::kResourceExhausted,
                     .message = "instantiate: " + outcome.trap->message};
  } else {
    failure.error = {.code = CodeOf(outcome.trap->kind),
                     .message = "start: " + outcome.trap->message};
    failure.trap = std::move(outcome.trap);
  }
  return failure;
}

void WasmtimeInstance::SetInterruptDeadline(std::uint64_t ticks) {
  wasmtime_context_set_epoch_deadline(context_, std::min(ticks, kMaxTicks));
}

wasm_trap_t* WasmtimeInstance::CallHost(void* env, wasmtime_caller_t* caller,
                                        wasmtime_val_raw_t* values,
                                        std::size_t /*count*/) noexcept {
  auto* self =
      static_cast<WasmtimeInstance*>(wasmtime_context_get_data(wasmtime_caller_context(caller)));
  const auto function = reinterpret_cast<HostFunction>(env);
  if (function(self->guest_, reinterpret_cast<Value*>(values)) == HostAction::kReturn) [[likely]] {
    return nullptr;
  }
  self->unwinding_ = true;
  static constexpr std::string_view kMessage = "ended by the host";
  return wasmtime_trap_new(kMessage.data(), kMessage.size());
}

}  // namespace cwasi::wasm
