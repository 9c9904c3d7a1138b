// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/introducer.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "base/check.h"
#include "os/unix_socket.h"

namespace cwasi::host {
namespace {

bool Runs(const Introducer::Member& member, std::uint32_t function) {
  return std::ranges::find(member.functions, function) != member.functions.end();
}

}  // namespace

Result<> Introducer::Add(Member member, UniqueFd socket) {
  const ipc::WorkerId id = member.id;
  CHECK(!entries_.contains(id));
  const int fd = socket.Get();
  TRY_SET(auto watch,
          loop::Watch::Create(loop_, fd, EPOLLIN, [this, id](std::uint32_t) { OnReady(id); }));
  entries_.emplace(id, Entry{.member = std::move(member),
                             .socket = ipc::IntroductionSocket(std::move(socket)),
                             .watch = std::move(watch)});
  const auto waiting = std::exchange(waiting_, {});
  for (const Waiting& each : waiting) {
    const auto caller = entries_.find(each.caller);
    if (caller != entries_.end() && !caller->second.broken) Answer(caller->second, each.want);
  }
  return {};
}

void Introducer::Remove(ipc::WorkerId id) {
  if (entries_.erase(id) == 0) return;
  std::erase_if(waiting_, [id](const Waiting& each) { return each.caller == id; });
  std::erase_if(met_, [&](const auto& pair) {
    if (pair.first != id && pair.second != id) return false;
    const auto callee = entries_.find(pair.second);
    if (callee != entries_.end()) --callee->second.callers;
    return true;
  });
}

void Introducer::Refuse(std::uint32_t function, const std::string& why) {
  auto waiting = std::exchange(waiting_, {});
  for (const Waiting& each : waiting) {
    const auto caller = entries_.find(each.caller);
    if (each.want.function_id != function) {
      waiting_.push_back(each);
    } else if (caller != entries_.end()) {
      Refuse(caller->second, each.want, CallClass::kUnavailable, why);
    }
  }
}

void Introducer::SetOutstanding(ipc::WorkerId id, std::size_t calls) {
  const auto entry = entries_.find(id);
  if (entry != entries_.end()) entry->second.outstanding = calls;
}

void Introducer::OnReady(ipc::WorkerId id) {
  Entry& entry = entries_.at(id);
  // A worker that sends without end has its turn and no more; the watch comes again.
  for (std::size_t i = 0; i < ipc::kMaxWants && !entry.broken; ++i) {
    auto incoming = entry.socket.Receive(Now());
    if (!incoming) {
      if (incoming.error().code != ErrorCode::kDeadlineExceeded) Break(entry, incoming.error());
      return;
    }
    if (const auto* lost = std::get_if<ipc::Lost>(&incoming->message)) {
      Part(id, lost->worker);
      continue;
    }
    const auto* want = std::get_if<ipc::Want>(&incoming->message);
    const auto unanswered = std::ranges::count(waiting_, id, &Waiting::caller);
    if (want == nullptr || static_cast<std::size_t>(unanswered) >= ipc::kMaxWants) {
      return Break(entry, {.code = ErrorCode::kInvalidArgument,
                           .message = want == nullptr ? "introductions: a message for workers"
                                                      : "introductions: too many wants"});
    }
    Answer(entry, *want);
  }
}

void Introducer::Break(Entry& entry, const Error& error) {
  if (std::exchange(entry.broken, true)) return;
  entry.watch.reset();
  hooks_.broken(entry.member.id, error);
}

void Introducer::Answer(Entry& caller, const ipc::Want& want) {
  if (!hooks_.may_call(caller.member, want.function_id))
    return Refuse(caller, want, CallClass::kDenied, "the function is not for this caller");
  const bool another = want.worker == ipc::WantedWorker::kAnother;
  Entry* callee = Pick(caller, want.function_id, another ? Among::kNotMet : Among::kAll);
  if (callee == nullptr && hooks_.start_worker(want.function_id, want.worker)) {
    waiting_.push_back({.caller = caller.member.id, .want = want});
    return;
  }
  // There will be no other one.
  if (callee == nullptr && another) callee = Pick(caller, want.function_id, Among::kAll);
  if (callee == nullptr)
    return Refuse(caller, want, CallClass::kUnavailable, "no worker runs the function");
  if (auto met = Meet(caller, *callee, want.token); !met)
    Refuse(caller, want, CallClass::kUnavailable, met.error().message);
}

void Introducer::Refuse(Entry& caller, const ipc::Want& want, CallClass call_class,
                        std::string text) {
  auto sent = caller.socket.Send(
      ipc::Refused{.token = want.token, .call_class = call_class, .text = std::move(text)}, {},
      Now());
  if (!sent) Break(caller, sent.error());
}

Introducer::Entry* Introducer::Pick(const Entry& caller, std::uint32_t function, Among among) {
  Entry* best = nullptr;
  const auto rank = [](const Entry& entry) {
    return std::tuple(entry.outstanding, entry.callers, entry.member.id);
  };
  for (auto& [id, entry] : entries_) {
    if (entry.broken || &entry == &caller || !Runs(entry.member, function)) continue;
    if (among == Among::kNotMet && met_.contains({caller.member.id, id})) continue;
    if (best == nullptr || rank(entry) < rank(*best)) best = &entry;
  }
  return best;
}

Result<> Introducer::Introduce(ipc::WorkerId caller, ipc::WorkerId callee) {
  const auto from = entries_.find(caller);
  const auto to = entries_.find(callee);
  if (from == entries_.end() || to == entries_.end() || from->second.broken || to->second.broken)
    return Fail(ErrorCode::kNotFound, "introduce two workers: one is gone");
  if (met_.contains({caller, callee})) return {};
  return Meet(from->second, to->second, 0);
}

void Introducer::Part(ipc::WorkerId caller, ipc::WorkerId callee) {
  if (met_.erase({caller, callee}) == 0) return;
  const auto entry = entries_.find(callee);
  if (entry != entries_.end()) --entry->second.callers;
}

Result<> Introducer::Meet(Entry& caller, Entry& callee, std::uint64_t token) {
  ipc::Peer to_caller{.token = token,
                      .role = ipc::PeerRole::kCaller,
                      .channel = ipc::PeerChannel::kExisting,
                      .relation = caller.member.trust_domain == callee.member.trust_domain
                                      ? ipc::Relation::kSameDomain
                                      : ipc::Relation::kOtherDomain,
                      .worker = callee.member.id,
                      .functions = {}};
  for (const std::uint32_t function : callee.member.functions) {
    if (to_caller.functions.size() == ipc::kMaxPeerFunctions) break;
    if (hooks_.may_call(caller.member, function)) to_caller.functions.push_back(function);
  }
  if (met_.contains({caller.member.id, callee.member.id})) {
    auto sent = caller.socket.Send(to_caller, {}, Now());
    if (!sent) Break(caller, sent.error());
    return {};
  }
  to_caller.channel = ipc::PeerChannel::kNew;
  ipc::Peer to_callee = to_caller;
  to_callee.token = 0;
  to_callee.role = ipc::PeerRole::kCallee;
  to_callee.worker = caller.member.id;
  TRY_SET(const auto pair, os::CreatePacketPair());
  if (auto sent =
          callee.socket.Send(to_callee, std::array{pair.second.Get(), caller.member.pidfd}, Now());
      !sent) {
    Break(callee, sent.error());
    return Fail(ErrorCode::kUnavailable, "the worker of the function takes no introduction");
  }
  met_.emplace(caller.member.id, callee.member.id);
  ++callee.callers;
  if (auto sent =
          caller.socket.Send(to_caller, std::array{pair.first.Get(), callee.member.pidfd}, Now());
      !sent)
    Break(caller, sent.error());
  return {};
}

}  // namespace cwasi::host
