// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The side of Peers that calls and gives, and asks for whom to call.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "worker/peer_failure.h"
#include "worker/peers.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using ipc::ChannelStatus;
using ipc::Record;
using ipc::RecordType;

// While a guest waits for other workers the wait has the deadline and nothing runs; what is served
// meanwhile has one of its own. After a wait that ended late the guest has its grace.
class PausedDeadline {
 public:
  explicit PausedDeadline(DeadlineTicker& ticker) : ticker_(ticker), before_(ticker.Get()) {
    ticker_.Set(kNoDeadline);
  }
  PausedDeadline(const PausedDeadline&) = delete;
  PausedDeadline& operator=(const PausedDeadline&) = delete;
  PausedDeadline(PausedDeadline&&) = delete;
  PausedDeadline& operator=(PausedDeadline&&) = delete;
  ~PausedDeadline() { ticker_.Set(before_); }

 private:
  DeadlineTicker& ticker_;
  MonotonicNs before_;
};

// Of shorter calls every sixteenth is timed, as in worker.cc.
constexpr std::uint32_t kAlwaysTimedBytes = 4096;

// With more links no further worker is asked for: other functions need some, too.
constexpr std::size_t kMostToSpread = ipc::WaitSet::kMaxWords / 2;

}  // namespace

Peers::Waited Peers::WaitForReply(Pending& pending, const Record& call, MonotonicNs deadline) {
  const Using use(*pending.link);
  const PausedDeadline paused(worker_.Ticker());
  pending_.push_back(&pending);
  const Waited waited = WaitAsPending(pending, call, deadline);
  std::erase(pending_, &pending);
  return waited;
}

Peers::Waited Peers::WaitAsPending(Pending& pending, const Record& call, MonotonicNs deadline) {
  Link& link = *pending.link;
  // Nothing is called inside of a value.
  const Wait wait{.deadline = call.type == RecordType::kCall ? deadline : 0,
                  .request_id = call.request_id,
                  .depth = call.depth};
  bool late = false;
  for (;;) {
    for (;;) {
      if (pending.kept) return Waited::kReplied;
      if (!link.IsUp()) return Waited::kFailed;
      const ChannelStatus status = link.link->Receive(pending.reply);
      if (status == ChannelStatus::kWait) break;
      if (status == ChannelStatus::kFailed) {
        FailLink(link);
        return Waited::kFailed;
      }
      if (pending.reply.record.call_id == call.call_id) return Waited::kReplied;
      Keep(link, std::move(pending.reply));
    }
    if (late) return Waited::kTimeout;
    late = !WaitOnce(&link, &wait, deadline);
  }
}

void Peers::EndReply(Pending& pending) {
  if (!pending.kept) pending.link->link->EndIncoming();
}

tl::expected<std::uint64_t, CallError> Peers::Ask(const Remote& remote, ipc::WantedWorker worker,
                                                  MonotonicNs deadline) {
  if (!introductions_)
    return tl::unexpected(
        LocalError(CallClass::kUnavailable, false, "no worker runs " + remote.name + " any more"));
  for (auto& [token, want] : wants_) {
    if (want.function != remote.number || want.worker_kind != worker || want.awaited) continue;
    want.awaited = true;
    return token;
  }
  if (wants_.size() >= ipc::kMaxWants)
    return tl::unexpected(
        LocalError(CallClass::kOverloaded, false, "too many functions have no worker yet"));
  SayLost();
  const std::uint64_t token = next_token_++;
  if (auto asked = introductions_->Send(
          ipc::Want{.token = token, .function_id = remote.number, .worker = worker}, {}, deadline);
      !asked)
    return tl::unexpected(
        LocalError(CallClass::kUnavailable, false,
                   "ask for a worker of " + remote.name + ": " + asked.error().message));
  wants_.emplace(token, Wanted{.function = remote.number, .worker_kind = worker});
  return token;
}

void Peers::OnAnswer(std::uint64_t token, ipc::WorkerId worker, std::optional<CallError> refused) {
  const auto it = wants_.find(token);
  if (it == wants_.end()) return;
  if (!it->second.awaited) {
    wants_.erase(it);
    return;
  }
  it->second.answered = true;
  it->second.worker = worker;
  it->second.refused = std::move(refused);
}

