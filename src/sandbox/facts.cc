// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/facts.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/unique_fd.h"
#include "sandbox/confinement.h"
#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

// Between the process that measures and the one that asks, both ours: fields end by kField, facts
// by kRecord; a failure is kFailure and its message.
constexpr char kField = '\x1f';
constexpr char kRecord = '\x1e';
constexpr char kFailure = '\x15';
constexpr std::size_t kMostBytes = 16384;

int WaitFor(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void Say(int fd, const std::string& text) {
  [[maybe_unused]] const auto ignored = ::write(fd, text.data(), text.size());
}

// In a process of its own. `out` is where the confined process reports too.
Result<std::string> Measure(int out) {
  TRY_SET(auto confinement, Confinement::Prepare({}));
  std::string text;
  for (const Fact& fact : confinement.Facts())
    text += fact.name + kField + fact.means + kField +
            static_cast<char>('0' + static_cast<int>(fact.state)) + kField + fact.why + kField +
            fact.advice + kField + kRecord;
  TRY_SET(auto child, confinement.Fork({}));
  if (child.pid == 0) {
    const auto entered = confinement.Enter(std::move(child), std::array{out});
    if (!entered) Say(out, kFailure + entered.error().message);
    ::_exit(entered ? 0 : 1);
  }
  if (const int status = WaitFor(child.pid); status != 0)
    return Fail(ErrorCode::kInternal,
                "a process in the sandbox ended with status " + std::to_string(status));
  return text;
}

std::string ReadToEnd(int fd) {
  std::string text;
  std::array<char, 1024> part{};
  for (;;) {
    const ssize_t got = ::read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || text.size() > kMostBytes) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
}

std::string TakeField(std::string_view& text) {
  const auto end = text.find(kField);
  std::string field(text.substr(0, end));
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

}  // namespace

Result<std::vector<Fact>> MeasureFacts() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("measure the sandbox: pipe");
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("measure the sandbox: fork");
  if (child == 0) {
    const auto text = Measure(out.Get());
    Say(out.Get(), text ? *text : kFailure + text.error().message);
    ::_exit(0);
  }
  out.Reset();
  const std::string text = ReadToEnd(in.Get());
  WaitFor(child);
  if (text.empty() || text[0] == kFailure)
    return Fail(ErrorCode::kFailedPrecondition,
                text.empty() ? "the sandbox ended its maker" : text.substr(1));
  std::vector<Fact> facts;
  for (std::string_view rest = text; !rest.empty();) {
    const auto end = rest.find(kRecord);
    std::string_view record = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    Fact fact;
    fact.name = TakeField(record);
    fact.means = TakeField(record);
    fact.state = static_cast<FactState>(TakeField(record).at(0) - '0');
    fact.why = TakeField(record);
    fact.advice = TakeField(record);
    facts.push_back(std::move(fact));
  }
  return facts;
}

std::string Summarize(std::span<const Fact> facts) {
  std::string missing;
  for (const Fact& fact : facts)
    if (fact.state == FactState::kDoesNotHold)
      missing += (missing.empty() ? "without " : ", ") + fact.name;
  return missing.empty() ? "all of it" : missing;
}

std::string SummarizeMeans(std::span<const Fact> facts) {
  std::vector<std::string_view> holding;
  for (const Fact& fact : facts)
    if (fact.state == FactState::kHolds && std::ranges::find(holding, fact.means) == holding.end())
      holding.push_back(fact.means);
  std::string text;
  for (const std::string_view means : holding)
    text += (text.empty() ? "sandboxed by " : ", ") + std::string(means);
  if (text.empty()) text = "not sandboxed";
  std::vector<std::string_view> missing;
  for (const Fact& fact : facts) {
    if (fact.state != FactState::kDoesNotHold ||
        std::ranges::find(holding, fact.means) != holding.end() ||
        std::ranges::find(missing, fact.means) != missing.end())
      continue;
    text += (missing.empty() ? "; not here: " : ", ") + fact.means + " (" + fact.why + ")";
    missing.push_back(fact.means);
  }
  return text;
}

}  // namespace cwasi::sandbox
