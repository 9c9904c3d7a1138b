// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A worker with functions from test/guests, in this process.

#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/files.h"
#include "test/support/script.h"
#include "worker/worker.h"

namespace cwasi::test {

// What a script guest's steps gave.
struct Steps {
  std::vector<std::uint32_t> values;
  std::uint32_t operator[](std::uint32_t step) const {
    return step < values.size() ? values[step] : 0xbad0bad0U;
  }
};

class WorkerHarness {
 public:
  explicit WorkerHarness(buf::MovePolicy policy = buf::MovePolicy::kAuto,
                         std::size_t memory_bytes = std::size_t{8} << 30,
                         std::size_t max_payload_bytes = buf::kMaxPayloadBytes) {
    worker::Worker::Options options;
    options.payloads.policy = policy;
    options.payloads.memory_bytes = memory_bytes;
    options.payloads.max_payload_bytes = max_payload_bytes;
    auto made = worker::Worker::Create(options);
    if (!made) throw std::runtime_error(made.error().message);
    worker_ = std::move(*made);
  }

  worker::Worker& Get() { return *worker_; }

  // Loads build/<preset>/guests/<guest>.wasm.
  Result<std::uint32_t> TryLoad(const std::string& guest, worker::FunctionSpec spec) {
    TRY_SET(const auto compiled, worker_->Engine().Compile(ReadFile(GuestPath(guest)), guest));
    std::string path = testing::TempDir() + "cwasm-XXXXXX";
    const int fd = ::mkstemp(path.data());
    const bool written =
        ::write(fd, compiled.data(), compiled.size()) == static_cast<ssize_t>(compiled.size());
    ::close(fd);
    auto id = written ? worker_->Load(std::move(spec), path)
                      : Fail(ErrorCode::kInternal, "cannot write " + path);
    std::filesystem::remove(path);  // It is mapped.
    return id;
  }
  std::uint32_t Load(const std::string& guest, const std::string& name,
                     worker::FunctionSpec spec = {}) {
    spec.name = name;
    spec.embed = worker::Embed::kAllow;
    auto id = TryLoad(guest, std::move(spec));
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or(UINT32_MAX);
  }

  tl::expected<worker::Reply, CallError> Invoke(
      std::uint32_t function, std::vector<std::byte> body,
      std::chrono::nanoseconds timeout = std::chrono::seconds(60)) {
    worker::Request request{
        .id = 7, .step = "step", .parts = {}, .metadata = {{"colour", "blue"}}, .timeout = timeout};
    request.parts.push_back(
        {.value = {.payload = buf::Payload(std::move(body))}, .name = "part", .producer = "input"});
    return worker_->Invoke(function, request);
  }

  // Runs a script that is expected to end well.
  Steps Run(std::uint32_t function, const Script& script) {
    auto reply = Invoke(function, script.Bytes());
    EXPECT_TRUE(reply) << Describe(reply.error()) << "\n" << reply.error().frames;
    Steps steps;
    if (!reply) return steps;
    steps.values.resize(reply->payload.Size() / 4);
    std::memcpy(steps.values.data(), reply->payload.Bytes().data(), steps.values.size() * 4);
    return steps;
  }

 private:
  std::unique_ptr<worker::Worker> worker_;
};

inline std::vector<std::byte> Pattern(std::size_t bytes, unsigned seed) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    data[i] = static_cast<std::byte>(seed + i * 7 + (i >> 12U));
  return data;
}

}  // namespace cwasi::test
