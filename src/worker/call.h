// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One call under way: what the callee may ask about it, where its reply goes, what became of it.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/call_error.h"
#include "base/clock.h"
#include "buf/payload.h"
#include "worker/hand_over.h"
#include "worker/value.h"

namespace cwasi::worker {

struct EdgeStats;  // worker/edge_stats.h
class Function;
class Instance;

struct MetadataEntry {
  std::string key;
  std::string value;
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

// A payload of a request that comes from the workflow.
struct RequestPart {
  Value value;
  std::string name;
  std::string producer;  // The step or input it comes from; the edge's other end.
};

// What only a call by the workflow has.
struct WorkflowCall {
  std::string step;  // Names the taker in the edge table.
  std::span<const MetadataEntry> metadata;
  std::span<RequestPart> parts;
  std::vector<bool> taken = {};  // Of parts.
  buf::Payload reply = {};
};

// A call by a function in another worker.
struct PeerCall {
  std::uint64_t request_id = 0;
  std::uint32_t depth = 1;
  MonotonicNs deadline = kNoDeadline;
  MonotonicNs given_at = 0;  // When the caller's import began; 0: not to be timed.
  std::string_view caller;
  // The request: a payload, or bytes to be copied out once.
  buf::Payload* payload = nullptr;
  std::span<const std::byte> once = {};
  // Where a reply for another trust domain is made if it is not to be copied there; else null.
  buf::SegmentPool* edge_pool = nullptr;
  // Where copies on this side are counted, null until they are looked up. A null pointer: nowhere,
  // since the caller's side sees them.
  EdgeStats** copies_edge = nullptr;
  // Called when `once` is of no more use.
  std::function<void()> delivered = [] {};
  // Out: the reply, whether the function gave a buffer, and from given_at to the handler.
  buf::Payload reply = {};
  bool reply_is_buffer = false;
  MonotonicNs hand_over = 0;
  CallMode mode = CallMode::kLocal;
};

// How a call failed; null if it went well. On the heap, since every call has one and almost none
// fails.
using CallFailure = std::unique_ptr<CallError>;

struct StartedCalls;  // worker/started_calls.h
struct DeleteStartedCalls {
  void operator()(StartedCalls* calls) const;
};

// Why a call came to a bad end; made when something fails.
struct Failures {
  CallFailure own;  // Null: it went well so far.
  // The last call that this one made and that failed: often why it then fails itself.
  CallFailure last;
  std::string last_callee;
};

// One call under way, on the stack of the guest thread. Small: it is made for every call, by
// constructors, since an aggregate's is a `rep stos` that takes longer than the rest.
struct Call {
  // By the workflow. The deadline is set by who makes it.
  Call(Function& callee, WorkflowCall& by, std::uint64_t id)
      : function(&callee),
        workflow(&by),
        outside_reply(&by.reply),
        request_id(id),
        part_count(static_cast<std::uint32_t>(by.parts.size())) {}
  // By a peer.
  Call(Function& callee, PeerCall& by)
      : function(&callee),
        peer(&by),
        outside_reply(&by.reply),
        deadline(by.deadline),
        request_id(by.request_id),
        depth(by.depth),
        part_count(1),
        mode(by.mode) {}
  // By a guest, inside its own call `outer`.
  Call(Function& callee, Instance& by, const Call& outer, std::uint32_t reply_at,
       std::uint32_t reply_room, bool plain_only)
      : function(&callee),
        caller(&by),
        deadline(outer.deadline),
        granted(outer.granted),
        request_id(outer.request_id),
        depth(outer.depth + 1),
        part_count(1),
        reply_data(reply_at),
        reply_capacity(reply_room),
        plain_reply_only(plain_only) {}

  Function* function;
  Instance* caller = nullptr;        // The instance that made it; null from outside the worker.
  WorkflowCall* workflow = nullptr;  // With the workflow's calls.
  PeerCall* peer = nullptr;          // With those of other workers.
  buf::Payload* outside_reply = nullptr;  // Where the reply goes to either.
  MonotonicNs deadline = kNoDeadline;
  MonotonicNs granted =
      kNoDeadline;  // At least the time left when it began: spares asking the clock.
  std::uint64_t request_id;
  std::uint32_t depth = 1;
  std::uint32_t part_count;
  CallMode mode = CallMode::kEmbedded;

  // Where a guest caller wants a plain reply.
  std::uint32_t reply_data = 0;
  std::uint32_t reply_capacity = 0;
  bool plain_reply_only = false;

  bool responded = false;
  std::uint32_t reply_length = 0;
  std::uint32_t reply_buffer = 0;  // Address in the caller; 0: plain.
  HandOver replied = {};
  std::unique_ptr<Failures> failures = {};
  std::unique_ptr<StartedCalls, DeleteStartedCalls> started = {};  // By its guest; usually null.

  [[nodiscard]] bool WentWell() const { return failures == nullptr || failures->own == nullptr; }
  Failures& Failing() {
    if (failures == nullptr) failures = std::make_unique<Failures>();
    return *failures;
  }
  // The last failure counts: what a handler returns is worse than a reply that was refused. False,
  // for the functions that end with it.
  bool FailWith(CallError error) {
    Failing().own = std::make_unique<CallError>(std::move(error));
    return false;
  }
  [[nodiscard]] CallError& Why() { return *failures->own; }  // Only if it did not go well.
};

// An error of the layers below as the class of call error it is for the guests concerned.
CallClass ClassOf(const Error& error);

}  // namespace cwasi::worker
