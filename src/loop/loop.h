// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One thread's event loop: descriptors that become ready, times that come, work that other threads
// post, signals. Callbacks run one at a time on the thread that calls Run.
//
// Thread: all of it the loop's, except Post and Stop.
// Ownership: a registration is an object; its destruction ends it, also inside its own callback,
// and its callback is not called after that. The loop outlives its registrations. Source: epoll(7),
// signalfd(2).

#pragma once

#include <signal.h>
#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::loop {

class Timer;

class Loop {
 public:
  // Work posted and not begun; beyond it Post refuses.
  static constexpr std::size_t kMaxPosted = 65'536;

  // Errors: kResourceExhausted.
  static Result<std::unique_ptr<Loop>> Create();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  Loop(Loop&&) = delete;
  Loop& operator=(Loop&&) = delete;
  ~Loop();

  // Until Stop, which also ends a Run that comes after it; then Run may be called again.
  void Run();
  // Handles what is due now or comes by `deadline`: one round. For tests and for waiting inside a
  // callback's owner.
  void RunOnce(MonotonicNs deadline);

  // Thread: any. `work` runs on the loop's thread, in the order of the posts. False: kMaxPosted
  // reached, `work` is dropped. What has not run when the loop is destroyed never does.
  [[nodiscard]] bool Post(std::function<void()> work);
  // Thread: any. Run returns after the callbacks of the present round.
  void Stop();

 private:
  friend class Watch;
  friend class Timer;
  using Key = std::uint64_t;
  using TimerKey = std::pair<MonotonicNs, Key>;
  using OnReady = std::function<void(std::uint32_t)>;

  Loop(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

  Result<Key> AddWatch(int fd, std::uint32_t events, OnReady on_ready);
  void RemoveWatch(Key key, int fd);

  void RunPosted();
  void RunTimers();
  [[nodiscard]] int WaitMs(MonotonicNs deadline) const;
  void Wake() const;

  UniqueFd epoll_;
  UniqueFd wake_;  // An eventfd.
  Key next_key_ = 1;
  std::unordered_map<Key, OnReady> watches_;
  // Callbacks of ended watches, which may be running: destroyed after the round.
  std::vector<OnReady> ended_;
  std::map<TimerKey, Timer*> timers_;

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // Guarded by mutex_, as is stop_.
  bool stop_ = false;
};

// Calls back while the descriptor is ready (level-triggered), with the EPOLL bits that are.
class Watch {
 public:
  // `fd` stays the caller's, and open while this lives. `events`: EPOLLIN, EPOLLOUT; EPOLLHUP and
  // EPOLLERR always count. Errors: kResourceExhausted, kInvalidArgument (a file that is always
  // ready).
  static Result<std::unique_ptr<Watch>> Create(Loop& loop, int fd, std::uint32_t events,
                                               std::function<void(std::uint32_t)> on_ready);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  Watch(Watch&&) = delete;
  Watch& operator=(Watch&&) = delete;
  ~Watch() { loop_.RemoveWatch(key_, fd_); }

 private:
  Watch(Loop& loop, int fd, std::uint64_t key) : loop_(loop), fd_(fd), key_(key) {}
  Loop& loop_;
  int fd_;
  std::uint64_t key_;
};

// Calls back once at a time of Now(), to the next millisecond.
class Timer {
 public:
  Timer(Loop& loop, std::function<void()> on_time) : loop_(loop), on_time_(std::move(on_time)) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  Timer(Timer&&) = delete;
  Timer& operator=(Timer&&) = delete;
  ~Timer();

  // Replaces an earlier time. kNoDeadline: never.
  void Arm(MonotonicNs at);
  void Disarm();
  [[nodiscard]] bool IsArmed() const { return armed_.has_value(); }

 private:
  friend class Loop;
  Loop& loop_;
  std::function<void()> on_time_;
  std::optional<std::pair<MonotonicNs, std::uint64_t>> armed_;
  bool* destroyed_ = nullptr;  // While its callback runs.
};

// Takes signals from their default action to a callback. Destruction puts the signal mask back.
class Signals {
 public:
  // Blocks them in the calling thread: before other threads start, which inherit that. Errors: as
  // Watch::Create.
  static Result<std::unique_ptr<Signals>> Create(Loop& loop, std::initializer_list<int> signals,
                                                 std::function<void(int)> on_signal);
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  Signals(Signals&&) = delete;
  Signals& operator=(Signals&&) = delete;
  ~Signals();

 private:
  Signals() = default;
  sigset_t before_{};
  UniqueFd fd_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace cwasi::loop
