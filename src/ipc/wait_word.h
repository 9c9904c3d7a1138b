// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// WaitWord: a word that one side changes, and the flag by which the other side says that it sleeps
// until the word changes. Changing the word costs a system call only while somebody sleeps.
//
// The protocol (test/model/channel.pml checks it):
//   sleeper: sleeps := 1; read word again; if unchanged, sleep in the kernel, which compares once
//            more; sleeps := 0
//   changer: change word; read sleeps; if 1, wake
// The sleeper's store and second look and the changer's store and look at the flag are sequentially
// consistent, so they have one order: if the changer read `sleeps` before the sleeper set it, the
// sleeper's second look comes after the change. With release and acquire alone both could read the
// old value, and both would stay.
// Only the sleeper writes the flag. If a changer cleared it, to save the system calls of a flood,
// clearing and wake for a change that the sleeper has seen already could both fall between the
// sleeper's setting of the flag and its sleep, and nobody would wake it any more (the model finds
// that, too: -DCHANGER_CLEARS).
//
// Source: futex(2); memory order: ISO C++20 [atomics.order]. Fences would do as well, but
// ThreadSanitizer does not know them.

#pragma once

#include <atomic>
#include <cstdint>

namespace cwasi::ipc {

using SharedWord = std::atomic<std::uint32_t>;
static_assert(SharedWord::is_always_lock_free && sizeof(SharedWord) == 4);

// What a waiter waits for: `word` to differ from `seen`.
struct WaitWord {
  const SharedWord* word = nullptr;
  SharedWord* sleeps = nullptr;
  std::uint32_t seen = 0;
  // What will be read once the word has changed, 128 bytes; null: nothing in particular. While a
  // wait spins it fetches them again and again, so that they come together with the word.
  const void* ahead = nullptr;
};

enum class WakeScope : std::uint8_t {
  kShared,   // The sleeper may be in another process.
  kProcess,  // It is a thread of this one.
};

// Wakes who sleeps on `word`; the slow half of WakeIfSleeping.
void Wake(const SharedWord& word, WakeScope scope) noexcept;

// To be called after `word` was changed by a sequentially consistent store. Whether the flag is
// true is the other side's business: a lie costs a system call, or the liar's own wake-up.
inline void WakeIfSleeping(const SharedWord& word, const SharedWord& sleeps,
                           WakeScope scope = WakeScope::kShared) noexcept {
  // Pairs with the sequentially consistent store in WaitSet::Sleep.
  if (sleeps.load(std::memory_order_seq_cst) != 0) Wake(word, scope);
}

}  // namespace cwasi::ipc
