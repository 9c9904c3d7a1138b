// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/module_cache.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/files.h"
#include "test/support/temp_dir.h"
#include "wasm/compiled_file.h"
#include "wasm/digest.h"

namespace cwasi::wasm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Sets or (empty) unsets a variable for its lifetime.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old;  // NOLINT(concurrency-mt-unsafe): one thread
    Set(value.empty() ? std::nullopt : std::optional(value));
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;
  ScopedVariable(ScopedVariable&&) = delete;
  ScopedVariable& operator=(ScopedVariable&&) = delete;
  ~ScopedVariable() { Set(old_); }

 private:
  void Set(const std::optional<std::string>& value) {
    if (value) {
      ::setenv(name_, value->c_str(), 1);  // NOLINT(concurrency-mt-unsafe): one thread
    } else {
      ::unsetenv(name_);  // NOLINT(concurrency-mt-unsafe): one thread
    }
  }
  const char* name_;
  std::optional<std::string> old_;
};

class ModuleCacheTest : public testing::Test {
 protected:
  [[nodiscard]] ModuleCache Open(const ModuleCacheLimits& limits = {}) const {
    auto cache = ModuleCache::Open(directory_, limits);
    EXPECT_TRUE(cache) << cache.error().message;
    return std::move(*cache);
  }
  CachedModule Get(const ModuleCache& cache, const fs::path& wasm) {
    auto module = cache.GetOrCompile(*engine_, wasm);
    EXPECT_TRUE(module) << module.error().message;
    return module ? *module : CachedModule{};
  }
  CachedModule Get(const fs::path& wasm) { return Get(Open(), wasm); }
  fs::path CopyOfGuest(const std::string& guest, const std::string& name) {
    fs::path path = dir_.Path() / name;
    test::WriteFile(path, test::ReadFile(test::GuestPath(guest)));
    return path;
  }
  void ExpectLoads(const CachedModule& module) {
    const auto loaded = engine_->Load(module.path);
    EXPECT_TRUE(loaded) << loaded.error().message;
  }
  [[nodiscard]] std::vector<std::string> Entries(const std::string& folder = "") const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_ / folder)) {
      if (entry.path().filename() != "seen") names.push_back(entry.path().filename());
    }
    return names;
  }

  test::TempDir dir_;
  fs::path directory_ = dir_.Path() / "cache" / "modules";
  std::unique_ptr<Engine> engine_ = std::move(*CreateEngine({}, nullptr));
  fs::path calls_ = test::GuestPath("calls");
};

TEST_F(ModuleCacheTest, CompilesOnceAndFindsItAgain) {
  const CachedModule first = Get(calls_);
  EXPECT_TRUE(first.compiled_now);
  EXPECT_EQ(first.notice, "");
  EXPECT_EQ(first.wasm_bytes, fs::file_size(calls_));
  EXPECT_EQ(first.sha256, Sha256Hex(test::ReadFile(calls_)));
  EXPECT_EQ(first.compiled_bytes, fs::file_size(first.path) - kCompiledFileTrailerBytes);
  EXPECT_GT(first.duration.count(), 0);
  ExpectLoads(first);
  const CachedModule second = Get(calls_);
  EXPECT_FALSE(second.compiled_now);
  EXPECT_EQ(second.path, first.path);
  EXPECT_EQ(second.sha256, first.sha256);
  EXPECT_EQ(second.wasm_bytes, first.wasm_bytes);
  EXPECT_EQ(second.compiled_bytes, first.compiled_bytes);
  EXPECT_EQ(second.notice, "");
}

TEST_F(ModuleCacheTest, KeepsFoldersPrivateAndFilesReadOnly) {
  const CachedModule module = Get(calls_);
  EXPECT_EQ(fs::status(directory_).permissions(), fs::perms(0700));
  EXPECT_EQ(fs::status(directory_.parent_path()).permissions(), fs::perms(0700));
  EXPECT_EQ(fs::status(directory_ / "seen").permissions(), fs::perms(0700));
  EXPECT_EQ(fs::status(module.path).permissions(), fs::perms(0444));
}

TEST_F(ModuleCacheTest, NamesEntriesByContentNotByPath) {
  const CachedModule one = Get(CopyOfGuest("calls", "one.wasm"));
  const CachedModule two = Get(CopyOfGuest("calls", "two.wasm"));
  EXPECT_TRUE(one.compiled_now);
  EXPECT_FALSE(two.compiled_now);
  EXPECT_EQ(one.path, two.path);
}

