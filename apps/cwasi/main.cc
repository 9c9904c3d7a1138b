// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// cwasi: the command line. Exit codes: 0 done, 1 failed, 2 wrong usage or a workflow with mistakes,
// 128 + n ended by signal n.

#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "commands.h"

namespace {

int Main(int argc, char** argv) {
  CLI::App app(
      "Runs WebAssembly functions that call each other at the cost of touching their data, not of "
      "moving it.",
      "cwasi");
  app.set_version_flag("--version", CWASI_VERSION);
  app.require_subcommand(1);

  cwasi::cli::RunArguments run;
  auto* run_command = app.add_subcommand(
      "run", "Run a workflow\n\nExample: cwasi run workflow.yaml --output-dir results");
  run_command->add_option("workflow", run.workflow, "The workflow file")->required();
  run_command->add_option(
      "--output-dir", run.output_dir,
      "Where relative paths of outputs begin (default: the workflow file's folder)");
  run_command
      ->add_option("--payload", run.payload, "auto: move what is large; copy: copy everything")
      ->check(CLI::IsMember({"auto", "copy"}));
  run_command
      ->add_option("--payload-budget", run.payload_budget,
                   "Memory for payloads and functions of each worker, in bytes or with KB, MB, "
                   "GB")
      ->transform(CLI::AsSizeValue(false));
  run_command->add_flag("-q,--quiet", run.quiet, "Print only errors");

  cwasi::cli::CompileArguments compile;
  auto* compile_command =
      app.add_subcommand("compile", "Compile modules ahead of time, into the cache or a file");
  compile_command->add_option("modules", compile.modules, "WebAssembly modules")->required();
  compile_command->add_option("-o,--output", compile.output,
                              "Write the compiled module there (one module only)");

  auto* doctor_command = app.add_subcommand(
      "doctor", "Say what of cwasi works on this machine, and what to do about the rest");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (doctor_command->parsed()) return cwasi::cli::Doctor();
  return run_command->parsed() ? cwasi::cli::Run(run) : cwasi::cli::Compile(compile);
}

}  // namespace

// CLI11 throws, and so does the standard library when memory is out.
int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cwasi: %s\n", error.what());
    return 1;
  }
}
