// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A zygote whose workers have nothing around them: what a start costs without the sandbox. For
// start_bench only; it is not installed, and cwasi-host cannot be told to be like this.

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "bench/expect.h"
#include "ipc/zygote_message.h"
#include "worker/control_loop.h"
#include "worker/zygote.h"

namespace cwasi::bench {
namespace {

constexpr int kZygoteFd = 3;
constexpr std::chrono::seconds kTimeout{10};

class BareZygote {
 public:
  explicit BareZygote(ipc::ZygoteSocket socket) : socket_(std::move(socket)) {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child, nullptr);
    child_ended_.Reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  // The sockets of a worker, in its fork; nothing in the zygote, at the end.
  std::optional<ipc::ZygoteSocket::Incoming> Serve() {
    for (;;) {
      std::array<pollfd, 2> ready = {{{.fd = socket_.Fd(), .events = POLLIN, .revents = 0},
                                      {.fd = child_ended_.Get(), .events = POLLIN, .revents = 0}}};
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      if (ready[1].revents != 0) Reap();
      if (ready[0].revents == 0) continue;
      auto incoming = socket_.Receive(DeadlineAfter(Now(), kTimeout));
      if (!incoming || std::holds_alternative<ipc::EndAll>(incoming->message)) break;
      if (const auto* fork = std::get_if<ipc::ForkWorker>(&incoming->message)) {
        if (Fork(fork->worker)) return std::move(*incoming);
      } else {
        Send(ipc::Greeting{.pid = static_cast<std::uint32_t>(::getpid()), .sandbox = "none"}, {});
      }
    }
    for (const auto& [pid, id] : children_) ::kill(pid, SIGKILL);
    while (::wait(nullptr) > 0) {
    }
    return std::nullopt;
  }

 private:
  bool Fork(ipc::WorkerId id) {
    const pid_t pid = ::fork();
    if (pid < 0) Stop("fork: " + std::string(::strerrordesc_np(errno)));
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      child_ended_.Reset();
      sigset_t none;
      ::sigemptyset(&none);
      ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
      return true;
    }
    children_.emplace(pid, id);
    const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const int fd = pidfd.Get();
    Send(ipc::Forked{.worker = id, .pid = static_cast<std::uint32_t>(pid)}, std::span(&fd, 1));
    return false;
  }

  void Reap() {
    signalfd_siginfo info{};
    while (::read(child_ended_.Get(), &info, sizeof info) > 0) {
    }
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      Send(ipc::Ended{.worker = children_.at(pid),
                      .by_signal = WIFSIGNALED(status),
                      .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
           {});
      children_.erase(pid);
    }
  }

  void Send(const ipc::ZygoteMessage& message, std::span<const int> fds) {
    Expect(socket_.Send(message, fds, DeadlineAfter(Now(), kTimeout)));
  }

  ipc::ZygoteSocket socket_;
  UniqueFd child_ended_;
  std::map<pid_t, ipc::WorkerId> children_;
};

int Serve() {
  auto start = Expect(worker::PrepareWorkers());
  {
    BareZygote zygote{ipc::ZygoteSocket(UniqueFd(kZygoteFd))};
    auto worker = zygote.Serve();
    if (!worker) return 0;
    start.control = std::move(worker->fds[0]);
    start.introductions = std::move(worker->fds[1]);
  }
  return worker::ServeControl(std::move(start));
}

}  // namespace
}  // namespace cwasi::bench

int main() {
  return cwasi::bench::Serve();
}
