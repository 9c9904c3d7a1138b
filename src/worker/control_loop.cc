// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/control_loop.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "buf/units.h"
#include "ipc/control_socket.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

constexpr std::chrono::seconds kSendTimeout{10};
static_assert(buf::kDamagedExitCode == ipc::kExitDamaged && kOverrunExitCode == ipc::kExitOverrun);

// What a step or an input made and the next step takes.
struct Value {
  buf::Payload payload;
  std::string producer;
  HandOver given;  // Counted on the first edge that takes it.
};

Error MakeError(ErrorCode code, std::string message) {
  return {.code = code, .message = std::move(message)};
}

class ControlLoop {
 public:
  explicit ControlLoop(UniqueFd socket) : server_(std::move(socket)) {}

  int Serve() {
    for (;;) {
      WaitForRequest();
      auto request = server_.Next(DeadlineAfter(Now(), kSendTimeout));
      if (!request) return Ended(request.error());
      const bool last = std::holds_alternative<ipc::Shutdown>(request->body);
      if (auto sent = server_.Reply(Handle(*request), DeadlineAfter(Now(), kSendTimeout)); !sent)
        return Ended(sent.error());
      if (last) return 0;
    }
  }

 private:
  static int Ended(const Error& error) {
    if (error.code == ErrorCode::kUnavailable) return 0;
    std::fprintf(stderr, "cwasi-host: control socket: %s\n", error.message.c_str());
    return 1;
  }

