// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/wait_set.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <linux/time_types.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/check.h"

namespace cwasi::ipc {
namespace {

// Who is waited for may have been woken on this very CPU, where it waits for us to stop spinning:
// each turn then took the whole limit, twice. So the spin offers the CPU now and then.
constexpr MonotonicNs kYieldEveryNs = 4'000;

// Until one of `entries` is woken or differs, or the deadline passes. 0 or an errno.
int FutexWaitv(std::span<futex_waitv> entries, MonotonicNs deadline) {
  const MonotonicNs at = std::max<MonotonicNs>(deadline, 0);
  const __kernel_timespec until{.tv_sec = at / 1'000'000'000, .tv_nsec = at % 1'000'000'000};
  // The kernel's timer costs 0.35 us of a sleep.
  const __kernel_timespec* const timeout = deadline == kNoDeadline ? nullptr : &until;
  const long got = ::syscall(SYS_futex_waitv, entries.data(), static_cast<unsigned>(entries.size()),
                             0U, timeout, CLOCK_MONOTONIC);
  return got < 0 ? errno : 0;
}

futex_waitv Entry(const SharedWord& word, std::uint32_t seen, WakeScope scope) {
  return {.val = seen,
          .uaddr = reinterpret_cast<std::uintptr_t>(&word),
          .flags = FUTEX_32 | (scope == WakeScope::kProcess ? FUTEX_PRIVATE_FLAG : 0U),
          .__reserved = 0};
}

}  // namespace

Result<> WaitSet::Supported() {
  SharedWord word = 1;
  std::array<futex_waitv, 1> entry = {Entry(word, 0, WakeScope::kProcess)};
  // EAGAIN: the word has another value, so it was looked at.
  if (const int error = FutexWaitv(entry, 0); error != EAGAIN) {
    return Fail(ErrorCode::kUnimplemented,
                "wait for several workers: futex_waitv (Linux 5.16) is not there", error);
  }
  return {};
}

WaitSet::WaitSet(Doorbell& doorbell) : doorbell_(doorbell) {
  (void)FastNow();  // Calibrates itself, if nobody did that yet.
}

Woken WaitSet::Look(std::span<const WaitWord> words) {
  Woken woken;
  for (const WaitWord& w : words) {
    // Acquire is the ring's business; it reads the word again.
    if (w.word->load(std::memory_order_relaxed) != w.seen) {
      woken.word = true;
      break;
    }
  }
  woken.doorbell = TakeDoorbell();
  return woken;
}

bool WaitSet::TakeDoorbell() {
  // Pairs with Doorbell::Ring: what was written before it is seen.
  const std::uint32_t rings = doorbell_.word_.load(std::memory_order_acquire);
  return std::exchange(doorbell_seen_, rings) != rings;
}

Woken WaitSet::Wait(std::span<const WaitWord> words, MonotonicNs deadline) {
  CHECK(words.size() <= kMaxWords);
  Woken woken = Look(words);
  if (woken.word || woken.doorbell) {
    ++counts_.ready;
    return woken;
  }
  const MonotonicNs start = FastNow();
  const MonotonicNs limit = policy_.Limit(start);
  if (limit > 0) woken = Spin(words, start, limit);
  if (woken.word || woken.doorbell) {
    ++counts_.spun;
  } else {
    woken = Sleep(words, deadline);
    ++counts_.slept;
  }
  policy_.Waited(FastNow() - start);
  return woken;
}

Woken WaitSet::Spin(std::span<const WaitWord> words, MonotonicNs start, MonotonicNs limit) {
  // The deadline is left to the sleep: it is that much late at most.
  Woken woken;
  MonotonicNs yield_at = start + kYieldEveryNs;
  for (;;) {
    for (int i = 0; i < 8; ++i) {
      _mm_pause();
      for (const WaitWord& w : words) {
        if (w.ahead == nullptr) continue;
        __builtin_prefetch(w.ahead);
        __builtin_prefetch(static_cast<const std::byte*>(w.ahead) + 64);
      }
      woken = Look(words);
      if (woken.word || woken.doorbell) return woken;
    }
    const MonotonicNs now = FastNow();
    if (now - start >= limit) return woken;
    if (now < yield_at) continue;
    ::sched_yield();
    yield_at = FastNow() + kYieldEveryNs;
  }
}

Woken WaitSet::Sleep(std::span<const WaitWord> words, MonotonicNs deadline) {
  std::array<futex_waitv, kMaxWords + 1> entries;  // NOLINT(*-member-init): up to `count` only.
  std::size_t count = 0;
  for (const WaitWord& w : words) entries[count++] = Entry(*w.word, w.seen, WakeScope::kShared);
  entries[count++] = Entry(doorbell_.word_, doorbell_seen_, WakeScope::kProcess);
  for (;;) {
    // Flags, then a second look, then sleep: wait_word.h. Each store pairs with the load in
    // WakeIfSleeping, each load with the store that precedes that.
    for (const WaitWord& w : words) w.sleeps->store(1, std::memory_order_seq_cst);
    doorbell_.sleeps_.store(1, std::memory_order_seq_cst);
    bool changed = doorbell_.word_.load(std::memory_order_seq_cst) != doorbell_seen_;
    for (const WaitWord& w : words) {
      changed = changed || w.word->load(std::memory_order_seq_cst) != w.seen;
    }
    int error = 0;
    if (!changed) error = FutexWaitv(std::span(entries).first(count), deadline);
    for (const WaitWord& w : words) w.sleeps->store(0, std::memory_order_relaxed);
    doorbell_.sleeps_.store(0, std::memory_order_relaxed);
    Woken woken = Look(words);
    if (woken.word || woken.doorbell) return woken;
    if (error == ETIMEDOUT) {
      woken.deadline = true;
      return woken;
    }
    // EINTR, a wake for nothing (anybody who maps a word can wake who sleeps on it), or a word that
    // changed and changed back: only a peer that lies. Such a peer may keep this thread busy until
    // the deadline, not longer.
    if (deadline <= Now()) return {.deadline = true};
  }
}

}  // namespace cwasi::ipc
