// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What handing a segment to another process costs, beyond the wake-up of that process, and what a
// broadcast costs, beside memcpy in the same run. No engine and no channel: the segments' part.
//
//   segment_bench [--quick] [--json FILE]
//
// Rows: a bare wake-up and a hand-over from a window of this process to a window of the other, 64
// KiB to 500 MiB; the other spins (busy) or sleeps in a futex (idle); warm, and cold: a fresh
// segment, its descriptor sent and adopted. End to end: every byte written here, read there.
// Broadcast: 10 MiB to 100 guests that read all and write a byte. Answers are checked first.

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/expect.h"
#include "bench/report.h"
#include "buf/guest_buffers.h"
#include "buf/page_mover.h"
#include "buf/segment.h"
#include "buf/units.h"
#include "os/unix_socket.h"
#include "test/support/guest_with_buffers.h"
#include "test/support/proc_self.h"

namespace cwasi::bench {
namespace {

constexpr auto kPatience = std::chrono::minutes(1);

enum class Op : std::uint8_t { kQuit, kWake, kAdopt, kTake, kTakeAndRead, kForget };
enum class Waits : std::uint8_t { kSpinning, kAsleep };

// One page that both processes have mapped. Each field is the giver's to write before it changes
// `turn` to 1, and the taker's before it changes it back to 0.
struct Board {
  std::atomic<std::uint32_t> turn;
  std::atomic<std::uint32_t> sleeps;
  Op op;
  Waits waits;  // How the taker waits for the next turn.
  std::uint64_t bytes;
  std::uint64_t answer;
  MonotonicNs arrived_at;
};

void FutexWait(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}
void FutexWake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

std::uint64_t SumOfWords(const std::byte* at, std::size_t bytes) {
  const auto words = std::span(reinterpret_cast<const std::uint64_t*>(at), bytes / 8);
  std::uint64_t sum = 0;
  for (const std::uint64_t word : words) sum += word;
  return sum;
}
void WriteWords(std::byte* at, std::size_t bytes, std::uint64_t seed) {
  const auto words = std::span(reinterpret_cast<std::uint64_t*>(at), bytes / 8);
  for (std::uint64_t& word : words) word = seed++;
}
// A word of each unit: the pages that a hand-over check may touch without becoming a touching.
std::uint64_t SumOfFirstWords(const std::byte* at, std::size_t bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes; i += buf::kUnitBytes) sum += SumOfWords(at + i, 8);
  return sum;
}
void WriteFirstWords(std::byte* at, std::size_t bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes; i += buf::kUnitBytes) WriteWords(at + i, 8, seed++);
}

// A window like a guest's, as long as `bytes` need.
os::Mapping MakeWindow(std::size_t bytes) {
  os::Mapping window =
      Expect(os::Mapping::Reserve(buf::RoundUp(bytes, buf::kUnitBytes), buf::kUnitBytes));
  Expect(buf::MapPrivate(window.Base(), window.SizeBytes()));
  return window;
}

// The other process.
void RunTaker(Board& board, int socket) {
  buf::Budget foreign(std::size_t{2} << 30);
  buf::Budget mappings(1000);
  const os::Mapping window = MakeWindow(500 * kMiB);
  std::unique_ptr<buf::Segment> segment;
  for (;;) {
    if (board.waits == Waits::kAsleep) {
      board.sleeps = 1;
      while (board.turn == 0) FutexWait(board.turn, 0);
      board.sleeps = 0;
    } else {
      while (board.turn.load(std::memory_order_acquire) == 0) {
      }
    }
    switch (board.op) {
      case Op::kQuit:
        return;
      case Op::kWake:
        board.arrived_at = Now();
        break;
      case Op::kForget:
        segment->Stage();
        segment.reset();
        break;
      case Op::kAdopt: {
        std::uint64_t units = 0;
        auto packet = Expect(os::ReceivePacket(socket, std::as_writable_bytes(std::span(&units, 1)),
                                               1, DeadlineAfter(Now(), kPatience)));
        CHECK(packet.fds.size() == 1);
        segment = Expect(buf::Segment::Adopt(std::move(packet.fds[0]), units, foreign, mappings));
        segment->Populate(board.bytes);
        [[fallthrough]];
      }
      case Op::kTake:
        Expect(segment->MoveTo(window.Base()));
        board.arrived_at = Now();
        board.answer = SumOfFirstWords(window.Base(), board.bytes);
        segment->Stage();
        break;
      case Op::kTakeAndRead:
        Expect(segment->MoveTo(window.Base()));
        board.arrived_at = Now();
        board.answer = SumOfWords(window.Base(), board.bytes);
        segment->Stage();
        break;
    }
    board.turn.store(0, std::memory_order_release);
  }
}

