// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/peers.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "worker/peer_failure.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using ipc::ChannelStatus;
using ipc::Record;
using ipc::RecordType;

// A caller that does not empty its replies for so long is dropped: nobody else is served meanwhile.
constexpr std::chrono::seconds kReplyPatience{2};
// A call of another request waits so long for one that waits itself: its answer may come first.
constexpr std::chrono::milliseconds kServePatience{2};
// Between an introduction and what is sent at once because of it.
constexpr std::chrono::seconds kMeetTimeout{5};
constexpr std::size_t kMaxLinks = ipc::WaitSet::kMaxWords;
constexpr std::size_t kMaxLiesSaid = 20;

// A call's function is not there.
CallError LoadError(const Error& error) {
  const bool late = error.code == ErrorCode::kDeadlineExceeded;
  const CallClass call_class = late                                 ? CallClass::kTimeout
                               : error.code == ErrorCode::kNotFound ? CallClass::kNotFound
                                                                    : CallClass::kUnavailable;
  return LocalError(call_class, late, "load the function: " + error.message);
}

}  // namespace

Peers::Peers(Worker& worker, ipc::Doorbell& bell, Watcher& watcher)
    : worker_(worker), wait_(bell), watcher_(watcher) {
  worker_.Payloads().Pool().SetWatcher(this);
}

Peers::~Peers() {
  for (auto& link : links_)
    if (link->link != nullptr) link->link->Close();
  // All before any is gone: what one has lent may be borrowed from another.
  for (auto& link : links_) FailLink(*link);
  while (!links_.empty()) {
    const auto last = std::move(links_.back());
    links_.pop_back();  // Closing() looks at those that are left.
  }
  worker_.Payloads().Pool().SetWatcher(nullptr);
}

void Peers::Closing(const buf::Segment& segment) {
  for (auto& link : links_)
    if (link->link != nullptr) link->link->Forget(segment);
}

Result<> Peers::Use(ipc::IntroductionSocket socket) {
  introductions_.emplace(std::move(socket));
  return watcher_.Add(introductions_->Fd(), Watcher::For::kPackets);
}

bool Peers::Knows(std::uint32_t number) const {
  return place_of_number_.contains(number);
}

bool Peers::Declare(Remote remote) {
  if (Knows(remote.number)) return false;
  const auto place = static_cast<std::uint32_t>(remotes_.size());
  if (worker_.Find(remote.name) != nullptr || !places_.emplace(remote.name, place).second)
    return false;
  place_of_number_.emplace(remote.number, place);
  remotes_.push_back(std::move(remote));
  edges_.emplace_back();
  return true;
}

std::optional<std::uint32_t> Peers::Find(std::string_view name) const {
  const auto it = places_.find(std::string(name));
  if (it == places_.end()) return std::nullopt;
  return it->second;
}

std::string_view Peers::NameOf(std::uint32_t number) const {
  if (const Function* function = worker_.FindByNumber(number)) return function->Name();
  const auto place = place_of_number_.find(number);
  return place == place_of_number_.end() ? std::string_view() : remotes_[place->second].name;
}

EdgeStats& Peers::EdgeTo(std::uint32_t place, const Instance& caller) {
  auto& edges = edges_[place];
  const std::uint32_t from = caller.Of().Id();
  if (from >= edges.size()) edges.resize(from + 1, nullptr);
  if (edges[from] == nullptr)
    edges[from] = &worker_.Edges().Of(
        {std::string(caller.Of().Name()), remotes_[place].name, CallMode::kLocal});
  return *edges[from];
}

Peers::Link* Peers::UpLink(ipc::WorkerId worker, ipc::PeerRole role) {
  for (auto& link : links_)
    if (link->worker == worker && link->role == role && link->IsUp()) return link.get();
  return nullptr;
}

