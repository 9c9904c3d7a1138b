// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include "base/check.h"
#include "os/memfd.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

constexpr std::size_t kPageBytes = 4096;

RingMemory RingAt(const os::Mapping& memory, std::size_t words_at, std::size_t data_at) {
  std::byte* const base = memory.Base();
  // The caller constructed them before it sealed the file; atomics of fixed size have no more state
  // than their bytes.
  return {.words = reinterpret_cast<RingWords*>(base + words_at),
          .data = std::span<std::byte, kRingBytes>(base + data_at, kRingBytes)};
}

RingMemory Outgoing(ChannelRole role, const os::Mapping& memory) {
  return role == ChannelRole::kCaller ? RingAt(memory, kRequestWordsAt, kRequestDataAt)
                                      : RingAt(memory, kReplyWordsAt, kReplyDataAt);
}
RingMemory Arriving(ChannelRole role, const os::Mapping& memory) {
  return Outgoing(role == ChannelRole::kCaller ? ChannelRole::kCallee : ChannelRole::kCaller,
                  memory);
}

Result<os::Mapping> MapChannel(int fd) {
  TRY_SET(os::Mapping memory, os::Mapping::Reserve(kChannelMemoryBytes, kPageBytes));
  // Populated: the first messages should not pay for 129 faults.
  if (::mmap(memory.Base(), kChannelMemoryBytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED) {
    return Fail(ErrorCode::kResourceExhausted, "map the memory of a channel", errno);
  }
  // A child must not become a third end; payloads do not belong in a core file.
  if (::madvise(memory.Base(), kChannelMemoryBytes, MADV_DONTFORK) != 0 ||
      ::madvise(memory.Base(), kChannelMemoryBytes, MADV_DONTDUMP) != 0) {
    return Fail(ErrorCode::kInternal, "keep the memory of a channel out of children", errno);
  }
  return memory;
}

struct Accepted {
  os::Mapping memory;
};

// What the callee makes of the caller's first packet; `verdict` is what it answers.
Result<Accepted> Judge(std::span<const std::byte> bytes, const std::vector<UniqueFd>& fds,
                       Relation relation, Verdict& verdict) {
  verdict = Verdict::kMalformed;
  auto packet = DecodePacket(bytes);
  if (!packet) {
    if (packet.error().code == ErrorCode::kFailedPrecondition) verdict = Verdict::kVersion;
    return tl::unexpected(std::move(packet).error());
  }
  const auto* offer = std::get_if<ChannelOffer>(&*packet);
  if (offer == nullptr || fds.size() != 1) {
    return Fail(ErrorCode::kInvalidArgument, "channel: no offer with a descriptor came first");
  }
  if (offer->relation != relation) {
    verdict = Verdict::kRelation;
    return Fail(ErrorCode::kFailedPrecondition,
                "channel: the caller claims another relation of the trust domains");
  }
  verdict = Verdict::kMemory;
  TRY_SET(const int seals, CheckSealedMemory(fds.front().Get(), kChannelMemoryBytes));
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return Fail(ErrorCode::kInvalidArgument, "channel: the memory is sealed against writing");
  }
  verdict = Verdict::kResources;
  TRY_SET(os::Mapping memory, MapChannel(fds.front().Get()));
  std::array<std::byte, kChannelPacketBytes> first_line{};
  std::memcpy(first_line.data(), memory.Base(), first_line.size());
  if (!std::ranges::equal(first_line, bytes)) {
    verdict = Verdict::kMemory;
    return Fail(ErrorCode::kInvalidArgument, "channel: the memory does not begin with the offer");
  }
  verdict = Verdict::kAccepted;
  return Accepted{std::move(memory)};
}

bool IsQuestion(RecordType type) {
  return type == RecordType::kCall || type == RecordType::kValue;
}

// kReturn, kClose and kForget go both ways.
bool MaySend(ChannelRole role, RecordType type) {
  switch (type) {
    case RecordType::kCall:
    case RecordType::kCancel:
    case RecordType::kValue:
      return role == ChannelRole::kCaller;
    case RecordType::kReply:
      return role == ChannelRole::kCallee;
    case RecordType::kReturn:
    case RecordType::kClose:
    case RecordType::kForget:
      return true;
  }
  return false;
}

bool NamesSlot(const Record& record) {
  return record.payload == PayloadKind::kSegment || record.type == RecordType::kReturn;
}

}  // namespace

