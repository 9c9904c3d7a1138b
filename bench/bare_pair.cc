// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/bare_pair.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <new>
#include <numeric>

#include "base/check.h"
#include "base/clock.h"

namespace cwasi::bench {
namespace {

constexpr std::size_t kMaxBytes = 500 * kMiB;

using Word = std::atomic<std::uint32_t>;

// Whoever changes how the other waits does so before it changes the word, so a sleeper is always
// woken by who knows that it sleeps.
void FutexWait(Word& word, std::uint32_t value) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}
void FutexWake(Word& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// A spinner that lets others run now and then, or more pairs than half the CPUs would stand still
// until the scheduler's tick.
class Spinner {
 public:
  void Once() {
    _mm_pause();
    if (++count_ % kYieldEvery == 0) ::sched_yield();
  }

 private:
  static constexpr std::uint32_t kYieldEvery = 2000;  // Some ten microseconds.
  std::uint32_t count_ = 0;
};

}  // namespace

void Place(Side side, Placement placement) {
  cpu_set_t allowed;
  if (placement == Placement::kAnywhere || ::sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return;
  int skip = placement == Placement::kTwoCpus && side == Side::kCallee ? 1 : 0;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

// A line for each writer.
struct BarePair::Board {
  alignas(128) Word question = 0;
  alignas(128) Word answer = 0;
  alignas(128) std::atomic<Waits> waits = Waits::kAsleep;
  alignas(128) std::atomic<MonotonicNs> seen_at = 0;
  alignas(128) std::size_t words = 0;  // To be read before the answer.
  std::uint64_t sum = 0;
};

BarePair::BarePair(Placement placement) {
  void* const page =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  board_ = new (page) Board;
  void* const words = ::mmap(nullptr, kMaxBytes, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(words != MAP_FAILED);
  words_ = static_cast<std::uint64_t*>(words);
  other_ = std::make_unique<test::PeerProcess>([this, placement] {
    Place(Side::kCallee, placement);
    RunOther();
  });
}

BarePair::~BarePair() {
  other_.reset();
  ::munmap(words_, kMaxBytes);
  ::munmap(board_, sizeof(Board));
}

void BarePair::RunOther() {
  Board& b = *board_;
  Spinner spinner;
  for (std::uint32_t seen = 0;;) {
    std::uint32_t question = b.question.load(std::memory_order_acquire);
    if (question == seen) {
      if (b.waits.load(std::memory_order_relaxed) == Waits::kAsleep)
        FutexWait(b.question, seen);
      else
        spinner.Once();
      continue;
    }
    b.seen_at.store(FastNow(), std::memory_order_relaxed);
    seen = question;
    if (b.words != 0) b.sum = std::accumulate(words_, words_ + b.words, std::uint64_t{0});
    b.answer.store(question, std::memory_order_release);
    if (b.waits.load(std::memory_order_relaxed) == Waits::kAsleep) FutexWake(b.answer);
  }
}

// The other may sleep though it is to spin from now on; it looks at `waits` when it has seen the
// question, so it answers without waking anybody.
void BarePair::Rouse() {
  Board& b = *board_;
  const std::uint32_t question = b.question.load(std::memory_order_relaxed) + 1;
  b.question.store(question, std::memory_order_release);
  FutexWake(b.question);
  Spinner spinner;
  while (b.answer.load(std::memory_order_acquire) != question) spinner.Once();
}

void BarePair::Turn(Waits waits) {
  Board& b = *board_;
  const std::uint32_t question = b.question.load(std::memory_order_relaxed) + 1;
  b.question.store(question, std::memory_order_release);
  if (waits == Waits::kAsleep) FutexWake(b.question);
  Spinner spinner;
  while (b.answer.load(std::memory_order_acquire) != question) {
    if (waits == Waits::kAsleep)
      FutexWait(b.answer, question - 1);
    else
      spinner.Once();
  }
}

double BarePair::RoundTrip(Waits waits, std::uint32_t count) {
  board_->waits = waits;
  if (waits == Waits::kSpinning) Rouse();
  const double ns = Time([&] {
    for (std::uint32_t i = 0; i < count; ++i) Turn(waits);
  });
  board_->waits = Waits::kAsleep;
  return ns / count;
}

double BarePair::Touch(std::size_t bytes) {
  CHECK(bytes <= kMaxBytes);
  board_->words = bytes / sizeof(std::uint64_t);
  std::uint64_t* const end = words_ + board_->words;
  const std::uint64_t seed = ++seed_;
  const double ns = Time([&] {
    std::iota(words_, end, seed);
    Turn(Waits::kAsleep);
  });
  const std::uint64_t n = board_->words;
  CHECK(board_->sum == n * seed + n * (n - 1) / 2);
  board_->words = 0;
  return ns;
}

double BarePair::OneWay(Waits waits) {
  constexpr MonotonicNs kToFallAsleep = 100'000;
  board_->waits = waits;
  if (waits == Waits::kSpinning) Rouse();
  for (const MonotonicNs start = FastNow(); FastNow() - start < kToFallAsleep;) _mm_pause();
  const MonotonicNs start = FastNow();
  Turn(waits);
  board_->waits = Waits::kAsleep;
  return static_cast<double>(board_->seen_at.load(std::memory_order_relaxed) - start);
}

}  // namespace cwasi::bench
