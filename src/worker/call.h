// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One call under way: what the callee may ask about it, where its reply goes, what became of it.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/call_error.h"
#include "base/clock.h"
#include "buf/payload.h"

namespace cwasi::worker {

class Function;
class Instance;

// What it took to take a payload from its giver, or to bring it to its taker.
struct HandOver {
  MonotonicNs duration = 0;
  std::uint64_t copies = 0;
  std::uint64_t copied_bytes = 0;

  HandOver& operator+=(const HandOver& other) {
    duration += other.duration;
    copies += other.copies;
    copied_bytes += other.copied_bytes;
    return *this;
  }
};

struct MetadataEntry {
  std::string key;
  std::string value;
};

// A payload of a request that comes from the workflow.
struct RequestPart {
  buf::Payload payload;
  std::string name;
  std::string producer;  // The step or input it comes from; the edge's other end.
  HandOver given;        // What taking it from there took.
};

// What only a call by the workflow has.
struct WorkflowCall {
  std::string step;  // Names the taker in the edge table.
  std::span<const MetadataEntry> metadata;
  std::span<RequestPart> parts;
  std::vector<bool> taken = {};  // Of parts.
  buf::Payload reply = {};
};

// How a call failed; null if it went well. On the heap, since every call has one and almost none
// fails.
using CallFailure = std::unique_ptr<CallError>;

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
        request_id(id),
        part_count(static_cast<std::uint32_t>(by.parts.size())) {}
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
  Instance* caller = nullptr;        // The instance that made it; null for the workflow.
  WorkflowCall* workflow = nullptr;  // With the workflow's calls.
  MonotonicNs deadline = kNoDeadline;
  MonotonicNs granted =
      kNoDeadline;  // At least the time left when it began: spares asking the clock.
  std::uint64_t request_id;
  std::uint32_t depth = 1;
  std::uint32_t part_count;

  // Where a guest caller wants a plain reply.
  std::uint32_t reply_data = 0;
  std::uint32_t reply_capacity = 0;
  bool plain_reply_only = false;

  bool responded = false;
  std::uint32_t reply_length = 0;
  std::uint32_t reply_buffer = 0;  // Address in the caller; 0: plain.
  HandOver replied = {};
  std::unique_ptr<Failures> failures = {};

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

// Measures one hand-over.
class HandOverTimer {
 public:
  explicit HandOverTimer(const buf::PayloadMemory& memory)
      : memory_(memory), before_(memory.Copies()), start_(FastNow()) {}
  [[nodiscard]] HandOver Take() const {
    return {.duration = FastNow() - start_,
            .copies = memory_.Copies().copies - before_.copies,
            .copied_bytes = memory_.Copies().bytes - before_.bytes};
  }

 private:
  const buf::PayloadMemory& memory_;
  buf::CopyCount before_;
  MonotonicNs start_;
};

// An error of the layers below as the class of call error it is for the guests concerned.
CallClass ClassOf(const Error& error);

}  // namespace cwasi::worker