Channel::Channel(ChannelRole role, Relation relation, UniqueFd socket, os::Mapping memory)
    : role_(role),
      relation_(relation),
      socket_(std::move(socket)),
      memory_(std::move(memory)),
      producer_(Outgoing(role, memory_)),
      consumer_(Arriving(role, memory_)),
      answered_(role == ChannelRole::kCallee) {}

Result<Channel> Channel::Offer(UniqueFd socket, Relation relation, MonotonicNs deadline) {
  TRY_SET(const UniqueFd fd, os::CreateSealedMemfd("cwasi-channel", kChannelMemoryBytes));
  TRY_SET(os::Mapping memory, MapChannel(fd.Get()));
  const auto offer = EncodePacket(ChannelOffer{.relation = relation});
  std::memcpy(memory.Base(), offer.data(), offer.size());
  // Fresh pages are zero, which is how an empty ring begins.
  const std::array<int, 1> fds = {fd.Get()};
  TRY(os::SendPacket(socket.Get(), offer, fds, deadline));
  return Channel(ChannelRole::kCaller, relation, std::move(socket), std::move(memory));
}

Result<Channel> Channel::Accept(UniqueFd socket, Relation relation, MonotonicNs deadline) {
  std::array<std::byte, kChannelPacketBytes> buffer{};
  // A longer packet is one of another version, or malformed; its start tells.
  std::array<std::byte, 4 * kChannelPacketBytes> packet_buffer{};
  TRY_SET(const os::Packet packet, os::ReceivePacket(socket.Get(), packet_buffer, 1, deadline));
  Verdict verdict = Verdict::kMalformed;
  auto accepted =
      Judge(std::span(packet_buffer).first(packet.size_bytes), packet.fds, relation, verdict);
  buffer = EncodePacket(ChannelAnswer{.verdict = verdict});
  auto sent = os::SendPacket(socket.Get(), buffer, {}, deadline);
  if (!accepted) return tl::unexpected(std::move(accepted).error());
  if (!sent) return tl::unexpected(std::move(sent).error());
  return Channel(ChannelRole::kCallee, relation, std::move(socket), std::move(accepted->memory));
}

ChannelStatus Channel::FailWith(ErrorCode code, std::string message) {
  if (!failed_) failure_ = Error{.code = code, .message = "channel: " + std::move(message)};
  failed_ = true;
  return ChannelStatus::kFailed;
}

ChannelStatus Channel::Broken(const char* what) {
  return FailWith(ErrorCode::kInvalidArgument, std::string("the peer broke the protocol: ") + what);
}

bool Channel::TakeUnanswered(std::uint64_t call_id) {
  const auto found = std::ranges::find(unanswered_, call_id);
  if (found == unanswered_.end()) return false;
  *found = unanswered_.back();
  unanswered_.pop_back();
  return true;
}

void Channel::CheckSendable(const Record& record) const {
  CHECK(MaySend(role_, record.type) && !we_closed_);
  if (NamesSlot(record)) {
    CHECK(record.home == SegmentHome::kSender
              ? ours_.CanLend(record.slot, record.payload_bytes)
              : theirs_.CanReturn(record.slot, record.payload_bytes));
  }
  if (record.returned_slot.has_value()) {
    CHECK(theirs_.CanReturn(*record.returned_slot, 0));
    CHECK(!NamesSlot(record) || record.home == SegmentHome::kSender ||
          record.slot != *record.returned_slot);
  }
  if (record.type == RecordType::kForget) {
    CHECK(ours_.IsKnown(record.slot) && !ours_.IsLent(record.slot));
  }
  const bool waits = std::ranges::find(unanswered_, record.call_id) != unanswered_.end();
  if (IsQuestion(record.type)) CHECK(!waits);
  if (record.type == RecordType::kReply) CHECK(waits);
}

ChannelStatus Channel::Send(const Record& record, std::span<const std::byte> payload) {
  if (failed_) return ChannelStatus::kFailed;
  if (peer_gone_ || peer_closed_) return FailWith(ErrorCode::kUnavailable, "the peer is gone");
  CheckSendable(record);
  CHECK(payload.size() == (record.payload == PayloadKind::kInline ? record.payload_bytes : 0));
  if (IsQuestion(record.type) && unanswered_.size() == kMaxUnanswered) return ChannelStatus::kWait;
  // What the record gives away is gone once it is published, so the books come first on success
  // only: nobody else runs on this thread in between.
  switch (producer_.Write(EncodeRecord(record), payload)) {
    case RingStatus::kOk:
      break;
    case RingStatus::kWait:
      return ChannelStatus::kWait;
    case RingStatus::kBroken:
      return Broken(producer_.Violation());
  }
  if (NamesSlot(record)) {
    CHECK(record.home == SegmentHome::kSender ? ours_.Lend(record.slot, record.payload_bytes)
                                              : theirs_.Return(record.slot, record.payload_bytes));
  }
  if (record.returned_slot.has_value()) CHECK(theirs_.Return(*record.returned_slot, 0));
  if (IsQuestion(record.type)) unanswered_.push_back(record.call_id);
  if (record.type == RecordType::kReply) CHECK(TakeUnanswered(record.call_id));
  if (record.type == RecordType::kForget) CHECK(ours_.Forget(record.slot));
  if (record.type == RecordType::kClose) we_closed_ = true;
  return ChannelStatus::kOk;
}

