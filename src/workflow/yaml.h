// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A YAML document as a small tree that remembers where everything stood. Only what a configuration
// file needs: no anchors, aliases, tags or second document, and a key occurs once.
//
// Source: YAML 1.1 as libyaml reads it. Units: bytes of UTF-8.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "workflow/mistakes.h"

namespace cwasi::workflow {

inline constexpr std::size_t kMaxFileBytes = 1UL << 20U;
inline constexpr std::size_t kMaxYamlDepth = 64;
inline constexpr std::size_t kMaxYamlNodes = 200'000;

enum class NodeKind : std::uint8_t { kScalar, kList, kMap };

struct MapEntry;

struct Node {
  NodeKind kind = NodeKind::kScalar;
  Mark mark;
  bool quoted = false;            // Scalar: written with quotation marks or as a block.
  std::string text;               // Scalar. No NUL.
  std::vector<Node> items;        // List.
  std::vector<MapEntry> entries;  // Map, in the order of the file.
};

struct MapEntry {
  std::string key;
  Mark key_mark;
  Node value;
};

// "text", "a list", "a map".
std::string_view Name(NodeKind kind);

// Nothing, with a mistake, when the text is not YAML or over a bound; a tree with mistakes when a
// key occurs twice (the first stays). Safe for any bytes.
std::optional<Node> ParseYaml(std::string_view text, Mistakes& mistakes);

}  // namespace cwasi::workflow
