// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/photos/reference.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace cwasi::test {
namespace {

Result<> Run(const Arguments& command) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (const int error = posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ))
    return Fail(ErrorCode::kNotFound, "run " + command[0], error);
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return Fail(ErrorCode::kInternal, command[0] + " failed");
  return {};
}

}  // namespace

Result<Picture> RunMagick(const std::string& program, const Arguments& arguments) {
  std::string folder = std::filesystem::temp_directory_path() / "cwasi-reference-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return Fail(ErrorCode::kUnavailable, "make " + folder);
  const std::string file = folder + "/out.ppm";
  Arguments command{program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.push_back(file);
  const Result<> ran = Run(command);
  Result<Picture> picture = ran ? ReadPpm(file) : Result<Picture>(tl::unexpected(ran.error()));
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return picture;
}

Result<Picture> ReferenceDecoded(const std::string& jpeg) {
  return RunMagick("convert", {jpeg});
}

Result<Picture> ReferenceResized(const std::string& decoded, const std::string& filter) {
  return RunMagick("convert", {decoded, "-filter", filter, "-resize", kResizeWidth});
}

Result<Picture> ReferenceSharpened(const std::string& resized, const std::string& unsharp) {
  return RunMagick("convert", {resized, "-unsharp", unsharp});
}

Result<Picture> ReferenceThumbnail(const std::string& sharpened, const std::string& filter) {
  return RunMagick("convert", {sharpened, "-filter", filter, "-resize", kThumbnailBox});
}

Result<Picture> ReferenceSheet(const Arguments& thumbnails, const std::string& cell) {
  // montage leaves columns that it does not need empty; our sheet leaves them out.
  const std::size_t columns = std::min(thumbnails.size(), kSheetColumns);
  Arguments arguments{"-geometry",   cell,   "-tile", std::to_string(columns) + "x",
                      "-background", "white"};
  arguments.insert(arguments.end(), thumbnails.begin(), thumbnails.end());
  return RunMagick("montage", arguments);
}

Result<Picture> ReferenceChain(const std::string& jpeg) {
  return RunMagick("convert", {jpeg, "-filter", "Catrom", "-resize", kResizeWidth, "-unsharp",
                               kUnsharp, "-filter", "Lanczos", "-resize", kThumbnailBox});
}

}  // namespace cwasi::test
