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
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
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

class Peers;
struct EndedCall;

// Set in what a guest calls a function of other workers by; the rest is its place in Peers.
inline constexpr std::uint32_t kRemoteFunction = 1U << 31U;

// To whom a buffer is to go: whoever made the call under way.
inline constexpr std::uint32_t kThisCaller = UINT32_MAX;

inline constexpr std::uint32_t kMaxCallDepth = 64;
// Each nested call may use the engine's limit (1 MiB) and some of ours.
inline constexpr std::size_t kGuestStackBytes =
    (kMaxCallDepth + 8) * ((std::size_t{1} << 20) + (std::size_t{64} << 10));

// Runs `body` on a thread with that much stack and waits for it. The calling thread runs
// `meanwhile`, which must end when `body` does, or sleeps.
void RunOnGuestThread(const std::function<void()>& body,
                      const std::function<void()>& meanwhile = {});

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

// The engine, and the memories that it makes. It takes longer to make than all else that a worker
// needs and starts no thread: a zygote makes it before it forks.
struct PreparedEngine {
  std::unique_ptr<MemoryFactory> memories;
  std::unique_ptr<wasm::Engine> engine;

  // Errors: as wasm::CreateEngine.
  static Result<PreparedEngine> Create(const wasm::EngineOptions& options);
};

// A function's name, or its number in the run.
using FunctionKey = std::variant<std::string_view, std::uint32_t>;

class Worker {
 public:
  struct Options {
    buf::PayloadMemory::Options payloads;
    wasm::EngineOptions engine;
    int output_fd = 2;  // Not owned.
    // When a call has not ended kGrace after its deadline; empty: the process ends. On the ticker's
    // thread.
    std::function<void()> on_overrun = {};
    // When a function is looked for that is not there: may Load it. May be empty. An error: there
    // is one, and it cannot be loaded now.
    std::function<Result<>(const FunctionKey&)> load_missing = {};
  };
  // Errors: as wasm::CreateEngine.
  static Result<std::unique_ptr<Worker>> Create(const Options& options);
  // With an engine made before; Options::engine is not looked at. Starts the ticker's thread.
  static std::unique_ptr<Worker> Create(const Options& options, PreparedEngine engine);
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

  // Runs a call by a function in another worker to its end.
  tl::expected<void, CallError> ServePeer(Function& function, PeerCall& peer);

  // A reply, as bytes or as a payload with them, to where `wanted` asks for it; fills `end`. The
  // caller's allocator may run.
  struct ReplyPayload {
    std::span<const std::byte> bytes;
    buf::Payload* payload = nullptr;
    bool is_buffer = false;  // The callee gave a buffer.
    CallMode mode = CallMode::kNone;
  };
  tl::expected<void, CallError> BringReply(Instance& caller, const GuestCall& wanted,
                                           const ReplyPayload& reply, GuestCallEnd& end);

  // Calls that a guest starts and waits for later. `end` as CallFromGuest.
  std::uint32_t StartFromGuest(Instance& caller, const GuestCall& call, std::uint32_t& number);
  // Waits for one of `numbers`, which are started calls of this caller, and ends it. Absent: one is
  // not. The place of the one that ended.
  std::optional<std::size_t> WaitFromGuest(Instance& caller, std::span<const std::uint32_t> numbers,
                                           const GuestCall& reply_place, GuestCallEnd& end);
  // The handler has ended: nobody waits for what it started.
  void GiveUpStarted(Call& call);

  // The other workers; null: there are none. Not owned; outlives this, but for the instances.
  void SetPeers(Peers* peers) { peers_ = peers; }
  // What a guest calls a function by: one of this worker or of others. kNotFound, kDenied.
  tl::expected<std::uint32_t, CallClass> FindCallee(std::string_view name) const;

