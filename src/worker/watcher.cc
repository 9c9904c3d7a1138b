// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/watcher.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"

namespace cwasi::worker {

Result<Watcher> Watcher::Create(ipc::Doorbell& bell) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.IsOpen() || !stop.IsOpen())
    return Fail(ErrorCode::kResourceExhausted, "make the watcher's descriptors", errno);
  epoll_event event{.events = EPOLLIN, .data = {.fd = stop.Get()}};
  if (::epoll_ctl(epoll.Get(), EPOLL_CTL_ADD, stop.Get(), &event) != 0)
    return Fail(ErrorCode::kResourceExhausted, "watch a descriptor", errno);
  return Watcher(bell, std::move(epoll), std::move(stop));
}

Result<> Watcher::Add(int fd, For what) {
  // Edge-triggered: whoever is rung for reads until there is no more, perhaps much later.
  epoll_event event{.events = EPOLLET | EPOLLRDHUP, .data = {.fd = fd}};
  if (what == For::kPackets) event.events |= EPOLLIN;
  if (::epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return Fail(ErrorCode::kResourceExhausted, "watch a descriptor", errno);
  return {};
}

void Watcher::Remove(int fd) {
  epoll_event event{};
  ::epoll_ctl(epoll_.Get(), EPOLL_CTL_DEL, fd, &event);
}

void Watcher::Run() {
  for (;;) {
    std::array<epoll_event, 16> events{};
    const int n = ::epoll_wait(epoll_.Get(), events.data(), events.size(), -1);
    CHECK(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; ++i)
      if (events[static_cast<std::size_t>(i)].data.fd == stop_.Get()) return;
    if (n > 0) bell_->Ring();
  }
}

void Watcher::Stop() {
  const std::uint64_t one = 1;
  CHECK(::write(stop_.Get(), &one, sizeof one) == sizeof one);
}

}  // namespace cwasi::worker