class Giver {
 public:
  Giver() : sockets_(Expect(os::CreatePacketPair())) {
    void* page =
        ::mmap(nullptr, buf::kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    board_ = new (page) Board{};
    taker_ = ::fork();
    CHECK(taker_ >= 0);
    if (taker_ == 0) {
      RunTaker(*board_, sockets_.second.Get());
      ::_exit(0);
    }
  }
  Giver(const Giver&) = delete;
  Giver& operator=(const Giver&) = delete;
  Giver(Giver&&) = delete;
  Giver& operator=(Giver&&) = delete;
  ~Giver() {
    Pass(Op::kQuit, 0);
    CHECK(::waitpid(taker_, nullptr, 0) == taker_);
    ::munmap(board_, buf::kPageBytes);
  }

  // How the taker waits from its next turn on.
  void SetWaits(Waits waits) {
    board_->waits = waits;
    Pass(Op::kWake, 0);
    Finish();
  }
  // From the beginning of the giving to the taker's first instruction after it.
  double BareWakeUp() {
    Settle();
    const MonotonicNs start = Now();
    Pass(Op::kWake, 0);
    Finish();
    return static_cast<double>(board_->arrived_at - start);
  }
  double HandOver(buf::Segment& segment, std::size_t bytes) {
    WriteFirstWords(window_.Base(), bytes, ++seed_);
    const std::uint64_t expected = SumOfFirstWords(window_.Base(), bytes);
    Settle();
    const MonotonicNs start = Now();
    segment.Stage();
    Pass(Op::kTake, bytes);
    Finish();
    CHECK(board_->answer == expected);
    const auto took = static_cast<double>(board_->arrived_at - start);
    Expect(segment.MoveTo(window_.Base()));
    return took;
  }
  double ColdHandOver(std::size_t bytes) {
    Forget();
    auto segment = Make(bytes);
    WriteWords(window_.Base(), bytes, ++seed_);
    const std::uint64_t expected = SumOfFirstWords(window_.Base(), bytes);
    Settle();
    const MonotonicNs start = Now();
    segment->Stage();
    Send(*segment);
    Pass(Op::kAdopt, bytes);
    Finish();
    CHECK(board_->answer == expected);
    return static_cast<double>(board_->arrived_at - start);
  }
  double EndToEnd(buf::Segment& segment, std::size_t bytes) {
    const MonotonicNs start = Now();
    WriteWords(window_.Base(), bytes, ++seed_);
    segment.Stage();
    Pass(Op::kTakeAndRead, bytes);
    Finish();
    const auto took = static_cast<double>(Now() - start);
    Expect(segment.MoveTo(window_.Base()));
    CHECK(board_->answer == SumOfWords(window_.Base(), bytes));
    return took;
  }
  // The writing and reading of EndToEnd by one process.
  double Touching(std::size_t bytes) {
    const MonotonicNs start = Now();
    WriteWords(window_.Base(), bytes, ++seed_);
    const std::uint64_t sum = SumOfWords(window_.Base(), bytes);
    const auto took = static_cast<double>(Now() - start);
    CHECK(sum != 1);
    return took;
  }

  // In the giver's window, unknown to the taker.
  std::unique_ptr<buf::Segment> Make(std::size_t bytes) {
    auto segment = Expect(buf::Segment::Create(buf::UnitsFor(bytes), memory_, mappings_));
    Expect(segment->MoveTo(window_.Base()));
    return segment;
  }
  void Introduce(buf::Segment& segment, std::size_t bytes) {
    Forget();
    WriteWords(window_.Base(), bytes, ++seed_);
    segment.Stage();
    Send(segment);
    Pass(Op::kAdopt, bytes);
    Finish();
    Expect(segment.MoveTo(window_.Base()));
  }
  void Forget() {
    if (std::exchange(known_, false)) {
      Pass(Op::kForget, 0);
      Finish();
    }
  }

 private:
  void Send(buf::Segment& segment) {
    const std::uint64_t units = segment.CapacityBytes() / buf::kUnitBytes;
    const int fd = segment.DescriptorForDomain();
    Expect(os::SendPacket(sockets_.first.Get(), std::as_bytes(std::span(&units, 1)),
                          std::span(&fd, 1), DeadlineAfter(Now(), kPatience)));
    known_ = true;
  }
  void Pass(Op op, std::size_t bytes) {
    board_->op = op;
    board_->bytes = bytes;
    const bool asleep = board_->sleeps != 0;
    board_->turn.store(1, std::memory_order_seq_cst);
    if (asleep || board_->sleeps != 0) FutexWake(board_->turn);
  }
  void Finish() {
    while (board_->turn.load(std::memory_order_acquire) != 0) {
    }
  }
  // An idle taker must be asleep before it is woken.
  void Settle() {
    if (board_->waits == Waits::kAsleep)
      while (board_->sleeps == 0) {
      }
    const MonotonicNs until = Now() + 100'000;
    while (Now() < until) {
    }
  }

  buf::Budget memory_{std::size_t{4} << 30};
  buf::Budget mappings_{1000};
  os::SocketPair sockets_;
  Board* board_ = nullptr;
  pid_t taker_ = -1;
  os::Mapping window_ = MakeWindow(500 * kMiB);
  std::uint64_t seed_ = 0;
  bool known_ = false;  // The taker has a segment.
};

Samples Beyond(const Samples& samples, const Samples& floor) {
  Samples beyond;
  for (const double ns : samples.ns) beyond.ns.push_back(std::max(0.0, ns - floor.Median()));
  return beyond;
}

double TargetNs(std::size_t bytes) {
  switch (bytes) {
    case 10 * kMiB:
      return 30e3;
    case 100 * kMiB:
      return 150e3;
    case 500 * kMiB:
      return 450e3;
    default:
      return 0;
  }
}

void HandOversOf(Giver& giver, std::size_t bytes, int n, const std::string& to, Report& report) {
  auto segment = giver.Make(bytes);
  giver.Introduce(*segment, bytes);
  Row bare{.name = "bare wake-up" + to, .bytes = bytes};
  Row warm{.name = "hand-over, warm" + to, .bytes = bytes};
  for (int i = 0; i < n; ++i) {
    bare.samples.ns.push_back(giver.BareWakeUp());
    warm.samples.ns.push_back(giver.HandOver(*segment, bytes));
  }
  Row beyond{.name = "beyond a bare wake-up" + to,
             .bytes = bytes,
             .samples = Beyond(warm.samples, bare.samples),
             .target_ns = TargetNs(bytes)};
  Row touching{.name = "touching alone" + to, .bytes = bytes};
  Row whole{.name = "end to end" + to, .bytes = bytes, .baseline = touching.name};
  for (int i = 0; i < std::min(n, 20); ++i) {
    touching.samples.ns.push_back(giver.Touching(bytes));
    whole.samples.ns.push_back(giver.EndToEnd(*segment, bytes));
  }
  segment->Stage();
  segment.reset();
  Row cold{.name = "hand-over, cold" + to, .bytes = bytes};
  for (int i = 0; i < std::min(n, 10); ++i) cold.samples.ns.push_back(giver.ColdHandOver(bytes));
  giver.Forget();
  for (Row* row : {&bare, &warm, &beyond, &cold, &touching, &whole}) report.Add(std::move(*row));
}

void HandOvers(Report& report, bool quick) {
  Giver giver;
  for (const Waits waits : {Waits::kSpinning, Waits::kAsleep}) {
    giver.SetWaits(waits);
    for (const std::size_t bytes : {64 * kKiB, kMiB, 2 * kMiB, 10 * kMiB, 100 * kMiB, 500 * kMiB}) {
      if (quick && bytes > 10 * kMiB) continue;
      HandOversOf(giver, bytes, quick ? 3 : (bytes >= 100 * kMiB ? 50 : 300),
                  waits == Waits::kSpinning ? ", busy taker" : ", idle taker", report);
    }
  }
}

void Broadcasts(Report& report, bool quick) {
  constexpr std::size_t kBytes = 10 * kMiB;
  const std::size_t takers = quick ? 3 : 100;
  const std::string to = " x " + std::to_string(takers);
  buf::PayloadMemory payloads({});
  if (!payloads.Moves(kBytes)) return;
  buf::SegmentRef segment = Expect(payloads.Pool().Take(kBytes, buf::Zero::kNo));
  WriteWords(segment->Data(), kBytes, 7);
  const std::uint64_t expected = SumOfWords(segment->Data(), kBytes);
  const buf::SharedPayload payload{buf::Payload(std::move(segment), kBytes)};
  buf::ViewHistory history;
  std::vector<std::unique_ptr<test::GuestWithBuffers>> guests;
  guests.reserve(takers);
  for (std::size_t i = 0; i < takers; ++i)
    guests.push_back(std::make_unique<test::GuestWithBuffers>(payloads));
  std::vector<std::uint32_t> addresses(takers);
  const auto read_and_write = [&] {
    for (std::size_t i = 0; i < takers; ++i) {
      CHECK(SumOfWords(guests[i]->At(addresses[i]), kBytes) == expected);
      guests[i]->At(addresses[i])[i * buf::kPageBytes] ^= std::byte{1};
    }
  };
  const auto end = [&] {
    for (auto& guest : guests) guest->buffers->EndRequest();
  };
  const auto view = [&] {
    for (std::size_t i = 0; i < takers; ++i)
      addresses[i] =
          Expect(guests[i]->buffers->ReceiveView(payload, buf::Owner::kRequest, history));
  };
  const auto copy = [&] {
    for (std::size_t i = 0; i < takers; ++i)
      addresses[i] = Expect(
          guests[i]->buffers->ReceiveCopy(payload.Bytes().data(), kBytes, buf::Owner::kRequest));
  };
  const std::size_t pss = test::SmapsRollupKib("Pss");
  const std::size_t tables = test::StatusKib("VmPTE");
  report.Add({.name = "broadcast, views made" + to, .bytes = kBytes, .samples = {{Time(view)}}});
  report.Add({.name = "broadcast, first reading" + to,
              .bytes = kBytes,
              .samples = {{Time(read_and_write)}}});
  std::printf("  beside the payload: PSS %zu KiB, page tables %zu KiB\n",
              test::SmapsRollupKib("Pss") - pss, test::StatusKib("VmPTE") - tables);
  report.Add({.name = "broadcast, views ended" + to, .bytes = kBytes, .samples = {{Time(end)}}});
  Row again{.name = "broadcast, views again" + to, .bytes = kBytes};
  Row reading{.name = "broadcast, reading again" + to, .bytes = kBytes};
  for (int i = 0; i < (quick ? 1 : 10); ++i) {
    again.samples.ns.push_back(Time(view));
    reading.samples.ns.push_back(Time(read_and_write));
    end();
  }
  report.Add(std::move(again));
  report.Add(std::move(reading));
  for (auto& guest : guests) guest->buffers->Trim();
  // The copies need room for all of them at once.
  report.Add({.name = "broadcast, cold copies" + to, .bytes = kBytes, .samples = {{Time(copy)}}});
  report.Add({.name = "broadcast, reading copies" + to,
              .bytes = kBytes,
              .samples = {{Time(read_and_write)}}});
  end();
  report.Add({.name = "broadcast, warm copies" + to, .bytes = kBytes, .samples = {{Time(copy)}}});
  read_and_write();
  end();
}

// What decides between a view and a copy (buf/view_history.h): by the page.
void WrittenPages(Report& report, bool quick) {
  constexpr std::size_t kBytes = 10 * kMiB;
  constexpr auto kPages = static_cast<double>(kBytes / buf::kPageBytes);
  buf::PayloadMemory payloads({});
  if (!payloads.Moves(kBytes)) return;
  buf::SegmentRef segment = Expect(payloads.Pool().Take(kBytes, buf::Zero::kNo));
  WriteWords(segment->Data(), kBytes, 7);
  const buf::SharedPayload payload{buf::Payload(std::move(segment), kBytes)};
  test::GuestWithBuffers guest(payloads);
  Row scanned{.name = "page, scanned"};
  Row read{.name = "page, first read in a view"};
  Row written{.name = "page, written in a view"};
  Row dropped{.name = "page, written, dropped"};
  Row copied{.name = "page, in a warm copy"};
  for (int i = 0; i < (quick ? 2 : 30); ++i) {
    buf::ViewHistory history;
    const auto view = [&] {
      return guest.At(Expect(guest.buffers->ReceiveView(payload, buf::Owner::kRequest, history)));
    };
    const auto each_page = [&](auto&& body) {
      return Time([&] {
               for (std::size_t p = 0; p < kBytes; p += buf::kPageBytes) body(p);
             }) /
             kPages;
    };
    std::byte* at = view();
    read.samples.ns.push_back(
        each_page([&](std::size_t p) { CHECK(SumOfWords(at + p, 8) == 7 + p / 8); }));
    scanned.samples.ns.push_back(Time([&] { guest.buffers->EndRequest(); }) / kPages);
    at = view();
    written.samples.ns.push_back(each_page([&](std::size_t p) { at[p] = std::byte{1}; }));
    dropped.samples.ns.push_back(Time([&] { guest.buffers->EndRequest(); }) / kPages);
    guest.buffers->Trim();
    copied.samples.ns.push_back(
        Time([&] {
          Expect(guest.buffers->ReceiveCopy(payload.Bytes().data(), kBytes, buf::Owner::kRequest));
        }) /
        kPages);
    guest.buffers->EndRequest();
  }
  for (Row* row : {&scanned, &read, &written, &dropped, &copied}) report.Add(std::move(*row));
}

int Main(int argc, char** argv) {
  bool quick = false;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: segment_bench [--quick] [--json FILE]\n");
      return 2;
    }
  }
  if (const auto support = buf::ProbeMoveSupport(); !support.available) {
    std::printf("segment_bench: this kernel cannot move pages: %s\n", support.reason.c_str());
    return 0;
  }
  const std::string machine = Report::Machine();
  std::printf("%s\n", machine.c_str());
  Report report;
  HandOvers(report, quick);
  Broadcasts(report, quick);
  WrittenPages(report, quick);
  if (json.empty() || report.WriteJson(json, machine)) return 0;
  std::fprintf(stderr, "segment_bench: cannot write %s\n", json.c_str());
  return 1;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  return cwasi::bench::Main(argc, argv);
}