Result<> Peers::Meet(const ipc::Peer& peer, UniqueFd socket) {
  if (links_.size() >= kMaxLinks) Sweep();
  if (links_.size() >= kMaxLinks)
    return Fail(ErrorCode::kResourceExhausted, "more peers than one worker can have");
  auto link = std::make_unique<Link>();
  link->worker = peer.worker;
  link->role = peer.role;
  link->relation = peer.relation;
  link->functions = peer.functions;
  const int fd = socket.Get();
  if (peer.role == ipc::PeerRole::kCallee) {
    link->handshake = std::move(socket);
    TRY(watcher_.Add(fd, Watcher::For::kPackets));
    TakeOffer(*link);
  } else {
    TRY_SET(link->link, PeerLink::Offer(std::move(socket), peer.relation,
                                        {.memory = worker_.Payloads(), .closing = *this},
                                        DeadlineAfter(Now(), kMeetTimeout)));
    TRY(watcher_.Add(fd, Watcher::For::kEnd));
  }
  links_.push_back(std::move(link));
  return {};
}

// The caller's handshake, if it has come.
void Peers::TakeOffer(Link& link) {
  pollfd entry{.fd = link.handshake.Get(), .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, 0) <= 0) return;
  auto accepted = PeerLink::Accept(std::move(link.handshake), link.relation,
                                   {.memory = worker_.Payloads(), .closing = *this}, Now());
  if (accepted) {
    link.link = std::move(*accepted);
    const int socket = link.link->Channel().Socket();
    watcher_.Remove(socket);
    if (watcher_.Add(socket, Watcher::For::kEnd)) return;
    link.link.reset();
    return;
  }
  if (accepted.error().code != ErrorCode::kUnavailable && lies_said_++ < kMaxLiesSaid)
    std::fprintf(stderr, "cwasi-host: worker %u offers no channel: %s\n", link.worker,
                 accepted.error().message.c_str());
}

void Peers::FailLink(Link& link) {
  if (link.link == nullptr || link.link->HasFailed()) return;
  link.held.reset();
  to_sweep_ = true;
  for (Pending* pending : pending_)
    if (pending->link == &link && pending->gave != nullptr)
      pending->saved = link.link->TakeLent(*pending->gave);
  link.link->Fail({.code = ErrorCode::kUnavailable, .sys_errno = 0, .message = "dropped"});
  const Error& why = link.link->Failure();
  watcher_.Remove(link.link->Channel().Socket());
  if (link.role == ipc::PeerRole::kCaller && introductions_) {
    lost_.push_back(link.worker);
    SayLost();
  }
  if (why.code != ErrorCode::kInvalidArgument) return;
  ++liars_;
  if (lies_said_++ < kMaxLiesSaid)
    std::fprintf(stderr, "cwasi-host: dropped worker %u: %s\n", link.worker, why.message.c_str());
}

// Links that are over and that no payload holds.
void Peers::Sweep() {
  const auto is_over = [](const std::unique_ptr<Link>& link) {
    if (link->users != 0) return false;
    if (link->link == nullptr) return !link->handshake.IsOpen();
    return link->link->HasFailed() && !link->link->IsHeld();
  };
  // They end when they are out of links_, which Closing() looks at.
  std::vector<std::unique_ptr<Link>> over;
  for (auto& link : links_)
    if (is_over(link)) over.push_back(std::move(link));
  std::erase(links_, nullptr);
}

void Peers::CheckLinks() {
  for (auto& link : links_) {
    if (link->handshake.IsOpen()) TakeOffer(*link);
    if (!link->IsUp()) continue;
    if (link->link->CheckSocket() == ChannelStatus::kFailed) FailLink(*link);
  }
  for (auto& link : links_) {
    if (!link->IsUp() || link->link->LostBytes() <= PeerLink::kMaxLostBytes) continue;
    // Their home destroys them then, and the two meet anew.
    link->link->Close();
    FailLink(*link);
  }
}

void Peers::OnBell() {
  bell_for_owner_ = true;
  while (introductions_) {
    auto incoming = introductions_->Receive(Now());
    if (!incoming) {
      // Its end is the control socket's, too, which says how this worker ends.
      if (incoming.error().code != ErrorCode::kDeadlineExceeded) introductions_.reset();
      break;
    }
    OnIntroduction(std::move(*incoming));
  }
  CheckLinks();
}