  // Uses the time until the next request to give memory back.
  void WaitForRequest() {
    for (;;) {
      int timeout_ms = -1;  // cwasi's death ends the socket, so this wait ends.
      if (worker_ != nullptr && worker_->NextIdleWork() != kNoDeadline)
        timeout_ms = static_cast<int>(std::clamp<MonotonicNs>(
            (worker_->NextIdleWork() - FastNow()) / 1'000'000 + 1, 0, 60'000));
      pollfd ready{.fd = server_.Fd(), .events = POLLIN, .revents = 0};
      const int n = ::poll(&ready, 1, timeout_ms);
      if (n != 0 && !(n < 0 && errno == EINTR)) return;
      if (worker_ != nullptr) worker_->WhenIdle(FastNow());
    }
  }

  ipc::ResponseBody Handle(ipc::ControlServer::Incoming& request) {
    return std::visit([&](auto& body) -> ipc::ResponseBody { return On(body, request.fd); },
                      request.body);
  }

  [[nodiscard]] bool Ready() const { return worker_ != nullptr; }
  static ipc::ResponseBody OutOfState() {
    return MakeError(ErrorCode::kFailedPrecondition, "request out of its state");
  }

  ipc::ResponseBody On(const ipc::Hello& /*hello*/, UniqueFd& /*fd*/) {
    if (greeted_) return OutOfState();
    greeted_ = true;
    ability_ = buf::MeasureMoveAbility();
    return ipc::HelloReply{
        .pid = static_cast<std::uint32_t>(::getpid()),
        .page_bytes = buf::kPageBytes,
        .unit_bytes = buf::kUnitBytes,
        .swap_available = ability_.support.available,
        .swap_reason = ability_.support.reason,
        .crossover_bytes = ability_.support.available ? ability_.crossover_bytes : 0};
  }

  ipc::ResponseBody On(const ipc::Configure& configure, UniqueFd& /*fd*/) {
    if (!greeted_ || Ready()) return OutOfState();
    Worker::Options options;
    options.payloads.memory_bytes = configure.payload_budget_bytes;
    options.payloads.max_payload_bytes = configure.max_payload_bytes;
    options.payloads.policy = configure.payload == ipc::PayloadPolicy::kCopy
                                  ? buf::MovePolicy::kCopyAll
                                  : buf::MovePolicy::kAuto;
    options.payloads.ability = ability_;
    auto worker = Worker::Create(options);
    if (!worker) return worker.error();
    worker_ = std::move(*worker);
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::LoadFunction& load, UniqueFd& fd) {
    if (!Ready()) return OutOfState();
    if (functions_.contains(load.id))
      return MakeError(ErrorCode::kAlreadyExists,
                       "function " + std::to_string(load.id) + " is loaded");
    FunctionSpec spec{
        .name = load.name,
        .embed = load.embed == ipc::Embed::kAllow ? Embed::kAllow : Embed::kDeny,
        .memory_limit_bytes = load.memory_limit_bytes,
        .timeout = load.timeout,
        .instances =
            load.instances == ipc::Instances::kFresh ? Instances::kFresh : Instances::kReused,
        .zero = load.zero == ipc::Zero::kAlways ? buf::Zero::kAlways : buf::Zero::kNo};
    // The engine maps a path; this one names the very file that cwasi opened.
    auto id = worker_->Load(std::move(spec), "/proc/self/fd/" + std::to_string(fd.Get()));
    if (!id) return id.error();
    functions_.emplace(load.id, *id);
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::ReadFile& read, UniqueFd& fd) {
    if (!Ready()) return OutOfState();
    if (values_.contains(read.value_id)) return ValueExists(read.value_id);
    struct stat status{};
    if (::fstat(fd.Get(), &status) != 0)
      return Error{
          .code = ErrorCode::kInvalidArgument, .sys_errno = errno, .message = "look at the file"};
    const std::size_t size = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size)
                                                     : buf::Payload::kUnknownSize;
    auto payload = buf::Payload::ReadFrom(fd.Get(), size, worker_->Payloads());
    if (!payload) return payload.error();
    const auto bytes = payload->Size();
    // Reading is the file's cost, not the edge's.
    values_.emplace(read.value_id,
                    Value{.payload = std::move(*payload), .producer = read.name, .given = {}});
    return ipc::FileReply{.bytes = bytes};
  }

  ipc::ResponseBody On(const ipc::WriteFile& write, UniqueFd& fd) {
    if (!Ready()) return OutOfState();
    const auto it = values_.find(write.value_id);
    if (it == values_.end()) return NoSuchValue(write.value_id);
    if (auto written = it->second.payload.WriteTo(fd.Get()); !written) return written.error();
    return ipc::FileReply{.bytes = it->second.payload.Size()};
  }

  ipc::ResponseBody On(const ipc::Drop& drop, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    if (values_.erase(drop.value_id) == 0) return NoSuchValue(drop.value_id);
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::Shutdown& /*shutdown*/, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::Invoke& invoke, UniqueFd& /*fd*/);
  ipc::ResponseBody On(const ipc::GetReport& report, UniqueFd& fd);

  static Error NoSuchValue(std::uint64_t id) {
    return MakeError(ErrorCode::kNotFound, "no value " + std::to_string(id));
  }
  static Error ValueExists(std::uint64_t id) {
    return MakeError(ErrorCode::kAlreadyExists, "value " + std::to_string(id) + " exists");
  }

  Result<std::vector<RequestPart>> TakeParts(const std::vector<ipc::Part>& parts);
  void PutBack(const std::vector<ipc::Part>& parts, std::vector<RequestPart>& taken);

  ipc::ControlServer server_;
  bool greeted_ = false;
  buf::MoveAbility ability_;
  std::unique_ptr<Worker> worker_;
  std::unordered_map<std::uint32_t, std::uint32_t> functions_;  // cwasi's number to the worker's.
  std::unordered_map<std::uint64_t, Value> values_;  // Destroyed before the pool in worker_.
};

Result<std::vector<RequestPart>> ControlLoop::TakeParts(const std::vector<ipc::Part>& parts) {
  std::vector<RequestPart> taken;
  taken.reserve(parts.size());
  for (const ipc::Part& part : parts) {
    const auto it = values_.find(part.value_id);
    if (it == values_.end()) {
      PutBack(parts, taken);
      return tl::unexpected(NoSuchValue(part.value_id));
    }
    RequestPart mine{.payload = {},
                     .name = part.name,
                     .producer = it->second.producer,
                     .given = std::exchange(it->second.given, {})};
    if (part.pass == ipc::Pass::kMove) {
      mine.payload = std::move(it->second.payload);
      values_.erase(it);
    } else {
      const HandOverTimer timer(worker_->Payloads());
      auto copy = it->second.payload.Duplicate(worker_->Payloads());
      if (!copy) {
        PutBack(parts, taken);
        return tl::unexpected(std::move(copy).error());
      }
      mine.payload = std::move(*copy);
      mine.given += timer.Take();
    }
    taken.push_back(std::move(mine));
  }
  return taken;
}

// Moved values are values again; `taken` may have fewer entries than `parts`.
void ControlLoop::PutBack(const std::vector<ipc::Part>& parts, std::vector<RequestPart>& taken) {
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (parts[i].pass != ipc::Pass::kMove) continue;
    values_.emplace(parts[i].value_id, Value{.payload = std::move(taken[i].payload),
                                             .producer = std::move(taken[i].producer),
                                             .given = taken[i].given});
  }
}

