// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Instance: one Wasm instance of a function with its payload buffers. Runs one call at a time.
//
// Thread: the worker's guest thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/call_error.h"
#include "buf/guest_buffers.h"
#include "wasi/preview1.h"
#include "wasm/engine.h"
#include "worker/call.h"
#include "worker/deadline_ticker.h"
#include "worker/output.h"

namespace cwasi::worker {

class Function;
class Worker;

class Instance final : public wasi::Guest, private buf::ArenaSource {
 public:
  // Instantiates, runs the start function and `_initialize`. `worker` and `function` outlive it.
  // Null: `failure` says why.
  static std::unique_ptr<Instance> Start(Worker& worker, Function& function, CallFailure& failure);
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  Instance(Instance&&) = delete;
  Instance& operator=(Instance&&) = delete;
  ~Instance() override;

  // The instance behind the context of a host function.
  static Instance& Of(void* context) {
    return static_cast<Instance&>(*static_cast<wasi::Guest*>(context));
  }

  // Runs the handler for `call`; the parts are in memory. The caller has set the ticker's deadline.
  // True: it returned 0. False: it failed, and `call` says how.
  [[nodiscard]] bool Run(Call& call, std::uint32_t address, std::uint32_t length);

  // Whether it may run another call: it has not trapped, exited or been interrupted.
  [[nodiscard]] bool IsSound() const { return !failure_.has_value(); }
  // Why it is not sound; only to be asked then.
  [[nodiscard]] const CallError& Failure() const {
    return *failure_;  // NOLINT(bugprone-unchecked-optional-access): see IsSound
  }

  // The call it runs, unless it is starting or in cabi_realloc: then the imports of `cwasi` answer
  // `invalid`.
  [[nodiscard]] Call* CallUnderWay() const { return in_allocator_ ? nullptr : call_; }
  [[nodiscard]] buf::GuestBuffers& Buffers() {
    return *buffers_;  // NOLINT(bugprone-unchecked-optional-access): there once it has started
  }
  [[nodiscard]] const buf::GuestBuffers& Buffers() const {
    return *buffers_;  // NOLINT(bugprone-unchecked-optional-access): there once it has started
  }
  [[nodiscard]] Function& Of() const { return function_; }
  [[nodiscard]] Worker& Runtime() const { return worker_; }

  // After a nested call: the time of this one counts again.
  void ResumeDeadline() { ArmInterrupt(); }

  // Around each import of `cwasi`. What the host does there is not the guest's doing (kGrace).
  class HostScope {
   public:
    explicit HostScope(Instance& guest) : ticker_(guest.ticker_) { ticker_.CrossBoundary(); }
    HostScope(const HostScope&) = delete;
    HostScope& operator=(const HostScope&) = delete;
    HostScope(HostScope&&) = delete;
    HostScope& operator=(HostScope&&) = delete;
    ~HostScope() { ticker_.CrossBoundary(); }

   private:
    DeadlineTicker& ticker_;
  };
  // False: its time is over, and Failure() says so. A guest of nothing but imports and bulk
  // operations meets no other check.
  [[nodiscard]] bool MayEnterHost() {
    return ticker_.Interrupts() == interrupts_seen_ || MayEnterHostInterrupted();
  }

  // For MemoryFactory. `shape` lacks the limit.
  Result<std::unique_ptr<buf::GuestMemory>> MakeMemory(buf::GuestMemory::Shape shape);

  // There from before the first guest instruction: Function::Load refuses modules without one.
  [[nodiscard]] std::span<std::byte> Memory() override {
    return {memory_->Base(), memory_->SizeBytes()};
  }
  void WriteOutput(int descriptor, std::span<const std::byte> bytes) override;
  void Exit(std::uint32_t code) override { exit_code_ = code; }
  [[nodiscard]] bool OutOfTime() const override;

 private:
  Instance(Worker& worker, Function& function);

  Result<std::uint32_t> RequestArena(std::size_t bytes) override;
  void FindExports();
  // Calls into the guest. False: the instance is no longer sound, Failure() says why.
  [[nodiscard]] bool CallGuest(const wasm::FunctionHandle& function,
                               std::span<wasm::Value> values) {
    ArmInterrupt();
    ticker_.CrossBoundary();
    const wasm::Outcome outcome = wasm_->Call(function, values);
    ticker_.CrossBoundary();
    if (outcome.kind == wasm::Outcome::Kind::kReturned) [[likely]]
      return true;
    FailBy(outcome.trap.get());
    return false;
  }
  // Both set Failure().
  void Fail(CallError error);
  void FailBy(const wasm::Trap* trap);
  void ArmInterrupt() {
    const std::uint32_t interrupts = ticker_.Interrupts();
    if (interrupts != interrupts_seen_) [[unlikely]]
      TakeInterrupts(interrupts);
  }
  void TakeInterrupts(std::uint32_t interrupts);
  [[nodiscard]] bool MayEnterHostInterrupted();
  // What a handler that returned `status`, not 0, comes to.
  static CallError Returned(const Call& call, std::int32_t status);

  Worker& worker_;
  Function& function_;
  DeadlineTicker& ticker_;
  std::unique_ptr<wasm::Instance> wasm_;
  buf::GuestMemory* memory_ = nullptr;  // Owned by wasm_.
  // After wasm_ and so destroyed before it: windows are restored while the memory lives.
  std::optional<buf::GuestBuffers> buffers_;
  wasm::FunctionHandle handle_;
  std::optional<wasm::FunctionHandle> realloc_;
  Call* call_ = nullptr;
  bool in_allocator_ = false;
  std::uint32_t interrupts_seen_ = 0;
  std::optional<std::uint32_t> exit_code_;
  std::optional<CallError> failure_;
  LineBuffer lines_[2];  // Standard output, standard error.
};

}  // namespace cwasi::worker