// In the order of sending before any later Want, which would be answered as if they still met.
void Peers::SayLost() {
  while (introductions_ && !lost_.empty()) {
    if (!introductions_->Send(ipc::Lost{.worker = lost_.back()}, {}, Now())) return;
    lost_.pop_back();
  }
}

bool Peers::MayCall(const Link& link, const Remote& remote) {
  return link.role == ipc::PeerRole::kCaller && link.IsUp() &&
         std::ranges::find(link.functions, remote.number) != link.functions.end();
}

Peers::Link* Peers::KnownFor(const Remote& remote) const {
  Link* best = nullptr;
  for (const auto& link : links_)
    if (MayCall(*link, remote) && (best == nullptr || link->Unanswered() < best->Unanswered()))
      best = link.get();
  return best;
}

tl::expected<Peers::Link*, CallError> Peers::Introduced(const Remote& remote,
                                                        ipc::WantedWorker worker,
                                                        MonotonicNs deadline) {
  const PausedDeadline paused(worker_.Ticker());
  const auto token = Ask(remote, worker, deadline);
  if (!token) return tl::unexpected(token.error());
  const Wait wait;
  bool late = false;
  while (!wants_[*token].answered && introductions_ && !late)
    late = !WaitOnce(nullptr, &wait, deadline);
  if (!wants_[*token].answered) {
    wants_[*token].awaited = false;
    return tl::unexpected(LocalError(CallClass::kUnavailable, false,
                                     "no worker of " + remote.name + " was found in time"));
  }
  const Wanted answer = std::move(wants_[*token]);
  wants_.erase(*token);
  if (answer.refused) return tl::unexpected(*answer.refused);
  if (Link* link = UpLink(answer.worker, ipc::PeerRole::kCaller)) return link;
  return tl::unexpected(
      LocalError(CallClass::kUnavailable, false, "the worker of " + remote.name + " has ended"));
}

tl::expected<Peers::Link*, CallError> Peers::LinkFor(Remote& remote, ipc::WantedWorker worker,
                                                     MonotonicNs deadline) {
  const bool spread = worker == ipc::WantedWorker::kAnother;
  if (spread) {
    // Who has answered is not busy.
    for (auto& link : links_)
      if (link->role == ipc::PeerRole::kCaller && link->IsUp()) Drain(*link);
  }
  const Link* const known = KnownFor(remote);
  if (known == nullptr) return Introduced(remote, ipc::WantedWorker::kAny, deadline);
  const MonotonicNs now = FastNow();
  if (spread && known->Unanswered() != 0 && now >= remote.alone_until &&
      links_.size() < kMostToSpread) {
    const auto count = [&] {
      return std::ranges::count_if(links_,
                                   [&](const auto& link) { return MayCall(*link, remote); });
    };
    const auto before = count();
    static_cast<void>(
        Introduced(remote, worker, std::min(deadline, DeadlineAfter(now, spreading_.patience))));
    if (count() <= before) remote.alone_until = DeadlineAfter(FastNow(), spreading_.pause);
  }
  // All may have ended meanwhile.
  if (Link* link = KnownFor(remote)) return link;
  return Introduced(remote, ipc::WantedWorker::kAny, deadline);
}

Result<> Peers::SendWithinBounds(Link& link, const Record& call,
                                 const PeerLink::Outgoing& outgoing) {
  // What a peer that stopped has must not take all that others need (design 1, rule 8).
  if (link.link->LentBytes() > worker_.Payloads().Memory().Limit() / 2)
    return Fail(ErrorCode::kResourceExhausted, "the callee's worker has too much of ours already");
  return link.link->Send(call, outgoing);
}

