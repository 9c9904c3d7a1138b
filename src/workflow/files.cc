// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/files.h"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace cwasi::workflow {
namespace {

using std::filesystem::path;

// A folder whose own name holds a '*' must not become part of the pattern.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

class Glob {
 public:
  explicit Glob(const std::string& pattern) {
    // GLOB_NOSORT: its order is the locale's, ours shall be the same everywhere.
    // NOLINTNEXTLINE(concurrency-mt-unsafe): without GLOB_TILDE it only reads the locale.
    status_ = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches_);
  }
  Glob(const Glob&) = delete;
  Glob& operator=(const Glob&) = delete;
  Glob(Glob&&) = delete;
  Glob& operator=(Glob&&) = delete;
  ~Glob() { ::globfree(&matches_); }

  [[nodiscard]] bool RanOutOfMemory() const { return status_ == GLOB_NOSPACE; }
  // Regular files only, sorted by their bytes.
  [[nodiscard]] std::vector<path> Files() const {
    std::vector<path> files;
    if (status_ != 0) return files;
    for (std::size_t i = 0; i < matches_.gl_pathc; ++i) {
      path match(matches_.gl_pathv[i]);
      std::error_code ignored;  // Gone meanwhile, or a broken link: no file.
      if (std::filesystem::is_regular_file(match, ignored)) files.push_back(std::move(match));
    }
    std::ranges::sort(files, {}, &path::native);
    return files;
  }

 private:
  glob_t matches_{};
  int status_ = 0;
};

class Finder {
 public:
  Finder(const path& folder, Mistakes& mistakes) : folder_(folder), mistakes_(mistakes) {}

  path Find(const Spelt& spelt, const std::string& where) {
    path full = folder_ / spelt.text;
    if (spelt.text.empty()) return full;  // Was a mistake before.
    std::error_code error;
    const auto status = std::filesystem::status(full, error);
    if (!std::filesystem::exists(status)) {
      mistakes_.Add(spelt.mark, where, "there is no file " + Shown(full.native()));
    } else if (!std::filesystem::is_regular_file(status)) {
      mistakes_.Add(spelt.mark, where, Shown(full.native()) + " is not a regular file");
    } else if (::access(full.c_str(), R_OK) != 0) {
      mistakes_.Add(spelt.mark, where, Shown(full.native()) + " may not be read");
    }
    return full;
  }

  std::vector<InputFile> FindAll(const Input& input) {
    const std::string where = "inputs." + Shown(input.name.text);
    if (input.kind == InputKind::kGlob) return FindMatches(input, where + ".glob");
    std::vector<InputFile> items;
    for (std::size_t i = 0; i < input.paths.size(); ++i) {
      const bool is_list = input.kind == InputKind::kFiles;
      items.push_back(Item(
          Find(input.paths[i], where + (is_list ? ".files[" + std::to_string(i) + "]" : ".file"))));
    }
    return items;
  }

 private:
  std::vector<InputFile> FindMatches(const Input& input, const std::string& where) {
    const Spelt& pattern = input.paths.front();
    std::vector<InputFile> items;
    if (pattern.text.empty()) return items;  // Was a mistake before.
    const bool absolute = pattern.text.starts_with('/');
    const std::string full =
        absolute ? pattern.text : Escaped((folder_ / "").native()) + pattern.text;
    const Glob glob(full);
    const std::vector<path> files = glob.Files();
    if (glob.RanOutOfMemory() || files.size() > kMaxItems) {
      mistakes_.Add(pattern.mark, where, "matches more than 65,536 files");
      return items;
    }
    if (files.empty()) {
      mistakes_.Add(pattern.mark, where, "no file matches " + Shown(full));
    }
    for (const path& file : files) items.push_back(Item(file));
    return items;
  }

  static InputFile Item(path file) {
    std::string name = file.stem().native();
    return {.name = std::move(name), .path = std::move(file)};
  }

  const path& folder_;
  Mistakes& mistakes_;
};

}  // namespace

Files FindFiles(const Workflow& workflow, const path& folder, Mistakes& mistakes) {
  Finder finder(folder, mistakes);
  Files files{.folder = folder, .output_folder = folder, .modules = {}, .inputs = {}};
  for (const Function& function : workflow.functions) {
    files.modules.push_back(
        finder.Find(function.path, "functions." + Shown(function.name.text) + ".path"));
  }
  for (const Input& input : workflow.inputs) {
    if (input.paths.empty()) {
      files.inputs.emplace_back();  // Was a mistake before.
    } else {
      files.inputs.push_back(finder.FindAll(input));
    }
  }
  return files;
}

}  // namespace cwasi::workflow
