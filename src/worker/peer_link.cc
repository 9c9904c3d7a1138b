// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/peer_link.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "buf/units.h"

namespace cwasi::worker {
namespace {

using ipc::ChannelStatus;
using ipc::PayloadKind;
using ipc::Record;
using ipc::RecordType;

// A peer that does not empty its socket for so long gets no new segments.
constexpr std::chrono::milliseconds kAnnounceTimeout{100};

}  // namespace

PeerLink::PeerLink(ipc::Channel channel, const Means& means)
    : channel_(std::move(channel)), memory_(means.memory), closing_(means.closing) {
  if (SameDomain()) return;
  edge_pool_.emplace(memory_.Memory(), memory_.Mappings(), buf::PoolOptions{});
  edge_pool_->SetWatcher(&closing_);
}

Result<std::unique_ptr<PeerLink>> PeerLink::Offer(UniqueFd socket, ipc::Relation relation,
                                                  const Means& means, MonotonicNs deadline) {
  TRY_SET(auto channel, ipc::Channel::Offer(std::move(socket), relation, deadline));
  return std::unique_ptr<PeerLink>(new PeerLink(std::move(channel), means));
}

Result<std::unique_ptr<PeerLink>> PeerLink::Accept(UniqueFd socket, ipc::Relation relation,
                                                   const Means& means, MonotonicNs deadline) {
  TRY_SET(auto channel, ipc::Channel::Accept(std::move(socket), relation, deadline));
  return std::unique_ptr<PeerLink>(new PeerLink(std::move(channel), means));
}

PeerLink::~PeerLink() {
  CHECK(!IsHeld());
  Fail({.code = ErrorCode::kUnavailable, .sys_errno = 0, .message = "closed"});
}

void PeerLink::Destroy(std::unique_ptr<buf::Segment> segment) {
  closing_.Closing(*segment);
  their_slots_.erase(segment.get());
}

void PeerLink::Unmap(std::uint16_t slot) {
  const auto it = theirs_.find(slot);
  if (it == theirs_.end()) return;
  // The channel has checked that it was at home.
  if (it->second.segment != nullptr) Destroy(std::move(it->second.segment));
  theirs_.erase(it);
}

void PeerLink::Fail(const Error& reason) {
  if (failed_) return;
  failed_ = true;
  if (lie_)
    failure_ = *lie_;
  else
    failure_ = channel_.HasFailed() ? channel_.Failure() : reason;
  auto lent = std::exchange(lent_, {});
  for (auto& [slot, lending] : lent) {
    lending.segment.Abandon();
    if (lending.shared) lending.shared.Abandon();
  }
  lent_bytes_ = 0;
  to_return_.clear();
  for (auto& [slot, theirs] : theirs_)
    if (theirs.segment != nullptr) Destroy(std::move(theirs.segment));
  theirs_.clear();  // What payloads hold comes by GiveBack.
}

Result<> PeerLink::SendRecord(const Record& record, std::span<const std::byte> inline_bytes) {
  switch (channel_.Send(record, inline_bytes)) {
    case ChannelStatus::kOk:
      return {};
    case ChannelStatus::kWait:
      return cwasi::Fail(ErrorCode::kResourceExhausted, "the channel is full", EAGAIN);
    case ChannelStatus::kFailed:
      break;
  }
  return tl::unexpected(channel_.Failure());
}

Result<> PeerLink::Send(Record record, const Outgoing& outgoing) {
  if (failed_) return tl::unexpected(failure_);
  if (record.type == RecordType::kReply) {
    // If the request's segment has come to rest it goes home with the reply.
    const auto with = came_with_.find(record.call_id);
    if (with != came_with_.end()) {
      const auto at = std::ranges::find(to_return_, with->second);
      if (at != to_return_.end()) record.returned_slot = with->second;
    }
  }
  TRY(SendOutgoing(record, outgoing));
  if (record.returned_slot) std::erase(to_return_, *record.returned_slot);
  if (record.type == RecordType::kReply) came_with_.erase(record.call_id);
  return {};
}

Result<> PeerLink::SendOutgoing(Record record, const Outgoing& outgoing) {
  const auto bytes = outgoing.payload != nullptr  ? outgoing.payload->Bytes()
                     : outgoing.shared != nullptr ? outgoing.shared->Bytes()
                                                  : outgoing.bytes;
  record.payload_bytes = bytes.size();
  if (bytes.empty()) return SendRecord(record, {});
  if (outgoing.shared != nullptr && outgoing.shared->IsSegment() && SameDomain() &&
      !IsLent(outgoing.shared->SegmentToLend()))
    return SendShared(record, *outgoing.shared);
  const bool is_segment = outgoing.payload != nullptr && outgoing.payload->IsSegment();
  // A segment of the own domain, or of this very edge into another, goes as it is.
  if (is_segment && (SameDomain() ? outgoing.payload->SegmentOf().GetScope() == buf::Scope::kDomain
                                  : outgoing.payload->Home() == EdgePool()))
    return SendSegment(record, *outgoing.payload);
  if (record.type == RecordType::kValue) ++record.copies;
  if (!is_segment && bytes.size() <= ipc::kMaxInlineBytes) {
    record.payload = PayloadKind::kInline;
    TRY(SendRecord(record, bytes));
    memory_.NoteCopy(bytes.size());
    return {};
  }
  buf::SegmentPool& pool = edge_pool_ ? *edge_pool_ : memory_.Pool();
  TRY_SET(auto copy, buf::Payload::CopyInto(bytes, pool, memory_));
  return SendSegment(record, copy);
}

Result<std::uint16_t> PeerLink::Announce(buf::Segment& segment, std::size_t bytes) {
  int fd = -1;
  if (SameDomain()) {
    fd = segment.DescriptorForDomain();
  } else {
    // Also hides what the peer was never given.
    TRY_SET(fd, segment.DescriptorForPeer(bytes));
  }
  const auto known = our_slots_.find(&segment);
  if (known != our_slots_.end()) return known->second;
  const auto slot = FreeSlot();
  if (!slot)
    return cwasi::Fail(ErrorCode::kResourceExhausted, "the channel has no more slots for segments");
  if (auto sent = channel_.SendSegment(
          *slot, fd, static_cast<std::uint32_t>(segment.CapacityBytes() / buf::kUnitBytes),
          DeadlineAfter(Now(), kAnnounceTimeout));
      !sent) {
    forgotten_.push_front({.slot = *slot, .end = channel_.SentEnd()});
    return tl::unexpected(std::move(sent).error());
  }
  our_slots_.emplace(&segment, *slot);
  return *slot;
}

std::optional<std::uint16_t> PeerLink::FreeSlot() {
  if (!forgotten_.empty() && channel_.PeerReleased(forgotten_.front().end)) {
    const std::uint16_t slot = forgotten_.front().slot;
    forgotten_.pop_front();
    return slot;
  }
  if (next_slot_ == ipc::kMaxSlots) return std::nullopt;
  return next_slot_++;
}

Result<> PeerLink::SendSegment(Record record, buf::Payload& payload) {
  if (payload.Home() == static_cast<buf::SegmentHome*>(this)) return SendBack(record, payload);
  record.payload = PayloadKind::kSegment;
  record.home = ipc::SegmentHome::kSender;
  const std::size_t size = payload.Size();
  buf::SegmentRef segment = payload.ReleaseSegment();
  const auto slot = Announce(*segment, size);
  Result<> sent;
  if (slot) {
    record.slot = *slot;
    sent = SendRecord(record, {});
  } else {
    sent = tl::unexpected(slot.error());
  }
  if (!sent) {
    payload = buf::Payload(std::move(segment), size);
    return sent;
  }
  if (record.type != RecordType::kReply) went_with_[record.call_id] = *slot;
  Lend(*slot, {.segment = std::move(segment)});
  return {};
}

Result<> PeerLink::SendShared(Record record, const buf::SharedPayload& payload) {
  record.payload = PayloadKind::kSegment;
  record.home = ipc::SegmentHome::kSender;
  record.pass = ipc::PassMode::kCopy;
  TRY_SET(record.slot, Announce(payload.SegmentToLend(), payload.Size()));
  TRY(SendRecord(record, {}));
  went_with_[record.call_id] = record.slot;
  Lend(record.slot, {.shared = payload.Share()});
  return {};
}

void PeerLink::Lend(std::uint16_t slot, Lending lending) {
  lent_bytes_ += lending.Bytes();
  lent_.emplace(slot, std::move(lending));
}

PeerLink::Lending PeerLink::TakeBack(std::unordered_map<std::uint16_t, Lending>::iterator it) {
  Lending lending = std::move(it->second);
  lent_.erase(it);
  lent_bytes_ -= lending.Bytes();
  return lending;
}

bool PeerLink::IsLent(const buf::Segment& segment) const {
  const auto slot = our_slots_.find(&segment);
  return slot != our_slots_.end() && lent_.contains(slot->second);
}

// A segment of the peer's goes home with a payload in it.
Result<> PeerLink::SendBack(Record record, buf::Payload& payload) {
  const std::size_t size = payload.Size();
  buf::SegmentRef segment = payload.ReleaseSegment();
  const std::uint16_t slot = their_slots_.at(&*segment);
  record.payload = PayloadKind::kSegment;
  record.home = ipc::SegmentHome::kReceiver;
  record.slot = slot;
  if (auto sent = SendRecord(record, {}); !sent) {
    payload = buf::Payload(std::move(segment), size);
    return sent;
  }
  theirs_[slot].segment = segment.Release();
  --borrowed_;
  return {};
}

ChannelStatus PeerLink::Receive(Incoming& incoming) {
  if (failed_ || lie_) return ChannelStatus::kFailed;
  for (;;) {
    ipc::Channel::Incoming arrived;
    const ChannelStatus status = channel_.Receive(arrived);
    if (status != ChannelStatus::kOk) return status;
    if (const char* lie = CheckSettles(arrived.record)) return Lie(lie);
    buf::SegmentRef returned = Settle(arrived.record);
    if (arrived.record.type == RecordType::kForget) Unmap(arrived.record.slot);
    if (arrived.record.type == RecordType::kReturn || arrived.record.type == RecordType::kClose ||
        arrived.record.type == RecordType::kForget) {
      channel_.Release();
      continue;
    }
    incoming.record = arrived.record;
    incoming.once = arrived.payload;
    incoming.payload = {};
    incoming.is_shared = false;
    incoming.refused.reset();
    incoming.returned = std::move(returned);
    if (arrived.record.payload == PayloadKind::kSegment) return TakeSegment(incoming);
    return ChannelStatus::kOk;
  }
}

ChannelStatus PeerLink::Lie(std::string what) {
  lie_ = {.code = ErrorCode::kInvalidArgument,
          .sys_errno = 0,
          .message = "the peer broke the protocol: " + std::move(what)};
  return ChannelStatus::kFailed;
}

// A payload that comes in a segment of ours.
const char* PeerLink::CheckReturns(const Record& reply) const {
  if (reply.payload != PayloadKind::kSegment || reply.home != ipc::SegmentHome::kReceiver)
    return nullptr;
  // Another domain sees what is written to a segment that it was given; with an answer in it a
  // guest would write there.
  if (!SameDomain()) return "a payload of another trust domain in a segment of ours";
  const auto lending = lent_.find(reply.slot);
  if (lending != lent_.end() && lending->second.shared)
    return "a payload in a segment that was lent to be read";
  return nullptr;
}

// What the channel, which knows no calls, cannot see.
const char* PeerLink::CheckSettles(const Record& reply) {
  if (const char* lie = CheckReturns(reply)) return lie;
  if (reply.type != RecordType::kReply) return nullptr;
  const auto with = went_with_.find(reply.call_id);
  if (with == went_with_.end())
    return reply.returned_slot ? "a segment returned for a call that it did not come with"
                               : nullptr;
  const std::uint16_t slot = with->second;
  went_with_.erase(with);
  if (reply.returned_slot && *reply.returned_slot != slot)
    return "a segment returned for a call that it did not come with";
  if (reply.status && !reply.may_have_run && !reply.returned_slot)
    return "the segment of a call that it has not run is kept";
  return nullptr;
}

void PeerLink::EndIncoming() {
  channel_.Release();
  if (end_with_) to_return_.push_back(*end_with_);
  end_with_.reset();
}

// A segment of ours that is home again without a payload.
buf::SegmentRef PeerLink::Settle(const Record& record) {
  std::optional<std::uint16_t> slot = record.returned_slot;
  if (record.type == RecordType::kReturn) slot = record.slot;
  if (!slot) return {};
  const auto it = lent_.find(*slot);
  CHECK(it != lent_.end());  // The channel has checked that it was lent.
  return TakeBack(it).segment;
}

ChannelStatus PeerLink::TakeSegment(Incoming& incoming) {
  const Record& record = incoming.record;
  const auto size = static_cast<std::size_t>(record.payload_bytes);
  if (record.home == ipc::SegmentHome::kReceiver) {
    const auto it = lent_.find(record.slot);
    CHECK(it != lent_.end());
    incoming.payload = buf::Payload(TakeBack(it).segment, size);
    return ChannelStatus::kOk;
  }
  if (record.type != RecordType::kReply) came_with_[record.call_id] = record.slot;
  if (auto mapped = Map(record.slot); !mapped) {
    if (mapped.error().code == ErrorCode::kInvalidArgument) return Lie(mapped.error().message);
    incoming.refused = std::move(mapped).error();
    end_with_ = record.slot;
    return ChannelStatus::kOk;
  }
  Theirs& theirs = theirs_[record.slot];
  if (theirs.view) {
    const auto bytes = theirs.view->First(size);
    CHECK(bytes.has_value());  // The channel has compared it with the size that was checked.
    incoming.once = *bytes;
    end_with_ = record.slot;
    return ChannelStatus::kOk;
  }
  incoming.is_shared = record.type == RecordType::kValue && record.pass == ipc::PassMode::kCopy;
  // Views have page tables of their own.
  if (!incoming.is_shared) theirs.segment->Populate(size);
  ++borrowed_;
  incoming.payload = buf::Payload(buf::SegmentRef(*this, std::move(theirs.segment)), size);
  return ChannelStatus::kOk;
}

// Errors: kResourceExhausted, kUnavailable (budgets), kInvalidArgument (seals).
Result<> PeerLink::Map(std::uint16_t slot) {
  Theirs& theirs = theirs_[slot];
  if (theirs.segment != nullptr || theirs.view) return {};
  if (!theirs.unmapped) theirs.unmapped = channel_.ReceiveSegment(slot);
  // The channel has just seen it lent, so no payload holds it, and it was announced.
  CHECK(theirs.unmapped.has_value());
  UniqueFd fd(::fcntl(theirs.unmapped->fd.Get(), F_DUPFD_CLOEXEC, 0));
  if (!fd.IsOpen()) return cwasi::Fail(ErrorCode::kResourceExhausted, "map a segment", errno);
  const std::uint32_t units = theirs.unmapped->units;
  if (SameDomain()) {
    TRY_SET(theirs.segment,
            buf::Segment::Adopt(std::move(fd), units, memory_.Foreign(), memory_.Mappings()));
    their_slots_.emplace(theirs.segment.get(), slot);
  } else {
    TRY_SET(auto view,
            buf::ForeignView::Open(std::move(fd), units, memory_.Foreign(), memory_.Mappings()));
    theirs.view.emplace(std::move(view));
  }
  theirs.unmapped.reset();
  return {};
}

void PeerLink::GiveBack(std::unique_ptr<buf::Segment> segment) {
  --borrowed_;
  if (failed_) return Destroy(std::move(segment));
  const std::uint16_t slot = their_slots_.at(segment.get());
  theirs_[slot].segment = std::move(segment);
  to_return_.push_back(slot);
}

// It was forwarded to one whose link failed: LostBytes().
void PeerLink::Abandon(std::unique_ptr<buf::Segment> segment) {
  --borrowed_;
  lost_bytes_ += segment->CapacityBytes();
  theirs_.erase(their_slots_.at(segment.get()));
  Destroy(std::move(segment));
}

void PeerLink::FlushReturns() {
  while (!to_return_.empty() && !failed_) {
    const Record record{.type = RecordType::kReturn,
                        .home = ipc::SegmentHome::kReceiver,
                        .slot = to_return_.back()};
    if (!SendRecord(record, {})) return;
    to_return_.pop_back();
  }
  while (!to_forget_.empty() && !failed_) {
    const Record record{.type = RecordType::kForget, .slot = to_forget_.back()};
    if (!SendRecord(record, {})) return;
    forgotten_.push_back({.slot = to_forget_.back(), .end = channel_.SentEnd()});
    to_forget_.pop_back();
  }
}

buf::SegmentRef PeerLink::TakeLent(const buf::Segment& segment) {
  const auto slot = our_slots_.find(&segment);
  if (slot == our_slots_.end()) return {};
  const auto it = lent_.find(slot->second);
  if (it == lent_.end() || it->second.shared) return {};
  return TakeBack(it).segment;
}

void PeerLink::Forget(const buf::Segment& segment) {
  const auto it = our_slots_.find(&segment);
  if (it == our_slots_.end()) return;
  // One that is lent for ever, since it was forwarded to one who died, keeps its slot.
  if (!failed_ && !channel_.OurSlots().IsLent(it->second)) to_forget_.push_back(it->second);
  our_slots_.erase(it);
}

}  // namespace cwasi::worker
