// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One function of the soak: the worker that runs it now, started anew whenever it was killed, and
// the calls that it makes, one after the other. Each call is counted when it begins and when it
// ends.

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/call_error.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "host/introducer.h"
#include "host/worker_process.h"
#include "host/zygote.h"
#include "loop/loop.h"

namespace cwasi::soak {

inline constexpr std::chrono::milliseconds kInnerTimeout{100};  // Of a call between functions.
inline constexpr std::chrono::seconds kCallTimeout{2};
// A call that ends later than this after its deadline is late: scheduling on a busy machine, and
// the longest stop.
inline constexpr std::chrono::milliseconds kLateness{1500};

// What became of the calls, and what must never happen.
struct Tally {
  std::uint64_t begun = 0;
  std::uint64_t answered = 0;                   // With the right bytes.
  std::map<std::string, std::uint64_t> failed;  // By who failed and class.
  std::uint64_t lost_with_caller = 0;           // The worker that began it was killed.
  MonotonicNs longest = 0;
  std::vector<std::string> wrong;
  [[nodiscard]] std::uint64_t Failed() const {
    std::uint64_t sum = 0;
    for (const auto& [name, count] : failed) sum += count;
    return sum;
  }
};

struct Shared {
  loop::Loop& loop;
  host::Zygote& zygote;
  host::Introducer& introducer;
  Tally& tally;
  std::mt19937_64& random;
  int module = -1;
  std::uint32_t functions = 0;
  ipc::WorkerId next_worker = 1;
  bool draining = false;  // No new calls.
  [[nodiscard]] std::uint64_t Below(std::uint64_t n) const { return random() % n; }
};

class Slot {
 public:
  // Function `number`, named "w<number>".
  Slot(Shared& shared, std::uint32_t number, std::uint32_t domain);

  void Start();
  // SIGKILL; a new worker comes.
  void Kill();
  void Signal(int signal) const;
  // That Kill has been called and its consequences have come.
  [[nodiscard]] bool IsUp() const { return up_; }
  [[nodiscard]] bool IsBusy() const { return busy_; }
  [[nodiscard]] pid_t Pid() const { return worker_ != nullptr ? worker_->Pid() : 0; }
  [[nodiscard]] ipc::WorkerId Id() const { return id_; }
  [[nodiscard]] std::uint64_t Restarts() const { return restarts_; }
  host::WorkerProcess& Worker() { return *worker_; }
  // What GetReport says, when nothing is outstanding.
  void Ask(ipc::RequestBody body, host::WorkerProcess::OnAnswer on_answer) {
    worker_->Ask(std::move(body), {}, std::chrono::seconds(10), std::move(on_answer));
  }
  void BeginCall();
  [[nodiscard]] std::string Describe() const;

 private:
  void OnGone();
  void Join(ipc::WorkerId id);
  void Setup(ipc::RequestBody body, UniqueFd fd);
  void OnInvoked(std::uint64_t life, Result<ipc::ResponseBody> answer);
  void OnWritten(std::uint64_t life, Result<ipc::ResponseBody> answer);
  void End();
  void Wrong(const std::string& what);

  Shared& shared_;
  std::uint32_t number_;
  std::uint32_t domain_;
  std::unique_ptr<host::WorkerProcess> worker_;
  ipc::WorkerId id_ = 0;
  bool up_ = false;
  bool killed_ = false;
  bool busy_ = false;
  std::uint64_t restarts_ = 0;

  // The call under way.
  struct Input {
    std::size_t bytes = 0;
    UniqueFd file;
  };
  std::vector<Input> inputs_;
  UniqueFd output_;
  UniqueFd pidfd_;  // The introducer's, while it knows the worker.
  std::uint64_t next_value_ = 1;
  std::string actions_;
  std::size_t input_ = 0;
  MonotonicNs begun_ = 0;
};

// Byte `i` of all payloads, beyond the actions.
inline std::byte PatternAt(std::size_t i) {
  return static_cast<std::byte>(3 + i * 7 + (i >> 12U));
}

}  // namespace cwasi::soak
