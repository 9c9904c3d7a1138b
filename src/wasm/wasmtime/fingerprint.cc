// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/fingerprint.h"

#include <wasmtime.h>

#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cwasi::wasm {
namespace {

// Counts up with each change in engine.cc that compiled code depends on. The engine checks most of
// them itself; a forgotten step costs a refused load and one compilation more.
constexpr const char* kSettings = "settings-1";

// Cranelift compiles for every feature it finds (cranelift-native lib.rs): the words of CPUID that
// hold them, and XCR0, since AVX needs the kernel too. Leaf 1 ebx is left out: it names the core.
std::string Processor() {
#if defined(__x86_64__)
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  std::array<unsigned, 6> words{};
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) words[0] = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    words[1] = b;
    words[2] = c;
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) words[3] = a;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) != 0) words[4] = c;
  if ((words[0] & bit_OSXSAVE) != 0) {
    __asm__("xgetbv" : "=a"(words[5]), "=d"(d) : "c"(0));
  }
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "x86_64-%08x-%08x-%08x-%08x-%08x-%08x", words[0],
                words[1], words[2], words[3], words[4], words[5]);
  return text.data();
#else
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "other-%lx-%lx", getauxval(AT_HWCAP),
                getauxval(AT_HWCAP2));
  return text.data();
#endif
}

}  // namespace

std::string EngineFingerprint(const EngineOptions& options) {
  // The engine reads this variable itself and puts file and line into compiled code if it is 1.
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets variables
  const char* details = std::getenv("WASMTIME_BACKTRACE_DETAILS");
  const bool lines = details != nullptr && std::strcmp(details, "1") == 0;
  std::string text = "wasmtime-" WASMTIME_VERSION " build-" CWASI_WASMTIME_KEY " ";
  text += kSettings;
  text += options.interpreter ? " pulley64 " : " native ";
  if (lines) text += "lines ";
  return text + Processor();
}

}  // namespace cwasi::wasm