ipc::ResponseBody ControlLoop::On(const ipc::Invoke& invoke, UniqueFd& /*fd*/) {
  if (!Ready()) return OutOfState();
  const auto function = functions_.find(invoke.function_id);
  if (function == functions_.end())
    return MakeError(ErrorCode::kNotFound, "no function " + std::to_string(invoke.function_id));
  if (values_.contains(invoke.result_value_id)) return ValueExists(invoke.result_value_id);
  auto parts = TakeParts(invoke.parts);
  if (!parts) return parts.error();
  Request request{.id = invoke.request_id,
                  .step = invoke.step,
                  .parts = std::move(*parts),
                  .metadata = {},
                  .timeout = invoke.timeout};
  for (const auto& entry : invoke.metadata) request.metadata.push_back({entry.key, entry.value});
  auto reply = worker_->Invoke(function->second, request);
  if (!reply) {
    if (!reply.error().may_have_run) PutBack(invoke.parts, request.parts);
    return std::move(reply).error();
  }
  const auto bytes = reply->payload.Size();
  values_.emplace(
      invoke.result_value_id,
      Value{.payload = std::move(reply->payload), .producer = invoke.step, .given = reply->given});
  return ipc::InvokeReply{.result_bytes = bytes, .duration = reply->duration};
}

ipc::ResponseBody ControlLoop::On(const ipc::GetReport& /*report*/, UniqueFd& /*fd*/) {
  if (!Ready()) return OutOfState();
  ipc::ReportReply reply;
  for (const auto& [name, edge] : worker_->Edges().All()) {
    if (reply.edges.size() == ipc::kMaxEdges) break;
    reply.edges.push_back(
        {.caller = name.caller,
         .callee = name.callee,
         .mode = CallMode::kEmbedded,
         .calls = edge->calls,
         .payload_bytes = edge->payload_bytes,
         .copies = edge->copies,
         .copied_bytes = edge->copied_bytes,
         .moved = edge->moved,
         .hand_over_samples = edge->hand_over.Total(),
         .hand_over_median = std::chrono::nanoseconds(edge->hand_over.Quantile(0.5)),
         .hand_over_p99 = std::chrono::nanoseconds(edge->hand_over.Quantile(0.99))});
  }
  auto& memory = worker_->Payloads();
  const auto pool = memory.Pool().GetStats();
  reply.payload = {.segments = pool.in_use + pool.idle,
                   .bytes = memory.Memory().Used(),
                   .peak_bytes = memory.Memory().Peak(),
                   .mappings = memory.Mappings().Used()};
  return reply;
}

}  // namespace

int ServeControl(UniqueFd socket) {
  return ControlLoop(std::move(socket)).Serve();
}

}  // namespace cwasi::worker
