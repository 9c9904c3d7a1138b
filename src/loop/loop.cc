// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "loop/loop.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/check.h"

namespace cwasi::loop {
namespace {

constexpr std::uint64_t kWakeKey = 0;
constexpr MonotonicNs kNsPerMs = 1'000'000;

}  // namespace

Result<std::unique_ptr<Loop>> Loop::Create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.IsOpen()) return Fail(ErrorCode::kResourceExhausted, "create epoll", errno);
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.IsOpen()) return Fail(ErrorCode::kResourceExhausted, "create eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeKey;
  if (::epoll_ctl(epoll.Get(), EPOLL_CTL_ADD, wake.Get(), &event) != 0)
    return Fail(ErrorCode::kResourceExhausted, "watch eventfd", errno);
  return std::unique_ptr<Loop>(new Loop(std::move(epoll), std::move(wake)));
}

Loop::~Loop() {
  CHECK(watches_.empty() && timers_.empty());
}

void Loop::Run() {
  for (;;) {
    {
      const std::scoped_lock lock(mutex_);
      if (std::exchange(stop_, false)) return;
    }
    RunOnce(kNoDeadline);
  }
}

void Loop::RunOnce(MonotonicNs deadline) {
  std::array<epoll_event, 64> events{};
  const int n = ::epoll_wait(epoll_.Get(), events.data(), events.size(), WaitMs(deadline));
  CHECK(n >= 0 || errno == EINTR);
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kWakeKey) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto ignored = ::read(wake_.Get(), &count, sizeof count);
      continue;
    }
    // An earlier callback of this round may have ended the watch, or replaced it: keys are not used
    // twice.
    const auto watch = watches_.find(event.data.u64);
    if (watch != watches_.end()) watch->second(event.events);
  }
  RunTimers();
  RunPosted();
  ended_.clear();
}

void Loop::RunTimers() {
  const MonotonicNs now = Now();
  // Those that callbacks arm get their turn in the next round, however early they are due.
  const Key first_new = next_key_;
  for (auto it = timers_.begin(); it != timers_.end() && it->first.first <= now;) {
    if (it->first.second >= first_new) {
      ++it;
      continue;
    }
    Timer& timer = *it->second;
    timers_.erase(it);
    timer.armed_.reset();
    bool destroyed = false;
    timer.destroyed_ = &destroyed;
    // Its own copy: the callback may destroy the timer.
    const auto on_time = timer.on_time_;
    on_time();
    if (!destroyed) timer.destroyed_ = nullptr;
    it = timers_.begin();
  }
}

void Loop::RunPosted() {
  std::vector<std::function<void()>> work;
  {
    const std::scoped_lock lock(mutex_);
    work.swap(posted_);
  }
  for (const auto& each : work) each();
}

bool Loop::Post(std::function<void()> work) {
  {
    const std::scoped_lock lock(mutex_);
    if (posted_.size() >= kMaxPosted) return false;
    posted_.push_back(std::move(work));
  }
  Wake();
  return true;
}

void Loop::Stop() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  Wake();
}

void Loop::Wake() const {
  const std::uint64_t one = 1;
  // Fails only when the counter is full; then the loop is awake anyway.
  [[maybe_unused]] const auto ignored = ::write(wake_.Get(), &one, sizeof one);
}

int Loop::WaitMs(MonotonicNs deadline) const {
  if (!timers_.empty()) deadline = std::min(deadline, timers_.begin()->first.first);
  if (deadline == kNoDeadline) return -1;
  const MonotonicNs left = std::clamp<MonotonicNs>(deadline - Now(), 0, 3'600'000 * kNsPerMs);
  // Up: a millisecond late is better than many rounds of nothing.
  return static_cast<int>((left + kNsPerMs - 1) / kNsPerMs);
}

Result<Loop::Key> Loop::AddWatch(int fd, std::uint32_t events, OnReady on_ready) {
  const Key key = next_key_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  if (::epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return Fail(errno == EPERM ? ErrorCode::kInvalidArgument : ErrorCode::kResourceExhausted,
                "watch a descriptor", errno);
  watches_.emplace(key, std::move(on_ready));
  return key;
}

void Loop::RemoveWatch(Key key, int fd) {
  CHECK(::epoll_ctl(epoll_.Get(), EPOLL_CTL_DEL, fd, nullptr) == 0);
  auto watch = watches_.extract(key);
  ended_.push_back(std::move(watch.mapped()));
}

Result<std::unique_ptr<Watch>> Watch::Create(Loop& loop, int fd, std::uint32_t events,
                                             std::function<void(std::uint32_t)> on_ready) {
  TRY_SET(const auto key, loop.AddWatch(fd, events, std::move(on_ready)));
  return std::unique_ptr<Watch>(new Watch(loop, fd, key));
}

Timer::~Timer() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Disarm();
}

void Timer::Arm(MonotonicNs at) {
  Disarm();
  if (at == kNoDeadline) return;
  armed_ = {at, loop_.next_key_++};
  loop_.timers_.emplace(*armed_, this);
}

void Timer::Disarm() {
  if (armed_) loop_.timers_.erase(*armed_);
  armed_.reset();
}

Result<std::unique_ptr<Signals>> Signals::Create(Loop& loop, std::initializer_list<int> signals,
                                                 std::function<void(int)> on_signal) {
  auto made = std::unique_ptr<Signals>(new Signals());
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  CHECK(::pthread_sigmask(SIG_BLOCK, &set, &made->before_) == 0);
  made->fd_.Reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!made->fd_.IsOpen()) return Fail(ErrorCode::kResourceExhausted, "create signalfd", errno);
  const int fd = made->fd_.Get();
  TRY_SET(made->watch_,
          Watch::Create(loop, fd, EPOLLIN, [fd, on_signal = std::move(on_signal)](std::uint32_t) {
            signalfd_siginfo info{};
            // One a round: the callback may destroy this.
            if (::read(fd, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
              on_signal(static_cast<int>(info.ssi_signo));
          }));
  return made;
}

Signals::~Signals() {
  watch_.reset();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace cwasi::loop
