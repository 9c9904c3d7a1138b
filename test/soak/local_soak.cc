// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Functions in workers of their own call each other at random, in chains and circles, with payloads
// of all sizes, while workers are killed and stopped at random. Each call must end by its deadline
// with its bytes or with a class that fits; nothing may be left over.
//
//   local_soak [--faults N | --minutes M] [--seed S]
//
// 0: all calls are accounted for, none was late, no worker ended by itself, nothing leaked.

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "base/check.h"
#include "test/soak/soak_slot.h"
#include "test/support/files.h"
#include "test/support/paths.h"
#include "worker/worker.h"

namespace cwasi::soak {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kFunctions = 6;
// These are never killed, so that what they hold shows leaks: one of each domain.
constexpr std::uint32_t kImmortal = 1;
constexpr std::uint32_t kOtherDomain = 6;

struct Options {
  std::uint64_t faults = 1000;
  std::optional<double> minutes;
  std::uint64_t seed = 1;
};

// What a process holds.
struct Held {
  std::size_t descriptors = 0;
  std::size_t mappings = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t segments = 0;
};

std::size_t CountLines(const std::filesystem::path& path) {
  std::ifstream file(path);
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
}
std::size_t CountEntries(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::directory_iterator entries(path, none);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}
std::size_t DescriptorsOf(pid_t pid) {
  return CountEntries("/proc/" + std::to_string(pid) + "/fd");
}

class Soak {
 public:
  explicit Soak(const Options& options)
      : options_(options),
        random_(options.seed),
        loop_(std::move(*loop::Loop::Create())),
        introducer_(*loop_, {.may_call = [](const auto&, auto) { return true; },
                             .start_worker = [](std::uint32_t, ipc::WantedWorker) { return true; },
                             .broken =
                                 [this](ipc::WorkerId, const Error& error) {
                                   if (error.code != ErrorCode::kUnavailable)
                                     tally_.wrong.push_back("introductions: " + error.message +
                                                            " " + std::to_string(error.sys_errno));
                                 }}) {}

  int Run() {
    // What workers say is looked through at the end.
    said_ = ::memfd_create("said", 0);
    const int terminal = ::dup(2);
    ::dup2(said_, 2);
    auto zygote = host::Zygote::Start(*loop_, test::BinFolder() / "cwasi-host", [this](auto&) {
      tally_.wrong.emplace_back("the zygote died");
    });
    ::dup2(terminal, 2);
    ::close(terminal);
    CHECK(zygote.has_value());
    zygote_ = std::move(*zygote);
    shared_.emplace(Shared{.loop = *loop_,
                           .zygote = *zygote_,
                           .introducer = introducer_,
                           .tally = tally_,
                           .random = random_,
                           .module = Module(),
                           .functions = kFunctions});
    for (std::uint32_t f = 1; f <= kFunctions; ++f)
      slots_.push_back(std::make_unique<Slot>(*shared_, f, f == kOtherDomain ? 1 : 0));
    for (auto& slot : slots_) slot->Start();
    RunFor(3s);  // Everybody has met everybody.
    const auto before = Drained();
    const MonotonicNs start = Now();
    Faults();
    const double seconds = static_cast<double>(Now() - start) / 1e9;
    const auto after = Drained();
    return Report(before, after, seconds);
  }

 private:
  void RunFor(std::chrono::nanoseconds time) {
    for (const MonotonicNs end = DeadlineAfter(Now(), time); Now() < end;) loop_->RunOnce(end);
  }
  // Until all workers are up and no call is under way; then what the immortal ones hold.
  std::array<Held, 2> Drained() {
    shared_->draining = true;
    const MonotonicNs end = DeadlineAfter(Now(), 30s);
    const auto quiet = [&] {
      return std::ranges::all_of(slots_, [](const auto& s) { return s->IsUp() && !s->IsBusy(); });
    };
    while (!quiet() && Now() < end) loop_->RunOnce(DeadlineAfter(Now(), 50ms));
    for (const auto& slot : slots_)
      if (!slot->IsUp() || slot->IsBusy())
        tally_.wrong.push_back("never ended: " + slot->Describe());
    // Late answers come, ends of peers are noticed, pools are trimmed (10 s).
    RunFor(11s);
    std::array<Held, 2> held{};
    std::size_t i = 0;
    for (const std::uint32_t f : {kImmortal, kOtherDomain}) {
      Slot& slot = *slots_[f - 1];
      Held& h = held[i++];
      bool answered = false;
      slot.Ask(ipc::GetReport{}, [&](const Result<ipc::ResponseBody>& answer) {
        answered = true;
        if (!answer) return;
        const auto& payload = std::get<ipc::ReportReply>(*answer).payload;
        h.payload_bytes = payload.bytes;
        h.segments = payload.segments;
      });
      while (!answered) loop_->RunOnce(DeadlineAfter(Now(), 50ms));
      h.descriptors = DescriptorsOf(slot.Pid());
      h.mappings = CountLines("/proc/" + std::to_string(slot.Pid()) + "/maps");
    }
    shared_->draining = false;
    for (auto& slot : slots_) slot->BeginCall();
    return held;
  }

