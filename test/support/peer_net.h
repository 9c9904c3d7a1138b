// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Several workers that call each other: one of this process, the others in processes of their own.

#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "test/support/peer_process.h"

namespace cwasi::test {

// Until this thread of this process sleeps in the kernel; false if it does not within 20 s.
inline bool UntilAsleep(pid_t process, pid_t thread) {
  const std::string path =
      "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/stat";
  for (const MonotonicNs end = DeadlineAfter(Now(), std::chrono::seconds(20)); Now() < end;) {
    std::ifstream file(path);
    std::string stat((std::istreambuf_iterator<char>(file)), {});
    const auto name_end = stat.rfind(')');
    if (name_end != std::string::npos && name_end + 2 < stat.size() &&
        (stat[name_end + 2] == 'S' || stat[name_end + 2] == 'T'))
      return true;
    std::this_thread::yield();
  }
  return false;
}
inline pid_t ThisThread() {
  return static_cast<pid_t>(::syscall(SYS_gettid));
}

// Describe the net first, then Start the other processes, then make Local: a process must not have
// threads when it forks.
class PeerNet {
 public:
  using Body = std::function<void(PeerHarness&)>;

  struct Served {
    std::string guest;
    std::string name;
    std::uint32_t number = 0;
    worker::FunctionSpec spec = {};
    std::chrono::nanoseconds timeout = std::chrono::seconds(20);  // For its callers.
    bool denied = false;  // Its callers believe that they may call it.
  };
  void Serve(ipc::WorkerId worker, Served function) {
    functions_[worker].push_back(std::move(function));
  }
  // `caller` may call all functions of `callee`.
  void Connect(ipc::WorkerId caller, ipc::WorkerId callee,
               ipc::Relation relation = ipc::Relation::kSameDomain) {
    auto pair = Pair();
    edges_.push_back({caller, callee, relation, std::move(pair.first), std::move(pair.second)});
  }
  // A process with `worker`, which serves until its peers are gone unless `body` says otherwise.
  PeerProcess& Start(ipc::WorkerId worker, const Body& body = {}) {
    return *(processes_[worker] = std::make_unique<PeerProcess>([&] {
               PeerHarness harness;
               Join(worker, harness);
               if (body)
                 body(harness);
               else
                 harness.ServeAll();
             }));
  }
  // A process that has the worker's sockets and does with them what it likes, in order of Connect.
  PeerProcess& StartRaw(ipc::WorkerId worker,
                        const std::function<void(std::vector<UniqueFd> sockets)>& body) {
    return *(processes_[worker] = std::make_unique<PeerProcess>([&] {
               std::vector<UniqueFd> sockets;
               for (Edge& edge : edges_) {
                 if (edge.caller == worker)
                   sockets.push_back(std::move(edge.caller_end));
                 else if (edge.callee == worker)
                   sockets.push_back(std::move(edge.callee_end));
               }
               edges_.clear();
               body(std::move(sockets));
             }));
  }
  PeerProcess& Process(ipc::WorkerId worker) { return *processes_.at(worker); }

  // Makes `harness` the worker: loads its functions, declares the others, meets its peers.
  void Join(ipc::WorkerId worker, PeerHarness& harness) {
    for (const auto& [where, functions] : functions_)
      for (const Served& f : functions) {
        if (where == worker)
          harness.Load(f.guest, f.name, f.number, f.spec);
        else
          CHECK(harness.Peers().Declare({f.number, f.name, f.timeout}));
      }
    for (Edge& edge : edges_) {
      ipc::Peer peer{
          .role = edge.caller == worker ? ipc::PeerRole::kCaller : ipc::PeerRole::kCallee,
          .relation = edge.relation,
          .worker = edge.caller == worker ? edge.callee : edge.caller,
          .functions = {}};
      for (const Served& f : functions_[edge.callee])
        if (!f.denied || edge.caller == worker) peer.functions.push_back(f.number);
      if (edge.caller == worker)
        CHECK(harness.Peers().Meet(peer, std::move(edge.caller_end)).has_value());
      else if (edge.callee == worker)
        CHECK(harness.Peers().Meet(peer, std::move(edge.callee_end)).has_value());
    }
    edges_.clear();  // The ends of others.
  }

 private:
  struct Edge {
    ipc::WorkerId caller = 0;
    ipc::WorkerId callee = 0;
    ipc::Relation relation = ipc::Relation::kSameDomain;
    UniqueFd caller_end;
    UniqueFd callee_end;
  };
  std::map<ipc::WorkerId, std::vector<Served>> functions_;
  std::vector<Edge> edges_;
  std::map<ipc::WorkerId, std::unique_ptr<PeerProcess>> processes_;
};

}  // namespace cwasi::test
