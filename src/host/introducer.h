// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Introducer: knows which worker runs which function, decides who may call whom, and lets two
// workers meet. What they say to each other then does not pass through here.
//
// Source: docs/protocols/introduction.md.
// Thread: the loop's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ipc/introduction.h"
#include "loop/loop.h"

namespace cwasi::host {

class Introducer {
 public:
  struct Member {
    ipc::WorkerId id = 0;
    std::uint32_t trust_domain = 0;
    std::vector<std::uint32_t> functions;  // That it runs, ready to be called.
    int pidfd = -1;                        // Not owned; open until Remove.
  };
  // None may be empty.
  struct Hooks {
    std::function<bool(const Member& caller, std::uint32_t function)> may_call;
    // No worker runs this function, or (kAnother) one more is wanted. True: one is being started,
    // by this or another wish, and Add or Refuse will follow.
    std::function<bool(std::uint32_t function, ipc::WantedWorker worker)> start_worker;
    // The worker broke the protocol or its socket ended; it should be ended and removed. The hook
    // must not call Remove, but may post it.
    std::function<void(ipc::WorkerId, const Error&)> broken;
  };

  Introducer(loop::Loop& loop, Hooks hooks) : loop_(loop), hooks_(std::move(hooks)) {}

  // A worker that is up; wants that waited for it are answered. `socket`: cwasi's end. Errors: as
  // loop::Watch::Create.
  Result<> Add(Member member, UniqueFd socket);
  void Remove(ipc::WorkerId id);
  // The worker that `start_worker` promised does not come.
  void Refuse(std::uint32_t function, const std::string& why);

  // Lets the two meet, in these roles, unless they have a channel. Errors: kNotFound (one is gone),
  // kUnavailable, kResourceExhausted.
  Result<> Introduce(ipc::WorkerId caller, ipc::WorkerId callee);
  // Work that a worker has been given and not done; who has least gets the next channel.
  void SetOutstanding(ipc::WorkerId id, std::size_t calls);

 private:
  struct Entry {
    Member member;
    ipc::IntroductionSocket socket;
    std::unique_ptr<loop::Watch> watch;
    std::size_t outstanding = 0;
    std::size_t callers = 0;
    bool broken = false;
  };
  struct Waiting {
    ipc::WorkerId caller = 0;
    ipc::Want want;
  };

  void OnReady(ipc::WorkerId id);
  void Break(Entry& entry, const Error& error);
  void Answer(Entry& caller, const ipc::Want& want);
  void Refuse(Entry& caller, const ipc::Want& want, CallClass call_class, std::string text);
  enum class Among : std::uint8_t { kAll, kNotMet };
  Entry* Pick(const Entry& caller, std::uint32_t function, Among among);
  Result<> Meet(Entry& caller, Entry& callee, std::uint64_t token);
  // Their channel is over.
  void Part(ipc::WorkerId caller, ipc::WorkerId callee);

  loop::Loop& loop_;
  Hooks hooks_;
  std::map<ipc::WorkerId, Entry> entries_;
  std::set<std::pair<ipc::WorkerId, ipc::WorkerId>> met_;  // Caller, callee.
  std::vector<Waiting> waiting_;                           // At most kMaxWants for each member.
};

}  // namespace cwasi::host