// Sends the request; what has failed here has not happened.
tl::expected<void, CallError> Peers::Begin(Instance& caller, std::uint32_t place,
                                           const GuestCall& wanted, ipc::WantedWorker worker,
                                           InFlight& flight) {
  const worker::Call& outer = *caller.CallUnderWay();
  const auto refuse = [](CallClass call_class, std::string why) {
    return tl::unexpected(LocalError(call_class, false, std::move(why)));
  };
  if (place >= remotes_.size()) return refuse(CallClass::kNotFound, "no function has this number");
  if (outer.depth >= kMaxCallDepth) return refuse(CallClass::kOverloaded, "calls nest too deeply");
  if (wanted.length > worker_.Payloads().MaxPayloadBytes())
    return refuse(CallClass::kTooLarge, "the request is over the payload limit");
  if (wanted.move && !caller.Buffers().CheckGive(wanted.request, wanted.length))
    return refuse(CallClass::kInvalid,
                  "it gives what is not a buffer of its own, or more than the buffer holds");
  Remote& remote = remotes_[place];
  EdgeStats& edge = EdgeTo(place, caller);
  const MonotonicNs now = FastNow();
  const bool timed = wanted.length >= kAlwaysTimedBytes || edge.calls % 16 == 0;
  const MonotonicNs deadline = std::min(outer.deadline, DeadlineAfter(now, remote.timeout));
  auto link = LinkFor(remote, worker, deadline);
  if (!link) return tl::unexpected(std::move(link).error());
  const Using use(**link);
  PeerLink& to = *(*link)->link;

  flight.edge = &edge;
  flight.wanted = wanted;
  flight.pending.link = *link;
  flight.pending.call_id = next_call_++;
  flight.call = {.type = RecordType::kCall,
                 .pass = wanted.move ? ipc::PassMode::kMove : ipc::PassMode::kCopy,
                 .call_id = flight.pending.call_id,
                 .request_id = outer.request_id,
                 .function = remote.number,
                 .caller_function = caller.Of().Spec().number,
                 .depth = outer.depth + 1,
                 .deadline = deadline,
                 .given_at = timed ? now : 0};
  to.FlushReturns();
  const buf::CopyCount before = worker_.Payloads().Copies();
  // Another domain gets a segment that only the two of us see: the guest's buffer, or a copy.
  std::optional<buf::Payload> lent;
  if (wanted.move) lent = caller.Buffers().Lend(wanted.request, wanted.length, to.EdgePool());
  if (lent) flight.pending.gave = &lent->SegmentOf();
  PeerLink::Outgoing outgoing;
  if (lent)
    outgoing.payload = &*lent;
  else
    outgoing.bytes = {caller.Memory().data() + wanted.request, wanted.length};
  if (auto sent = SendWithinBounds(**link, flight.call, outgoing); !sent) {
    if (lent) caller.Buffers().EndLend(wanted.request, lent->ReleaseSegment());
    if (sent.error().code == ErrorCode::kUnavailable) CheckLinks();
    const bool is_up = (*link)->IsUp() && !to.Channel().HasFailed();
    if (!is_up) FailLink(**link);
    return refuse(is_up ? CallClass::kOverloaded : CallClass::kUnavailable, sent.error().message);
  }
  flight.lent = lent.has_value();
  flight.sent_end = to.Channel().SentEnd();
  ++edge.calls;
  edge.payload_bytes += wanted.length;
  edge.copies += worker_.Payloads().Copies().copies - before.copies;
  edge.copied_bytes += worker_.Payloads().Copies().bytes - before.bytes;
  if (lent) ++edge.moved;
  return {};
}

tl::expected<buf::SegmentPool*, CallClass> Peers::EdgePoolOf(const Instance& caller,
                                                             std::uint32_t place) {
  if (place >= remotes_.size()) return tl::unexpected(CallClass::kNotFound);
  Remote& remote = remotes_[place];
  const auto link =
      LinkFor(remote, ipc::WantedWorker::kAny,
              std::min(caller.CallUnderWay()->deadline, DeadlineAfter(FastNow(), remote.timeout)));
  if (!link) return tl::unexpected(link.error().call_class);
  return (*link)->link->EdgePool();
}

