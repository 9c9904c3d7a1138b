// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/instance.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "worker/started_calls.h"
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

Instance::Instance(Worker& worker, Function& function)
    : worker_(worker),
      function_(function),
      ticker_(worker.Ticker()),
      interrupts_seen_(ticker_.Interrupts()) {}

Instance::~Instance() {
  CHECK(call_ == nullptr);
  for (auto& line : lines_) line.Flush(function_.Name(), worker_.Output());
}

std::unique_ptr<Instance> Instance::Start(Worker& worker, Function& function,
                                          CallFailure& failure) {
  auto instance = std::unique_ptr<Instance>(new Instance(worker, function));
  worker.Ticker().CrossBoundary();  // For the start function.
  auto started = function.Linked().Instantiate(static_cast<wasi::Guest*>(instance.get()), 1);
  worker.Ticker().CrossBoundary();
  if (!started) {
    auto& why = started.error();
    if (why.trap != nullptr || why.unwound) {
      instance->FailBy(why.trap.get());
      failure = std::make_unique<CallError>(instance->Failure());
    } else {
      failure = std::make_unique<CallError>(CallError{.call_class = ClassOf(why.error),
                                                      .mode = CallMode::kEmbedded,
                                                      .message = why.error.message});
    }
    return nullptr;
  }
  instance->wasm_ = std::move(*started);
  instance->FindExports();
  const auto initialize = instance->wasm_->FindFunction("_initialize", {});
  if (initialize && !instance->CallGuest(*initialize, {})) {
    failure = std::make_unique<CallError>(instance->Failure());
    return nullptr;
  }
  return instance;
}

void Instance::FindExports() {
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
}

Result<std::unique_ptr<buf::GuestMemory>> Instance::MakeMemory(buf::GuestMemory::Shape shape) {
  CHECK(memory_ == nullptr);
  shape.limit_bytes = function_.Spec().memory_limit_bytes;
  TRY_SET(auto memory, buf::GuestMemory::Create(shape, worker_.Payloads().ForGuests()));
  memory_ = memory.get();
  return memory;
}

void Instance::TakeInterrupts(std::uint32_t interrupts) {
  interrupts_seen_ = interrupts;
  wasm_->SetInterruptDeadline(1);
}

bool Instance::MayEnterHostInterrupted() {
  if (!OutOfTime()) return true;  // The interrupt was for a call that has ended.
  Fail({.call_class = CallClass::kTimeout, .message = "ran out of time"});
  return false;
}

bool Instance::OutOfTime() const {
  return FastNow() >= ticker_.Get();
}

void Instance::Fail(CallError error) {
  error.mode = CallMode::kEmbedded;
  error.may_have_run = true;
  failure_ = std::move(error);
}

void Instance::FailBy(const wasm::Trap* trap) {
  if (exit_code_.has_value())
    return Fail({.call_class = CallClass::kGuestError,
                 .guest_status = static_cast<std::int32_t>(*exit_code_),
                 .message = "exited with code " + std::to_string(*exit_code_)});
  if (trap == nullptr) {
    // A host function asked for it, and the failure is known.
    if (!failure_.has_value())
      Fail({.call_class = CallClass::kInternal, .message = "unwound for no reason"});
    return;
  }
  std::string frames;
  for (const auto& frame : trap->frames) frames.append("  at ").append(Text(frame)).append("\n");
  if (trap->kind == wasm::TrapKind::kInterrupted)
    return Fail({.call_class = CallClass::kTimeout,
                 .message = "ran out of time",
                 .frames = std::move(frames)});
  Fail(
      {.call_class = CallClass::kGuestTrap, .message = trap->message, .frames = std::move(frames)});
}

Result<std::uint32_t> Instance::RequestArena(std::size_t bytes) {
  if (!realloc_)
    return cwasi::Fail(ErrorCode::kInvalidArgument,
                       "function exports no cabi_realloc, so it cannot receive payloads");
  // An unsound instance runs no more, not even its allocator: that may be where it failed.
  CHECK(IsSound());
  // Inside an allocation already: the guest called buffer_new from cabi_realloc, which guest_abi
  // refuses.
  CHECK(!in_allocator_);
  std::array<wasm::Value, 4> values{};
  values[2].u32 = static_cast<std::uint32_t>(buf::kUnitBytes);
  values[3].u32 = static_cast<std::uint32_t>(bytes);
  in_allocator_ = true;
  const bool returned = CallGuest(*realloc_, values);
  in_allocator_ = false;
  if (!returned)
    return cwasi::Fail(Failure().call_class == CallClass::kTimeout ? ErrorCode::kDeadlineExceeded
                                                                   : ErrorCode::kFailedPrecondition,
                       "cabi_realloc: " + Failure().message);
  if (values[0].u32 == 0)
    return cwasi::Fail(ErrorCode::kResourceExhausted, "cabi_realloc has no memory", ENOMEM);
  return values[0].u32;
}

bool Instance::Run(Call& call, std::uint32_t address, std::uint32_t length) {
  CHECK(call_ == nullptr && IsSound());
  std::array<wasm::Value, 2> values;  // NOLINT(*-member-init): whole words, both written here.
  values[0].i64 = address;
  values[1].i64 = length;
  call_ = &call;
  const bool returned = CallGuest(handle_, values);
  if (call.started != nullptr) [[unlikely]]
    worker_.GiveUpStarted(call);
  call_ = nullptr;
  if (returned && values[0].i32 == 0) [[likely]]
    return call.WentWell();
  return call.FailWith(returned ? Returned(call, values[0].i32) : Failure());
}

CallError Instance::Returned(const Call& call, std::int32_t status) {
  const auto import_status = CallClassFromNumber(static_cast<std::uint32_t>(status));
  CallError error{.call_class = CallClass::kGuestError,
                  .mode = CallMode::kEmbedded,
                  .may_have_run = true,
                  .guest_status = status,
                  .message = "its handler returned " + std::to_string(status) +
                             (import_status ? ", as an import that failed with " +
                                                  std::string(Name(*import_status))
                                            : "")};
  if (call.failures == nullptr || call.failures->last == nullptr) return error;
  const CallError& last = *call.failures->last;
  error.message += "; its call of " + call.failures->last_callee + " had failed: " + Describe(last);
  error.frames = last.frames;
  return error;
}

void Instance::WriteOutput(int descriptor, std::span<const std::byte> bytes) {
  lines_[descriptor == 2 ? 1 : 0].Append(bytes, function_.Name(), worker_.Output());
}

}  // namespace cwasi::worker