// Whether the peer may say this now; the books follow.
ChannelStatus Channel::Admit(const Record& record) {
  const ChannelRole peer =
      role_ == ChannelRole::kCaller ? ChannelRole::kCallee : ChannelRole::kCaller;
  if (!MaySend(peer, record.type)) return Broken("a record in the wrong direction");
  if (IsQuestion(record.type)) {
    if (unanswered_.size() == kMaxUnanswered) return Broken("more calls than may wait");
    if (std::ranges::find(unanswered_, record.call_id) != unanswered_.end()) {
      return Broken("a call with the number of another");
    }
  }
  if (record.type == RecordType::kReply && !TakeUnanswered(record.call_id)) {
    return Broken("an answer to no call, or a second one");
  }
  if (const ChannelStatus status = AdmitSegments(record); status != ChannelStatus::kOk) {
    return status;
  }
  if (IsQuestion(record.type)) unanswered_.push_back(record.call_id);
  if (record.type == RecordType::kClose) peer_closed_ = true;
  return ChannelStatus::kOk;
}

ChannelStatus Channel::AdmitSegments(const Record& record) {
  if (NamesSlot(record) && record.home == SegmentHome::kSender) {
    if (!theirs_.IsKnown(record.slot)) {
      if (const ChannelStatus status = ReadSegmentsUntil(record.slot);
          status != ChannelStatus::kOk) {
        return status;
      }
    }
    if (!theirs_.Lend(record.slot, record.payload_bytes)) {
      return Broken("a segment that is lent already, or shorter than its payload");
    }
  } else if (NamesSlot(record) && !ours_.Return(record.slot, record.payload_bytes)) {
    return Broken("a segment of ours that it does not have, or longer than it is");
  }
  if (record.returned_slot.has_value() && !ours_.Return(*record.returned_slot, 0)) {
    return Broken("a segment of ours that it does not have");
  }
  if (record.type == RecordType::kForget) {
    if (!theirs_.Forget(record.slot)) return Broken("a segment forgotten that is not at home");
    std::erase_if(untaken_, [&](const auto& entry) { return entry.first == record.slot; });
  }
  return ChannelStatus::kOk;
}

ChannelStatus Channel::Receive(Incoming& incoming) {
  CHECK(!receiving_);
  if (failed_) return ChannelStatus::kFailed;
  if (peer_closed_) return FailWith(ErrorCode::kUnavailable, "the peer closed it");
  RecordView view;
  switch (consumer_.Peek(view)) {
    case RingStatus::kOk:
      break;
    case RingStatus::kWait:
      // All that the peer published before its end was visible when its end was.
      if (peer_gone_) return FailWith(ErrorCode::kUnavailable, "the peer is gone");
      return ChannelStatus::kWait;
    case RingStatus::kBroken:
      return Broken(consumer_.Violation());
  }
  if (!answered_) {
    if (const ChannelStatus status = ReadAnswer(); status != ChannelStatus::kOk) return status;
    if (!answered_) return Broken("a record before the offer was accepted");
  }
  const char* why = nullptr;
  const auto record = DecodeRecord(view.header, view.body.size(), &why);
  if (!record.has_value()) return Broken(why);
  if (const ChannelStatus status = Admit(*record); status != ChannelStatus::kOk) return status;
  incoming.record = *record;
  incoming.payload = {};
  if (record->payload == PayloadKind::kInline) {
    incoming.payload = view.body.first(static_cast<std::size_t>(record->payload_bytes));
  }
  receiving_ = true;
  return ChannelStatus::kOk;
}

void Channel::Release() {
  CHECK(receiving_);
  receiving_ = false;
  consumer_.Release();
}

