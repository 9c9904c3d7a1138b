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
#include <unordered_set>
#include <utility>
#include <vector>

#include "buf/units.h"
#include "ipc/control_socket.h"
#include "worker/peer_failure.h"
#include "worker/peers.h"
#include "worker/value.h"
#include "worker/watcher.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

constexpr std::chrono::seconds kSendTimeout{10};
constexpr std::size_t kMaxDiscarded = 65'536;
static_assert(buf::kDamagedExitCode == ipc::kExitDamaged && kOverrunExitCode == ipc::kExitOverrun);

Error MakeError(ErrorCode code, std::string message) {
  return {.code = code, .message = std::move(message)};
}

// Keeps a report far below the longest message.
constexpr std::size_t kMaxReportedBuckets = 1'000'000;

std::vector<ipc::HistogramBucket> Buckets(const DurationHistogram& histogram) {
  std::vector<ipc::HistogramBucket> buckets;
  for (std::size_t i = 0; i < DurationHistogram::kBuckets; ++i) {
    const std::uint64_t count = std::min(histogram.Count(i), ipc::kMaxBucketCount);
    if (count != 0) buckets.push_back({.index = static_cast<std::uint16_t>(i), .count = count});
  }
  return buckets;
}

class ControlLoop {
 public:
  ControlLoop(WorkerStart start, ipc::Doorbell& bell, Watcher& watcher)
      : server_(std::move(start.control)),
        introductions_(std::move(start.introductions)),
        engine_(std::move(start.engine)),
        ability_(std::move(start.ability)),
        mappings_(start.mappings),
        pagemap_(std::move(start.pagemap)),
        loadavg_(std::move(start.loadavg)),
        confined_(std::move(start.confined)),
        bell_(bell),
        watcher_(watcher) {}
  ControlLoop(const ControlLoop&) = delete;
  ControlLoop& operator=(const ControlLoop&) = delete;
  ControlLoop(ControlLoop&&) = delete;
  ControlLoop& operator=(ControlLoop&&) = delete;
  // Values and instances hold segments of peers, and peers hold segments of the worker's pool.
  ~ControlLoop() {
    values_.clear();
    if (worker_ == nullptr) return;
    worker_->DropInstances();
    worker_->SetPeers(nullptr);
    peers_.reset();
  }

