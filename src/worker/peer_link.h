// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// PeerLink: one channel to another worker with the payloads that travel on it. A payload of the own
// trust domain travels as a segment whose pages are moved on both sides; one of another domain in a
// segment of this link alone, and is copied out once. docs/protocols/channel.md.
//
// Who has a segment: its home lends it; `lent_` holds it meanwhile, so that nobody uses it, or, if
// it is lent to be read, nobody writes it (design 1, rule 7). The borrower holds it as a payload
// whose home is this link; when that ends it goes back by the reply under way or by kReturn. If the
// link fails, what is lent is destroyed and never recycled: the peer may still have it mapped
// (design 1, rule 8).
//
// Thread: the guest thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "buf/foreign_view.h"
#include "buf/payload.h"
#include "buf/segment_pool.h"
#include "buf/shared_payload.h"
#include "ipc/channel.h"

namespace cwasi::worker {

class PeerLink final : private buf::SegmentHome {
 public:
  // Both outlive the link. `closing` hears of segments of the peer's that are unmapped here.
  struct Means {
    buf::PayloadMemory& memory;
    buf::SegmentWatcher& closing;
  };
  // Errors: as ipc::Channel::Offer and Accept.
  static Result<std::unique_ptr<PeerLink>> Offer(UniqueFd socket, ipc::Relation relation,
                                                 const Means& means, MonotonicNs deadline);
  static Result<std::unique_ptr<PeerLink>> Accept(UniqueFd socket, ipc::Relation relation,
                                                  const Means& means, MonotonicNs deadline);
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;
  PeerLink(PeerLink&&) = delete;
  PeerLink& operator=(PeerLink&&) = delete;
  // CHECKs that it is not held (IsHeld()).
  ~PeerLink() override;

  // What a payload is taken from. Bytes are copied, and the copies counted; a payload that is moved
  // is empty after, one that is copied stays. A shared one, of a kValue, stays: within the domain
  // the peer reads it where it is.
  struct Outgoing {
    std::span<const std::byte> bytes = {};  // Used if there is no payload.
    buf::Payload* payload = nullptr;
    const buf::SharedPayload* shared = nullptr;
  };
  // Sends a kCall, kValue or kReply with what `outgoing` holds; fills in the payload's fields, and
  // a segment to return if `record` is the reply to the call that it came with. Errors:
  // kUnavailable (the link has failed), kResourceExhausted (no room in the channel, no slot, no
  // memory): nothing has happened.
  Result<> Send(ipc::Record record, const Outgoing& outgoing);
  // Without a payload.
  Result<> Send(const ipc::Record& record) { return Send(record, {}); }

  struct Incoming {
    ipc::Record record;
    // A payload to be copied out once, until EndIncoming: of the ring or of another domain.
    std::span<const std::byte> once;
    // A payload of the own domain. Empty with `refused`.
    buf::Payload payload;
    // `payload` may be read only: others do, too.
    bool is_shared = false;
    // It came, and this worker cannot take it (its budgets).
    std::optional<Error> refused;
    // A segment of ours that came home with this kReply, without a payload.
    buf::SegmentRef returned;
  };
  // The next kCall, kCancel, kValue or kReply; the rest is dealt with here. kOk: EndIncoming must
  // follow before the next one.
  ipc::ChannelStatus Receive(Incoming& incoming);
  void EndIncoming();

  [[nodiscard]] const ipc::Channel& Channel() const { return channel_; }
  ipc::ChannelStatus CheckSocket() { return channel_.CheckSocket(); }
  [[nodiscard]] bool HasFailed() const { return failed_; }
  // Why; only then.
  [[nodiscard]] const Error& Failure() const { return failure_; }
  // After a failure of the channel, or for `reason`: destroys what is lent.
  void Fail(const Error& reason);

  // Sends what was given back and not returned yet, as far as there is room.
  void FlushReturns();
  void Close() { channel_.Close(); }

  // Takes a segment out of what is lent before a failure destroys it, so that its bytes can be
  // saved: others may still use it, so it is to be abandoned. Empty if it is not lent.
  buf::SegmentRef TakeLent(const buf::Segment& segment);

  // A segment that may have been lent here is about to be closed: the peer is told, and its slot
  // used again when it has heard.
  void Forget(const buf::Segment& segment);

