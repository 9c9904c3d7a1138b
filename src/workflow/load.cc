// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/load.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>

#include "base/unique_fd.h"
#include "workflow/file.h"
#include "workflow/yaml.h"

namespace cwasi::workflow {
namespace {

// At most a byte more than a workflow file may have, so that ParseWorkflow refuses it.
std::optional<std::string> ReadText(const std::filesystem::path& file, Mistakes& mistakes) {
  // O_NONBLOCK: opening a FIFO would wait for a writer.
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!fd.IsOpen() || ::fstat(fd.Get(), &status) != 0) {
    mistakes.Add({}, "", "cannot be opened: " + std::generic_category().message(errno));
    return std::nullopt;
  }
  if (!S_ISREG(status.st_mode)) {
    mistakes.Add({}, "", "is not a regular file");
    return std::nullopt;
  }
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t size_bytes = 0;
  while (size_bytes < text.size()) {
    const ssize_t got = ::read(fd.Get(), text.data() + size_bytes, text.size() - size_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      mistakes.Add({}, "", "cannot be read: " + std::generic_category().message(errno));
      return std::nullopt;
    }
    if (got == 0) break;
    size_bytes += static_cast<std::size_t>(got);
  }
  text.resize(size_bytes);
  return text;
}

}  // namespace

tl::expected<Loaded, std::vector<Mistake>> LoadWorkflow(
    const std::filesystem::path& file, const std::filesystem::path& output_folder) {
  Mistakes mistakes;
  Loaded loaded;
  if (const auto text = ReadText(file, mistakes)) {
    loaded.workflow = ParseWorkflow(*text, mistakes);
    loaded.files = FindFiles(loaded.workflow, file.parent_path(), mistakes);
    if (!output_folder.empty()) loaded.files.output_folder = output_folder;
  }
  if (mistakes.IsEmpty()) loaded.plan = BuildPlan(loaded.workflow, loaded.files, mistakes);
  if (!mistakes.IsEmpty()) return tl::make_unexpected(mistakes.Sorted());
  return loaded;
}

}  // namespace cwasi::workflow
