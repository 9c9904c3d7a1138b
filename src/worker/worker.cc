// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/worker.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "worker/peers.h"
#include "worker/started_calls.h"

namespace cwasi::worker {
namespace {

CallError MakeError(CallClass call_class, bool may_have_run, std::string message) {
  return {.call_class = call_class,
          .mode = CallMode::kEmbedded,
          .may_have_run = may_have_run,
          .message = std::move(message)};
}

// What bringing a payload into a guest, or taking it out, failed with. The guest's allocator may
// have run and have trapped or timed out; its handler has not unless `handler_ran`.
CallError DeliveryError(const Error& error, bool handler_ran) {
  const CallClass call_class = ClassOf(error);
  return MakeError(call_class, handler_ran || FixedMayHaveRun(call_class).value_or(false),
                   error.message);
}

// Sets the ticker's deadline for one call and puts the caller's back.
class DeadlineScope {
 public:
  DeadlineScope(DeadlineTicker& ticker, MonotonicNs deadline)
      : ticker_(ticker), before_(ticker.Get()) {
    if (deadline != before_) ticker_.Set(deadline);
    changed_ = deadline != before_;
  }
  DeadlineScope(const DeadlineScope&) = delete;
  DeadlineScope& operator=(const DeadlineScope&) = delete;
  DeadlineScope(DeadlineScope&&) = delete;
  DeadlineScope& operator=(DeadlineScope&&) = delete;
  ~DeadlineScope() {
    if (changed_) ticker_.Set(before_);
  }

