// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Workers in processes of their own for benchmarks, forked as a zygote does it: the engine and what
// is measured once are made before, modules are loaded after.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "buf/page_mover.h"
#include "ipc/introduction.h"
#include "ipc/relation.h"
#include "ipc/spin_policy.h"
#include "ipc/wait_set.h"
#include "os/unix_socket.h"
#include "test/support/temp_dir.h"
#include "worker/peers.h"
#include "worker/watcher.h"
#include "worker/worker.h"

namespace cwasi::bench {

// What all workers of a run have in common. Thread: the process's only one, until it has forked.
class Zygote {
 public:
  // Compiles `guests` in a child, since the compiler starts threads.
  explicit Zygote(std::initializer_list<const char*> guests);

  [[nodiscard]] std::filesystem::path Compiled(const std::string& guest) const {
    return folder_.Path() / (guest + ".cwasm");
  }
  [[nodiscard]] const buf::MoveAbility& Ability() const { return ability_; }
  // In a fork, once.
  worker::PreparedEngine TakeEngine() { return std::move(engine_); }

 private:
  test::TempDir folder_;
  worker::PreparedEngine engine_;
  buf::MoveAbility ability_;
};

os::SocketPair SocketPair();

// A worker in this process, and the thread that watches its sockets. Thread: the one that made it.
class LocalWorker {
 public:
  struct Options {
    buf::MovePolicy policy = buf::MovePolicy::kAuto;
    ipc::SpinPolicy::Mode spinning = ipc::SpinPolicy::Mode::kAdaptive;
    ipc::Relation relation = ipc::Relation::kSameDomain;  // To all its peers.
  };
  LocalWorker(Zygote& zygote, const Options& options);
  LocalWorker(const LocalWorker&) = delete;
  LocalWorker& operator=(const LocalWorker&) = delete;
  LocalWorker(LocalWorker&&) = delete;
  LocalWorker& operator=(LocalWorker&&) = delete;
  ~LocalWorker();

  // Other workers call it by `number`.
  std::uint32_t Load(const std::string& guest, const std::string& name, std::uint32_t number);
  void Declare(const std::string& name, std::uint32_t number);
  void MeetCallee(ipc::WorkerId worker, std::vector<std::uint32_t> functions, UniqueFd socket);
  void MeetCaller(ipc::WorkerId worker, std::vector<std::uint32_t> functions, UniqueFd socket);
  // Serves until no peer is left.
  void Serve();
  // Runs a call to its end; the first word of the answer.
  std::uint64_t Invoke(std::uint32_t function, std::span<const std::byte> request);
  std::uint64_t Invoke(std::uint32_t function, worker::Value request);

  worker::Worker& Get() { return *worker_; }
  worker::Peers& Peers() { return *peers_; }

 private:
  Zygote& zygote_;
  ipc::Relation relation_;
  std::unique_ptr<worker::Worker> worker_;
  ipc::Doorbell bell_;
  worker::Watcher watcher_;
  std::unique_ptr<worker::Peers> peers_;
  std::thread thread_;
};

}  // namespace cwasi::bench