// After WaitForReply said `waited`: brings the reply to where the caller wants it.
tl::expected<void, CallError> Peers::Finish(Instance& caller, InFlight& flight, Waited waited,
                                            GuestCallEnd& end) {
  PeerLink& link = *flight.pending.link->link;
  PeerLink::Incoming& reply = flight.pending.reply;
  tl::expected<void, CallError> outcome;
  switch (waited) {
    case Waited::kReplied:
      if (flight.call.given_at != 0)
        flight.edge->hand_over.Add(static_cast<MonotonicNs>(reply.record.hand_over_ns));
      outcome = TakeReply(caller, flight.wanted, reply, end);
      EndReply(flight.pending);
      if (outcome && reply.record.payload_bytes != 0) {
        flight.edge->payload_bytes += reply.record.payload_bytes;
        if (reply.record.payload == ipc::PayloadKind::kSegment) ++flight.edge->moved;
      }
      break;
    case Waited::kFailed:
      // What the peer has not released it has not begun.
      outcome =
          link.Channel().PeerReleased(flight.sent_end)
              ? tl::unexpected(LocalError(CallClass::kOutcomeUnknown, true,
                                          "the callee's worker ended: " + link.Failure().message))
              : tl::unexpected(LocalError(
                    CallClass::kUnavailable, false,
                    "the callee's worker ended before the call: " + link.Failure().message));
      break;
    case Waited::kTimeout:
      static_cast<void>(
          link.Send(Record{.type = RecordType::kCancel, .call_id = flight.call.call_id}));
      outcome = tl::unexpected(LocalError(CallClass::kTimeout, true, "no answer by the deadline"));
      break;
  }
  SettleRequest(caller, flight.wanted, flight.lent, flight.pending, outcome);
  if (outcome) {
    end.status = 0;
    end.may_have_run = true;
  }
  return outcome;
}

void Peers::Call(Instance& caller, std::uint32_t place, const GuestCall& wanted,
                 GuestCallEnd& end) {
  end.mode = CallMode::kLocal;
  InFlight flight;
  auto outcome = Begin(caller, place, wanted, ipc::WantedWorker::kAny, flight);
  if (outcome) {
    const Waited waited = WaitForReply(flight.pending, flight.call, flight.call.deadline);
    outcome = Finish(caller, flight, waited, end);
  }
  if (!outcome)
    Worker::Failed(*caller.CallUnderWay(), NameAt(place), std::move(outcome).error(), end);
}

tl::expected<std::unique_ptr<Peers::InFlight>, CallError> Peers::Start(Instance& caller,
                                                                       std::uint32_t place,
                                                                       const GuestCall& wanted) {
  auto flight = std::make_unique<InFlight>();
  if (auto begun = Begin(caller, place, wanted, ipc::WantedWorker::kAnother, *flight); !begun)
    return tl::unexpected(std::move(begun).error());
  // Given for good: a guest that runs on must not find its buffer in between.
  if (flight->lent)
    caller.Buffers().EndLend(wanted.request, {});
  else if (wanted.move)
    CHECK(caller.Buffers().Free(wanted.request).has_value());
  flight->lent = false;
  flight->wanted.move = false;
  flight->pending.gave = nullptr;
  pending_.push_back(&flight->pending);
  ++flight->pending.link->users;
  return flight;
}

std::size_t Peers::WaitForAny(std::span<InFlight* const> flights, MonotonicNs deadline) {
  const PausedDeadline paused(worker_.Ticker());
  std::size_t soonest = 0;
  for (std::size_t i = 1; i < flights.size(); ++i)
    if (flights[i]->call.deadline < flights[soonest]->call.deadline) soonest = i;
  const MonotonicNs until = std::min(deadline, flights[soonest]->call.deadline);
  const Record& first = flights[soonest]->call;
  const Wait wait{.deadline = until, .request_id = first.request_id, .depth = first.depth};
  for (bool late = false;; late = !WaitOnce(nullptr, &wait, until)) {
    for (std::size_t i = 0; i < flights.size(); ++i)
      if (flights[i]->pending.kept || !flights[i]->pending.link->IsUp()) return i;
    if (late) return soonest;
  }
}

tl::expected<void, CallError> Peers::FinishStarted(Instance& caller, InFlight& flight,
                                                   const GuestCall& reply_place,
                                                   GuestCallEnd& end) {
  const Using use(*flight.pending.link);
  std::erase(pending_, &flight.pending);
  --flight.pending.link->users;
  end.mode = CallMode::kLocal;
  flight.wanted.reply_data = reply_place.reply_data;
  flight.wanted.reply_capacity = reply_place.reply_capacity;
  flight.wanted.plain_reply_only = reply_place.plain_reply_only;
  const Waited waited = flight.pending.kept            ? Waited::kReplied
                        : !flight.pending.link->IsUp() ? Waited::kFailed
                                                       : Waited::kTimeout;
  return Finish(caller, flight, waited, end);
}

void Peers::GiveUp(InFlight& flight) {
  std::erase(pending_, &flight.pending);
  --flight.pending.link->users;
  PeerLink& link = *flight.pending.link->link;
  if (!flight.pending.kept && !link.HasFailed())
    static_cast<void>(
        link.Send(Record{.type = RecordType::kCancel, .call_id = flight.call.call_id}));
}