  // For the guest ABI. `end` comes with the reply's place as the guest gave it.
  void CallFromGuest(Instance& caller, const GuestCall& call, GuestCallEnd& end);
  // A call that `outer` made and that failed.
  static void Failed(Call& outer, std::string_view callee, CallError error, GuestCallEnd& end);
  // A buffer of the guest's that is to be given to `taker`, a function or kThisCaller: in another
  // trust domain it costs one copy less then. May meet the function's worker.
  tl::expected<std::uint32_t, CallClass> NewBuffer(Instance& owner, std::uint32_t bytes,
                                                   std::uint32_t taker);
  // A guest's reply to its call. 0 or a CallClass.
  std::uint32_t Respond(Instance& callee, Call& call, std::uint32_t address, std::uint32_t length,
                        bool move);
  // Brings a part of the workflow's request into the callee's memory.
  Result<std::uint32_t> BringPart(Instance& callee, Call& call, std::size_t index);

  // Ends the idle instances, and with them what they hold of other workers.
  void DropInstances();
  // Frees what has been idle for long. To be called between requests.
  void WhenIdle(MonotonicNs now);
  // When WhenIdle would next do something.
  [[nodiscard]] MonotonicNs NextIdleWork() const { return payloads_.Pool().NextTrim(); }

  // Null if there is none, also after load_missing.
  [[nodiscard]] Function* Find(std::string_view name) const;
  // Loads it within `deadline`. Errors: kNotFound, kDeadlineExceeded, what load_missing says.
  [[nodiscard]] Result<Function*> FindOrLoad(std::uint32_t number, MonotonicNs deadline);
  // Null if it is not loaded.
  [[nodiscard]] Function* FindByNumber(std::uint32_t number) const;
  [[nodiscard]] Function* Find(std::uint32_t id) const {
    return id < functions_.size() ? functions_[id].get() : nullptr;
  }
  [[nodiscard]] buf::PayloadMemory& Payloads() { return payloads_; }
  [[nodiscard]] DeadlineTicker& Ticker() { return *ticker_; }
  [[nodiscard]] OutputSink& Output() { return output_; }
  [[nodiscard]] EdgeTable& Edges() { return edges_; }
  [[nodiscard]] wasm::Engine& Engine() { return *engine_; }

 private:
  Worker(const Options& options, PreparedEngine engine)
      : payloads_(options.payloads),
        output_(options.output_fd),
        load_missing_(options.load_missing),
        memories_(std::move(engine.memories)),
        engine_(std::move(engine.engine)) {}

  [[nodiscard]] std::optional<CallClass> Refusal(const Instance& caller, const Function* callee,
                                                 const GuestCall& wanted) const;
  tl::expected<void, CallError> RunStarted(Instance& caller, Function& function,
                                           const GuestCall& wanted, EndedCall& ended);
  Result<> TakeOutsideReply(Instance& callee, Call& call, std::uint32_t address,
                            std::uint32_t length, bool move);
  // Delivers the request, runs the handler and puts the instance away; `call` says how it went.
  void RunGuestCall(Call& call, const GuestCall& wanted);
  // What most calls do not need is kept out of the function that all go through.
  [[gnu::noinline]] std::unique_ptr<Instance> StartFor(Call& call);
  // Into the callee's memory, at `address`. False: `call` says why not, and `callee` is put away.
  [[gnu::noinline]] static bool Deliver(Call& call, std::unique_ptr<Instance>& callee,
                                        const GuestCall& wanted, std::uint32_t& address);
  [[gnu::noinline]] std::uint32_t RespondAtLength(Instance& callee, Call& call,
                                                  std::uint32_t address, std::uint32_t length,
                                                  bool move);

  buf::PayloadMemory payloads_;
  OutputSink output_;
  EdgeTable edges_;
  std::function<Result<>(const FunctionKey&)> load_missing_;
  std::unique_ptr<MemoryFactory> memories_;
  std::unique_ptr<wasm::Engine> engine_;
  std::unique_ptr<DeadlineTicker> ticker_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::unordered_map<std::string, std::uint32_t> by_name_;
  std::unordered_map<std::uint32_t, std::uint32_t> by_number_;
  Peers* peers_ = nullptr;
};

}  // namespace cwasi::worker