 private:
  DeadlineTicker& ticker_;
  MonotonicNs before_;
  bool changed_ = false;
};

// Two looks at the clock cost as much as the rest of a short call: of those only every sixteenth is
// timed.
constexpr std::uint32_t kAlwaysTimedBytes = 4096;
bool IsTimed(const EdgeStats& edge, std::uint32_t bytes) {
  return bytes >= kAlwaysTimedBytes || edge.calls % 16 == 0;
}

const char* WhyRefused(CallClass refusal) {
  switch (refusal) {
    case CallClass::kNotFound:
      return "no function has this number";
    case CallClass::kDenied:
      return "it does not allow embedding";
    case CallClass::kOverloaded:
      return "calls nest too deeply";
    case CallClass::kTooLarge:
      return "the request is over the payload limit";
    default:
      return "it gives what is not a buffer of its own, or more than the buffer holds";
  }
}

void Count(EdgeStats& edge, std::size_t bytes, const HandOver& cost) {
  edge.payload_bytes += bytes;
  edge.copies += cost.copies;
  edge.copied_bytes += cost.copied_bytes;
  if (bytes != 0 && cost.copies == 0) ++edge.moved;
}

}  // namespace

void RunOnGuestThread(const std::function<void()>& body, const std::function<void()>& meanwhile) {
  pthread_attr_t attributes{};
  CHECK(::pthread_attr_init(&attributes) == 0);
  CHECK(::pthread_attr_setstacksize(&attributes, kGuestStackBytes) == 0);
  pthread_t thread{};
  const auto entry = [](void* context) -> void* {
    (*static_cast<const std::function<void()>*>(context))();
    return nullptr;
  };
  CHECK(::pthread_create(&thread, &attributes, entry, const_cast<std::function<void()>*>(&body)) ==
        0);
  ::pthread_attr_destroy(&attributes);
  if (meanwhile) meanwhile();
  CHECK(::pthread_join(thread, nullptr) == 0);
}

Result<PreparedEngine> PreparedEngine::Create(const wasm::EngineOptions& options) {
  auto memories = std::make_unique<MemoryFactory>();
  TRY_SET(auto engine, wasm::CreateEngine(options, memories.get()));
  return PreparedEngine{.memories = std::move(memories), .engine = std::move(engine)};
}

Result<std::unique_ptr<Worker>> Worker::Create(const Options& options) {
  TRY_SET(auto engine, PreparedEngine::Create(options.engine));
  return Create(options, std::move(engine));
}

std::unique_ptr<Worker> Worker::Create(const Options& options, PreparedEngine prepared) {
  auto worker = std::unique_ptr<Worker>(new Worker(options, std::move(prepared)));
  wasm::Engine* const engine = worker->engine_.get();
  worker->ticker_ = std::make_unique<DeadlineTicker>(DeadlineTicker::Actions{
      .interrupt = [engine] { engine->Interrupt(); }, .overrun = options.on_overrun});
  return worker;
}

Worker::~Worker() = default;

Result<std::uint32_t> Worker::Load(FunctionSpec spec, const std::filesystem::path& compiled) {
  if (by_name_.contains(spec.name))
    return Fail(ErrorCode::kAlreadyExists, "a function named " + spec.name + " is loaded");
  TRY_SET(auto module, engine_->Load(compiled));
  const auto id = static_cast<std::uint32_t>(functions_.size());
  const auto timeout = spec.timeout;
  TRY_SET(auto function, Function::Load(std::move(spec), id, std::move(module)));
  {
    // A guest may be waiting, with less time left.
    const DeadlineScope deadline(*ticker_,
                                 std::min(ticker_->Get(), DeadlineAfter(FastNow(), timeout)));
    CallFailure failure;
    auto first = function->Acquire(*this, failure);
    if (first == nullptr)
      return Fail(
          ErrorCode::kFailedPrecondition,
          "start: " + Describe(*failure) + (failure->frames.empty() ? "" : "\n" + failure->frames));
    function->Release(std::move(first));
  }
  by_name_.emplace(function->Name(), id);
  by_number_.emplace(function->Spec().number, id);
  functions_.push_back(std::move(function));
  return id;
}

Function* Worker::Find(std::string_view name) const {
  auto it = by_name_.find(std::string(name));
  if (it == by_name_.end() && load_missing_) {
    if (const auto loaded = load_missing_(name); !loaded)
      std::fprintf(stderr, "cwasi-host: function %s: %s\n", std::string(name).c_str(),
                   loaded.error().message.c_str());
    it = by_name_.find(std::string(name));
  }
  return it == by_name_.end() ? nullptr : functions_[it->second].get();
}

Result<Function*> Worker::FindOrLoad(std::uint32_t number, MonotonicNs deadline) {
  if (Function* function = FindByNumber(number)) return function;
  if (load_missing_) {
    if (FastNow() >= deadline)
      return Fail(ErrorCode::kDeadlineExceeded, "its time was over before it was loaded");
    const DeadlineScope scope(*ticker_, deadline);
    TRY(load_missing_(number));
  }
  if (Function* function = FindByNumber(number)) return function;
  return Fail(ErrorCode::kNotFound, "this worker runs no such function");
}

Function* Worker::FindByNumber(std::uint32_t number) const {
  const auto it = by_number_.find(number);
  return it == by_number_.end() ? nullptr : functions_[it->second].get();
}

tl::expected<std::uint32_t, CallClass> Worker::FindCallee(std::string_view name) const {
  if (const Function* function = Find(name)) {
    if (function->Spec().embed != Embed::kAllow) return tl::unexpected(CallClass::kDenied);
    return function->Id();
  }
  if (peers_ != nullptr)
    if (const auto place = peers_->Find(name)) return *place | kRemoteFunction;
  return tl::unexpected(CallClass::kNotFound);
}

void Worker::DropInstances() {
  for (auto& function : functions_) function->DropIdle();
}

void Worker::WhenIdle(MonotonicNs now) {
  payloads_.Pool().Trim(now);
}

Result<std::uint32_t> Worker::BringPart(Instance& callee, Call& call, std::size_t index) {
  WorkflowCall& workflow = *call.workflow;
  RequestPart& part = workflow.parts[index];
  const std::size_t bytes = part.value.Size();
  EdgeStats& edge = edges_.Of({part.producer, workflow.step, part.value.mode});
  const HandOverTimer timer(payloads_);
  TRY_SET(const std::uint32_t address,
          part.value.shared
              ? callee.Buffers().ReceiveView(part.value.shared, buf::Owner::kRequest, edge.views)
              : callee.Buffers().Receive(part.value.payload, buf::Owner::kRequest));
  workflow.taken[index] = true;
  HandOver cost = timer.Take();
  cost += part.value.given;
  ++edge.calls;
  Count(edge, bytes, cost);
  edge.hand_over.Add(cost.duration);
  return address;
}

tl::expected<Reply, CallError> Worker::Invoke(std::uint32_t function_id, Request& request) {
  Function* const function = Find(function_id);
  if (function == nullptr)
    return tl::unexpected(MakeError(CallClass::kNotFound, false,
                                    "no function has number " + std::to_string(function_id)));
  const MonotonicNs start = FastNow();
  WorkflowCall workflow{.step = request.step,
                        .metadata = request.metadata,
                        .parts = request.parts,
                        .taken = std::vector<bool>(request.parts.size())};
  const auto timeout = std::min(request.timeout, function->Spec().timeout);
  Call call(*function, workflow, request.id);
  call.deadline = DeadlineAfter(start, timeout);
  call.granted = timeout.count();
  const DeadlineScope deadline(*ticker_, call.deadline);
  CallFailure failure;
  auto instance = function->Acquire(*this, failure);
  if (instance == nullptr) return tl::unexpected(std::move(*failure));
  std::uint32_t address = 0;
  std::uint32_t length = 0;
  if (!request.parts.empty()) {
    length = static_cast<std::uint32_t>(request.parts[0].value.Size());
    const auto brought = BringPart(*instance, call, 0);
    if (!brought) {
      auto error = DeliveryError(brought.error(), false);
      if (!instance->IsSound()) error = instance->Failure();
      function->Release(std::move(instance));
      return tl::unexpected(std::move(error));
    }
    address = *brought;
  }
  const bool ran = instance->Run(call, address, length);
  function->Release(std::move(instance));
  if (!ran) return tl::unexpected(std::move(call.Why()));
  return Reply{.payload = std::move(workflow.reply),
               .given = call.replied,
               .duration = std::chrono::nanoseconds(FastNow() - start)};
}

tl::expected<void, CallError> Worker::ServePeer(Function& function, PeerCall& peer) {
  if (peer.depth >= kMaxCallDepth)
    return tl::unexpected(
        MakeError(CallClass::kOverloaded, false, WhyRefused(CallClass::kOverloaded)));
  const MonotonicNs now = FastNow();
  // Nobody waits for it any more.
  if (now >= peer.deadline)
    return tl::unexpected(
        MakeError(CallClass::kTimeout, true, "its time was over before it began"));
  peer.deadline = std::min(peer.deadline, DeadlineAfter(now, function.Spec().timeout));
  Call call(function, peer);
  call.granted = std::max<MonotonicNs>(peer.deadline - now, 0);
  const DeadlineScope deadline(*ticker_, call.deadline);
  CallFailure failure;
  auto instance = function.Acquire(*this, failure);
  if (instance == nullptr) return tl::unexpected(std::move(*failure));
  const buf::CopyCount before = payloads_.Copies();
  const std::size_t length = peer.payload != nullptr ? peer.payload->Size() : peer.once.size();
  std::uint32_t address = instance->Buffers().ReceiveShort(peer.once.data(), peer.once.size());
  if (address == 0) {
    const auto brought =
        peer.payload != nullptr
            ? instance->Buffers().Receive(*peer.payload, buf::Owner::kRequest)
            : instance->Buffers().ReceiveCopy(peer.once.data(), length, buf::Owner::kRequest);
    if (!brought) {
      auto error =
          instance->IsSound() ? DeliveryError(brought.error(), false) : instance->Failure();
      function.Release(std::move(instance));
      return tl::unexpected(std::move(error));
    }
    address = *brought;
  }
  peer.delivered();
  // The caller's worker counts the call and its bytes; the copies of this side are seen here.
  const std::uint64_t copies = payloads_.Copies().copies - before.copies;
  if (copies != 0 && peer.copies_edge != nullptr) {
    EdgeStats*& edge = *peer.copies_edge;
    if (edge == nullptr)
      edge = &edges_.Of({std::string(peer.caller), std::string(function.Name()), CallMode::kLocal});
    edge->copies += copies;
    edge->copied_bytes += payloads_.Copies().bytes - before.bytes;
  }
  if (peer.given_at != 0) peer.hand_over = std::max<MonotonicNs>(FastNow() - peer.given_at, 0);
  const bool ran = instance->Run(call, address, static_cast<std::uint32_t>(length));
  function.Release(std::move(instance));
  if (!ran) return tl::unexpected(std::move(call.Why()));
  return {};
}

// What can be said against a call before anything has happened.
std::optional<CallClass> Worker::Refusal(const Instance& caller, const Function* callee,
                                         const GuestCall& wanted) const {
  if (callee == nullptr) return CallClass::kNotFound;
  if (callee->Spec().embed != Embed::kAllow) return CallClass::kDenied;
  if (caller.CallUnderWay()->depth >= kMaxCallDepth) return CallClass::kOverloaded;
  if (wanted.length > payloads_.MaxPayloadBytes()) return CallClass::kTooLarge;
  if (wanted.move && !caller.Buffers().CheckGive(wanted.request, wanted.length))
    return CallClass::kInvalid;
  return std::nullopt;
}

std::unique_ptr<Instance> Worker::StartFor(Call& call) {
  CallFailure failure;
  auto instance = Instance::Start(*this, *call.function, failure);
  if (instance == nullptr) call.Failing().own = std::move(failure);
  return instance;
}

bool Worker::Deliver(Call& call, std::unique_ptr<Instance>& callee, const GuestCall& wanted,
                     std::uint32_t& address) {
  buf::GuestBuffers& from = call.caller->Buffers();
  buf::GuestBuffers& to = callee->Buffers();
  const auto there = wanted.move
                         ? from.Transfer(wanted.request, wanted.length, to, buf::Owner::kRequest)
                         : to.ReceiveCopy(call.caller->Memory().data() + wanted.request,
                                          wanted.length, buf::Owner::kRequest);
  if (there) {
    address = *there;
    return true;
  }
  call.FailWith(callee->IsSound() ? DeliveryError(there.error(), false) : callee->Failure());
  call.function->Release(std::move(callee));
  // Once the callee may have run, a moved request is gone, whatever became of it.
  if (call.Why().may_have_run && wanted.move) CHECK(from.Free(wanted.request).has_value());
  return false;
}

void Worker::RunGuestCall(Call& call, const GuestCall& wanted) {
  const Instance& caller = *call.caller;
  EdgeStats& edge = caller.Of().EdgeTo(*call.function, edges_);
  const MonotonicNs start = IsTimed(edge, wanted.length) ? FastNow() : 0;
  const DeadlineScope deadline(*ticker_, call.deadline);
  std::unique_ptr<Instance> instance = call.function->AcquireIdle();
  if (instance == nullptr) [[unlikely]] {
    instance = StartFor(call);
    if (instance == nullptr) return;
  }
  HandOver taken;  // Of the request.
  std::uint32_t address = 0;
  if (!wanted.move)
    address = instance->Buffers().ReceiveShort(call.caller->Memory().data() + wanted.request,
                                               wanted.length);
  if (address != 0) [[likely]] {
    taken.copies = 1;
    taken.copied_bytes = wanted.length;
  } else {
    const buf::CopyCount before = payloads_.Copies();
    if (!Deliver(call, instance, wanted, address)) return;
    taken.copies = payloads_.Copies().copies - before.copies;
    taken.copied_bytes = payloads_.Copies().bytes - before.bytes;
  }
  ++edge.calls;
  Count(edge, wanted.length, taken);
  if (start != 0) edge.hand_over.Add(FastNow() - start);
  // What came of it is in `call`.
  static_cast<void>(instance->Run(call, address, wanted.length));
  call.function->Release(std::move(instance));
  if (call.responded) Count(edge, call.reply_length, call.replied);
}

void Worker::Failed(Call& outer, std::string_view callee, CallError error, GuestCallEnd& end) {
  end.status = static_cast<std::uint32_t>(error.call_class);
  end.may_have_run = error.may_have_run;
  end.guest_status = error.guest_status;
  Failures& failures = outer.Failing();
  failures.last_callee = callee;
  failures.last = std::make_unique<CallError>(std::move(error));
}

void Worker::CallFromGuest(Instance& caller, const GuestCall& wanted, GuestCallEnd& end) {
  if ((wanted.function & kRemoteFunction) != 0 && peers_ != nullptr) {
    peers_->Call(caller, wanted.function & ~kRemoteFunction, wanted, end);
    return caller.ResumeDeadline();
  }
  Call& outer = *caller.CallUnderWay();
  Function* const function = Find(wanted.function);
  end.mode = CallMode::kEmbedded;
  if (const auto refusal = Refusal(caller, function, wanted)) [[unlikely]]
    return Failed(outer, function == nullptr ? "an unknown function" : function->Name(),
                  MakeError(*refusal, false, WhyRefused(*refusal)), end);
  Call call(*function, caller, outer, wanted.reply_data, wanted.reply_capacity,
            wanted.plain_reply_only);
  const auto timeout = function->Spec().timeout;
  if (timeout.count() < outer.granted) {
    call.deadline = std::min(outer.deadline, DeadlineAfter(FastNow(), timeout));
    call.granted = timeout.count();
  }
  RunGuestCall(call, wanted);
  caller.ResumeDeadline();
  if (!call.WentWell()) [[unlikely]] {
    if (call.reply_buffer != 0) CHECK(caller.Buffers().Free(call.reply_buffer).has_value());
    return Failed(outer, function->Name(), std::move(call.Why()), end);
  }
  end.status = 0;
  end.may_have_run = true;
  end.reply_is_buffer = call.reply_buffer != 0;
  if (end.reply_is_buffer) end.reply_data = call.reply_buffer;
  end.reply_length = call.reply_length;
}

tl::expected<std::uint32_t, CallClass> Worker::NewBuffer(Instance& owner, std::uint32_t bytes,
                                                         std::uint32_t taker) {
  buf::SegmentPool* pool = &payloads_.Pool();
  if (taker == kThisCaller) {
    const Call& call = *owner.CallUnderWay();
    if (call.peer != nullptr && call.peer->edge_pool != nullptr) pool = call.peer->edge_pool;
  } else if ((taker & kRemoteFunction) != 0 && peers_ != nullptr) {
    auto edge = peers_->EdgePoolOf(owner, taker & ~kRemoteFunction);
    owner.ResumeDeadline();
    if (!edge) return tl::unexpected(edge.error());
    if (*edge != nullptr) pool = *edge;
  } else if (Find(taker) == nullptr) {
    return tl::unexpected(CallClass::kNotFound);
  }
  const auto address = owner.Buffers().New(bytes, buf::Owner::kGuest, *pool);
  if (!address) return tl::unexpected(ClassOf(address.error()));
  return *address;
}

// A reply to somebody outside this worker's guests.
Result<> Worker::TakeOutsideReply(Instance& callee, Call& call, std::uint32_t address,
                                  std::uint32_t length, bool move) {
  if (move) {
    const buf::SegmentPool* const edge = call.peer != nullptr ? call.peer->edge_pool : nullptr;
    TRY_SET(*call.outside_reply, callee.Buffers().Give(address, length, edge));
  } else {
    TRY_SET(*call.outside_reply,
            buf::Payload::CopyOf({callee.Memory().data() + address, length}, payloads_));
  }
  if (call.peer != nullptr) call.peer->reply_is_buffer = move;
  return {};
}

std::uint32_t Worker::Respond(Instance& callee, Call& call, std::uint32_t address,
                              std::uint32_t length, bool move) {
  if (call.caller == nullptr || move || length > call.reply_capacity ||
      length > payloads_.MaxPayloadBytes()) [[unlikely]]
    return RespondAtLength(callee, call, address, length, move);
  payloads_.Copy(call.caller->Memory().data() + call.reply_data, callee.Memory().data() + address,
                 length);
  call.responded = true;
  call.reply_length = length;
  call.replied.copies = length != 0 ? 1U : 0U;
  call.replied.copied_bytes = length;
  return 0;
}

std::uint32_t Worker::RespondAtLength(Instance& callee, Call& call, std::uint32_t address,
                                      std::uint32_t length, bool move) {
  const auto refuse = [&](CallError error) {
    const auto status = static_cast<std::uint32_t>(error.call_class);
    call.FailWith(std::move(error));
    return status;
  };
  if (move && address == 0 && length == 0) move = false;  // An empty reply.
  if (move && !callee.Buffers().CheckGive(address, length))
    return static_cast<std::uint32_t>(CallClass::kInvalid);
  call.responded = true;
  if (length > payloads_.MaxPayloadBytes())
    return refuse(MakeError(CallClass::kTooLarge, true, "the reply is over the payload limit"));
  const std::byte* const from = callee.Memory().data() + address;
  const HandOverTimer timer(payloads_);
  if (call.caller == nullptr) {
    if (auto taken = TakeOutsideReply(callee, call, address, length, move); !taken)
      return refuse(DeliveryError(taken.error(), true));
  } else if (call.plain_reply_only) {
    if (length > call.reply_capacity)
      return refuse(MakeError(CallClass::kTooLarge, true,
                              "the reply has " + std::to_string(length) +
                                  " bytes, the caller has room for " +
                                  std::to_string(call.reply_capacity)));
    payloads_.Copy(call.caller->Memory().data() + call.reply_data, from, length);
    CHECK(callee.Buffers().Free(address).has_value());
  } else {
    buf::GuestBuffers& to = call.caller->Buffers();
    const auto there = move ? callee.Buffers().Transfer(address, length, to, buf::Owner::kGuest)
                            : to.ReceiveCopy(from, length, buf::Owner::kGuest);
    if (!there) return refuse(DeliveryError(there.error(), true));
    call.reply_buffer = *there;
  }
  call.reply_length = length;
  call.replied = timer.Take();
  return 0;
}

}  // namespace cwasi::worker