  int Serve() {
    if (auto watched = watcher_.Add(server_.Fd(), Watcher::For::kPackets); !watched)
      return Ended(watched.error());
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

  // Uses the time until the next request to serve peers and to give memory back.
  void WaitForRequest() {
    for (;;) {
      // Before there are peers, and where they cannot be waited for, this is the wait.
      const int timeout_ms = peers_ != nullptr ? 0 : -1;
      pollfd ready{.fd = server_.Fd(), .events = POLLIN, .revents = 0};
      const int n = ::poll(&ready, 1, timeout_ms);
      if (n != 0 && !(n < 0 && errno == EINTR)) return;
      if (peers_ == nullptr) continue;
      // cwasi's death ends the socket, which rings, so this wait ends.
      peers_->Serve(worker_->NextIdleWork());
      const MonotonicNs now = FastNow();
      if (now >= worker_->NextIdleWork()) worker_->WhenIdle(now);
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
    options.payloads.mappings = mappings_;
    options.load_missing = [this](const FunctionKey& key) { return LoadMissing(key); };
    if (auto supported = ipc::WaitSet::Supported(); !supported) return supported.error();
    worker_ = Worker::Create(options, std::move(engine_));
    if (pagemap_.IsOpen()) worker_->Payloads().SetScanner(buf::PageScanner(std::move(pagemap_)));
    peers_ = std::make_unique<Peers>(*worker_, bell_, watcher_);
    if (loadavg_.IsOpen()) peers_->Spinning().SetLoadavg(std::move(loadavg_));
    worker_->SetPeers(peers_.get());
    if (confined_)
      if (auto confined = confined_(); !confined) return confined.error();
    peers_->SetOnValue([this](std::uint64_t id, Value value) {
      return discarded_.erase(id) != 0 || values_.emplace(id, std::move(value)).second;
    });
    if (auto used = peers_->Use(ipc::IntroductionSocket(std::move(introductions_))); !used)
      return used.error();
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::LoadFunction& load, UniqueFd& fd) {
    if (!Ready()) return OutOfState();
    if (IsKnown(load.id)) return FunctionExists(load.id);
    FunctionSpec spec{
        .name = load.name,
        .number = load.id,
        .embed = load.embed == ipc::Embed::kAllow ? Embed::kAllow : Embed::kDeny,
        .memory_limit_bytes = load.memory_limit_bytes,
        .timeout = load.timeout,
        .instances =
            load.instances == ipc::Instances::kFresh ? Instances::kFresh : Instances::kReused,
        .zero = load.zero == ipc::Zero::kAlways ? buf::Zero::kAlways : buf::Zero::kNo};
    if (load.load == ipc::Load::kFirstUse) {
      unloaded_.emplace(load.id, Unloaded{.spec = std::move(spec), .module = std::move(fd)});
      return ipc::Done{};
    }
    if (auto loaded = LoadModule(load.id, {.spec = std::move(spec), .module = std::move(fd)});
        !loaded)
      return std::move(loaded).error();
    return ipc::Done{};
  }

  // A function whose module waits for its first use.
  struct Unloaded {
    FunctionSpec spec;
    UniqueFd module;
  };
  Result<> LoadModule(std::uint32_t id, const Unloaded& function) {
    // The engine maps a path; this one names the very file that cwasi opened.
    TRY_SET(const auto mine,
            worker_->Load(function.spec, "/proc/self/fd/" + std::to_string(function.module.Get())));
    functions_.emplace(id, mine);
    return {};
  }
  // Out of unloaded_ first: starting it may look for functions, itself too. What failed may be
  // tried again: memory may have been short.
  Result<> LoadFirst(std::unordered_map<std::uint32_t, Unloaded>::iterator it) {
    auto node = unloaded_.extract(it);
    auto loaded = LoadModule(node.key(), node.mapped());
    if (!loaded) unloaded_.insert(std::move(node));
    return loaded;
  }
  Result<> LoadMissing(const FunctionKey& key) {
    const auto* const number = std::get_if<std::uint32_t>(&key);
    const auto it = number != nullptr
                        ? unloaded_.find(*number)
                        : std::ranges::find_if(unloaded_, [&](const auto& entry) {
                            return entry.second.spec.name == std::get<std::string_view>(key);
                          });
    return it == unloaded_.end() ? Result<>() : LoadFirst(it);
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
    values_.emplace(read.value_id, Value{.payload = std::move(*payload)});
    return ipc::FileReply{.bytes = bytes};
  }

  ipc::ResponseBody On(const ipc::WriteFile& write, UniqueFd& fd) {
    if (!Ready()) return OutOfState();
    const auto it = values_.find(write.value_id);
    if (it == values_.end()) return NoSuchValue(write.value_id);
    if (auto written = it->second.WriteTo(fd.Get()); !written) return written.error();
    return ipc::FileReply{.bytes = it->second.Size()};
  }

  ipc::ResponseBody On(const ipc::Drop& drop, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    if (values_.erase(drop.value_id) != 0) return ipc::Done{};
    if (peers_->Links() == 0 || discarded_.size() == kMaxDiscarded)
      return NoSuchValue(drop.value_id);
    discarded_.insert(drop.value_id);  // It may be on its way.
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::GiveValue& give, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    const auto it = values_.find(give.value_id);
    if (it == values_.end()) return NoSuchValue(give.value_id);
    const MonotonicNs deadline = DeadlineAfter(Now(), give.timeout);
    Value value = TakeValue(it, give.pass);
    // While it waits, values come, so `it` is of no more use.
    const std::size_t size = value.Size();
    auto given = peers_->Give(give.peer_worker, value, give.as_value_id, deadline);
    if (given) return ipc::Done{};
    // Unless the peer may have it: then it is lost, and is no empty value.
    if (give.pass == ipc::Pass::kMove && value.Size() == size)
      values_.emplace(give.value_id, std::move(value));
    return given.error();
  }

  ipc::ResponseBody On(const ipc::DeclareFunctions& declare, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    for (const auto& function : declare.functions)
      if (IsKnown(function.id)) return FunctionExists(function.id);
    for (const auto& function : declare.functions)
      if (!peers_->Declare({function.id, function.name, function.timeout}))
        return FunctionExists(function.id);
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::Shutdown& /*shutdown*/, UniqueFd& /*fd*/) {
    if (!Ready()) return OutOfState();
    return ipc::Done{};
  }

  ipc::ResponseBody On(const ipc::Invoke& invoke, UniqueFd& /*fd*/);
  ipc::ResponseBody On(const ipc::GetReport& report, UniqueFd& fd);

  using Values = std::unordered_map<std::uint64_t, Value>;
  static Error NoSuchValue(std::uint64_t id) {
    return MakeError(ErrorCode::kNotFound, "no value " + std::to_string(id));
  }
  [[nodiscard]] bool IsKnown(std::uint32_t id) const {
    return functions_.contains(id) || unloaded_.contains(id) || peers_->Knows(id);
  }
  static Error FunctionExists(std::uint32_t id) {
    return MakeError(ErrorCode::kAlreadyExists, "function " + std::to_string(id) + " is known");
  }
  static Error ValueExists(std::uint64_t id) {
    return MakeError(ErrorCode::kAlreadyExists, "value " + std::to_string(id) + " exists");
  }

  // Until those that peers give have come. No guest has run on failure.
  tl::expected<void, CallError> AwaitParts(const std::vector<ipc::Part>& parts,
                                           MonotonicNs deadline);
  Value TakeValue(Values::iterator it, ipc::Pass pass);
  Result<std::vector<RequestPart>> TakeParts(const std::vector<ipc::Part>& parts);
  void PutBack(const std::vector<ipc::Part>& parts, std::vector<RequestPart>& taken);

  ipc::ControlServer server_;
  UniqueFd introductions_;  // Until Configure.
  bool greeted_ = false;
  PreparedEngine engine_;  // Until Configure.
  buf::MoveAbility ability_;
  std::size_t mappings_;
  UniqueFd pagemap_;  // Until Configure, as loadavg_.
  UniqueFd loadavg_;
  std::function<Result<>()> confined_;
  ipc::Doorbell& bell_;
  Watcher& watcher_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Peers> peers_;                                // With worker_.
  std::unordered_map<std::uint32_t, std::uint32_t> functions_;  // cwasi's number to the worker's.
  std::unordered_map<std::uint32_t, Unloaded> unloaded_;
  Values values_;
  std::unordered_set<std::uint64_t> discarded_;  // Dropped before they came.
};

tl::expected<void, CallError> ControlLoop::AwaitParts(const std::vector<ipc::Part>& parts,
                                                      MonotonicNs deadline) {
  const auto all_here = [&] {
    return std::ranges::all_of(parts,
                               [&](const auto& part) { return values_.contains(part.value_id); });
  };
  // Without peers a value that is not here never comes: TakeParts says so.
  if (all_here() || peers_->Links() == 0) return {};
  const auto came = peers_->TakeValuesUntil(all_here, deadline);
  if (came) return {};
  const bool late = came.error().code == ErrorCode::kDeadlineExceeded;
  return tl::unexpected(
      LocalError(late ? CallClass::kTimeout : CallClass::kUnavailable, late, came.error().message));
}

Value ControlLoop::TakeValue(Values::iterator it, ipc::Pass pass) {
  if (pass == ipc::Pass::kCopy) return it->second.ForOneTaker();
  Value last = it->second.ForLastTaker();
  values_.erase(it);
  return last;
}

Result<std::vector<RequestPart>> ControlLoop::TakeParts(const std::vector<ipc::Part>& parts) {
  std::vector<RequestPart> taken;
  taken.reserve(parts.size());
  for (const ipc::Part& part : parts) {
    const auto it = values_.find(part.value_id);
    if (it == values_.end()) {
      PutBack(parts, taken);
      return tl::unexpected(NoSuchValue(part.value_id));
    }
    taken.push_back(
        {.value = TakeValue(it, part.pass), .name = part.name, .producer = part.producer});
  }
  return taken;
}

// Moved values are values again; `taken` may have fewer entries than `parts`.
void ControlLoop::PutBack(const std::vector<ipc::Part>& parts, std::vector<RequestPart>& taken) {
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (parts[i].pass != ipc::Pass::kMove) continue;
    values_.emplace(parts[i].value_id, std::move(taken[i].value));
  }
}

ipc::ResponseBody ControlLoop::On(const ipc::Invoke& invoke, UniqueFd& /*fd*/) {
  if (!Ready()) return OutOfState();
  if (const auto it = unloaded_.find(invoke.function_id); it != unloaded_.end()) {
    if (auto loaded = LoadFirst(it); !loaded) return loaded.error();
  }
  const auto found = functions_.find(invoke.function_id);
  if (found == functions_.end())
    return MakeError(ErrorCode::kNotFound, "no function " + std::to_string(invoke.function_id));
  if (values_.contains(invoke.result_value_id)) return ValueExists(invoke.result_value_id);
  const std::uint32_t function = found->second;  // Others may be loaded while this waits.
  const MonotonicNs start = Now();
  if (auto here = AwaitParts(invoke.parts, DeadlineAfter(start, invoke.timeout)); !here)
    return std::move(here).error();
  auto parts = TakeParts(invoke.parts);
  if (!parts) return parts.error();
  Request request{.id = invoke.request_id,
                  .step = invoke.step,
                  .parts = std::move(*parts),
                  .metadata = {},
                  .timeout = invoke.timeout - std::chrono::nanoseconds(Now() - start)};
  for (const auto& entry : invoke.metadata) request.metadata.push_back({entry.key, entry.value});
  auto reply = worker_->Invoke(function, request);
  if (!reply) {
    if (!reply.error().may_have_run) PutBack(invoke.parts, request.parts);
    return std::move(reply).error();
  }
  const auto bytes = reply->payload.Size();
  values_.emplace(invoke.result_value_id,
                  Value{.payload = std::move(reply->payload), .given = reply->given});
  return ipc::InvokeReply{.result_bytes = bytes, .duration = reply->duration};
}

ipc::ResponseBody ControlLoop::On(const ipc::GetReport& /*report*/, UniqueFd& /*fd*/) {
  if (!Ready()) return OutOfState();
  ipc::ReportReply reply;
  std::size_t buckets = 0;
  for (const auto& [name, edge] : worker_->Edges().All()) {
    if (reply.edges.size() == ipc::kMaxEdges) break;
    reply.edges.push_back({.caller = name.caller,
                           .callee = name.callee,
                           .mode = name.mode,
                           .calls = edge->calls,
                           .payload_bytes = edge->payload_bytes,
                           .copies = edge->copies,
                           .copied_bytes = edge->copied_bytes,
                           .moved = edge->moved,
                           .hand_over = {}});
    if (buckets < kMaxReportedBuckets) reply.edges.back().hand_over = Buckets(edge->hand_over);
    buckets += reply.edges.back().hand_over.size();
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

int ServeControl(WorkerStart start) {
  ipc::Doorbell bell;
  auto watcher = Watcher::Create(bell);
  if (!watcher) {
    std::fprintf(stderr, "cwasi-host: %s\n", watcher.error().message.c_str());
    return 1;
  }
  int code = 1;
  RunOnGuestThread(
      [&] {
        code = ControlLoop(std::move(start), bell, *watcher).Serve();
        watcher->Stop();
      },
      [&] { watcher->Run(); });
  return code;
}

}  // namespace cwasi::worker
