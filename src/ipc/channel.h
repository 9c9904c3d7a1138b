// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Channel: one caller worker, one callee worker, two rings in memory that both map, and a socket
// that carries descriptors and, by its end, the news that the other side is gone.
// Protocol: docs/protocols/channel.md.
//
// Ownership: the memory and the socket. Segments belong to the worker; the channel keeps the books.
// Thread: one, the worker's guest thread. A watcher may poll Socket() for EPOLLRDHUP alone (packets
// that come there are of no interest to it), and then ring that thread's doorbell.
// The peer is not trusted. A peer that breaks the protocol fails the channel: every later call says
// so, and Failure() why. The owner counts it, logs it once, and destroys the channel.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/channel_handshake.h"
#include "ipc/channel_message.h"
#include "ipc/ring.h"
#include "ipc/slot_table.h"
#include "ipc/wait_word.h"
#include "os/mapping.h"

namespace cwasi::ipc {

enum class ChannelRole : std::uint8_t { kCaller, kCallee };

enum class ChannelStatus : std::uint8_t {
  kOk,
  kWait,    // Send: no room, or too many calls unanswered. Receive: nothing there.
  kFailed,  // For good: Failure() says why.
};

class Channel {
 public:
  // kCall and kValue without their kReply. A callee whose caller sends more fails the channel.
  static constexpr std::size_t kMaxUnanswered = 256;

  // The caller's end. `socket` is one end of os::CreatePacketPair(). Does not wait for the callee:
  // records may be sent at once, and its refusal shows as Failure(), after CheckSocket() or a
  // Receive. Errors: kResourceExhausted (descriptors, memory), kUnavailable (the callee is gone),
  // kDeadlineExceeded.
  static Result<Channel> Offer(UniqueFd socket, Relation relation, MonotonicNs deadline);

  // The callee's end: takes the offer that the caller has sent or sends by `deadline`, and answers
  // it. `relation` is what the introducer said. Errors, after a refusal was sent to the caller:
  // kFailedPrecondition (another version or relation), kInvalidArgument (not an offer, not such
  // memory), kResourceExhausted; and kUnavailable, kDeadlineExceeded.
  static Result<Channel> Accept(UniqueFd socket, Relation relation, MonotonicNs deadline);

  // Publishes a record, and wakes the other side if it sleeps. `payload` is what kInline carries,
  // of record.payload_bytes. kWait: nothing happened; the call is `overloaded`, or wait for Room().
  // CHECKs what DecodeRecord and the slot states (slot_table.h) would refuse on the other side, an
  // answer to no call, and a record after kClose.
  ChannelStatus Send(const Record& record, std::span<const std::byte> payload = {});

  struct Incoming {
    Record record;
    // Of kInline, in shared memory, until Release(): the peer can still change it. Copy it once,
    // look only at the copy.
    std::span<const std::byte> payload;
  };
  // The next record, checked. It must be released before the next Receive. What a peer sent before
  // it ended is still received; then kFailed, kUnavailable.
  ChannelStatus Receive(Incoming& incoming);
  // Invalidates Incoming::payload.
  void Release();

  // For WaitSet::Wait, after a kWait of Receive or of Send.
  [[nodiscard]] WaitWord Records() const { return consumer_.WaitFor(); }
  [[nodiscard]] WaitWord Room() const { return producer_.WaitFor(); }

  // Announces a segment of ours under `slot`, which was not announced before; `fd` stays the
  // caller's. `units` of 2 MiB, its exact size. Errors: kResourceExhausted (SlotTable::kMaxUnused
  // announced and never lent, descriptors in flight), kDeadlineExceeded (the peer does not read its
  // socket), kUnavailable; the channel has not failed by the first two.
  Result<> SendSegment(std::uint16_t slot, int fd, std::uint32_t units, MonotonicNs deadline);

  struct ReceivedSegment {
    UniqueFd fd;
    std::uint32_t units = 0;
    int seals = 0;  // Includes SHRINK and GROW.
  };
  // The descriptor of a segment that a received record named, or absent if it was taken before. Who
  // does not take them bounds them: Untaken().
  std::optional<ReceivedSegment> ReceiveSegment(std::uint16_t slot);
  [[nodiscard]] std::size_t Untaken() const { return untaken_.size(); }

  // Where the record just sent ends, and whether the peer has released it: if it has not, nothing
  // was done about it. Also after a failure.
  [[nodiscard]] std::uint32_t SentEnd() const { return producer_.End(); }
  [[nodiscard]] bool PeerReleased(std::uint32_t end) const { return producer_.HasReleased(end); }

  // After the doorbell: looks at the socket, without waiting, for the callee's answer and the
  // peer's end. A peer that ended fails the channel once nothing is left to receive.
  ChannelStatus CheckSocket();

  // Sends kClose, if there is room. The peer's Receive then says kUnavailable after it.
  void Close();

  [[nodiscard]] ChannelRole Role() const { return role_; }
  [[nodiscard]] Relation DomainRelation() const { return relation_; }
  [[nodiscard]] int Socket() const { return socket_.Get(); }
  // Calls sent (or received) and not answered yet.
  [[nodiscard]] std::size_t Unanswered() const { return unanswered_.size(); }
  [[nodiscard]] const SlotTable& OurSlots() const { return ours_; }
  [[nodiscard]] const SlotTable& TheirSlots() const { return theirs_; }

  [[nodiscard]] bool HasFailed() const { return failed_; }
  // After kFailed. kUnavailable: the peer closed or died. kFailedPrecondition: the callee refused.
  // kInvalidArgument: the peer broke the protocol; what is to be counted.
  [[nodiscard]] const Error& Failure() const { return failure_; }

 private:
  Channel(ChannelRole role, Relation relation, UniqueFd socket, os::Mapping memory);

  ChannelStatus FailWith(ErrorCode code, std::string message);
  ChannelStatus Broken(const char* what);
  ChannelStatus Admit(const Record& record);
  ChannelStatus AdmitSegments(const Record& record);
  ChannelStatus ReadAnswer();
  ChannelStatus ReadSegmentsUntil(std::uint16_t slot);
  void CheckSendable(const Record& record) const;
  bool TakeUnanswered(std::uint64_t call_id);

  ChannelRole role_;
  Relation relation_;
  UniqueFd socket_;
  os::Mapping memory_;
  RingProducer producer_;
  RingConsumer consumer_;
  SlotTable ours_;
  SlotTable theirs_;
  std::vector<std::pair<std::uint16_t, ReceivedSegment>> untaken_;
  std::vector<std::uint64_t> unanswered_;
  bool answered_;  // The handshake is complete, as far as we know.
  bool receiving_ = false;
  bool we_closed_ = false;
  bool peer_closed_ = false;
  bool peer_gone_ = false;
  bool failed_ = false;
  Error failure_;
};

}  // namespace cwasi::ipc
