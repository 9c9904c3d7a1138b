// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workflow/run.h"

namespace cwasi::workflow {
namespace {

using namespace std::chrono_literals;

RunReport Example() {
  RunReport report;
  report.duration = 1234ms;
  report.steps = {{.name = "decoded",
                   .function = "decode",
                   .calls = 2,
                   .result_bytes = 3 << 20U,
                   .duration = 2500ms,
                   .longest = 500us},
                  {.name = "never", .function = "f"}};
  report.edges = {{.caller = "photos",
                   .callee = "decoded",
                   .mode = CallMode::kEmbedded,
                   .calls = 2,
                   .payload_bytes = 300 << 10U,
                   .copies = 0,
                   .copied_bytes = 0,
                   .moved = 2,
                   .hand_over = {{.index = 300, .count = 98}, {.index = 400, .count = 2}}},
                  {.caller = "",
                   .callee = "decoded",
                   .mode = CallMode::kEmbedded,
                   .calls = 1,
                   .payload_bytes = 1023,
                   .copies = 1,
                   .copied_bytes = 1023,
                   .moved = 0,
                   .hand_over = {}}};
  report.workers = 2;
  report.sandbox = "sandboxed by seccomp; not here: cgroups (why)";
  report.worker.swap_available = true;
  report.worker.crossover_bytes = 200 << 10U;
  report.payload.peak_bytes = 8 << 20U;
  report.bytes_read = 5;
  return report;
}

TEST(FormatReportTest, AlignsNumbersUnderTheirHeads) {
  EXPECT_EQ(
      FormatReport(Example()),
      "step     function  calls    time  per call   longest   result\n"
      "decoded  decode        2  2.50 s    1.25 s  500.0 us  3.0 MiB\n"
      "never    f             0    0 ns      0 ns      0 ns      0 B\n"
      "\n"
      "from        to       mode      calls    bytes  hand-over       p99  moved  copies  copied\n"
      "photos      decoded  embedded      2  300 KiB     3.8 ms  285.2 ms      2       0     0 B\n"
      "(workflow)  decoded  embedded      1   1023 B          -         -      0       1  1023 B\n"
      "\n"
      "payloads of 200 KiB and more move, shorter ones are copied (measured at start)\n"
      "read 5 B from files; payload memory at most 8.0 MiB; 1.23 s in all\n"
      "2 workers; calls of 2.50 s together, 2.0 at once\n"
      "sandboxed by seccomp; not here: cgroups (why)\n");
}

TEST(FormatReportTest, SaysWhyPayloadsAreCopied) {
  auto report = Example();
  report.worker.swap_available = false;
  report.worker.swap_reason = "needs Linux 5.13";
  EXPECT_THAT(FormatReport(report),
              testing::HasSubstr("copied: this machine cannot move them (needs Linux 5.13)"));
  report.policy = ipc::PayloadPolicy::kCopy;
  EXPECT_THAT(FormatReport(report), testing::HasSubstr("payloads are copied, as asked for\n"));
}

}  // namespace
}  // namespace cwasi::workflow