void Peers::OnIntroduction(ipc::IntroductionSocket::Incoming incoming) {
  if (auto* refused = std::get_if<ipc::Refused>(&incoming.message)) {
    OnAnswer(refused->token, 0, LocalError(refused->call_class, false, std::move(refused->text)));
    return;
  }
  const auto* peer = std::get_if<ipc::Peer>(&incoming.message);
  if (peer == nullptr) return;
  std::optional<CallError> why;
  if (peer->channel == ipc::PeerChannel::kNew) {
    if (auto met = Meet(*peer, std::move(incoming.socket)); !met)
      why = LocalError(met.error().code == ErrorCode::kResourceExhausted ? CallClass::kOverloaded
                                                                         : CallClass::kUnavailable,
                       false, met.error().message);
    if (why && peer->role == ipc::PeerRole::kCaller) {
      lost_.push_back(peer->worker);
      SayLost();
    }
  }
  OnAnswer(peer->token, peer->worker, std::move(why));
}

// Looks at everybody but `own` once and, if that gave nothing, sleeps until somebody has something.
// False: the deadline has passed.
bool Peers::WaitOnce(const Link* own, const Wait* wait, MonotonicNs deadline) {
  words_.clear();
  MonotonicNs until = deadline;
  for (auto& link : links_) {
    if (!link->IsUp()) continue;
    if (link->role == ipc::PeerRole::kCallee) {
      // Whatever that changes, also in links_, is looked at the next time.
      if (ServeLink(*link, wait, until) == Served::kSomething) {
        // A peer that sends without end must not keep us from the rest of the world.
        LookAtBell();
        return FastNow() < deadline;
      }
    } else if (link.get() != own && Drain(*link) == Served::kSomething) {
      LookAtBell();
      return FastNow() < deadline;
    }
    if (!link->IsUp()) continue;
    link->link->FlushReturns();
    if (!link->held) words_.push_back(link->link->Channel().Records());
  }
  const ipc::Woken woken = wait_.Wait(words_, until);
  if (woken.doorbell) OnBell();
  // A peer may change its words without a record.
  return FastNow() < deadline;
}

void Peers::Serve(MonotonicNs deadline) {
  while (!bell_for_owner_) {
    if (std::exchange(to_sweep_, false)) Sweep();
    bool something = false;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& link = *links_[i];
      if (!link.IsUp()) continue;
      if (link.role == ipc::PeerRole::kCallee)
        something |= ServeLink(link, nullptr, deadline) == Served::kSomething;
      else
        Drain(link);
      if (link.IsUp()) link.link->FlushReturns();
    }
    if (to_sweep_) continue;
    if (something) {
      LookAtBell();
      if (deadline != kNoDeadline && FastNow() >= deadline) return;
      continue;
    }
    if (!WaitOnce(nullptr, nullptr, deadline)) return;
  }
  bell_for_owner_ = false;
  Sweep();
}

Result<> Peers::TakeValuesUntil(const std::function<bool()>& arrived, MonotonicNs deadline) {
  // Who gives may be waiting for a call of ours to end.
  const Wait wait{.deadline = deadline};
  for (;;) {
    if (arrived()) return {};
    const bool somebody = std::ranges::any_of(links_, [](const auto& link) {
      return link->role == ipc::PeerRole::kCallee && (link->IsUp() || link->handshake.IsOpen());
    });
    if (!somebody && !introductions_)
      return Fail(ErrorCode::kUnavailable, "nobody is left to give the value");
    if (!WaitOnce(nullptr, &wait, deadline) && !arrived())
      return Fail(ErrorCode::kDeadlineExceeded, "the value has not come");
  }
}

// Replies that others than the innermost wait for, or nobody any more, and segments that come home.
Peers::Served Peers::Drain(Link& link) {
  for (Served served = Served::kNothing;; served = Served::kSomething) {
    PeerLink::Incoming incoming;
    const ChannelStatus status = link.link->Receive(incoming);
    if (status == ChannelStatus::kFailed) FailLink(link);
    if (status != ChannelStatus::kOk) return served;
    Keep(link, std::move(incoming));
  }
}