ChannelStatus Channel::ReadAnswer() {
  std::array<std::byte, kChannelPacketBytes> buffer{};
  auto packet = os::ReceivePacket(socket_.Get(), buffer, 0, Now());
  if (!packet) {
    switch (packet.error().code) {
      case ErrorCode::kDeadlineExceeded:
        return ChannelStatus::kOk;  // Not yet.
      case ErrorCode::kUnavailable:
        peer_gone_ = true;
        return ChannelStatus::kOk;
      default:
        return Broken("an answer with descriptors, or too long");
    }
  }
  const auto decoded = DecodePacket(std::span(buffer).first(packet->size_bytes));
  if (!decoded) return FailWith(decoded.error().code, decoded.error().message);
  const auto* answer = std::get_if<ChannelAnswer>(&*decoded);
  if (answer == nullptr) return Broken("another packet before its answer");
  if (answer->verdict != Verdict::kAccepted) {
    return FailWith(ErrorCode::kFailedPrecondition,
                    "the callee refused the offer: " + Describe(answer->verdict));
  }
  answered_ = true;
  return ChannelStatus::kOk;
}

ChannelStatus Channel::ReadSegmentsUntil(std::uint16_t slot) {
  while (!theirs_.IsKnown(slot)) {
    std::array<std::byte, kChannelPacketBytes> buffer{};
    auto packet = os::ReceivePacket(socket_.Get(), buffer, 1, Now());
    if (!packet) {
      // Sent before the record was published, so it would be there.
      if (packet.error().code != ErrorCode::kResourceExhausted)
        return Broken("a segment that was not announced");
      return FailWith(packet.error().code, packet.error().message);
    }
    const auto decoded = DecodePacket(std::span(buffer).first(packet->size_bytes));
    if (!decoded) return FailWith(decoded.error().code, decoded.error().message);
    const auto* announced = std::get_if<SegmentPacket>(&*decoded);
    if (announced == nullptr || packet->fds.size() != 1) {
      return Broken("a packet that is not a segment with its descriptor");
    }
    const auto seals =
        CheckSealedMemory(packet->fds.front().Get(), announced->units * kSegmentUnitBytes);
    if (!seals) return Broken(seals.error().message.c_str());
    if (!theirs_.Announce(announced->slot, announced->units)) {
      return Broken("a segment announced twice, or too many that are not used");
    }
    untaken_.emplace_back(announced->slot, ReceivedSegment{.fd = std::move(packet->fds.front()),
                                                           .units = announced->units,
                                                           .seals = *seals});
  }
  return ChannelStatus::kOk;
}

Result<> Channel::SendSegment(std::uint16_t slot, int fd, std::uint32_t units,
                              MonotonicNs deadline) {
  CHECK(slot < kMaxSlots && !ours_.IsKnown(slot));
  if (failed_) return tl::unexpected(Error(failure_));
  if (!ours_.CanAnnounce()) {
    return Fail(ErrorCode::kResourceExhausted, "channel: too many segments announced and not used");
  }
  const std::array<int, 1> fds = {fd};
  TRY(os::SendPacket(socket_.Get(), EncodePacket(SegmentPacket{.slot = slot, .units = units}), fds,
                     deadline));
  CHECK(ours_.Announce(slot, units));
  return {};
}

std::optional<Channel::ReceivedSegment> Channel::ReceiveSegment(std::uint16_t slot) {
  const auto found =
      std::ranges::find(untaken_, slot, [](const auto& entry) { return entry.first; });
  if (found == untaken_.end()) return std::nullopt;
  ReceivedSegment segment = std::move(found->second);
  untaken_.erase(found);
  return segment;
}

ChannelStatus Channel::CheckSocket() {
  if (failed_) return ChannelStatus::kFailed;
  if (!answered_) {
    if (const ChannelStatus status = ReadAnswer(); status != ChannelStatus::kOk) return status;
  }
  pollfd entry{.fd = socket_.Get(), .events = POLLRDHUP, .revents = 0};
  if (::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
    peer_gone_ = true;
  }
  if (peer_gone_ && !receiving_) {
    RecordView view;
    if (peer_closed_ || consumer_.Peek(view) == RingStatus::kWait) {
      return FailWith(ErrorCode::kUnavailable, "the peer is gone");
    }
  }
  return ChannelStatus::kOk;
}

void Channel::Close() {
  if (we_closed_ || failed_ || peer_gone_ || peer_closed_) return;
  // Without room for it the end of the socket says the same.
  (void)Send(Record{.type = RecordType::kClose});
  we_closed_ = true;
}

}  // namespace cwasi::ipc
