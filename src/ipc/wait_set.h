// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Waiting of one thread for any of several words that other processes change (channels), and for
// its own doorbell. Spins while that has been paying lately, then sleeps in futex_waitv(2).
//
// Source: futex_waitv: kernel documentation, userspace-api/futex2 (Linux 5.16). Why this and not
// eventfd with epoll or one shared doorbell: docs/adr/0006-channel.md.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "ipc/spin_policy.h"
#include "ipc/wait_word.h"

namespace cwasi::ipc {

// Lets another thread of this process interrupt the waiting one: the watcher rings when a socket
// has something or a peer is gone. Rings add up to one.
class Doorbell {
 public:
  Doorbell() = default;
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  Doorbell(Doorbell&&) = delete;
  Doorbell& operator=(Doorbell&&) = delete;
  ~Doorbell() = default;

  // Thread: any. What was written before it is seen by who is woken. A system call only if the
  // waiting thread sleeps.
  void Ring() noexcept {
    word_.fetch_add(1, std::memory_order_seq_cst);  // Pairs with the loads in WaitSet.
    WakeIfSleeping(word_, sleeps_, WakeScope::kProcess);
  }

 private:
  friend class WaitSet;
  SharedWord word_ = 0;
  SharedWord sleeps_ = 0;
};

// What ended a wait. Words and doorbell can both have; `deadline` only if neither.
struct Woken {
  bool word = false;
  bool doorbell = false;
  bool deadline = false;
};

// Thread: the one that waits. The doorbell outlives it.
class WaitSet {
 public:
  // FUTEX_WAITV_MAX is 128; one is the doorbell's.
  static constexpr std::size_t kMaxWords = 127;

  // kUnimplemented: this kernel, or the filter around us, has no futex_waitv.
  static Result<> Supported();

  explicit WaitSet(Doorbell& doorbell);

  // Until one of `words` differs from what was seen, the doorbell has rung since the last Wait that
  // reported it, or `deadline` (of Now()) has passed. At most kMaxWords. A word that differs need
  // not mean a record: a hostile peer changes it as it likes, at the cost of this thread's time
  // until the deadline.
  Woken Wait(std::span<const WaitWord> words, MonotonicNs deadline);
  // Whether it has rung since it was last reported: for who is too busy to wait.
  bool TakeDoorbell();

  struct Counts {
    std::uint64_t ready = 0;  // Waits that found something at once,
    std::uint64_t spun = 0;   // while spinning,
    std::uint64_t slept = 0;  // after sleeping (or at the deadline).
  };
  [[nodiscard]] const Counts& Statistics() const { return counts_; }

  SpinPolicy& Policy() { return policy_; }

 private:
  Woken Look(std::span<const WaitWord> words);
  Woken Spin(std::span<const WaitWord> words, MonotonicNs start, MonotonicNs limit);
  Woken Sleep(std::span<const WaitWord> words, MonotonicNs deadline);

  Doorbell& doorbell_;
  std::uint32_t doorbell_seen_ = 0;
  SpinPolicy policy_;
  Counts counts_;
};

}  // namespace cwasi::ipc
