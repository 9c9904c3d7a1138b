// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Peers: the other workers that this one calls, gives values to and is called by (local mode).
// Introductions: docs/protocols/introduction.md; what goes over a channel:
// docs/protocols/channel.md.
//
// While this worker waits for an answer it goes on taking values, and serves calls that end by the
// deadline of what it waits for: at once if they belong to the very request (A calls B calls A),
// others when they have waited for a while. So no circle of workers waits for ever: in each, one
// has a call to serve whose deadline is no later than its own. Others wait until it is idle.
//
// Thread: the guest thread.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "buf/payload.h"
#include "ipc/introduction.h"
#include "ipc/wait_set.h"
#include "worker/call.h"
#include "worker/edge_stats.h"
#include "worker/peer_link.h"
#include "worker/value.h"
#include "worker/watcher.h"

namespace cwasi::worker {

class Worker;

class Peers final : private buf::SegmentWatcher {
 public:
  // A function that runs in other workers.
  struct Remote {
    std::uint32_t number = 0;  // Its name to everybody in the run.
    std::string name;
    std::chrono::nanoseconds timeout{};
    // Until then no further worker is asked for: lately there was none.
    MonotonicNs alone_until = 0;
  };
  // What a peer has given: false refuses it, as a breach of the protocol.
  using OnValue = std::function<bool(std::uint64_t value_id, Value value)>;

  // All outlive it, but for the worker's instances, which go first. `watcher` rings `bell`.
  Peers(Worker& worker, ipc::Doorbell& bell, Watcher& watcher);
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;
  Peers(Peers&&) = delete;
  Peers& operator=(Peers&&) = delete;
  ~Peers() override;

  // Whom to ask for introductions; without it only Meet makes any. Errors: as Watcher::Add.
  Result<> Use(ipc::IntroductionSocket socket);
  void SetOnValue(OnValue on_value) { on_value_ = std::move(on_value); }

  // Makes `remote` callable; false if there is one of this number or name.
  bool Declare(Remote remote);
  // Its place, for Call; absent if there is none.
  [[nodiscard]] std::optional<std::uint32_t> Find(std::string_view name) const;
  // Whether a remote of this number is declared.
  [[nodiscard]] bool Knows(std::uint32_t number) const;
  // The name of a function by its number; empty if nobody said.
  [[nodiscard]] std::string_view NameOf(std::uint32_t number) const;

  struct Link {
    ipc::WorkerId worker = 0;
    ipc::PeerRole role = ipc::PeerRole::kCaller;  // Ours.
    ipc::Relation relation = ipc::Relation::kSameDomain;
    std::vector<std::uint32_t> functions;
    UniqueFd handshake;  // A callee's, until the offer has come.
    std::unique_ptr<PeerLink> link;
    // Received and not served yet.
    std::optional<PeerLink::Incoming> held;
    MonotonicNs passed_over = 0;  // When a wait first did not serve it; 0: none has.
    std::size_t users = 0;        // On the stack; it is not swept.
    // The edge whose copies were counted last: most calls are of one caller and one function.
    std::uint32_t edge_caller = 0;
    std::uint32_t edge_function = 0;
    EdgeStats* edge = nullptr;
    [[nodiscard]] bool IsUp() const { return link != nullptr && !link->HasFailed(); }
    // What the peer has to do for us, as far as its replies have been taken. Only if it is up.
    [[nodiscard]] std::size_t Unanswered() const { return link->Channel().Unanswered(); }
    EdgeStats** CopiesEdge(std::uint32_t caller, std::uint32_t function) {
      if (caller != edge_caller || function != edge_function) edge = nullptr;
      edge_caller = caller;
      edge_function = function;
      return &edge;
    }
  };
  // A call under way whose reply is waited for, on the stack of who waits.
  struct Pending {
    std::uint64_t call_id = 0;
    Link* link = nullptr;
    const buf::Segment* gave = nullptr;  // The segment that it went with.
    PeerLink::Incoming reply = {};
    buf::SegmentRef saved = {};  // That segment, if the link has failed; to be abandoned.
    // Somebody further in has received it: it is ended, and these are its bytes.
    bool kept = false;
    std::vector<std::byte> bytes = {};
  };
  // A guest's call between its request and its reply.
  struct InFlight {
    Pending pending;
    ipc::Record call;
    GuestCall wanted;
    EdgeStats* edge = nullptr;
    std::uint32_t sent_end = 0;  // Of the request in the channel.
    bool lent = false;           // The request is a buffer of the caller's, lent.
  };

