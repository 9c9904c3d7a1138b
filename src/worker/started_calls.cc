// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/started_calls.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

CallError Embedded(CallClass call_class, bool may_have_run, std::string message) {
  return {.call_class = call_class,
          .mode = CallMode::kEmbedded,
          .may_have_run = may_have_run,
          .message = std::move(message)};
}

}  // namespace

void DeleteStartedCalls::operator()(StartedCalls* calls) const {
  delete calls;
}

tl::expected<void, CallError> Worker::BringReply(Instance& caller, const GuestCall& wanted,
                                                 const ReplyPayload& reply, GuestCallEnd& end) {
  const auto length = static_cast<std::uint32_t>(reply.bytes.size());
  const auto fail = [&](CallClass call_class, std::string message) {
    CallError error = Embedded(call_class, true, std::move(message));
    error.mode = reply.mode;
    return tl::unexpected(std::move(error));
  };
  const bool as_buffer = !wanted.plain_reply_only && length != 0 &&
                         (reply.is_buffer || length > wanted.reply_capacity);
  if (!as_buffer) {
    if (length > wanted.reply_capacity)
      return fail(CallClass::kTooLarge, "the reply has " + std::to_string(length) +
                                            " bytes, the caller has room for " +
                                            std::to_string(wanted.reply_capacity));
    payloads_.Copy(caller.Memory().data() + wanted.reply_data, reply.bytes.data(), length);
    end.reply_length = length;
    return {};
  }
  const auto there =
      reply.payload != nullptr
          ? caller.Buffers().Receive(*reply.payload, buf::Owner::kGuest)
          : caller.Buffers().ReceiveCopy(reply.bytes.data(), length, buf::Owner::kGuest);
  if (!there) {
    if (!caller.IsSound()) return tl::unexpected(caller.Failure());
    return fail(ClassOf(there.error()), there.error().message);
  }
  end.reply_is_buffer = true;
  end.reply_data = *there;
  end.reply_length = length;
  return {};
}

std::uint32_t Worker::StartFromGuest(Instance& caller, const GuestCall& wanted,
                                     std::uint32_t& number) {
  Call& outer = *caller.CallUnderWay();
  if (outer.started == nullptr) outer.started.reset(new StartedCalls());
  StartedCalls& started = *outer.started;
  GuestCallEnd end;
  const auto fail = [&](std::string_view callee, CallError error) {
    Failed(outer, callee, std::move(error), end);
    return end.status;
  };
  if (started.calls.size() == kMaxStartedCalls)
    return fail("call_start", Embedded(CallClass::kOverloaded, false, "too many started calls"));
  StartedCall call;
  if ((wanted.function & kRemoteFunction) != 0 && peers_ != nullptr) {
    const std::uint32_t place = wanted.function & ~kRemoteFunction;
    auto flight = peers_->Start(caller, place, wanted);
    if (!flight) return fail(peers_->NameAt(place), std::move(flight).error());
    call = {.callee = std::string(peers_->NameAt(place)), .state = std::move(*flight)};
  } else {
    Function* const function = Find(wanted.function);
    if (const auto refusal = Refusal(caller, function, wanted))
      return fail(function == nullptr ? "an unknown function" : function->Name(),
                  Embedded(*refusal, false, "it cannot be started"));
    auto ended = std::make_unique<EndedCall>();
    if (auto run = RunStarted(caller, *function, wanted, *ended); !run)
      return fail(function->Name(), std::move(run).error());
    call = {.callee = std::string(function->Name()), .state = std::move(ended)};
  }
  number = started.next_number++;
  started.calls.emplace(number, std::move(call));
  return 0;
}

