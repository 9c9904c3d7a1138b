// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A guest that calls the imports of the guest ABI in any order with any numbers
// (test/guests/script.c runs the steps that it gets). Whatever it does, its call ends with a reply
// or an error in time, and nothing of it is left: no segment in use, no memory paid for.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "test/support/files.h"
#include "test/support/script.h"
#include "test/support/temp_dir.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

constexpr std::size_t kStepBytes = 28;
constexpr std::size_t kMaxSteps = 200;
constexpr std::uint32_t kOps = static_cast<std::uint32_t>(test::Op::kPrint) + 1;
constexpr auto kTimeout = std::chrono::milliseconds(5);

class Setup {
 public:
  Setup() {
    Worker::Options options;
    options.payloads.memory_bytes = std::size_t{128} << 20;
    options.payloads.max_payload_bytes = std::size_t{16} << 20;
    options.on_overrun = [] {};  // A slow machine must not look like a crash.
    options.output_fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    worker_ = std::move(*Worker::Create(options));
    // The script calls itself and others; an instance ends with its call.
    for (const char* name : {"script", "other"}) {
      FunctionSpec spec;
      spec.name = name;
      spec.embed = Embed::kAllow;
      spec.instances = Instances::kFresh;
      spec.memory_limit_bytes = std::size_t{32} << 20;
      CHECK(worker_->Load(std::move(spec), Compiled("script")));
    }
  }
  Worker& Get() { return *worker_; }

 private:
  std::filesystem::path Compiled(const std::string& guest) {
    const auto path = folder_.Path() / (guest + ".cwasm");
    const auto compiled = worker_->Engine().Compile(test::ReadFile(test::GuestPath(guest)), guest);
    CHECK(compiled);
    test::WriteFile(path, *compiled);
    return path;
  }
  test::TempDir folder_;
  std::unique_ptr<Worker> worker_;
};

// Whole steps whose operations exist.
std::vector<std::byte> ToScript(std::span<const std::byte> input) {
  const std::size_t steps = std::min(input.size() / kStepBytes, kMaxSteps);
  std::vector<std::byte> script(input.begin(),
                                input.begin() + static_cast<std::ptrdiff_t>(steps * kStepBytes));
  for (std::size_t i = 0; i < steps; ++i) {
    std::uint32_t op = 0;
    std::memcpy(&op, script.data() + i * kStepBytes, sizeof op);
    op %= kOps;
    std::memcpy(script.data() + i * kStepBytes, &op, sizeof op);
  }
  return script;
}

void Run(Worker& worker, std::vector<std::byte> script) {
  {
    Request request{.id = 1, .step = "fuzz", .parts = {}, .metadata = {}, .timeout = kTimeout};
    request.parts.push_back({.value = {.payload = buf::Payload(std::move(script))},
                             .name = "script",
                             .producer = "input"});
    request.parts.push_back({.value = {.payload = buf::Payload(std::vector<std::byte>(100'000))},
                             .name = "more",
                             .producer = "input"});
    static_cast<void>(worker.Invoke(0, request));
  }
  const auto stats = worker.Payloads().Pool().GetStats();
  CHECK(stats.in_use == 0);
  CHECK(worker.Payloads().Memory().Used() == stats.idle_bytes);
  CHECK(worker.Ticker().Get() == kNoDeadline);
}

}  // namespace
}  // namespace cwasi::worker

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cwasi::worker;  // NOLINT(google-build-using-namespace): a program of one function
  static Setup setup;
  auto script = ToScript(std::as_bytes(std::span(data, size)));
  if (!script.empty()) Run(setup.Get(), std::move(script));
  return 0;
}
