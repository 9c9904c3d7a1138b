// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Function: a loaded module with one handler, what it is allowed, and its instances that wait for
// work.
//
// Thread: the worker's guest thread.

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/call_error.h"
#include "base/result.h"
#include "buf/segment_pool.h"
#include "wasm/engine.h"
#include "worker/edge_stats.h"
#include "worker/instance.h"

namespace cwasi::worker {

class Worker;

enum class Embed : std::uint8_t { kDeny, kAllow };
enum class Instances : std::uint8_t { kReused, kFresh };

struct FunctionSpec {
  std::string name;
  std::uint32_t number = UINT32_MAX;  // By which other workers call it.
  Embed embed = Embed::kDeny;         // May other functions of the trust domain embed it?
  std::size_t memory_limit_bytes = std::size_t{512}
                                   << 20;  // Its own memory; payload windows come on top.
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
  Instances instances = Instances::kReused;
  buf::Zero zero = buf::Zero::kNo;
};

class Function {
 public:
  // Idle instances that are kept.
  static constexpr std::size_t kMaxIdle = 16;

  // What all functions may import; made by the first call, so that a zygote can have it made before
  // it forks.
  static const std::vector<wasm::HostImport>& Imports();

  // Checks that the module is a function of the guest ABI and links it. Errors: kInvalidArgument
  // (exports missing or of another type, imports nobody provides: all are named).
  static Result<std::unique_ptr<Function>> Load(FunctionSpec spec, std::uint32_t id,
                                                std::unique_ptr<wasm::Module> module);
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;
  Function(Function&&) = delete;
  Function& operator=(Function&&) = delete;
  ~Function() = default;

  [[nodiscard]] const FunctionSpec& Spec() const { return spec_; }
  [[nodiscard]] std::string_view Name() const { return spec_.name; }
  [[nodiscard]] std::uint32_t Id() const { return id_; }
  [[nodiscard]] wasm::LinkedModule& Linked() { return *linked_; }

  // An instance that runs no call; from the idle ones or new. Null: `failure` says why.
  std::unique_ptr<Instance> Acquire(Worker& worker, CallFailure& failure) {
    auto idle = AcquireIdle();
    return idle != nullptr ? std::move(idle) : Instance::Start(worker, *this, failure);
  }
  // Null: there is none.
  std::unique_ptr<Instance> AcquireIdle() {
    if (idle_count_ == 0) return nullptr;
    return std::move(idle_[--idle_count_]);
  }
  // Ends the request's buffers; keeps the instance if it is sound and may be reused.
  void Release(std::unique_ptr<Instance> instance) {
    if (!instance->IsSound() || spec_.instances == Instances::kFresh || idle_count_ == kMaxIdle)
      return;
    instance->Buffers().EndRequest();
    idle_[idle_count_++] = std::move(instance);
  }
  void DropIdle() {
    while (idle_count_ != 0) idle_[--idle_count_].reset();
  }
  [[nodiscard]] std::size_t IdleInstances() const { return idle_count_; }

  // The edge from this function to `callee`.
  EdgeStats& EdgeTo(const Function& callee, EdgeTable& edges) {
    if (callee.Id() < edges_.size() && edges_[callee.Id()] != nullptr) return *edges_[callee.Id()];
    return AddEdgeTo(callee, edges);
  }

 private:
  EdgeStats& AddEdgeTo(const Function& callee, EdgeTable& edges);
  Function(FunctionSpec spec, std::uint32_t id, std::unique_ptr<wasm::Module> module,
           std::unique_ptr<wasm::LinkedModule> linked)
      : spec_(std::move(spec)), id_(id), module_(std::move(module)), linked_(std::move(linked)) {}

  FunctionSpec spec_;
  std::uint32_t id_;
  std::unique_ptr<wasm::Module> module_;
  std::unique_ptr<wasm::LinkedModule> linked_;
  std::array<std::unique_ptr<Instance>, kMaxIdle> idle_;  // Latest last.
  std::size_t idle_count_ = 0;
  std::vector<EdgeStats*> edges_;  // By the callee's id; null until used.
};

}  // namespace cwasi::worker