// Runs a function of this worker now: there is one thread. An error: it has not run, and the
// request is the caller's.
tl::expected<void, CallError> Worker::RunStarted(Instance& caller, Function& function,
                                                 const GuestCall& wanted, EndedCall& ended) {
  const Call& outer = *caller.CallUnderWay();
  EdgeStats& edge = caller.Of().EdgeTo(function, edges_);
  const MonotonicNs start = FastNow();
  const buf::CopyCount before = payloads_.Copies();
  std::optional<buf::Payload> lent;
  if (wanted.move) lent = caller.Buffers().Lend(wanted.request, wanted.length);
  PeerCall call{.request_id = outer.request_id,
                .depth = outer.depth + 1,
                .deadline = outer.deadline,
                .given_at = start,
                .caller = caller.Of().Name(),
                .payload = lent ? &*lent : nullptr,
                .delivered = [] {},
                .mode = CallMode::kEmbedded};
  if (!lent) call.once = {caller.Memory().data() + wanted.request, wanted.length};
  ended.outcome = ServePeer(function, call);
  const bool ran = ended.outcome || ended.outcome.error().may_have_run;
  if (lent)
    caller.Buffers().EndLend(wanted.request, ran ? buf::SegmentRef() : lent->ReleaseSegment());
  else if (wanted.move && ran)
    CHECK(caller.Buffers().Free(wanted.request).has_value());
  if (!ran) return tl::unexpected(std::move(ended.outcome).error());
  ++edge.calls;
  edge.payload_bytes += wanted.length + call.reply.Size();
  edge.copies += payloads_.Copies().copies - before.copies;
  edge.copied_bytes += payloads_.Copies().bytes - before.bytes;
  if (lent) ++edge.moved;
  if (call.reply.IsSegment()) ++edge.moved;
  edge.hand_over.Add(call.hand_over);
  ended.reply = std::move(call.reply);
  ended.reply_is_buffer = call.reply_is_buffer;
  return {};
}

std::optional<std::size_t> Worker::WaitFromGuest(Instance& caller,
                                                 std::span<const std::uint32_t> numbers,
                                                 const GuestCall& reply_place, GuestCallEnd& end) {
  Call& outer = *caller.CallUnderWay();
  if (outer.started == nullptr || numbers.empty()) return std::nullopt;
  StartedCalls& started = *outer.started;
  std::vector<Peers::InFlight*> flights;
  std::optional<std::size_t> chosen;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto it = started.calls.find(numbers[i]);
    if (it == started.calls.end()) return std::nullopt;
    if (const auto* flight = std::get_if<std::unique_ptr<Peers::InFlight>>(&it->second.state))
      flights.push_back(flight->get());
    else if (!chosen)
      chosen = i;
  }
  // Calls may nest while this waits, and end this instance's time, not its calls.
  if (!chosen) {
    const Peers::InFlight* ended = flights[peers_->WaitForAny(flights, outer.deadline)];
    chosen = static_cast<std::size_t>(std::ranges::find(flights, ended) -
                                      flights.begin());  // All are flights.
  }
  auto node = started.calls.extract(numbers[*chosen]);
  StartedCall& call = node.mapped();
  tl::expected<void, CallError> outcome;
  if (auto* flight = std::get_if<std::unique_ptr<Peers::InFlight>>(&call.state)) {
    outcome = peers_->FinishStarted(caller, **flight, reply_place, end);
  } else {
    EndedCall& ended = *std::get<std::unique_ptr<EndedCall>>(call.state);
    end.mode = CallMode::kEmbedded;
    outcome = std::move(ended.outcome);
    if (outcome)
      outcome = BringReply(caller, reply_place,
                           {.bytes = ended.reply.Bytes(),
                            .payload = ended.reply.IsSegment() ? &ended.reply : nullptr,
                            .is_buffer = ended.reply_is_buffer,
                            .mode = CallMode::kEmbedded},
                           end);
    if (outcome) end.may_have_run = true;
  }
  if (outcome)
    end.status = 0;
  else
    Failed(outer, call.callee, std::move(outcome).error(), end);
  caller.ResumeDeadline();
  return chosen;
}

void Worker::GiveUpStarted(Call& call) {
  for (auto& [number, started] : call.started->calls)
    if (auto* flight = std::get_if<std::unique_ptr<Peers::InFlight>>(&started.state))
      peers_->GiveUp(**flight);
  call.started.reset();
}

}  // namespace cwasi::worker