TEST_F(ModuleCacheTest, KeepsWhatDifferentEnginesMadeApart) {
  const CachedModule native = Get(calls_);
  auto interpreter = std::move(*CreateEngine({.interpreter = true}, nullptr));
  const auto interpreted = Open().GetOrCompile(*interpreter, calls_);
  ASSERT_TRUE(interpreted) << interpreted.error().message;
  EXPECT_TRUE(interpreted->compiled_now);
  EXPECT_NE(interpreted->path, native.path);
  EXPECT_TRUE(interpreter->Load(interpreted->path));
}

TEST_F(ModuleCacheTest, NoticesAChangedFileOfTheSameSize) {
  const fs::path wasm = dir_.Path() / "f.wasm";
  auto bytes = test::ReadFile(calls_);
  test::WriteFile(wasm, bytes);
  const CachedModule before = Get(wasm);
  const auto text = std::string("cwasi");  // Of the data segment.
  const auto at = std::search(bytes.begin(), bytes.end(), text.begin(), text.end(),
                              [](std::byte a, char b) { return static_cast<char>(a) == b; });
  ASSERT_NE(at, bytes.end());
  *at = std::byte{'C'};
  test::WriteFile(wasm, bytes);
  const CachedModule after = Get(wasm);
  EXPECT_TRUE(after.compiled_now);
  EXPECT_NE(after.path, before.path);
}

TEST_F(ModuleCacheTest, RemembersTheDigestOfAFileThatHasSettled) {
  const ModuleCache cache = Open({.settled = std::chrono::seconds(0)});
  const fs::path wasm = CopyOfGuest("calls", "f.wasm");
  const CachedModule other = Get(cache, test::GuestPath("start_traps"));
  Get(cache, wasm);
  // Which one is it? Point all at another module, and see that one come back.
  int links = 0;
  for (const auto& entry : fs::directory_iterator(directory_ / "seen")) {
    fs::remove(entry.path());
    fs::create_symlink(other.sha256, entry.path());
    ++links;
  }
  EXPECT_EQ(links, 2);
  EXPECT_EQ(Get(cache, wasm).path, other.path);
  fs::remove_all(directory_ / "seen");
  EXPECT_NE(Get(wasm).path, other.path);
}

TEST_F(ModuleCacheTest, DoesNotRememberAFileThatJustChanged) {
  Get(CopyOfGuest("calls", "f.wasm"));
  EXPECT_THAT(Entries("seen"), testing::IsEmpty());
}

TEST_F(ModuleCacheTest, ForgetsNonsenseInItsMemory) {
  const ModuleCache cache = Open({.settled = std::chrono::seconds(0)});
  const fs::path wasm = CopyOfGuest("calls", "f.wasm");
  const CachedModule module = Get(cache, wasm);
  for (const auto& entry : fs::directory_iterator(directory_ / "seen")) {
    fs::remove(entry.path());
    fs::create_symlink("../../etc/passwd", entry.path());
  }
  EXPECT_EQ(Get(cache, wasm).path, module.path);
}

// Damaged entries.

struct Damage {
  const char* what;
  void (*inflict)(const fs::path& entry);
  const char* says;
};

void Rewrite(const fs::path& entry, const std::function<void(std::vector<std::byte>&)>& change) {
  auto bytes = test::ReadFile(entry);
  change(bytes);
  fs::remove(entry);
  test::WriteFile(entry, bytes);
}

class DamageTest : public ModuleCacheTest, public testing::WithParamInterface<Damage> {};

