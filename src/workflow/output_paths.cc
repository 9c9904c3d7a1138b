// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/output_paths.h"

#include "base/check.h"
#include "workflow/pattern.h"

namespace cwasi::workflow {
namespace {

std::string Normal(const std::filesystem::path& path) {
  return path.lexically_normal().native();
}

}  // namespace

OutputPaths::OutputPaths(const Workflow& workflow, const Files& files, Mistakes& mistakes)
    : workflow_(workflow), files_(files), mistakes_(mistakes) {
  for (const auto& module : files.modules) read_.insert(Normal(module));
  for (const auto& items : files.inputs) {
    for (const InputFile& item : items) read_.insert(Normal(item.path));
  }
}

std::filesystem::path OutputPaths::Add(std::size_t output, std::string_view name, std::size_t index,
                                       std::size_t count) {
  const auto pattern = ParsePattern(workflow_.outputs[output].file.text);
  CHECK(pattern);  // ParseWorkflow refuses what is none.
  const std::filesystem::path path = files_.output_folder / pattern->Expand(name, index, count);
  if (pattern->HasName() && (name == "." || name == "..")) {
    Refuse(output, "an item is named " + Quoted(name) + ", which is no file's name; use {index}");
    return path;
  }
  const std::string normal = Normal(path);
  if (normal.empty() || normal.ends_with('/') || normal.ends_with("/..") || normal == "." ||
      normal == "..") {
    Refuse(output, Shown(path.native()) + " is a folder, not a file");
    return path;
  }
  if (read_.contains(normal)) {
    Refuse(output, "would overwrite " + Shown(normal) + ", which the workflow reads");
    return path;
  }
  const auto [other, is_new] =
      written_.try_emplace(normal, Owner{.output = output, .item = std::string(name)});
  if (is_new) return path;
  if (other->second.output == output) {
    Refuse(output, "two items are named " + Quoted(name) + ", so both would go to " +
                       Shown(normal) + "; use {index}");
  } else {
    Refuse(output, "would go to " + Shown(normal) + " as outputs." +
                       Shown(workflow_.outputs[other->second.output].name.text) + " does");
  }
  return path;
}

void OutputPaths::CheckFolders() {
  std::unordered_set<std::string> seen;
  for (const auto& [path, owner] : written_) {
    for (std::filesystem::path folder = std::filesystem::path(path).parent_path();
         folder.has_relative_path() && seen.insert(folder.native()).second;
         folder = folder.parent_path()) {
      if (const auto file = written_.find(folder.native()); file != written_.end()) {
        Refuse(file->second.output, Shown(folder.native()) + " is also the folder of outputs." +
                                        Shown(workflow_.outputs[owner.output].name.text));
      } else if (read_.contains(folder.native())) {
        Refuse(owner.output, Shown(folder.native()) + " is a file that the workflow reads");
      }
    }
  }
}

void OutputPaths::Refuse(std::size_t output, const std::string& what) {
  if (!refused_.insert(output).second) return;
  const Output& where = workflow_.outputs[output];
  mistakes_.Add(where.file.mark, "outputs." + Shown(where.name.text) + ".file", what);
}

}  // namespace cwasi::workflow
