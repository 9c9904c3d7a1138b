// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/instance.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using wasm::ValueType;

std::string Text(const wasm::Frame& frame) {
  std::array<char, 32> offset{};
  std::snprintf(offset.data(), offset.size(), " (+0x%zx)", frame.module_offset);
  return frame.function + offset.data();
}

}  // namespace

CallClass ClassOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return error.sys_errno == EMSGSIZE ? CallClass::kTooLarge : CallClass::kInvalid;
    case ErrorCode::kResourceExhausted:
      return CallClass::kOutOfMemory;
    case ErrorCode::kUnavailable:
      return CallClass::kOverloaded;
    case ErrorCode::kDeadlineExceeded:
      return CallClass::kTimeout;
    case ErrorCode::kFailedPrecondition:
      return CallClass::kGuestTrap;
    case ErrorCode::kNotFound:
      return CallClass::kNotFound;
    case ErrorCode::kPermissionDenied:
      return CallClass::kDenied;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kUnimplemented:
    case ErrorCode::kInternal:
      break;
  }
  return CallClass::kInternal;
}

Instance::~Instance() {
  CHECK(call_ == nullptr);
  for (auto& line : lines_) line.Flush(function_.Name(), worker_.Output());
}

tl::expected<std::unique_ptr<Instance>, CallError> Instance::Start(Worker& worker,
                                                                   Function& function) {
  auto instance = std::unique_ptr<Instance>(new Instance(worker, function));
  instance->interrupts_seen_ = worker.Ticker().Interrupts();
  auto started = function.Linked().Instantiate(static_cast<wasi::Guest*>(instance.get()), 1);
  if (!started) {
    auto& why = started.error();
    if (why.trap != nullptr || why.unwound)
      return tl::unexpected(instance->FailureOf(why.trap.get()));
    return tl::unexpected(CallError{.call_class = ClassOf(why.error),
                                    .mode = CallMode::kEmbedded,
                                    .message = why.error.message});
  }
  instance->wasm_ = std::move(*started);
  if (auto failed = instance->FindExports()) return tl::unexpected(std::move(*failed));
  if (const auto initialize = instance->wasm_->FindFunction("_initialize", {})) {
    if (auto failed = instance->CallGuest(*initialize, {}))
      return tl::unexpected(std::move(*failed));
  }
  return instance;
}

std::optional<CallError> Instance::FindExports() {
  static const wasm::FunctionType handle_type{.parameters = {ValueType::kI32, ValueType::kI32},
                                              .results = {ValueType::kI32}};
  static const wasm::FunctionType realloc_type{
      .parameters = {ValueType::kI32, ValueType::kI32, ValueType::kI32, ValueType::kI32},
      .results = {ValueType::kI32}};
  const auto handle = wasm_->FindFunction("cwasi_handle", handle_type);
  // Function::Load has refused modules without them.
  CHECK(handle.has_value() && memory_ != nullptr && wasm_->Memory() != nullptr);
  handle_ = *handle;
  realloc_ = wasm_->FindFunction("cabi_realloc", realloc_type);
  buffers_.emplace(*memory_, worker_.Payloads(), static_cast<buf::ArenaSource&>(*this),
                   function_.Spec().zero);
  if (const auto heap_base = wasm_->FindGlobalU32("__heap_base"))
    buffers_->Space().SetHeapBase(*heap_base);
  return std::nullopt;
}

Result<std::unique_ptr<buf::GuestMemory>> Instance::MakeMemory(buf::GuestMemory::Shape shape) {
  CHECK(memory_ == nullptr);
  shape.limit_bytes = function_.Spec().memory_limit_bytes;
  TRY_SET(auto memory, buf::GuestMemory::Create(shape, worker_.Payloads().Memory(),
                                                worker_.Payloads().Mappings()));
  memory_ = memory.get();
  return memory;
}

void Instance::ArmInterrupt() {
  const std::uint32_t interrupts = worker_.Ticker().Interrupts();
  if (interrupts == interrupts_seen_) return;
  interrupts_seen_ = interrupts;
  wasm_->SetInterruptDeadline(1);
}