void Peers::Keep(Link& link, PeerLink::Incoming incoming) {
  const auto it = std::ranges::find(pending_, incoming.record.call_id, &Pending::call_id);
  if (it != pending_.end()) {
    Pending& pending = **it;
    pending.bytes.assign(incoming.once.begin(), incoming.once.end());
    if (!pending.bytes.empty()) worker_.Payloads().NoteCopy(pending.bytes.size());
    pending.reply = std::move(incoming);
    pending.reply.once = pending.bytes;
    pending.kept = true;
  }
  link.link->EndIncoming();
}

// Whether the call that `link` holds is served now, during `wait`.
bool Peers::MayServe(Link& link, const Wait& wait, MonotonicNs& again) {
  const Record& call = link.held->record;  // NOLINT(bugprone-unchecked-optional-access): see above
  if (call.deadline > wait.deadline) return false;
  if (call.request_id == wait.request_id && call.depth > wait.depth) return true;
  const MonotonicNs now = FastNow();
  if (link.passed_over == 0) link.passed_over = now;
  const MonotonicNs then = DeadlineAfter(link.passed_over, kServePatience);
  again = std::min(again, then);
  return now >= then;
}

Peers::Served Peers::ServeLink(Link& link, const Wait* wait, MonotonicNs& again) {
  if (!link.held) {
    PeerLink::Incoming incoming;
    const ChannelStatus status = link.link->Receive(incoming);
    if (status == ChannelStatus::kFailed) FailLink(link);
    if (status != ChannelStatus::kOk) return Served::kNothing;
    link.held.emplace(std::move(incoming));
    link.passed_over = 0;
  }
  if (link.held->record.type == RecordType::kCall && wait != nullptr &&
      !MayServe(link, *wait, again))
    return Served::kNothing;
  const Using use(link);
  PeerLink::Incoming incoming = std::move(*link.held);
  link.held.reset();
  switch (incoming.record.type) {
    case RecordType::kCall:
      ServeCall(link, std::move(incoming), wait != nullptr ? wait->depth : 0);
      break;
    case RecordType::kValue:
      TakeValue(link, std::move(incoming));
      break;
    default:  // kCancel: the call has ended already, since they run one after the other.
      link.link->EndIncoming();
  }
  return Served::kSomething;
}

void Peers::Answer(Link& link, const Record& call, const tl::expected<void, CallError>& outcome,
                   const PeerLink::Outgoing& payload, std::uint64_t hand_over_ns,
                   ipc::PassMode pass) {
  Record reply{.type = RecordType::kReply,
               .pass = pass,
               .call_id = call.call_id,
               .request_id = call.request_id,
               .hand_over_ns = hand_over_ns};
  std::string text;
  PeerLink::Outgoing outgoing = payload;
  const auto fail_with = [&](const CallError& error) {
    reply.status = error.call_class;
    reply.may_have_run = error.may_have_run;
    reply.guest_status = error.guest_status;
    reply.pass = ipc::PassMode::kMove;
    text = EncodeFailureText(error);
    outgoing = {.bytes = std::as_bytes(std::span(text))};
  };
  if (!outcome) fail_with(outcome.error());
  const MonotonicNs patience = DeadlineAfter(Now(), kReplyPatience);
  while (link.IsUp()) {
    const auto sent = link.link->Send(reply, outgoing);
    if (sent) return;
    if (sent.error().code == ErrorCode::kUnavailable) break;
    if (sent.error().sys_errno != EAGAIN) {
      if (reply.status) break;  // Not even the failure can be said.
      fail_with(LocalError(CallClass::kOutOfMemory, true, "the reply: " + sent.error().message));
      continue;
    }
    // The peer may be as busy as we are with an answer that we do not take.
    words_.assign(1, link.link->Channel().Room());
    for (auto& other : links_) {
      if (!other->IsUp() || other->role == ipc::PeerRole::kCallee) continue;
      Drain(*other);
      if (other->IsUp()) words_.push_back(other->link->Channel().Records());
    }
    const ipc::Woken woken = wait_.Wait(words_, patience);
    if (woken.doorbell) OnBell();
    if (FastNow() >= patience) break;
  }
  FailLink(link);
}

