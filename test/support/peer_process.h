// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A worker in a child process that serves the functions of test/guests to a worker of the test.

#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "os/unix_socket.h"
#include "test/support/worker_fixture.h"
#include "worker/peers.h"

namespace cwasi::test {

// A worker, its peers and the thread that watches their sockets.
class PeerHarness {
 public:
  explicit PeerHarness(buf::MovePolicy policy = buf::MovePolicy::kAuto)
      : worker(policy),
        watcher_(MakeWatcher(bell_)),
        peers_(std::make_unique<worker::Peers>(worker.Get(), bell_, watcher_)) {
    worker.Get().SetPeers(peers_.get());
    thread_ = std::thread([this] { watcher_.Run(); });
  }
  PeerHarness(const PeerHarness&) = delete;
  PeerHarness& operator=(const PeerHarness&) = delete;
  PeerHarness(PeerHarness&&) = delete;
  PeerHarness& operator=(PeerHarness&&) = delete;
  ~PeerHarness() {
    watcher_.Stop();
    thread_.join();
    worker.Get().DropInstances();
    worker.Get().SetPeers(nullptr);
  }

  worker::Peers& Peers() { return *peers_; }

  // Loads a guest as function `number`.
  void Load(const std::string& guest, const std::string& name, std::uint32_t number,
            worker::FunctionSpec spec = {}) {
    spec.number = number;
    worker.Load(guest, name, std::move(spec));
  }
  // Serves until all peers are gone.
  void ServeAll() {
    while (peers_->Links() != 0)
      peers_->Serve(DeadlineAfter(Now(), std::chrono::milliseconds(100)));
  }

  WorkerHarness worker;

 private:
  static worker::Watcher MakeWatcher(ipc::Doorbell& bell) {
    auto made = worker::Watcher::Create(bell);
    CHECK(made.has_value());
    return std::move(*made);
  }

  ipc::Doorbell bell_;
  worker::Watcher watcher_;
  std::unique_ptr<worker::Peers> peers_;
  std::thread thread_;
};

inline os::SocketPair Pair() {
  auto pair = os::CreatePacketPair();
  CHECK(pair.has_value());
  return std::move(*pair);
}

// A child that runs `body`; killed and reaped at the end.
class PeerProcess {
 public:
  explicit PeerProcess(const std::function<void()>& body) {
    pid_ = ::fork();
    CHECK(pid_ >= 0);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  PeerProcess(PeerProcess&&) = delete;
  PeerProcess& operator=(PeerProcess&&) = delete;
  ~PeerProcess() {
    if (pid_ > 0) {
      Signal(SIGKILL);
      Wait();
    }
  }
  [[nodiscard]] pid_t Pid() const { return pid_; }
  void Signal(int signal) const { ::kill(pid_, signal); }
  // Exit code, or minus the signal.
  int Wait() {
    int status = 0;
    CHECK(::waitpid(std::exchange(pid_, -1), &status, 0) > 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace cwasi::test
