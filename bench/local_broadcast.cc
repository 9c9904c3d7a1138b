// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One payload of 10 MB to 100 workers alive at once, each of which reads all of it and writes one
// byte. It is given as a value of a workflow is (Peers::Give), each time a new one; the readers
// keep what they have until its memory has been looked at.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bench/expect.h"
#include "bench/local_processes.h"
#include "bench/local_scenarios.h"
#include "test/support/peer_process.h"
#include "test/support/proc_self.h"

namespace cwasi::bench {
namespace {

constexpr std::size_t kBytes = 10'000'000;
constexpr std::uint64_t kValue = 1;

struct Board {
  std::atomic<std::uint32_t> ready = 0;
  std::atomic<std::uint32_t> go = 0;       // Rounds begun.
  std::atomic<std::uint32_t> done = 0;     // Readings, over all rounds.
  std::atomic<std::uint32_t> settled = 0;  // Rounds whose payload is at home again.
  std::atomic<std::uint32_t> copies = 0;   // Of the payload, in readers.
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Pipe MakePipe() {
  std::array<int, 2> fds{};
  CHECK(::pipe2(fds.data(), O_CLOEXEC) == 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// The n-th round's words are n, n + 1, ...
std::vector<std::byte> PayloadOf(std::uint32_t round) {
  std::vector<std::byte> bytes(kBytes);
  for (std::uint64_t i = 0; i < kBytes / 8; ++i) {
    const std::uint64_t word = round + i;
    std::memcpy(bytes.data() + i * 8, &word, sizeof word);
  }
  return bytes;
}
std::uint64_t SumOf(std::uint32_t round) {
  constexpr std::uint64_t kWords = kBytes / 8;
  return round * kWords + kWords * (kWords - 1) / 2;
}

void Reader(Zygote& zygote, Board& board, std::uint32_t number, UniqueFd socket, int release,
            bool shared) {
  LocalWorker worker(zygote, {});
  const auto function = worker.Load("reader", "reader", number);
  worker.MeetCaller(1, {number}, std::move(socket));
  std::optional<worker::Value> value;
  worker.Peers().SetOnValue([&](std::uint64_t, worker::Value came) {
    value.emplace(std::move(came));
    return true;
  });
  ++board.ready;
  for (std::uint32_t round = 1;; ++round) {
    if (!worker.Peers().TakeValuesUntil([&] { return value.has_value(); }, kNoDeadline)) return;
    const auto before = worker.Get().Payloads().Copies().bytes;
    CHECK(worker.Invoke(function, shared ? value->ForOneTaker() : value->ForLastTaker()) ==
          SumOf(round));
    if (worker.Get().Payloads().Copies().bytes - before >= kBytes) ++board.copies;
    ++board.done;
    // The value stays until the parent has looked at the memory.
    char byte = 0;
    if (::read(release, &byte, 1) != 1) return;
    value.reset();
  }
}

void Giver(Zygote& zygote, Board& board, std::vector<UniqueFd> sockets, bool shared) {
  LocalWorker worker(zygote, {});
  const auto count = static_cast<std::uint32_t>(sockets.size());
  for (std::uint32_t i = 0; i < count; ++i) worker.MeetCallee(2 + i, {i}, std::move(sockets[i]));
  ++board.ready;
  auto& payloads = worker.Get().Payloads();
  for (std::uint32_t round = 1;; ++round) {
    worker::Value value{.payload = Expect(buf::Payload::CopyOf(PayloadOf(round), payloads))};
    ++board.ready;
    Until([&] { return board.go >= round; });
    for (std::uint32_t i = 0; i < count; ++i) {
      worker::Value one;
      if (shared)
        one = value.ForOneTaker();
      else
        one.payload = Expect(buf::Payload::CopyOf(value.payload.Bytes(), payloads));
      Expect(worker.Peers().Give(2 + i, one, kValue, kNoDeadline));
    }
    while (board.done < round * count || payloads.Pool().GetStats().in_use != 1 ||
           (value.shared && value.shared.Handles() != 1))
      worker.Peers().Serve(DeadlineAfter(Now(), std::chrono::milliseconds(2)));
    board.settled = round;
  }
}

void RunOne(Zygote& zygote, Report& report, std::uint32_t readers, bool shared, int rounds) {
  const SharedWithChildren<Board> board;
  const Pipe release = MakePipe();
  std::vector<std::unique_ptr<test::PeerProcess>> workers;
  std::vector<UniqueFd> sockets;
  for (std::uint32_t i = 0; i < readers; ++i) {
    os::SocketPair pair = SocketPair();
    sockets.push_back(std::move(pair.first));
    workers.push_back(std::make_unique<test::PeerProcess>([&] {
      sockets.clear();
      Reader(zygote, *board, i, std::move(pair.second), release.read.Get(), shared);
    }));
  }
  workers.push_back(std::make_unique<test::PeerProcess>(
      [&] { Giver(zygote, *board, std::move(sockets), shared); }));
  sockets.clear();
  Row row{.name = (shared ? "broadcast to " : "a copy to each of ") + std::to_string(readers) +
                  " workers, all read",
          .bytes = kBytes,
          .target_ns = shared && readers == 100 ? 100e6 : 0};
  double memory_kib = 0;
  double tables_kib = 0;
  double segments_kib = 0;
  for (int round = 1; round <= rounds; ++round) {
    const auto n = static_cast<std::uint32_t>(round);
    Until([&] { return board->ready == readers + 1 + n; });
    const auto memory_before = static_cast<double>(ChildrenKib("Pss"));
    const auto tables_before = static_cast<double>(ChildrenKib("VmPTE"));
    const auto segments_before = static_cast<double>(SharedMemoryKib());
    row.samples.ns.push_back(Time([&] {
      ++board->go;
      Until([&] { return board->done == n * readers; });
    }));
    // The first round also brings what each worker needs once.
    memory_kib = static_cast<double>(ChildrenKib("Pss")) - memory_before;
    tables_kib = static_cast<double>(ChildrenKib("VmPTE")) - tables_before;
    segments_kib = static_cast<double>(SharedMemoryKib()) - segments_before;
    const std::vector<char> all(readers, 'x');
    CHECK(::write(release.write.Get(), all.data(), all.size()) == static_cast<ssize_t>(all.size()));
    Until([&] { return board->settled == n; });
  }
  std::printf(
      "%s: copies of the payload in readers %u of %u; in the last round PSS of all workers "
      "grew by %.1f MiB, page tables by %.1f MiB, shared memory by %.1f MiB\n",
      row.name.c_str(), board->copies.load(), board->done.load(), memory_kib / 1024,
      tables_kib / 1024, segments_kib / 1024);
  report.Add(std::move(row));
}

}  // namespace

void RunBroadcast(Zygote& zygote, Report& report, bool quick) {
  const std::size_t descriptors_before = test::CountDescriptors();
  const std::uint32_t readers = quick ? 8 : 100;
  RunOne(zygote, report, readers, true, quick ? 2 : 20);
  RunOne(zygote, report, readers, false, quick ? 2 : 5);
  CHECK(test::CountDescriptors() == descriptors_before);
}

}  // namespace cwasi::bench
