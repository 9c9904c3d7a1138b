// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Runs the real `cwasi` in a folder of its own and looks at what it leaves.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "test/support/temp_dir.h"

namespace cwasi::test {

struct ProgramEnd {
  bool by_signal = false;
  int code = 0;
  std::string out;
  std::string err;
};

// Who starts it, and which one, if not this user the build's own.
struct ProgramOptions {
  std::filesystem::path program = {};
  std::optional<uid_t> user = {};             // With a group of the same number, and no other.
  std::vector<std::string> environment = {};  // All of it, with `program`.
};

// A started program whose output goes to files.
class Program {
 public:
  Program(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
          const ProgramOptions& options = {});
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  Program(Program&&) = delete;
  Program& operator=(Program&&) = delete;
  ~Program();

  [[nodiscard]] pid_t Pid() const { return pid_; }
  // Its zygote and that one's workers, once there are `workers` of them.
  struct Family {
    pid_t zygote = -1;
    std::vector<pid_t> workers;
  };
  [[nodiscard]] std::optional<Family> WaitForWorkers(std::size_t workers,
                                                     MonotonicNs deadline) const;
  void Signal(int signal) const;
  ProgramEnd Wait();

 private:
  pid_t pid_ = -1;
  std::filesystem::path folder_;
};

// A temporary folder with a workflow and inputs.
class RunFolder {
 public:
  [[nodiscard]] const std::filesystem::path& Path() const { return dir_.Path(); }
  void Write(const std::string& name, const std::string& content) const;
  [[nodiscard]] std::string Read(const std::string& name) const;
  // Copies build/<preset>/guests/<name>.wasm here.
  void AddGuest(const std::string& name) const;
  // Every file below, sorted, but for the program's output files.
  [[nodiscard]] std::vector<std::string> Files() const;
  ProgramEnd Run(const std::vector<std::string>& arguments) const {
    return Program(Path(), arguments).Wait();
  }
  // The same with a workflow of this text.
  ProgramEnd RunWorkflow(const std::string& yaml) const;

 private:
  test::TempDir dir_;
};

// Whether a process, zombies included, has this number.
bool ProcessExists(pid_t pid);
// Waits until a process has computed for a while: a worker in a guest that loops.
bool WaitUntilBusy(pid_t pid, MonotonicNs deadline);
// Whether zygote or a worker is left.
bool AnyExists(const Program::Family& family);

}  // namespace cwasi::test