  [[nodiscard]] bool Enough(MonotonicNs start) const {
    if (options_.minutes) return static_cast<double>(Now() - start) > *options_.minutes * 60e9;
    return kills_ + stops_ >= options_.faults;
  }
  void Faults() {
    const MonotonicNs start = Now();
    while (!Enough(start) && tally_.wrong.size() < 20) {
      loop_->RunOnce(DeadlineAfter(Now(), 1ms));
      Slot& slot = *slots_[random_() % kFunctions];
      if (stopped_ != nullptr && Now() >= continue_at_) Continue();
      if (!slot.IsUp()) continue;
      const std::uint64_t dice = random_() % 100;
      const bool immortal =
          &slot == slots_[kImmortal - 1].get() || &slot == slots_[kOtherDomain - 1].get();
      if (dice < 16 && !immortal) {
        slot.Kill();
        ++kills_;
      } else if (dice < 20 && stopped_ == nullptr) {
        slot.Signal(SIGSTOP);
        ++stops_;
        stopped_ = &slot;
        continue_at_ = DeadlineAfter(Now(), std::chrono::milliseconds(random_() % 60));
      }
    }
    if (stopped_ != nullptr) Continue();
  }
  void Continue() {
    stopped_->Signal(SIGCONT);
    stopped_ = nullptr;
  }

  static int Module() {
    auto engine = worker::PreparedEngine::Create({});
    CHECK(engine.has_value());
    const auto compiled =
        engine->engine->Compile(test::ReadFile(test::GuestPath("relay")), "relay");
    CHECK(compiled.has_value());
    const int fd = ::memfd_create("relay", MFD_CLOEXEC);
    CHECK(::write(fd, compiled->data(), compiled->size()) ==
          static_cast<ssize_t>(compiled->size()));
    return fd;
  }

  int Report(const std::array<Held, 2>& before, const std::array<Held, 2>& after, double seconds) {
    const std::uint64_t ended = tally_.answered + tally_.Failed() + tally_.lost_with_caller;
    std::uint64_t under_way = 0;
    for (const auto& slot : slots_)
      if (slot->IsBusy()) ++under_way;
    std::printf("faults: %llu killed, %llu stopped, in %.1f s\n",
                static_cast<unsigned long long>(kills_), static_cast<unsigned long long>(stops_),
                seconds);
    std::printf("calls: %llu begun, %llu answered, %llu failed, %llu lost with their own worker\n",
                static_cast<unsigned long long>(tally_.begun),
                static_cast<unsigned long long>(tally_.answered),
                static_cast<unsigned long long>(tally_.Failed()),
                static_cast<unsigned long long>(tally_.lost_with_caller));
    for (const auto& [name, count] : tally_.failed)
      std::printf("  %-34s %llu\n", name.c_str(), static_cast<unsigned long long>(count));
    std::printf("longest call: %lld ms (time-out %lld)\n",
                static_cast<long long>(tally_.longest / 1'000'000),
                static_cast<long long>(std::chrono::milliseconds(kCallTimeout).count()));
    if (ended + under_way != tally_.begun)
      tally_.wrong.emplace_back("calls that are not accounted for");
    for (std::size_t i = 0; i < before.size(); ++i) {
      std::printf(
          "worker %s: descriptors %zu -> %zu, mappings %zu -> %zu, payload %llu -> %llu "
          "bytes in %llu -> %llu segments\n",
          i == 0 ? "w1" : "w6 (other domain)", before[i].descriptors, after[i].descriptors,
          before[i].mappings, after[i].mappings,
          static_cast<unsigned long long>(before[i].payload_bytes),
          static_cast<unsigned long long>(after[i].payload_bytes),
          static_cast<unsigned long long>(before[i].segments),
          static_cast<unsigned long long>(after[i].segments));
      // Two channels to each peer, with a few segments, and some instances more or less.
      if (after[i].descriptors > before[i].descriptors + 60)
        tally_.wrong.emplace_back("descriptors leak");
      if (after[i].mappings > before[i].mappings + 400) tally_.wrong.emplace_back("mappings leak");
      if (after[i].payload_bytes > before[i].payload_bytes + (128U << 20U))
        tally_.wrong.emplace_back("payload memory leaks");
    }
    PrintSaid();
    for (const std::string& wrong : tally_.wrong) std::printf("WRONG: %s\n", wrong.c_str());
    std::printf(tally_.wrong.empty() ? "soak: ok\n" : "soak: FAILED\n");
    std::fflush(stdout);
    // The workers' ends would be counted as wrong.
    ::_exit(tally_.wrong.empty() ? 0 : 1);
  }
  void PrintSaid() {
    std::string text(1U << 20U, '\0');
    const ssize_t n = ::pread(said_, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (text.find("broke the protocol") != std::string::npos)
      tally_.wrong.emplace_back("a worker called another a liar");
    if (!text.empty()) std::printf("workers said: %s", text.substr(0, 2000).c_str());
  }

  Options options_;
  std::mt19937_64 random_;
  Tally tally_;
  std::unique_ptr<loop::Loop> loop_;
  host::Introducer introducer_;
  std::unique_ptr<host::Zygote> zygote_;
  std::optional<Shared> shared_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::uint64_t kills_ = 0;
  std::uint64_t stops_ = 0;
  Slot* stopped_ = nullptr;
  MonotonicNs continue_at_ = 0;
  int said_ = -1;
};

}  // namespace
}  // namespace cwasi::soak

int main(int argc, char** argv) {
  cwasi::soak::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--faults")
      options.faults = std::strtoull(argv[i + 1], nullptr, 10);
    else if (flag == "--minutes")
      options.minutes = std::strtod(argv[i + 1], nullptr);
    else if (flag == "--seed")
      options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    else
      return 2;
  }
  return cwasi::soak::Soak(options).Run();
}