  // Where buffers for the remote at `place` are to be made; null where any will do. Fails as a call
  // that is not delivered.
  tl::expected<buf::SegmentPool*, CallClass> EdgePoolOf(const Instance& caller,
                                                        std::uint32_t place);
  // A guest's call of the remote at `place`, as Worker::CallFromGuest.
  void Call(Instance& caller, std::uint32_t place, const GuestCall& wanted, GuestCallEnd& end);
  // The same in two steps, for calls that run beside each other: in as many workers of the function
  // as there may be. What Start gave must end in
  // FinishStarted, once WaitForAny has chosen it, or in GiveUp: in the same call of the caller.
  tl::expected<std::unique_ptr<InFlight>, CallError> Start(Instance& caller, std::uint32_t place,
                                                           const GuestCall& wanted);
  // The place of one that has ended, by a reply, its link's end or its deadline. At least one.
  std::size_t WaitForAny(std::span<InFlight* const> flights, MonotonicNs deadline);
  tl::expected<void, CallError> FinishStarted(Instance& caller, InFlight& flight,
                                              const GuestCall& reply_place, GuestCallEnd& end);
  void GiveUp(InFlight& flight);
  [[nodiscard]] std::string_view NameAt(std::uint32_t place) const {
    return place < remotes_.size() ? std::string_view(remotes_[place].name) : "an unknown function";
  }
  // Hands a value to a worker that this one is introduced to as its caller, or will be by
  // `deadline`; a shared one to be read by both. Errors: kDeadlineExceeded, kUnavailable (the peer
  // died), kResourceExhausted; the value is unchanged, or empty if the peer may have it alone.
  Result<> Give(ipc::WorkerId to, Value& value, std::uint64_t as_value, MonotonicNs deadline);

  // Serves peers until the doorbell rings or `deadline`.
  void Serve(MonotonicNs deadline);
  // Takes values that peers give until `arrived` says so. Errors: kDeadlineExceeded, kUnavailable
  // (nobody is left who could give one).
  Result<> TakeValuesUntil(const std::function<bool()>& arrived, MonotonicNs deadline);

  // A peer, as an introduction or a test says it. Errors: as PeerLink::Offer, Watcher::Add.
  Result<> Meet(const ipc::Peer& peer, UniqueFd socket);
  [[nodiscard]] std::size_t Links() const { return links_.size(); }
  // Peers that broke the protocol, ever; each was said on standard error and dropped.
  [[nodiscard]] std::size_t Liars() const { return liars_; }
  [[nodiscard]] ipc::SpinPolicy& Spinning() { return wait_.Policy(); }

  // How long started calls wait for one more worker of their function while those at hand are busy,
  // and how long none is asked for after there was none.
  struct Spreading {
    std::chrono::nanoseconds patience = std::chrono::milliseconds(200);
    std::chrono::nanoseconds pause = std::chrono::seconds(1);
  };
  void SetSpreading(const Spreading& spreading) { spreading_ = spreading; }

 private:
  // A Want that cwasi has not answered, or whose answer nobody has taken.
  struct Wanted {
    std::uint32_t function = 0;
    ipc::WantedWorker worker_kind = ipc::WantedWorker::kAny;
    bool awaited = true;  // Else the call has timed out.
    bool answered = false;
    ipc::WorkerId worker = 0;
    std::optional<CallError> refused = {};
  };
  // Keeps a link from being swept.
  class Using {
   public:
    explicit Using(Link& link) : link_(link) { ++link_.users; }
    Using(const Using&) = delete;
    Using& operator=(const Using&) = delete;
    Using(Using&&) = delete;
    Using& operator=(Using&&) = delete;
    ~Using() { --link_.users; }

   private:
    Link& link_;
  };
  enum class Waited : std::uint8_t { kReplied, kFailed, kTimeout };
  enum class Served : std::uint8_t { kNothing, kSomething };
  // What a wait is for, as far as it decides which calls are served meanwhile.
  struct Wait {
    MonotonicNs deadline = 0;      // Those that end by then. 0: none.
    std::uint64_t request_id = 0;  // Of these, at once those further inside of this request.
    std::uint32_t depth = 0;
  };

  void Closing(const buf::Segment& segment) override;

