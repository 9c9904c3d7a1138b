// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "commands.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include "base/clock.h"
#include "base/errno_text.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "host/zygote.h"
#include "os/atomic_file.h"
#include "wasm/engine.h"
#include "wasm/module_cache.h"
#include "workflow/load.h"
#include "workflow/run.h"

namespace cwasi::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int PrintError(const std::string& message) {
  std::fprintf(stderr, "cwasi: %s\n", message.c_str());
  return kFailed;
}

struct Compiler {
  std::unique_ptr<wasm::Engine> engine;
  wasm::ModuleCache cache;

  static Result<Compiler> Create() {
    TRY_SET(const auto directory, wasm::ModuleCache::DefaultDirectory());
    TRY_SET(auto cache, wasm::ModuleCache::Open(directory));
    TRY_SET(auto engine, wasm::CreateEngine({}, nullptr));
    return Compiler{.engine = std::move(engine), .cache = std::move(cache)};
  }
  Result<wasm::CachedModule> Get(const std::string& path) {
    TRY_SET(auto module, cache.GetOrCompile(*engine, path));
    if (!module.notice.empty()) std::fprintf(stderr, "cwasi: %s\n", module.notice.c_str());
    return module;
  }
};

// Compiles what is not in the cache and opens it all, so that the files stay as they are while in
// use.
Result<std::vector<UniqueFd>> OpenModules(const workflow::Loaded& loaded,
                                          const RunArguments& arguments) {
  TRY_SET(auto compiler, Compiler::Create());
  std::vector<UniqueFd> modules;
  for (const auto& path : loaded.files.modules) {
    TRY_SET(const auto module, compiler.Get(path.string()));
    if (module.compiled_now && !arguments.quiet)
      std::fprintf(stderr, "compiled %s in %.0f ms\n", path.filename().c_str(),
                   static_cast<double>(module.duration.count()) / 1e6);
    modules.emplace_back(::open(module.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!modules.back().IsOpen())
      return Fail(ErrorCode::kUnavailable, "open " + module.path.string() + ": " + ErrnoText(errno),
                  errno);
  }
  return modules;
}

// A line now and then: a run of thousands of calls must not fill a log.
class ProgressPrinter {
 public:
  void operator()(const workflow::Progress& progress) {
    const MonotonicNs now = Now();
    const bool last = progress.calls_done == progress.calls;
    if (!last && now < next_) return;
    next_ = now + 500'000'000;
    std::fprintf(stderr, "  %zu of %zu calls, %.1f s: %.*s %.*s\n", progress.calls_done,
                 progress.calls, static_cast<double>(now - start_) / 1e9,
                 static_cast<int>(progress.step.size()), progress.step.data(),
                 static_cast<int>(progress.item.size()), progress.item.data());
  }

 private:
  MonotonicNs start_ = Now();
  MonotonicNs next_ = 0;
};

// Legal, and most often a function that forgot to respond.
void RemarkIfEmpty(const std::filesystem::path& path) {
  std::error_code unknown;
  if (std::filesystem::file_size(path, unknown) == 0 && !unknown)
    std::fprintf(stderr, "cwasi: remark: %s is empty: its function responded with nothing\n",
                 path.c_str());
}

int PrintMistakes(const std::string& file, const std::vector<workflow::Mistake>& mistakes) {
  for (const auto& mistake : mistakes)
    std::fprintf(stderr, "%s\n", workflow::Format(file, mistake).c_str());
  std::fprintf(stderr, "cwasi: %s has %zu mistake%s; nothing was run\n", file.c_str(),
               mistakes.size(), mistakes.size() == 1 ? "" : "s");
  return kUsage;
}

}  // namespace

int Run(const RunArguments& arguments) {
  auto loaded = workflow::LoadWorkflow(arguments.workflow, arguments.output_dir);
  if (!loaded) return PrintMistakes(arguments.workflow, loaded.error());
  if (!arguments.quiet)
    for (const auto& remark : workflow::Remarks(loaded->workflow))
      std::fprintf(stderr, "%s\n", workflow::Format(arguments.workflow, remark).c_str());
  const auto program = host::Zygote::DefaultProgram();
  if (!program) return PrintError(program.error().message);
  const auto modules = OpenModules(*loaded, arguments);
  if (!modules) return PrintError(modules.error().message);

  workflow::RunOptions options{.host_program = *program,
                               .payload = arguments.payload == "copy" ? ipc::PayloadPolicy::kCopy
                                                                      : ipc::PayloadPolicy::kAuto,
                               .payload_budget_bytes = arguments.payload_budget};
  if (!arguments.quiet) options.on_progress = ProgressPrinter();
  const auto report = workflow::Run(*loaded, *modules, options);
  if (!report && report.error().signal != 0) {
    std::fprintf(stderr,
                 "cwasi: ended by %s; the workers are gone, and outputs that were not finished are "
                 "not there\n",
                 ::sigdescr_np(report.error().signal));
    return 128 + report.error().signal;
  }
  if (!report) return PrintError(workflow::Describe(report.error()));
  for (const auto& path : report->written) RemarkIfEmpty(path);
  if (arguments.quiet) return 0;
  std::printf("\n%s", workflow::FormatReport(*report).c_str());
  for (const auto& path : report->written) std::printf("wrote %s\n", path.c_str());
  return 0;
}

int Compile(const CompileArguments& arguments) {
  if (!arguments.output.empty() && arguments.modules.size() != 1) {
    std::fprintf(stderr, "cwasi: --output takes one module, not %zu\n", arguments.modules.size());
    return kUsage;
  }
  if (!arguments.output.empty()) {
    auto engine = wasm::CreateEngine({}, nullptr);
    if (!engine) return PrintError(engine.error().message);
    std::ifstream in(arguments.modules[0], std::ios::binary);
    if (!in) return PrintError("open " + arguments.modules[0] + ": " + ErrnoText(errno));
    const std::vector<char> wasm((std::istreambuf_iterator<char>(in)), {});
    const auto compiled = (*engine)->Compile(std::as_bytes(std::span(wasm)), arguments.modules[0]);
    if (!compiled) return PrintError(compiled.error().message);
    auto file = os::AtomicFile::Create(arguments.output);
    if (!file) return PrintError(file.error().message);
    if (::write(file->Fd(), compiled->data(), compiled->size()) !=
        static_cast<ssize_t>(compiled->size()))
      return PrintError("write " + arguments.output + ": " + ErrnoText(errno));
    if (auto committed = file->Commit(); !committed) return PrintError(committed.error().message);
    return 0;
  }
  auto compiler = Compiler::Create();
  if (!compiler) return PrintError(compiler.error().message);
  int code = 0;
  for (const auto& path : arguments.modules) {
    const auto module = compiler->Get(path);
    if (!module) {
      code = PrintError(module.error().message);
      continue;
    }
    std::printf("%s  %s  %llu -> %llu bytes  %s\n", module->sha256.c_str(), path.c_str(),
                static_cast<unsigned long long>(module->wasm_bytes),
                static_cast<unsigned long long>(module->compiled_bytes),
                module->compiled_now ? "compiled" : "cached");
  }
  return code;
}

}  // namespace cwasi::cli
