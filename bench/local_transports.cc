// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/expect.h"
#include "bench/local_pair.h"
#include "bench/local_scenarios.h"
#include "bench/transport.h"
#include "test/support/mapped_memory.h"
#include "test/support/peer_process.h"
#include "wasi/preview1.h"
#include "wasm/engine.h"

namespace cwasi::bench {
namespace {

using wasm::Value;
using wasm::ValueType;

// An instance of bench/guests/touch.c and a payload's place in it.
class TouchGuest {
 public:
  TouchGuest(const Zygote& zygote, std::size_t bytes) : bytes_(bytes) {
    engine_ = Expect(wasm::CreateEngine({}, &memories_));
    module_ = Expect(engine_->Load(zygote.Compiled("touch")));
    const auto imports = wasi::Imports();
    linked_ = Expect(module_->Link({imports.begin(), imports.end()}));
    auto instance = linked_->Instantiate(this, UINT64_MAX);
    CHECK(instance);
    instance_ = std::move(*instance);
    const auto find = [&](const char* name, std::size_t parameters,
                          std::vector<ValueType> results) {
      return instance_
          ->FindFunction(name, {.parameters = std::vector(parameters, ValueType::kI32),
                                .results = std::move(results)})
          .value();
    };
    write_ = find("write_words", 3, {});
    read_ = find("read_words", 2, {ValueType::kI64});
    std::array<Value, 4> request{};
    request[2].u32 = 1U << 21U;
    request[3].u32 = static_cast<std::uint32_t>(bytes);
    CHECK(Call(find("cabi_realloc", 4, {ValueType::kI32}), request));
    address_ = request[0].u32;
    CHECK(address_ != 0);
    Write(1);  // Faults its pages in.
  }

  [[nodiscard]] std::span<std::byte> Bytes() const {
    return {instance_->Memory()->Base() + address_, bytes_};
  }
  void Write(std::uint32_t seed) {
    std::array<Value, 3> values{};
    values[0].u32 = address_;
    values[1].u32 = static_cast<std::uint32_t>(bytes_);
    values[2].u32 = seed;
    CHECK(Call(write_, values));
  }
  std::uint64_t Read() {
    std::array<Value, 2> values{};
    values[0].u32 = address_;
    values[1].u32 = static_cast<std::uint32_t>(bytes_);
    CHECK(Call(read_, values));
    return static_cast<std::uint64_t>(values[0].i64);
  }

 private:
  bool Call(wasm::FunctionHandle function, std::span<Value> values) {
    return instance_->Call(function, values).kind == wasm::Outcome::Kind::kReturned;
  }

  std::size_t bytes_;
  test::MappedMemoryFactory memories_;
  std::unique_ptr<wasm::Engine> engine_;
  std::unique_ptr<wasm::Module> module_;
  std::unique_ptr<wasm::LinkedModule> linked_;
  std::unique_ptr<wasm::Instance> instance_;
  wasm::FunctionHandle write_;
  wasm::FunctionHandle read_;
  std::uint32_t address_ = 0;
};

// A giver and a taker in processes of their own.
class TransportPair {
 public:
  struct Times {
    double end_to_end = 0;
    double hand_over = 0;
  };

  TransportPair(const Zygote& zygote, std::unique_ptr<Transport> transport, std::size_t bytes)
      : transport_(std::move(transport)) {
    void* const page =
        ::mmap(nullptr, sizeof(Times), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    times_ = new (page) Times;
    std::array<int, 2> orders{};
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders.data()) == 0);
    ours_.Reset(orders[0]);
    UniqueFd theirs(orders[1]);
    taker_ = std::make_unique<test::PeerProcess>([&] {
      TouchGuest guest(zygote, bytes);
      transport_->Serve(guest.Bytes(), [&] {
        const MonotonicNs at = FastNow();
        return Taken{.at = at, .sum = guest.Read()};
      });
    });
    giver_ = std::make_unique<test::PeerProcess>([&] {
      TouchGuest guest(zygote, bytes);
      std::uint32_t seed = 0;
      for (char c = 0; ::read(theirs.Get(), &c, 1) == 1;) {
        const MonotonicNs start = FastNow();
        guest.Write(++seed);
        const MonotonicNs given = FastNow();
        const Taken taken = transport_->Give(guest.Bytes());
        *times_ = {.end_to_end = static_cast<double>(FastNow() - start),
                   .hand_over = static_cast<double>(taken.at - given)};
        CHECK(taken.sum == SumOfWords(bytes, seed));
        CHECK(::write(theirs.Get(), "e", 1) == 1);
      }
    });
  }
  TransportPair(const TransportPair&) = delete;
  TransportPair& operator=(const TransportPair&) = delete;
  TransportPair(TransportPair&&) = delete;
  TransportPair& operator=(TransportPair&&) = delete;
  ~TransportPair() {
    giver_.reset();
    taker_.reset();
    ::munmap(times_, sizeof(Times));
  }