TEST_P(DamageTest, IsNoticedOnceAndRepaired) {
  const CachedModule first = Get(calls_);
  GetParam().inflict(first.path);
  const CachedModule repaired = Get(calls_);
  EXPECT_TRUE(repaired.compiled_now);
  EXPECT_EQ(repaired.path, first.path);
  EXPECT_THAT(repaired.notice, HasSubstr(GetParam().says));
  EXPECT_THAT(repaired.notice, HasSubstr(first.path.string()));
  ExpectLoads(repaired);
  const CachedModule after = Get(calls_);
  EXPECT_FALSE(after.compiled_now);
  EXPECT_EQ(after.notice, "");
  EXPECT_THAT(Entries(), testing::SizeIs(1));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamageTest,
    testing::Values(
        Damage{"Empty", [](const fs::path& p) { Rewrite(p, [](auto& b) { b.clear(); }); },
               "truncated"},
        Damage{"OneByteLess", [](const fs::path& p) { Rewrite(p, [](auto& b) { b.pop_back(); }); },
               "truncated"},
        Damage{"Half",
               [](const fs::path& p) { Rewrite(p, [](auto& b) { b.resize(b.size() / 2); }); },
               "truncated"},
        Damage{"OneByteMore",
               [](const fs::path& p) { Rewrite(p, [](auto& b) { b.push_back(std::byte{0}); }); },
               "truncated"},
        Damage{
            "OneBit",
            [](const fs::path& p) { Rewrite(p, [](auto& b) { b[b.size() / 2] ^= std::byte{1}; }); },
            "checksum"},
        Damage{"OtherVersion",
               [](const fs::path& p) {
                 Rewrite(p, [](auto& b) { b[b.size() - 32] ^= std::byte{2}; });
               },
               "another version"},
        Damage{"OtherEngine",
               [](const fs::path& p) {
                 Rewrite(p, [](auto& b) { b[b.size() - 24] ^= std::byte{2}; });
               },
               "another version"},
        Damage{"Link",
               [](const fs::path& p) {
                 fs::rename(p, p.parent_path() / "seen" / "elsewhere");
                 fs::create_symlink(p.parent_path() / "seen" / "elsewhere", p);
               },
               "symbolic link"},
        Damage{"Fifo",
               [](const fs::path& p) {
                 fs::remove(p);
                 ASSERT_EQ(::mkfifo(p.c_str(), 0600), 0);
               },
               "not a regular file"}),
    [](const auto& test) { return std::string(test.param.what); });

TEST_F(ModuleCacheTest, CompileReplacesAnEntryThatIsThere) {
  const CachedModule first = Get(calls_);
  struct stat before{};
  ASSERT_EQ(::stat(first.path.c_str(), &before), 0);
  const auto again = Open().Compile(*engine_, calls_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->compiled_now);
  EXPECT_EQ(again->path, first.path);
  struct stat after{};
  ASSERT_EQ(::stat(first.path.c_str(), &after), 0);
  EXPECT_NE(before.st_ino, after.st_ino);
  ExpectLoads(*again);
}

TEST_F(ModuleCacheTest, SaysWhenAnEntryCannotBeReplaced) {
  const CachedModule first = Get(calls_);
  fs::remove(first.path);
  fs::create_directory(first.path);
  const auto again = Open().GetOrCompile(*engine_, calls_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument) << again.error().message;
  EXPECT_THAT(Entries(), testing::SizeIs(1));  // Nothing unfinished stays.
}

// Inputs.

TEST_F(ModuleCacheTest, SaysWhatIsWrongWithTheInput) {
  const ModuleCache cache = Open({.wasm_bytes = 100});
  const fs::path fifo = dir_.Path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const fs::path text = dir_.Path() / "text.wasm";
  test::WriteFile(text, std::as_bytes(std::span("hello", 5)));
  const struct {
    fs::path path;
    ErrorCode code;
    const char* says;
  } cases[] = {{dir_.Path() / "absent", ErrorCode::kNotFound, "No such file"},
               {dir_.Path(), ErrorCode::kInvalidArgument, "not a regular file"},
               {fifo, ErrorCode::kInvalidArgument, "not a regular file"},
               {"/dev/zero", ErrorCode::kInvalidArgument, "not a regular file"},
               {calls_, ErrorCode::kInvalidArgument, "the limit is 100"},
               {text, ErrorCode::kInvalidArgument, "is not WebAssembly"}};
  for (const auto& test : cases) {
    const auto module = cache.GetOrCompile(*engine_, test.path);
    ASSERT_FALSE(module) << test.path;
    EXPECT_EQ(module.error().code, test.code) << module.error().message;
    EXPECT_THAT(module.error().message, HasSubstr(test.says));
    EXPECT_THAT(module.error().message, HasSubstr(test.path.string()));
  }
  EXPECT_THAT(Entries(), testing::IsEmpty());
}

// Folders.

TEST_F(ModuleCacheTest, RefusesAFolderThatOthersMayWrite) {
  fs::create_directories(directory_);
  fs::permissions(directory_, fs::perms(0777));
  const auto cache = ModuleCache::Open(directory_);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, ErrorCode::kPermissionDenied) << cache.error().message;
}

