// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/local_pair.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "bench/baseline.h"

namespace cwasi::bench {
namespace {

constexpr std::uint32_t kMaxSamples = 1024;
constexpr std::uint32_t kDriver = 1;
constexpr std::uint32_t kSum = 2;
constexpr std::uint32_t kFirst = 3;

std::uint64_t Expected(const Order& order, std::uint32_t seed) {
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < order.count; ++i) {
    const bool only_first =
        order.op == Op::kSmall || order.op == Op::kGiven || order.op == Op::kGivenRoused;
    total += only_first ? seed + i : SumOfWords(order.bytes, seed + i);
  }
  return total;
}

}  // namespace

std::uint64_t SumOfWords(std::size_t bytes, std::uint64_t seed) {
  const std::uint64_t n = bytes / 8;
  return n * seed + n * (n - 1) / 2;
}

// Written by whose turn it is; the sockets say whose.
struct LocalPair::Board {
  Order order;
  std::uint32_t hand_overs = 0;
  std::uint64_t copied_bytes = 0;
  std::atomic<std::uint64_t> callee_copied_bytes = 0;
  std::array<double, kMaxSamples> ns{};
  std::array<double, kMaxSamples> hand_over{};
};

LocalPair::LocalPair(Zygote& zygote, const LocalWorker::Options& options, Placement placement)
    : bare_(placement) {
  void* const page =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  board_ = new (page) Board;
  std::array<int, 2> orders{};
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders.data()) == 0);
  ours_.Reset(orders[0]);
  theirs_.Reset(orders[1]);
  os::SocketPair sockets = SocketPair();
  callee_ = std::make_unique<test::PeerProcess>([&] {
    sockets.first.Reset();
    Place(Side::kCallee, placement);
    RunCallee(zygote, options, std::move(sockets.second));
  });
  sockets.second.Reset();
  caller_ = std::make_unique<test::PeerProcess>([&] {
    Place(Side::kCaller, placement);
    RunCaller(zygote, options, std::move(sockets.first));
  });
  theirs_.Reset();
}

LocalPair::~LocalPair() {
  caller_.reset();
  callee_.reset();
  ::munmap(board_, sizeof(Board));
}

void LocalPair::Begin(const Order& order) {
  CHECK(order.samples <= kMaxSamples);
  board_->order = order;
  CHECK(::write(ours_.Get(), "b", 1) == 1);
}

LocalPair::Result LocalPair::End() {
  char ended = 0;
  if (::read(ours_.Get(), &ended, 1) != 1) {
    std::fprintf(stderr, "local_bench: a caller's process has ended\n");
    std::exit(1);
  }
  Result result;
  result.samples.ns.assign(board_->ns.begin(), board_->ns.begin() + board_->order.samples);
  result.hand_over.ns.assign(board_->hand_over.begin(),
                             board_->hand_over.begin() + board_->hand_overs);
  result.copied_bytes = board_->copied_bytes;
  return result;
}

std::uint64_t LocalPair::CalleeCopiedBytes() const {
  return board_->callee_copied_bytes;
}

void LocalPair::RunCallee(Zygote& zygote, const LocalWorker::Options& options, UniqueFd socket) {
  LocalWorker worker(zygote, options);
  worker.Load("sum", "sum", kSum);
  worker.Load("first", "first", kFirst);
  worker.MeetCaller(1, {kSum, kFirst}, std::move(socket));
  while (worker.Peers().Links() != 0) {
    worker.Peers().Serve(DeadlineAfter(Now(), std::chrono::milliseconds(10)));
    board_->callee_copied_bytes = worker.Get().Payloads().Copies().bytes;
  }
}

void LocalPair::RunCaller(Zygote& zygote, const LocalWorker::Options& options, UniqueFd socket) {
  ours_.Reset();
  LocalWorker worker(zygote, options);
  const auto driver = worker.Load("driver", "driver", kDriver);
  worker.Declare("sum", kSum);
  worker.Declare("first", kFirst);
  worker.MeetCallee(2, {kSum, kFirst}, std::move(socket));
  worker::EdgeStats& to_sum = worker.Get().Edges().Of({"driver", "sum", CallMode::kLocal});
  worker::EdgeStats& to_first = worker.Get().Edges().Of({"driver", "first", CallMode::kLocal});
  std::uint32_t seed = 0;
  const auto drive = [&](const Order& order) {
    ++seed;
    const std::array<std::uint32_t, 4> words = {static_cast<std::uint32_t>(order.op), order.count,
                                                static_cast<std::uint32_t>(order.bytes), seed};
    CHECK(worker.Invoke(driver, std::as_bytes(std::span(words))) == Expected(order, seed));
  };
  const auto guest = [&](const Order& order, std::uint32_t i) {
    const bool first = order.op == Op::kGiven || order.op == Op::kGivenRoused;
    worker::EdgeStats& edge = first ? to_first : to_sum;
    edge.hand_over = {};
    const std::uint64_t before = edge.copied_bytes;
    board_->ns[i] = Time([&] { drive(order); }) / order.count;
    board_->copied_bytes += edge.copied_bytes - before;
    if (order.count == 1 && edge.hand_over.Total() == 1)
      board_->hand_over[board_->hand_overs++] = static_cast<double>(edge.hand_over.Quantile(1));
  };
  for (char c = 0; ::read(theirs_.Get(), &c, 1) == 1;) {
    const Order order = board_->order;
    board_->hand_overs = 0;
    board_->copied_bytes = 0;
    if (order.task == Order::Task::kMemcpy) {
      const Samples samples = TimeMemcpyOfTouched(order.bytes, static_cast<int>(order.samples));
      std::ranges::copy(samples.ns, board_->ns.begin());
    }
    for (std::uint32_t i = 0; i < order.samples; ++i) {
      switch (order.task) {
        case Order::Task::kGuest:
          guest(order, i);
          break;
        case Order::Task::kRoundTrip:
          board_->ns[i] = bare_.RoundTrip(order.waits, order.count);
          break;
        case Order::Task::kOneWay:
          if (order.bytes != 0) drive({.op = Op::kTouch, .bytes = order.bytes});
          board_->ns[i] = bare_.OneWay(order.waits);
          break;
        case Order::Task::kBareTouch:
          board_->ns[i] = bare_.Touch(order.bytes);
          break;
        case Order::Task::kMemcpy:
          break;
      }
    }
    CHECK(::write(theirs_.Get(), "e", 1) == 1);
  }
}

}  // namespace cwasi::bench