  void Answer(Link& link, const ipc::Record& call, const tl::expected<void, CallError>& outcome,
              const PeerLink::Outgoing& payload, std::uint64_t hand_over_ns, ipc::PassMode pass);
  // `depth`: of the call that waits below it on this stack; 0: none.
  void ServeCall(Link& link, PeerLink::Incoming incoming, std::uint32_t depth);
  void TakeValue(Link& link, PeerLink::Incoming incoming);
  // One record of a link on which we are called. `wait`: what for; null: this worker is idle.
  // `again` becomes earlier if a call is to be served by then.
  Served ServeLink(Link& link, const Wait* wait, MonotonicNs& again);
  static bool MayServe(Link& link, const Wait& wait, MonotonicNs& again);
  Served Drain(Link& link);
  void Keep(Link& link, PeerLink::Incoming incoming);
  void CheckLinks();
  void FailLink(Link& link);
  void Sweep();

  void OnBell();
  void OnIntroduction(ipc::IntroductionSocket::Incoming incoming);
  void TakeOffer(Link& link);
  bool WaitOnce(const Link* own, const Wait* wait, MonotonicNs deadline);
  void LookAtBell() {
    if (wait_.TakeDoorbell()) OnBell();
  }
  // kReplied: EndReply must follow.
  Waited WaitForReply(Pending& pending, const ipc::Record& call, MonotonicNs deadline);
  Waited WaitAsPending(Pending& pending, const ipc::Record& call, MonotonicNs deadline);
  static void EndReply(Pending& pending);

  // The token of a Want for it that nobody else waits for: one under way, or a new one.
  tl::expected<std::uint64_t, CallError> Ask(const Remote& remote, ipc::WantedWorker worker,
                                             MonotonicNs deadline);
  void OnAnswer(std::uint64_t token, ipc::WorkerId worker, std::optional<CallError> refused);
  // Tells cwasi which channels on which this worker called are over.
  void SayLost();

  [[nodiscard]] Link* UpLink(ipc::WorkerId worker, ipc::PeerRole role);
  static bool MayCall(const Link& link, const Remote& remote);
  // Of the workers that we call for it, the one with the fewest calls of ours; null: none.
  [[nodiscard]] Link* KnownFor(const Remote& remote) const;
  // One that cwasi lets us meet.
  tl::expected<Link*, CallError> Introduced(const Remote& remote, ipc::WantedWorker worker,
                                            MonotonicNs deadline);
  // kAnother: where those that we know are busy with our calls.
  tl::expected<Link*, CallError> LinkFor(Remote& remote, ipc::WantedWorker worker,
                                         MonotonicNs deadline);
  EdgeStats& EdgeTo(std::uint32_t place, const Instance& caller);
  Result<> SendWithinBounds(Link& link, const ipc::Record& call,
                            const PeerLink::Outgoing& outgoing);
  // Puts a lent request back, or ends it; `outcome` says whether the callee may have run.
  static void SettleRequest(Instance& caller, const GuestCall& wanted, bool lent, Pending& pending,
                            const tl::expected<void, CallError>& outcome);
  tl::expected<void, CallError> Begin(Instance& caller, std::uint32_t place,
                                      const GuestCall& wanted, ipc::WantedWorker worker,
                                      InFlight& flight);
  tl::expected<void, CallError> Finish(Instance& caller, InFlight& flight, Waited waited,
                                       GuestCallEnd& end);
  // What the callee said, as the guest is to see it.
  tl::expected<void, CallError> TakeReply(Instance& caller, const GuestCall& wanted,
                                          PeerLink::Incoming& reply, GuestCallEnd& end);

  Worker& worker_;
  ipc::WaitSet wait_;
  Watcher& watcher_;
  bool bell_for_owner_ = false;  // It rang since Serve last returned for it.
  OnValue on_value_;
  std::optional<ipc::IntroductionSocket> introductions_;
  std::uint64_t next_token_ = 1;
  std::unordered_map<std::uint64_t, Wanted> wants_;  // At most kMaxWants, by token.
  std::vector<ipc::WorkerId> lost_;                  // Not said yet.
  std::vector<Remote> remotes_;
  std::unordered_map<std::string, std::uint32_t> places_;  // By name.
  std::unordered_map<std::uint32_t, std::uint32_t> place_of_number_;
  std::vector<std::vector<EdgeStats*>> edges_;  // By place, then by the caller's id.
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<ipc::WaitWord> words_;
  std::uint64_t next_call_ = 1;
  std::vector<Pending*> pending_;  // Innermost last.
  bool to_sweep_ = false;          // A link has failed.
  Spreading spreading_;
  std::size_t liars_ = 0;
  std::size_t lies_said_ = 0;
};

}  // namespace cwasi::worker