TEST_F(ModuleCacheTest, RefusesAFolderOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a folder away";
  fs::create_directories(directory_);
  ASSERT_EQ(::chown(directory_.c_str(), 65534, 65534), 0);
  const auto cache = ModuleCache::Open(directory_);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, ErrorCode::kPermissionDenied) << cache.error().message;
}

TEST_F(ModuleCacheTest, SaysWhenAFileIsInTheWay) {
  test::WriteFile(dir_.Path() / "cache", {});
  const auto cache = ModuleCache::Open(directory_);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, ErrorCode::kInvalidArgument) << cache.error().message;
  EXPECT_THAT(cache.error().message, HasSubstr("cache"));
}

TEST_F(ModuleCacheTest, ChoosesItsFolderByTheEnvironment) {
  const ScopedVariable home("HOME", "/h");
  const ScopedVariable xdg("XDG_CACHE_HOME", "/x");
  const ScopedVariable own("CWASI_CACHE_DIR", "/c");
  EXPECT_EQ(ModuleCache::DefaultDirectory().value(), "/c/modules");
  const ScopedVariable no_own("CWASI_CACHE_DIR", "");
  EXPECT_EQ(ModuleCache::DefaultDirectory().value(), "/x/cwasi/modules");
  const ScopedVariable relative_xdg("XDG_CACHE_HOME", "x");
  EXPECT_EQ(ModuleCache::DefaultDirectory().value(), "/h/.cache/cwasi/modules");
  const ScopedVariable no_xdg("XDG_CACHE_HOME", "");
  EXPECT_EQ(ModuleCache::DefaultDirectory().value(), "/h/.cache/cwasi/modules");
  const ScopedVariable no_home("HOME", "");
  const auto none = ModuleCache::DefaultDirectory();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kFailedPrecondition);
}

// Bounds and company.

TEST_F(ModuleCacheTest, DropsTheEntriesLongestUnusedBeyondItsLimit) {
  const CachedModule old = Get(calls_);
  const CachedModule middle = Get(test::GuestPath("imports"));
  const auto set_used = [](const fs::path& path, std::time_t seconds) {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  set_used(old.path, 1000);
  set_used(middle.path, 2000);
  const std::uint64_t room = fs::file_size(middle.path) * 3 / 2;
  const ModuleCache cache = Open({.directory_bytes = room + fs::file_size(old.path)});
  const CachedModule fresh = Get(cache, test::GuestPath("start_traps"));
  EXPECT_TRUE(fresh.compiled_now);
  EXPECT_FALSE(fs::exists(old.path));
  EXPECT_TRUE(fs::exists(middle.path));
  ExpectLoads(fresh);
}

TEST_F(ModuleCacheTest, KeepsTheNewEntryHoweverSmallTheLimit) {
  const ModuleCache cache = Open({.directory_bytes = 1});
  ExpectLoads(Get(cache, calls_));
  ExpectLoads(Get(cache, test::GuestPath("imports")));
  EXPECT_THAT(Entries(), testing::SizeIs(1));
}

TEST_F(ModuleCacheTest, RemovesWhatADeadProcessLeftUnfinished) {
  const ModuleCache cache = Open();
  const fs::path abandoned = directory_ / ".new-0123";
  const fs::path recent = directory_ / ".new-4567";
  test::WriteFile(abandoned, {});
  test::WriteFile(recent, {});
  const timespec times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, abandoned.c_str(), times, 0), 0);
  Get(cache, calls_);
  EXPECT_FALSE(fs::exists(abandoned));
  EXPECT_TRUE(fs::exists(recent));
}

// Processes, as it happens in life. (Threads would do for the cache, but the engine maps and unmaps
// by bare system calls, so ThreadSanitizer takes a mapping that another thread had before for a
// race.)
TEST_F(ModuleCacheTest, SeveralProcessesMayCompileTheSameModuleAtOnce) {
  const ModuleCache cache = Open();
  std::vector<pid_t> children(4);
  for (pid_t& child : children) {
    child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto module = cache.GetOrCompile(*engine_, calls_);
      ::_exit(module && engine_->Load(module->path) ? 0 : 1);
    }
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_THAT(Entries(), testing::SizeIs(1));
  EXPECT_FALSE(Get(calls_).compiled_now);
}

}  // namespace
}  // namespace cwasi::wasm
