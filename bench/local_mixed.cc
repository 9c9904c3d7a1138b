// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Eight functions in eight workers: function 0 makes a payload and gives it to another, which
// passes the received buffer on to a third, which reads it. Beside them the same eight where all is
// copied.

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bench/local_scenarios.h"
#include "test/support/peer_process.h"

namespace cwasi::bench {
namespace {

constexpr std::uint32_t kFunctions = 8;
constexpr std::array<std::size_t, 8> kSizes = {64 * kKiB, 256 * kKiB, 512 * kKiB, kMiB,
                                               2 * kMiB,  10 * kMiB,  32 * kMiB,  100 * kMiB};

// struct order of bench/guests/mixed.c.
struct Order {
  std::uint32_t bytes = 0;
  std::uint32_t seed = 0;
  char by = 0;
  char to = 0;
  std::array<char, 6> unused{};
};

// Both worlds get the same orders; small payloads are more frequent than large ones.
class Orders {
 public:
  Order Next() {
    Order order;
    std::size_t size = 0;
    while (size + 1 < kSizes.size() && Random(4) != 0) ++size;
    if (Random(2) == 0) size = Random(kSizes.size());
    order.bytes = static_cast<std::uint32_t>(kSizes[size]);
    order.seed = Random(1000);
    const std::uint32_t by = 1 + Random(kFunctions - 1);
    std::uint32_t to = 1 + Random(kFunctions - 2);
    if (to >= by) ++to;
    order.by = static_cast<char>('0' + by);
    order.to = static_cast<char>('0' + to);
    return order;
  }

 private:
  std::uint32_t Random(std::size_t below) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state_ >> 33U) % below);
  }
  std::uint64_t state_ = 2026;
};

std::uint64_t Expected(const Order& order) {
  const std::uint64_t n = order.bytes / 8;
  return (n - 1) * order.seed + n * (n - 1) / 2;
}

class World {
 public:
  World(Zygote& zygote, buf::MovePolicy policy) : options_{.policy = policy} {
    void* const page =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    board_ = new (page) Board;
    std::array<int, 2> orders{};
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders.data()) == 0);
    ours_.Reset(orders[0]);
    theirs_.Reset(orders[1]);
    // From each to each but 0, which nobody calls.
    std::map<std::pair<std::uint32_t, std::uint32_t>, os::SocketPair> sockets;
    for (std::uint32_t from = 0; from < kFunctions; ++from)
      for (std::uint32_t to = 1; to < kFunctions; ++to)
        if (from != to) sockets.emplace(std::pair(from, to), SocketPair());
    for (std::uint32_t i = kFunctions; i-- > 0;)
      workers_.push_back(std::make_unique<test::PeerProcess>([&] {
        std::map<std::uint32_t, UniqueFd> callees;
        std::map<std::uint32_t, UniqueFd> callers;
        for (auto& [ends, pair] : sockets) {
          if (ends.first == i) callees[ends.second] = std::move(pair.first);
          if (ends.second == i) callers[ends.first] = std::move(pair.second);
        }
        sockets.clear();
        Run(zygote, i, std::move(callees), std::move(callers));
      }));
    theirs_.Reset();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  World(World&&) = delete;
  World& operator=(World&&) = delete;
  ~World() {
    workers_.clear();
    ::munmap(board_, sizeof(Board));
  }

  double Time(const Order& order) {
    board_->order = order;
    char c = 'b';
    CHECK(::write(ours_.Get(), &c, 1) == 1 && ::read(ours_.Get(), &c, 1) == 1);
    return board_->ns;
  }
  // Of the segments that function 0 gave.
  [[nodiscard]] double WarmShare() const {
    const auto& stats = board_->pool;
    return static_cast<double>(stats.recycled) /
           static_cast<double>(std::max<std::size_t>(1, stats.recycled + stats.created));
  }

 private:
  struct Board {
    Order order;
    double ns = 0;
    buf::SegmentPool::Stats pool;
  };

  void Run(Zygote& zygote, std::uint32_t number, std::map<std::uint32_t, UniqueFd> callees,
           std::map<std::uint32_t, UniqueFd> callers) {
    ours_.Reset();
    LocalWorker worker(zygote, options_);
    const auto function = worker.Load("mixed", std::to_string(number), number);
    for (std::uint32_t i = 1; i < kFunctions; ++i)
      if (i != number) worker.Declare(std::to_string(i), i);
    // Callers first: a caller's handshake waits for nobody.
    for (auto& [from, socket] : callers) worker.MeetCaller(from + 1, {number}, std::move(socket));
    for (auto& [to, socket] : callees) worker.MeetCallee(to + 1, {to}, std::move(socket));
    if (number != 0) {
      theirs_.Reset();
      return worker.Serve();
    }
    for (char c = 0; ::read(theirs_.Get(), &c, 1) == 1;) {
      const Order order = board_->order;
      board_->ns = bench::Time([&] {
        CHECK(worker.Invoke(function, std::as_bytes(std::span(&order, 1))) == Expected(order));
      });
      board_->pool = worker.Get().Payloads().Pool().GetStats();
      CHECK(::write(theirs_.Get(), "e", 1) == 1);
    }
  }

  LocalWorker::Options options_;
  Board* board_;
  UniqueFd ours_;
  UniqueFd theirs_;
  std::vector<std::unique_ptr<test::PeerProcess>> workers_;
};

}  // namespace

void RunMixed(Zygote& zygote, Report& report, bool quick) {
  World moving(zygote, buf::MovePolicy::kAuto);
  World copying(zygote, buf::MovePolicy::kCopyAll);
  Orders orders;
  Samples moved;
  Samples copied;
  std::map<std::size_t, std::pair<Samples, Samples>> by_size;
  for (int i = 0; i < (quick ? 20 : 600); ++i) {
    const Order order = orders.Next();
    auto& [size_moved, size_copied] = by_size[order.bytes];
    // In turn who is first.
    for (int k = 0; k < 2; ++k) {
      const bool copies = (i + k) % 2 == 0;
      const double ns = (copies ? copying : moving).Time(order);
      (copies ? copied : moved).ns.push_back(ns);
      (copies ? size_copied : size_moved).ns.push_back(ns);
    }
  }
  const auto quantile = [&](const char* name, double q, double target) {
    Row copy{.name = std::string("mixed, all copied, ") + name};
    copy.samples.ns = {copied.Quantile(q)};
    Row move{.name = std::string("mixed, moved, ") + name,
             .samples = {{moved.Quantile(q)}},
             .baseline = copy.name,
             .target_ratio = target};
    report.Add(std::move(copy));
    report.Add(std::move(move));
  };
  std::printf(
      "mixed: %zu calls by 8 functions, each received buffer passed on; %.0f %% of the "
      "hand-overs warm\n",
      moved.ns.size(), 100 * moving.WarmShare());
  quantile("p50", 0.5, 1.2);
  quantile("p99", 0.99, 1.2);
  for (auto& [bytes, both] : by_size) {
    report.Add({.name = "mixed, all copied", .bytes = bytes, .samples = std::move(both.second)});
    report.Add({.name = "mixed, moved",
                .bytes = bytes,
                .samples = std::move(both.first),
                .baseline = "mixed, all copied",
                .target_ratio = 1.2});
  }
}

}  // namespace cwasi::bench
