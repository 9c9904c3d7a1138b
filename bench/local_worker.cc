// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/local_worker.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "bench/expect.h"
#include "test/support/files.h"
#include "test/support/peer_process.h"

namespace cwasi::bench {
namespace {

constexpr std::chrono::minutes kPatience{5};

}  // namespace

Zygote::Zygote(std::initializer_list<const char*> guests) {
  test::PeerProcess compiler([&] {
    const auto engine = Expect(worker::PreparedEngine::Create({}));
    for (const char* guest : guests)
      test::WriteFile(Compiled(guest), Expect(engine.engine->Compile(
                                           test::ReadFile(test::GuestPath(guest)), guest)));
  });
  CHECK(compiler.Wait() == 0);
  engine_ = Expect(worker::PreparedEngine::Create({}));
  ability_ = buf::MeasureMoveAbility();
  static_cast<void>(FastNow());  // Calibrated once, so that times of all forks can be compared.
}

os::SocketPair SocketPair() {
  return Expect(os::CreatePacketPair());
}

LocalWorker::LocalWorker(Zygote& zygote, const Options& options)
    : zygote_(zygote),
      relation_(options.relation),
      watcher_(Expect(worker::Watcher::Create(bell_))) {
  worker::Worker::Options with;
  with.payloads.policy = options.policy;
  with.payloads.ability = zygote.Ability();
  // 500 MiB of which one copy is made, and another is on its way back.
  with.payloads.pool.max_idle_bytes = std::size_t{4} << 30;
  with.payloads.foreign_bytes = std::size_t{4} << 30;
  worker_ = worker::Worker::Create(with, zygote.TakeEngine());
  peers_ = std::make_unique<worker::Peers>(*worker_, bell_, watcher_);
  peers_->Spinning().SetMode(options.spinning);
  worker_->SetPeers(peers_.get());
  thread_ = std::thread([this] { watcher_.Run(); });
}

LocalWorker::~LocalWorker() {
  watcher_.Stop();
  thread_.join();
  worker_->DropInstances();
  worker_->SetPeers(nullptr);
}

std::uint32_t LocalWorker::Load(const std::string& guest, const std::string& name,
                                std::uint32_t number) {
  worker::FunctionSpec spec;
  spec.name = name;
  spec.number = number;
  spec.embed = worker::Embed::kAllow;
  spec.timeout = kPatience;
  return Expect(worker_->Load(spec, zygote_.Compiled(guest)));
}

void LocalWorker::Declare(const std::string& name, std::uint32_t number) {
  CHECK(peers_->Declare({.number = number, .name = name, .timeout = kPatience}));
}

void LocalWorker::MeetCallee(ipc::WorkerId worker, std::vector<std::uint32_t> functions,
                             UniqueFd socket) {
  Expect(peers_->Meet({.role = ipc::PeerRole::kCaller,
                       .relation = relation_,
                       .worker = worker,
                       .functions = std::move(functions)},
                      std::move(socket)));
}

void LocalWorker::MeetCaller(ipc::WorkerId worker, std::vector<std::uint32_t> functions,
                             UniqueFd socket) {
  Expect(peers_->Meet({.role = ipc::PeerRole::kCallee,
                       .relation = relation_,
                       .worker = worker,
                       .functions = std::move(functions)},
                      std::move(socket)));
}

void LocalWorker::Serve() {
  while (peers_->Links() != 0) peers_->Serve(kNoDeadline);
}

std::uint64_t LocalWorker::Invoke(std::uint32_t function, std::span<const std::byte> body) {
  return Invoke(function, worker::Value{.payload = buf::Payload({body.begin(), body.end()})});
}

std::uint64_t LocalWorker::Invoke(std::uint32_t function, worker::Value value) {
  worker::Request request{
      .id = 1, .step = "bench", .parts = {}, .metadata = {}, .timeout = kPatience};
  request.parts.push_back({.value = std::move(value), .name = "", .producer = "bench"});
  auto reply = worker_->Invoke(function, request);
  if (!reply) {
    std::fprintf(stderr, "local_bench: %s\n", Describe(reply.error()).c_str());
    std::exit(1);
  }
  std::uint64_t answer = 0;
  CHECK(reply->payload.Size() >= sizeof answer);
  std::memcpy(&answer, reply->payload.Bytes().data(), sizeof answer);
  return answer;
}

}  // namespace cwasi::bench
