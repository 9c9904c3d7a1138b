// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/integration/program.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/check.h"
#include "test/support/files.h"
#include "test/support/paths.h"

namespace cwasi::test {
namespace {

constexpr const char* kOut = ".out";
constexpr const char* kErr = ".err";

std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  const std::string task =
      "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
  const auto read = [&]() -> std::vector<pid_t> {
    std::ifstream file(task);
    return {std::istream_iterator<pid_t>(file), {}};
  };
  // The kernel counts its way through the children anew at each read(2): one that ends between two
  // of them is there beside younger ones that it never met, and another is left out.
  std::vector<pid_t> children = read();
  for (std::vector<pid_t> again; (again = read()) != children;) children = std::move(again);
  return children;
}

}  // namespace

Program::Program(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
                 const ProgramOptions& options)
    : folder_(folder) {
  const bool own = options.program.empty();
  const std::string program = own ? test::BinFolder() / "cwasi" : options.program;
  const std::string cache = "CWASI_CACHE_DIR=" + (test::BinFolder() / "test-cache").string();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  if (own) {
    envp.push_back(const_cast<char*>(cache.c_str()));
    for (char** variable = environ; *variable != nullptr; ++variable) envp.push_back(*variable);
  }
  for (const auto& variable : options.environment)
    envp.push_back(const_cast<char*>(variable.c_str()));
  envp.push_back(nullptr);
  const std::string out = (folder / kOut).string();
  const std::string err = (folder / kErr).string();
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ != 0) return;
  const int out_fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int err_fd = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ::dup2(out_fd, 1);
  ::dup2(err_fd, 2);
  if (options.user && (::setgroups(0, nullptr) != 0 ||
                       ::setresgid(*options.user, *options.user, *options.user) != 0 ||
                       ::setresuid(*options.user, *options.user, *options.user) != 0))
    ::_exit(126);
  if (::chdir(folder.c_str()) == 0) ::execve(program.c_str(), argv.data(), envp.data());
  ::_exit(127);
}

Program::~Program() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::optional<Program::Family> Program::WaitForWorkers(std::size_t workers,
                                                       MonotonicNs deadline) const {
  while (Now() < deadline) {
    for (const pid_t child : ChildrenOf(pid_)) {
      std::error_code ignored;
      const auto exe =
          std::filesystem::read_symlink("/proc/" + std::to_string(child) + "/exe", ignored);
      if (exe.filename() != "cwasi-host") continue;
      Family family{.zygote = child, .workers = ChildrenOf(child)};
      if (family.workers.size() == workers) return family;
    }
    std::this_thread::yield();
  }
  return std::nullopt;
}

void Program::Signal(int signal) const {
  CHECK(::kill(pid_, signal) == 0);
}

ProgramEnd Program::Wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) CHECK(errno == EINTR);
  pid_ = -1;
  return {.by_signal = WIFSIGNALED(status),
          .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
          .out = ReadAll(folder_ / kOut),
          .err = ReadAll(folder_ / kErr)};
}

void RunFolder::Write(const std::string& name, const std::string& content) const {
  std::ofstream(Path() / name, std::ios::binary) << content;
}

std::string RunFolder::Read(const std::string& name) const {
  return ReadAll(Path() / name);
}

void RunFolder::AddGuest(const std::string& name) const {
  std::filesystem::copy_file(test::GuestPath(name), Path() / (name + ".wasm"));
}

std::vector<std::string> RunFolder::Files() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path())) {
    const std::string name = entry.path().lexically_relative(Path()).string();
    if (!entry.is_directory() && name != kOut && name != kErr) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

ProgramEnd RunFolder::RunWorkflow(const std::string& yaml) const {
  Write("workflow.yaml", yaml);
  return Run({"run", "workflow.yaml"});
}

bool ProcessExists(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno != ESRCH;
}

bool WaitUntilBusy(pid_t pid, MonotonicNs deadline) {
  constexpr std::size_t kUserTime = 13;  // proc_pid_stat(5), counted from 0; in 10 ms.
  while (Now() < deadline) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    const std::vector<std::string> fields{std::istream_iterator<std::string>(stat), {}};
    if (fields.size() > kUserTime && std::stoul(fields[kUserTime]) >= 10) return true;
    std::this_thread::yield();
  }
  return false;
}

bool AnyExists(const Program::Family& family) {
  return ProcessExists(family.zygote) || std::ranges::any_of(family.workers, ProcessExists);
}

}  // namespace cwasi::test