void Peers::SettleRequest(Instance& caller, const GuestCall& wanted, bool lent, Pending& pending,
                          const tl::expected<void, CallError>& outcome) {
  const bool ran = outcome.has_value() || outcome.error().may_have_run;
  if (!lent) {
    if (wanted.move && ran) CHECK(caller.Buffers().Free(wanted.request).has_value());
    return;
  }
  if (ran || !pending.saved)
    caller.Buffers().EndLend(wanted.request,
                             ran ? buf::SegmentRef() : std::move(pending.reply.returned));
  else
    caller.Buffers().EndLendByCopy(wanted.request, std::move(pending.saved));
  pending.saved.Abandon();
}

// The reply's place in the caller: where it asked for it, or a buffer.
tl::expected<void, CallError> Peers::TakeReply(Instance& caller, const GuestCall& wanted,
                                               PeerLink::Incoming& reply, GuestCallEnd& end) {
  if (reply.record.status) return tl::unexpected(DecodeFailure(reply.record, reply.once));
  if (reply.refused)
    return tl::unexpected(LocalError(ClassOf(*reply.refused), true, reply.refused->message));
  const auto bytes = reply.payload.IsSegment() ? reply.payload.Bytes() : reply.once;
  return worker_.BringReply(caller, wanted,
                            {.bytes = bytes,
                             .payload = reply.payload.IsSegment() ? &reply.payload : nullptr,
                             .is_buffer = reply.record.pass == ipc::PassMode::kMove,
                             .mode = CallMode::kLocal},
                            end);
}

Result<> Peers::Give(ipc::WorkerId to, Value& value, std::uint64_t as_value, MonotonicNs deadline) {
  const Wait wait;
  Link* link = UpLink(to, ipc::PeerRole::kCaller);
  while (link == nullptr) {
    if (!WaitOnce(nullptr, &wait, deadline))
      return Fail(ErrorCode::kDeadlineExceeded,
                  "worker " + std::to_string(to) + " was not introduced in time");
    link = UpLink(to, ipc::PeerRole::kCaller);
  }
  const MonotonicNs start = FastNow();
  Record record{.type = RecordType::kValue,
                .call_id = next_call_++,
                .value_id = as_value,
                .given_at = start,
                .hand_over_ns = static_cast<std::uint64_t>(value.given.duration),
                .copies = static_cast<std::uint32_t>(value.given.copies)};
  buf::Payload& payload = value.payload;
  const std::size_t size = payload.Size();
  const buf::Segment* const gave = payload.IsSegment() ? &payload.SegmentOf() : nullptr;
  PeerLink::Outgoing outgoing{.payload = &payload};
  if (value.shared) outgoing = {.shared = &value.shared};
  TRY(link->link->Send(record, outgoing));
  const std::uint32_t sent_end = link->link->Channel().SentEnd();
  // A copy that we still have is not the value any more once the peer may have taken it.
  const auto lose = [&] { payload = {}; };
  Pending pending{.call_id = record.call_id, .link = link, .gave = gave};
  switch (WaitForReply(pending, record, deadline)) {
    case Waited::kReplied: {
      const auto status = pending.reply.record.status;
      const bool taken = !status || pending.reply.record.may_have_run;
      if (taken)
        lose();
      else if (pending.reply.returned)
        payload = buf::Payload(std::move(pending.reply.returned), size);
      EndReply(pending);
      if (!status) return {};
      return Fail(ErrorCode::kResourceExhausted,
                  "the peer did not take the value: " + std::string(Name(*status)));
    }
    case Waited::kFailed: {
      const bool released = link->link->Channel().PeerReleased(sent_end);
      if (released) {
        lose();
      } else if (pending.saved) {
        auto copy = buf::Payload::CopyOf({pending.saved->Data(), size}, worker_.Payloads());
        if (copy) payload = std::move(*copy);
      }
      pending.saved.Abandon();
      return Fail(ErrorCode::kUnavailable, "the peer ended");
    }
    case Waited::kTimeout:
      lose();
      break;
  }
  return Fail(ErrorCode::kDeadlineExceeded, "the peer does not take the value");
}

}  // namespace cwasi::worker
