// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// 500 workers alive at once. A worker can wait for 127 others at most (futex_waitv(2)), so four
// callers have 125 callees each; they call at the same time.

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "bench/local_processes.h"
#include "bench/local_scenarios.h"
#include "test/support/peer_process.h"
#include "test/support/proc_self.h"

namespace cwasi::bench {
namespace {

constexpr std::uint32_t kCaller = 1000;

// struct order of bench/guests/fan.c.
struct Order {
  std::uint32_t count;
  std::uint32_t bytes;
};

struct Board {
  std::atomic<std::uint32_t> ready = 0;
  std::atomic<std::uint32_t> go = 0;
  std::atomic<std::uint32_t> done = 0;
  std::atomic<std::uint32_t> answered = 0;
  std::atomic<std::uint32_t> not_returned = 0;  // Segments.
};

void Callee(Zygote& zygote, Board& board, std::uint32_t number, UniqueFd socket) {
  LocalWorker worker(zygote, {});
  worker.Load("fan", std::to_string(number), number);
  worker.MeetCaller(1, {number}, std::move(socket));
  ++board.ready;
  worker.Serve();
}

void Caller(Zygote& zygote, Board& board, std::vector<UniqueFd> sockets, std::uint32_t bytes) {
  LocalWorker worker(zygote, {});
  const auto function = worker.Load("fan", "fan", kCaller);
  const auto count = static_cast<std::uint32_t>(sockets.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    worker.Declare(std::to_string(i), i);
    worker.MeetCallee(2 + i, {i}, std::move(sockets[i]));
  }
  ++board.ready;
  // Each word of the n-th payload is n, and comes back as n + 1.
  const std::uint64_t expected = std::uint64_t{bytes} / 8 * count * (count + 1) / 2;
  for (std::uint32_t round = 1;; ++round) {
    Until([&] { return board.go >= round; });
    const Order order{.count = count, .bytes = bytes};
    CHECK(worker.Invoke(function, std::as_bytes(std::span(&order, 1))) == expected);
    board.answered += count;
    board.not_returned +=
        static_cast<std::uint32_t>(worker.Get().Payloads().Pool().GetStats().in_use);
    ++board.done;
  }
}

}  // namespace

void RunFan(Zygote& zygote, Report& report, bool quick) {
  constexpr std::uint32_t kCallers = 4;
  const std::uint32_t callees = quick ? 5 : 125;
  const std::uint32_t total = kCallers * callees;
  constexpr std::size_t kBytes = 2 * kMiB;
  const std::size_t shared_before = SharedMemoryKib();
  const std::size_t descriptors_before = test::CountDescriptors();
  const SharedWithChildren<Board> shared;
  Board& board = *shared;
  const int rounds = quick ? 2 : 5;
  Row whole{.name = "fan-out, fan-in to " + std::to_string(total) + " workers", .bytes = kBytes};
  Row born{.name = std::to_string(total + kCallers) + " workers until all are ready"};
  std::size_t idle_pss = 0;
  {
    std::vector<std::unique_ptr<test::PeerProcess>> workers;
    born.samples.ns.push_back(Time([&] {
      for (std::uint32_t caller = 0; caller < kCallers; ++caller) {
        std::vector<UniqueFd> sockets;
        for (std::uint32_t i = 0; i < callees; ++i) {
          os::SocketPair pair = SocketPair();
          sockets.push_back(std::move(pair.first));
          workers.push_back(std::make_unique<test::PeerProcess>([&] {
            sockets.clear();
            Callee(zygote, board, i, std::move(pair.second));
          }));
        }
        workers.push_back(std::make_unique<test::PeerProcess>([&] {
          Caller(zygote, board, std::move(sockets), static_cast<std::uint32_t>(kBytes));
        }));
      }
      Until([&] { return board.ready == total + kCallers; });
    }));
    idle_pss = ChildrenKib("Pss");
    for (int round = 1; round <= rounds; ++round)
      whole.samples.ns.push_back(Time([&] {
        ++board.go;
        Until([&] { return board.done == static_cast<std::uint32_t>(round) * kCallers; });
      }));
    report.Add(std::move(born));
    report.Add(std::move(whole));
    std::printf(
        "fan: %u of %u answered in each of %d rounds, %u segments not returned; PSS %.2f MiB a "
        "worker idle, %.2f MiB with its payload, page tables %.2f MiB\n",
        board.answered.load() / static_cast<std::uint32_t>(rounds), total, rounds,
        board.not_returned.load(), static_cast<double>(idle_pss) / 1024 / (total + kCallers),
        static_cast<double>(ChildrenKib("Pss")) / 1024 / (total + kCallers),
        static_cast<double>(ChildrenKib("VmPTE")) / 1024 / (total + kCallers));
    CHECK(board.answered == total * static_cast<std::uint32_t>(rounds));
    CHECK(board.not_returned == 0);
  }
  CHECK(test::CountDescriptors() == descriptors_before);
  std::printf("fan: shared memory of the machine %zu KiB before, %zu KiB after\n", shared_before,
              SharedMemoryKib());
}

}  // namespace cwasi::bench
