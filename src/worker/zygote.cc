// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/zygote.h"

#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "ipc/zygote_message.h"
#include "sandbox/confinement.h"
#include "worker/control_loop.h"
#include "worker/function.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

constexpr std::chrono::seconds kSendTimeout{10};

struct WorkerSockets {
  UniqueFd control;
  UniqueFd introductions;
};

[[noreturn]] void NotBorn(const char* what) {
  std::fprintf(stderr, "cwasi-host: become a worker: %s: %s\n", what, ::strerrordesc_np(errno));
  ::_exit(kExitNotBorn);
}

// In the fork, before it does anything else. Whether the zygote is dead already cannot be asked in
// a pid namespace, where the parent is 0; then cwasi fails the run, and the sockets' end comes.
WorkerSockets BecomeWorker(pid_t zygote, UniqueFd control, UniqueFd introductions) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) NotBorn("ask to die with the zygote");
  const pid_t parent = ::getppid();
  if (parent != 0 && parent != zygote) ::_exit(kExitNotBorn);
  sigset_t none;
  ::sigemptyset(&none);
  if (::pthread_sigmask(SIG_SETMASK, &none, nullptr) != 0) NotBorn("reset signals");
  return {.control = std::move(control), .introductions = std::move(introductions)};
}

// No module has been loaded yet, and no thread started.
sandbox::Entered EnterSandbox(sandbox::Confinement& confinement, sandbox::ConfinedProcess process,
                              const WorkerSockets& sockets) {
  const std::array kept = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, sockets.control.Get(),
                           sockets.introductions.Get()};
  auto entered = confinement.Enter(std::move(process), kept);
  if (entered) return std::move(*entered);
  std::fprintf(stderr, "cwasi-host: enter the sandbox: %s\n", entered.error().message.c_str());
  ::_exit(kExitNotBorn);
}

class Zygote {
 public:
  Zygote(UniqueFd socket, sandbox::Confinement& confinement)
      : socket_(std::move(socket)), confinement_(confinement) {}