  Times Run() {
    char c = 'b';
    CHECK(::write(ours_.Get(), &c, 1) == 1 && ::read(ours_.Get(), &c, 1) == 1);
    return *times_;
  }

 private:
  std::unique_ptr<Transport> transport_;
  Times* times_;
  UniqueFd ours_;
  std::unique_ptr<test::PeerProcess> taker_;
  std::unique_ptr<test::PeerProcess> giver_;
};

}  // namespace

void RunTransports(Zygote& zygote, Report& report, bool quick) {
  constexpr std::size_t kBytes = 10 * kMiB;
  struct Other {
    std::string name;
    std::unique_ptr<TransportPair> pair;
    double end_to_end_at_least;
    double hand_over_at_least;
    Samples end_to_end = {};
    Samples hand_over = {};
  };
  const test::TempDir folder;
  std::vector<Other> others;
  const auto other = [&](const char* name, std::unique_ptr<Transport> transport, double end_to_end,
                         double hand_over) {
    others.push_back({name, std::make_unique<TransportPair>(zygote, std::move(transport), kBytes),
                      end_to_end, hand_over});
  };
  other("Redis SET and GET", Redis(folder.Path()), 15, 500);
  other("HTTP POST", Http(), 5, 100);
  other("Unix stream", UnixStream(), 2.5, 70);
  other("pipe", Pipe(), 2.5, 70);
  other("Unix seqpacket", UnixPackets(), 0, 0);
  other("memfd with copies", SharedMemory(kBytes), 0, 0);
  LocalPair busy(zygote, {.spinning = ipc::SpinPolicy::Mode::kAlways}, Placement::kAnywhere);
  LocalPair idle(zygote, {.spinning = ipc::SpinPolicy::Mode::kNever}, Placement::kAnywhere);
  Samples touching;
  Samples end_to_end;
  Samples hand_over;
  Samples hand_over_idle;
  const int n = quick ? 3 : 100;
  for (int i = -2; i < n; ++i) {
    const auto roused = busy.Run({.op = Op::kMovedRoused, .bytes = kBytes});
    // Each pays for its own caches only: see local_bench.cc.
    idle.Run({.op = Op::kMoved, .bytes = kBytes});
    const auto moved = idle.Run({.op = Op::kMoved, .bytes = kBytes});
    idle.Run({.op = Op::kTouch, .bytes = kBytes});
    const auto touched = idle.Run({.op = Op::kTouch, .bytes = kBytes});
    if (i >= 0) {
      end_to_end += moved.samples;
      touching += touched.samples;
      hand_over += roused.hand_over;
      hand_over_idle += moved.hand_over;
    }
    for (Other& o : others) {
      const auto times = o.pair->Run();
      if (i < 0) continue;
      o.end_to_end.ns.push_back(times.end_to_end);
      o.hand_over.ns.push_back(times.hand_over);
    }
  }
  const std::string whole = "end to end, cwasi";
  const std::string alone = "hand-over, cwasi, busy";
  report.Add({.name = "touching alone, beside the others",
              .bytes = kBytes,
              .samples = std::move(touching)});
  report.Add({.name = whole,
              .bytes = kBytes,
              .samples = std::move(end_to_end),
              .baseline = "touching alone, beside the others"});
  report.Add({.name = alone, .bytes = kBytes, .samples = std::move(hand_over)});
  report.Add(
      {.name = "hand-over, cwasi, idle", .bytes = kBytes, .samples = std::move(hand_over_idle)});
  for (Other& o : others)
    report.Add({.name = "end to end, " + o.name,
                .bytes = kBytes,
                .samples = std::move(o.end_to_end),
                .baseline = whole,
                .target_at_least = o.end_to_end_at_least});
  for (Other& o : others)
    report.Add({.name = "hand-over, " + o.name,
                .bytes = kBytes,
                .samples = std::move(o.hand_over),
                .baseline = alone,
                .target_at_least = o.hand_over_at_least});
}

}  // namespace cwasi::bench