  // Payloads out of Receive, and buffers of EdgePool(), that live: the link must, too.
  [[nodiscard]] bool IsHeld() const {
    return borrowed_ != 0 || (edge_pool_ && edge_pool_->GetStats().in_use != lent_.size());
  }
  // Segments of ours that the peer has.
  [[nodiscard]] std::size_t Lent() const { return lent_.size(); }
  // Bytes of them.
  [[nodiscard]] std::size_t LentBytes() const { return lent_bytes_; }
  // Of segments of the peer's that were forwarded to one whose link failed. That one, or whoever it
  // has forwarded them to, may have them mapped, so they do not go home; the peer hears of them
  // only by this link's end, which is due when there are so many.
  static constexpr std::size_t kMaxLostBytes = std::size_t{64} << 20;
  [[nodiscard]] std::size_t LostBytes() const { return lost_bytes_; }
  // Where buffers for this link are to be made; null within the own domain, where all will do.
  [[nodiscard]] buf::SegmentPool* EdgePool() { return edge_pool_ ? &*edge_pool_ : nullptr; }

 private:
  PeerLink(ipc::Channel channel, const Means& means);

  [[nodiscard]] bool SameDomain() const {
    return channel_.DomainRelation() == ipc::Relation::kSameDomain;
  }
  Result<> SendOutgoing(ipc::Record record, const Outgoing& outgoing);
  Result<> SendRecord(const ipc::Record& record, std::span<const std::byte> inline_bytes);
  Result<> SendSegment(ipc::Record record, buf::Payload& payload);
  Result<> SendShared(ipc::Record record, const buf::SharedPayload& payload);
  Result<> SendBack(ipc::Record record, buf::Payload& payload);
  // A slot that the peer knows nothing of.
  std::optional<std::uint16_t> FreeSlot();
  // The slot of a segment of ours, announced to the peer.
  Result<std::uint16_t> Announce(buf::Segment& segment, std::size_t bytes);
  ipc::ChannelStatus TakeSegment(Incoming& incoming);
  Result<> Map(std::uint16_t slot);
  // Null: nothing is wrong.
  const char* CheckReturns(const ipc::Record& reply) const;
  const char* CheckSettles(const ipc::Record& reply);
  ipc::ChannelStatus Lie(std::string what);
  buf::SegmentRef Settle(const ipc::Record& record);
  void Destroy(std::unique_ptr<buf::Segment> segment);
  void Unmap(std::uint16_t slot);

  void GiveBack(std::unique_ptr<buf::Segment> segment) override;
  void Abandon(std::unique_ptr<buf::Segment> segment) override;

  // A segment of the peer's, mapped once.
  struct Theirs {
    std::unique_ptr<buf::Segment> segment;  // Own domain; empty while a payload holds it.
    std::optional<buf::ForeignView> view;   // Another domain.
    // Until it could be mapped: budgets may have room again when it comes the next time.
    std::optional<ipc::Channel::ReceivedSegment> unmapped;
  };

  ipc::Channel channel_;
  buf::PayloadMemory& memory_;
  buf::SegmentWatcher& closing_;
  std::optional<buf::EdgePool> edge_pool_;
  std::unordered_map<const buf::Segment*, std::uint16_t> our_slots_;
  std::uint16_t next_slot_ = 0;
  std::vector<std::uint16_t> to_forget_;
  struct Forgotten {
    std::uint16_t slot = 0;
    std::uint32_t end = 0;  // Of the record that says so: until then the peer may know the old one.
  };
  std::deque<Forgotten> forgotten_;  // In the order of the records.
  // One of the two: what the peer alone has, or what it may read.
  struct Lending {
    buf::SegmentRef segment = {};
    buf::SharedPayload shared = {};
    [[nodiscard]] std::size_t Bytes() const {
      return shared ? shared.SegmentBytes() : segment->CapacityBytes();
    }
  };
  void Lend(std::uint16_t slot, Lending lending);
  Lending TakeBack(std::unordered_map<std::uint16_t, Lending>::iterator it);
  [[nodiscard]] bool IsLent(const buf::Segment& segment) const;
  std::unordered_map<std::uint16_t, Lending> lent_;
  std::size_t lent_bytes_ = 0;
  std::unordered_map<std::uint16_t, Theirs> theirs_;
  std::unordered_map<const buf::Segment*, std::uint16_t> their_slots_;
  std::size_t borrowed_ = 0;
  std::size_t lost_bytes_ = 0;
  std::vector<std::uint16_t> to_return_;
  // The segment that a call under way came in, so that its reply returns it.
  std::unordered_map<std::uint64_t, std::uint16_t> came_with_;
  // As that, for our calls: the only segment that their reply can return.
  std::unordered_map<std::uint64_t, std::uint16_t> went_with_;
  std::optional<std::uint16_t> end_with_;  // Returned by EndIncoming.
  std::optional<Error> lie_;
  bool failed_ = false;
  Error failure_ = {};
};

}  // namespace cwasi::worker
