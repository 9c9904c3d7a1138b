// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Worker: the functions of one trust domain in one process, and the calls between them. Every call
// in here is embedded: the callee's instance runs on the caller's stack.
//
// Thread: one, the guest thread. It needs kGuestStackBytes of stack for the deepest nesting
// (RunOnGuestThread); on a smaller one deep calls fail with guest_trap instead.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/call_error.h"
#include "base/result.h"
#include "buf/payload.h"
#include "wasm/engine.h"
#include "worker/call.h"
#include "worker/deadline_ticker.h"
#include "worker/edge_stats.h"
#include "worker/function.h"
#include "worker/linear_memory.h"
#include "worker/output.h"

namespace cwasi::worker {

inline constexpr std::uint32_t kMaxCallDepth = 64;
// Each nested call may use the engine's limit (1 MiB) and some of ours.
inline constexpr std::size_t kGuestStackBytes =
    (kMaxCallDepth + 8) * ((std::size_t{1} << 20) + (std::size_t{64} << 10));

// Runs `body` on a thread with that much stack and waits for it. The calling thread sleeps
// meanwhile.
void RunOnGuestThread(const std::function<void()>& body);

// A call by the workflow.
struct Request {
  std::uint64_t id = 0;
  std::string step;  // Names the taker of the parts in the edge table.
  std::vector<RequestPart> parts;
  std::vector<MetadataEntry> metadata;
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
};

struct Reply {
  buf::Payload payload;
  HandOver given;  // Taking it from the function.
  std::chrono::nanoseconds duration{};
};

// A guest's call of another function; the numbers are checked against its memory already.
struct GuestCall {
  std::uint32_t function = 0;
  std::uint32_t request = 0;
  std::uint32_t length = 0;
  std::uint32_t reply_data = 0;
  std::uint32_t reply_capacity = 0;
  bool move = false;
  bool plain_reply_only = false;
};
struct GuestCallEnd {
  std::uint32_t status = 0;  // 0 or a CallClass.
  CallMode mode = CallMode::kNone;
  bool may_have_run = false;
  bool reply_is_buffer = false;
  std::uint32_t reply_data = 0;
  std::uint32_t reply_length = 0;
  std::int32_t guest_status = 0;
};

class Worker {
 public:
  struct Options {
    buf::PayloadMemory::Options payloads;
    wasm::EngineOptions engine;
    int output_fd = 2;  // Not owned.
    // When a call has not ended kGrace after its deadline; empty: the process ends. On the ticker's
    // thread.
    std::function<void()> on_overrun = {};
  };
  // Errors: as CreateEngine.
  static Result<std::unique_ptr<Worker>> Create(const Options& options);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  Worker(Worker&&) = delete;
  Worker& operator=(Worker&&) = delete;
  ~Worker();

  // Loads a compiled module and starts a first instance, so that what is wrong with it shows at
  // once. Errors: as wasm::Engine::Load and Function::Load; kAlreadyExists (name);
  // kFailedPrecondition: starting failed, the message says how.
  Result<std::uint32_t> Load(FunctionSpec spec, const std::filesystem::path& compiled);

  // Runs a call to its end. Parts that the callee cannot have seen are still in `request` on
  // failure.
  tl::expected<Reply, CallError> Invoke(std::uint32_t function, Request& request);

  // For the guest ABI. `end` comes with the reply's place as the guest gave it.
  void CallFromGuest(Instance& caller, const GuestCall& call, GuestCallEnd& end);
  // A guest's reply to its call. 0 or a CallClass.
  std::uint32_t Respond(Instance& callee, Call& call, std::uint32_t address, std::uint32_t length,
                        bool move);
  // Brings a part of the workflow's request into the callee's memory.
  Result<std::uint32_t> BringPart(Instance& callee, Call& call, std::size_t index);

  // Frees what has been idle for long. To be called between requests.
  void WhenIdle(MonotonicNs now);
  // When WhenIdle would next do something.
  [[nodiscard]] MonotonicNs NextIdleWork() const { return payloads_.Pool().NextTrim(); }

  // Null if there is none.
  [[nodiscard]] Function* Find(std::string_view name) const;
  [[nodiscard]] Function* Find(std::uint32_t id) const {
    return id < functions_.size() ? functions_[id].get() : nullptr;
  }
  [[nodiscard]] buf::PayloadMemory& Payloads() { return payloads_; }
  [[nodiscard]] DeadlineTicker& Ticker() { return *ticker_; }
  [[nodiscard]] OutputSink& Output() { return output_; }
  [[nodiscard]] EdgeTable& Edges() { return edges_; }
  [[nodiscard]] wasm::Engine& Engine() { return *engine_; }

 private:
  explicit Worker(const Options& options)
      : payloads_(options.payloads), output_(options.output_fd) {}

  [[nodiscard]] std::optional<CallClass> Refusal(const Instance& caller, const Function* callee,
                                                 const GuestCall& wanted) const;
  // Delivers the request, runs the handler and puts the instance away; `call` says how it went.
  void RunGuestCall(Call& call, const GuestCall& wanted);
  static Result<std::uint32_t> Deliver(Instance& caller, Instance& callee, const GuestCall& wanted);
  static void NotDelivered(Call& call, const GuestCall& wanted, std::unique_ptr<Instance> callee,
                           const Error& error);
  static void Failed(Call& outer, const Function* callee, CallError error, GuestCallEnd& end);

  buf::PayloadMemory payloads_;
  OutputSink output_;
  EdgeTable edges_;
  MemoryFactory memories_;
  std::unique_ptr<wasm::Engine> engine_;
  std::unique_ptr<DeadlineTicker> ticker_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::unordered_map<std::string, std::uint32_t> by_name_;
};

}  // namespace cwasi::worker
