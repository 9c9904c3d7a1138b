// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Many functions under one zygote, each in a worker of its own, as a run has them: loaded, known to
// an introducer, and asked for answers that tell the modules apart. What goes wrong ends the
// program.
//
// Thread: one.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "host/introducer.h"
#include "host/worker_process.h"
#include "host/zygote.h"
#include "loop/loop.h"

namespace cwasi::test {

class ManyFunctions {
 public:
  // Of guest_variants; compiled here.
  static constexpr std::size_t kMaxModules = 24;

  ManyFunctions(std::size_t functions, std::size_t modules);
  ManyFunctions(const ManyFunctions&) = delete;
  ManyFunctions& operator=(const ManyFunctions&) = delete;
  ManyFunctions(ManyFunctions&&) = delete;
  ManyFunctions& operator=(ManyFunctions&&) = delete;
  ~ManyFunctions();

  // All at once; until the last has its module and a first instance. By function, how long after
  // the start of all it was ready.
  std::vector<MonotonicNs> StartAll();
  // One after the other; each answer is checked. By function, from the request's bytes to the
  // answer's.
  std::vector<MonotonicNs> CallEach();
  // Asks all to end and waits until all have, with exit code 0, then ends the zygote.
  void EndAll();

  // What is there while all live. The zygote comes first.
  [[nodiscard]] std::vector<pid_t> Processes() const;

 private:
  struct Worker {
    std::unique_ptr<host::WorkerProcess> process;
    MonotonicNs ready_at = 0;
    bool gone = false;
  };
  void Start(std::size_t function);
  void Meet(std::size_t function);
  // Runs the loop until the condition holds.
  template <class Condition>
  void Until(Condition condition);

  std::unique_ptr<loop::Loop> loop_;
  std::vector<UniqueFd> modules_;
  host::Introducer introducer_;
  std::unique_ptr<host::Zygote> zygote_;
  std::vector<Worker> workers_;  // By function; its id is one more.
  std::size_t ready_ = 0;
  std::uint64_t last_value_ = 0;
  bool ending_ = false;
};

struct Footprint {
  std::size_t processes = 0;
  std::size_t threads = 0;
  std::size_t pss_kib = 0;  // 0: not ours to read.
  std::size_t page_tables_kib = 0;
  std::size_t descriptors = 0;
};
// Of these processes together.
Footprint FootprintOf(const std::vector<pid_t>& processes);

}  // namespace cwasi::test