  // In the zygote an exit code, in a fork nothing: it has become a worker.
  std::optional<int> Serve(WorkerStart& worker) {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child, nullptr);
    child_ended_.Reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!child_ended_.IsOpen()) {
      std::perror("cwasi-host: signalfd");
      return 1;
    }
    while (!end_) {
      std::array<pollfd, 2> ready = {{{.fd = socket_.Fd(), .events = POLLIN, .revents = 0},
                                      {.fd = child_ended_.Get(), .events = POLLIN, .revents = 0}}};
      // cwasi's death ends the socket, so this wait ends.
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      if (ready[1].revents != 0) Reap(WNOHANG);
      if (ready[0].revents == 0) continue;
      if (Receive(worker)) return std::nullopt;
    }
    return end_;
  }

 private:
  // True in a fork.
  bool Receive(WorkerStart& worker) {
    auto incoming = socket_.Receive(DeadlineAfter(Now(), kSendTimeout));
    if (!incoming) {
      Broken(incoming.error());
      return false;
    }
    if (std::holds_alternative<ipc::Greet>(incoming->message)) {
      Send(ipc::Greeting{.pid = static_cast<std::uint32_t>(::getpid()),
                         .sandbox = sandbox::SummarizeMeans(confinement_.Facts())},
           {});
    } else if (const auto* fork = std::get_if<ipc::ForkWorker>(&incoming->message)) {
      return Fork(fork->worker, std::move(incoming->fds[0]), std::move(incoming->fds[1]), worker);
    } else if (std::holds_alternative<ipc::EndAll>(incoming->message)) {
      // Not reaped yet: the numbers are still theirs.
      for (const auto& [pid, id] : children_) ::kill(pid, SIGKILL);
      while (!children_.empty() && !end_) Reap(0);
      if (!end_) end_ = 0;
    } else {
      Broken({.code = ErrorCode::kInvalidArgument, .message = "a message for cwasi"});
    }
    return false;
  }

  bool Fork(ipc::WorkerId id, UniqueFd control, UniqueFd introductions, WorkerStart& worker) {
    const pid_t zygote = ::getpid();
    auto process = confinement_.Fork({});
    if (!process) {
      Send(ipc::ForkFailed{.worker = id,
                           .sys_errno = process.error().sys_errno,
                           .message = process.error().message},
           {});
      return false;
    }
    if (process->pid == 0) {
      socket_ = {};
      child_ended_.Reset();
      children_.clear();
      auto sockets = BecomeWorker(zygote, std::move(control), std::move(introductions));
      auto entered = EnterSandbox(confinement_, std::move(*process), sockets);
      worker.control = std::move(sockets.control);
      worker.introductions = std::move(sockets.introductions);
      worker.pagemap = std::move(entered.pagemap);
      worker.loadavg = std::move(entered.loadavg);
      return true;
    }
    children_.emplace(process->pid, id);
    Send(ipc::Forked{.worker = id, .pid = static_cast<std::uint32_t>(process->pid)},
         process->pidfd.Get());
    return false;
  }

  // All that have ended, or (flags 0) one.
  void Reap(int flags) {
    signalfd_siginfo info{};
    while (::read(child_ended_.Get(), &info, sizeof info) > 0) {
    }
    do {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, flags);
      if (pid <= 0) return;
      const auto child = children_.extract(pid);
      if (child.empty()) continue;
      Send(ipc::Ended{.worker = child.mapped(),
                      .by_signal = WIFSIGNALED(status),
                      .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
           {});
    } while (flags == WNOHANG);
  }

  void Send(const ipc::ZygoteMessage& message, std::optional<int> fd) {
    const int number = fd.value_or(-1);
    const std::span<const int> fds(&number, fd ? 1 : 0);
    auto sent = socket_.Send(message, fds, DeadlineAfter(Now(), kSendTimeout));
    if (!sent) Broken(sent.error());
  }
  // The children die with this process.
  void Broken(const Error& error) {
    if (error.code != ErrorCode::kUnavailable)
      std::fprintf(stderr, "cwasi-host: zygote socket: %s\n", error.message.c_str());
    end_ = error.code == ErrorCode::kUnavailable ? 0 : 1;
  }

  ipc::ZygoteSocket socket_;
  sandbox::Confinement& confinement_;
  UniqueFd child_ended_;
  std::unordered_map<pid_t, ipc::WorkerId> children_;
  std::optional<int> end_;
};

}  // namespace

Result<WorkerStart> PrepareWorkers() {
  TRY_SET(auto engine, PreparedEngine::Create({}));
  static_cast<void>(FastNow());  // Calibrates the clock.
  static_cast<void>(Function::Imports());
  // One heap, which the forks have: the guest thread's own would be mapped and faulted in anew in
  // each, and a worker's other threads allocate nothing.
  ::mallopt(M_ARENA_MAX, 1);  // NOLINT(concurrency-mt-unsafe): the process has one thread.
  return WorkerStart{.control = {},
                     .introductions = {},
                     .engine = std::move(engine),
                     .ability = buf::MeasureMoveAbility(),
                     .mappings = buf::MappingLimit()};
}

int ServeZygote(UniqueFd socket) {
  auto start = PrepareWorkers();
  if (!start) {
    std::fprintf(stderr, "cwasi-host: engine: %s\n", start.error().message.c_str());
    return 1;
  }
  // Last: this process loses its files. The budgets bound a worker's memory; cgroups would outlive
  // a zygote that is killed.
  auto confinement = sandbox::Confinement::Prepare({.with_cgroups = false});
  if (!confinement) {
    std::fprintf(stderr, "cwasi-host: sandbox: %s\n", confinement.error().message.c_str());
    return 1;
  }
  if (const auto code = Zygote(std::move(socket), *confinement).Serve(*start)) return *code;
  start->confined = [&] { return confinement->EnterServing(); };
  return ServeControl(std::move(*start));
}

}  // namespace cwasi::worker