bool Instance::OutOfTime() const {
  return FastNow() >= worker_.Ticker().Get();
}

CallError Instance::Fail(CallError error) {
  error.mode = CallMode::kEmbedded;
  error.may_have_run = true;
  failure_ = error;
  return error;
}

CallError Instance::FailureOf(const wasm::Trap* trap) {
  if (exit_code_.has_value()) {
    return Fail({.call_class = CallClass::kGuestError,
                 .guest_status = static_cast<std::int32_t>(*exit_code_),
                 .message = "exited with code " + std::to_string(*exit_code_)});
  }
  // A host function asked for it: the failure is known.
  if (trap == nullptr)
    return failure_.has_value()
               ? *failure_
               : Fail({.call_class = CallClass::kInternal, .message = "unwound for no reason"});
  std::string frames;
  for (const auto& frame : trap->frames) frames.append("  at ").append(Text(frame)).append("\n");
  if (trap->kind == wasm::TrapKind::kInterrupted)
    return Fail({.call_class = CallClass::kTimeout,
                 .message = "ran out of time",
                 .frames = std::move(frames)});
  return Fail(
      {.call_class = CallClass::kGuestTrap, .message = trap->message, .frames = std::move(frames)});
}

std::optional<CallError> Instance::CallGuest(const wasm::FunctionHandle& function,
                                             std::span<wasm::Value> values) {
  ArmInterrupt();
  const wasm::Outcome outcome = wasm_->Call(function, values);
  if (outcome.kind == wasm::Outcome::Kind::kReturned) [[likely]]
    return std::nullopt;
  return FailureOf(outcome.trap.get());
}

Result<std::uint32_t> Instance::RequestArena(std::size_t bytes) {
  if (!realloc_)
    return cwasi::Fail(ErrorCode::kInvalidArgument,
                       "function exports no cabi_realloc, so it cannot receive payloads");
  // Inside an allocation already: the guest called buffer_new from cabi_realloc, which guest_abi
  // refuses.
  CHECK(!in_allocator_);
  std::array<wasm::Value, 4> values{};
  values[2].u32 = static_cast<std::uint32_t>(buf::kUnitBytes);
  values[3].u32 = static_cast<std::uint32_t>(bytes);
  in_allocator_ = true;
  auto failed = CallGuest(*realloc_, values);
  in_allocator_ = false;
  if (failed)
    return cwasi::Fail(failed->call_class == CallClass::kTimeout ? ErrorCode::kDeadlineExceeded
                                                                 : ErrorCode::kFailedPrecondition,
                       "cabi_realloc: " + failed->message);
  if (values[0].u32 == 0)
    return cwasi::Fail(ErrorCode::kResourceExhausted, "cabi_realloc has no memory", ENOMEM);
  return values[0].u32;
}

std::optional<CallError> Instance::Run(Call& call, std::uint32_t address, std::uint32_t length) {
  CHECK(call_ == nullptr && IsSound());
  std::array<wasm::Value, 2> values{};
  values[0].u32 = address;
  values[1].u32 = length;
  call_ = &call;
  auto failed = CallGuest(handle_, values);
  call_ = nullptr;
  if (failed) return failed;
  if (values[0].i32 == 0) [[likely]]
    return std::nullopt;
  CallError error{.call_class = CallClass::kGuestError,
                  .mode = CallMode::kEmbedded,
                  .may_have_run = true,
                  .guest_status = values[0].i32,
                  .message = "returned " + std::to_string(values[0].i32)};
  if (call.failures == nullptr) return error;
  if (const auto& last = call.failures->last) {
    error.message +=
        "; its call of " + call.failures->last_callee + " had failed: " + Describe(*last);
    error.frames = last->frames;
  }
  return error;
}

void Instance::WriteOutput(int descriptor, std::span<const std::byte> bytes) {
  lines_[descriptor == 2 ? 1 : 0].Append(bytes, function_.Name(), worker_.Output());
}

}  // namespace cwasi::worker