void Peers::ServeCall(Link& link, PeerLink::Incoming incoming, std::uint32_t depth) {
  const Record call = incoming.record;
  bool ended = false;
  const auto end = [&] {
    if (!std::exchange(ended, true)) link.link->EndIncoming();
  };
  tl::expected<void, CallError> outcome;
  PeerCall peer{.request_id = call.request_id,
                // The stack is one for both.
                .depth = std::max(call.depth, depth),
                .deadline = call.deadline,
                .given_at = call.given_at,
                .caller = NameOf(call.caller_function),
                .payload = incoming.payload.IsSegment() ? &incoming.payload : nullptr,
                .once = incoming.once,
                .edge_pool = link.link->EdgePool(),
                .copies_edge = link.CopiesEdge(call.caller_function, call.function),
                .delivered = end};
  if (incoming.refused)
    outcome =
        tl::unexpected(LocalError(ClassOf(*incoming.refused), false, incoming.refused->message));
  else if (std::ranges::find(link.functions, call.function) == link.functions.end())
    outcome = tl::unexpected(
        LocalError(CallClass::kDenied, false, "this worker runs no such function for its caller"));
  else if (const auto function = worker_.FindOrLoad(call.function, call.deadline))
    outcome = worker_.ServePeer(**function, peer);
  else
    outcome = tl::unexpected(LoadError(function.error()));
  end();
  incoming.payload = {};  // If it was not delivered it goes home with the answer.
  if (!outcome) outcome.error().mode = CallMode::kLocal;
  Answer(link, call, outcome, {.payload = &peer.reply}, static_cast<std::uint64_t>(peer.hand_over),
         peer.reply_is_buffer ? ipc::PassMode::kMove : ipc::PassMode::kCopy);
  if (link.IsUp()) link.link->FlushReturns();
}

void Peers::TakeValue(Link& link, PeerLink::Incoming incoming) {
  const Record value = incoming.record;
  const HandOverTimer timer(worker_.Payloads());
  tl::expected<void, CallError> outcome;
  if (link.relation != ipc::Relation::kSameDomain) {
    outcome = tl::unexpected(
        LocalError(CallClass::kDenied, false, "values stay within their trust domain"));
  } else if (incoming.refused) {
    outcome =
        tl::unexpected(LocalError(ClassOf(*incoming.refused), false, incoming.refused->message));
  } else if (!incoming.payload.IsSegment() && !incoming.once.empty()) {
    auto copy = buf::Payload::CopyOf(incoming.once, worker_.Payloads());
    if (copy)
      incoming.payload = std::move(*copy);
    else
      outcome = tl::unexpected(LocalError(ClassOf(copy.error()), false, copy.error().message));
  }
  link.link->EndIncoming();
  if (outcome) {
    // A refused one is dropped by on_value_.
    HandOver given = timer.Take();
    given.duration += static_cast<MonotonicNs>(value.hand_over_ns);
    given.copies += value.copies;
    given.copied_bytes += value.copies * value.payload_bytes;
    Value taken{.given = given, .mode = CallMode::kLocal};
    if (incoming.is_shared)
      taken.shared =
          buf::SharedPayload(std::move(incoming.payload), buf::SharedPayload::From::kAnotherWorker);
    else
      taken.payload = std::move(incoming.payload);
    if (!on_value_ || !on_value_(value.value_id, std::move(taken)))
      outcome =
          tl::unexpected(LocalError(CallClass::kInvalid, false, "there is such a value already"));
  }
  incoming.payload = {};
  Answer(link, value, outcome, {}, 0, ipc::PassMode::kMove);
}

}  // namespace cwasi::worker
