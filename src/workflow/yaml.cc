// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/yaml.h"

#include <yaml.h>

#include <array>
#include <unordered_set>
#include <utility>

#include "base/check.h"

namespace cwasi::workflow {
namespace {

Mark MarkOf(const yaml_mark_t& mark) {
  return {.line = mark.line + 1, .column = mark.column + 1};
}

std::string_view View(const yaml_char_t* text, std::size_t size_bytes) {
  return {reinterpret_cast<const char*>(text), size_bytes};
}

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  Event(Event&&) = delete;
  Event& operator=(Event&&) = delete;
  ~Event() { yaml_event_delete(&event_); }

  yaml_event_t* Get() { return &event_; }
  [[nodiscard]] yaml_event_type_t Type() const { return event_.type; }
  [[nodiscard]] Mark At() const { return MarkOf(event_.start_mark); }

  [[nodiscard]] bool HasAnchorOrTag() const {
    switch (event_.type) {
      case YAML_SCALAR_EVENT:
        return event_.data.scalar.anchor != nullptr || event_.data.scalar.tag != nullptr;
      case YAML_SEQUENCE_START_EVENT:
        return event_.data.sequence_start.anchor != nullptr ||
               event_.data.sequence_start.tag != nullptr;
      case YAML_MAPPING_START_EVENT:
        return event_.data.mapping_start.anchor != nullptr ||
               event_.data.mapping_start.tag != nullptr;
      default:
        return false;
    }
  }
  [[nodiscard]] std::string_view Text() const {
    return View(event_.data.scalar.value, event_.data.scalar.length);
  }
  [[nodiscard]] bool IsQuoted() const {
    return event_.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  }

 private:
  yaml_event_t event_{};
};

// Recursive, as the tree; the depth is bounded before each step down.
class Parser {
 public:
  Parser(std::string_view text, Mistakes& mistakes) : mistakes_(mistakes) {
    // Fails only when there is no memory.
    CHECK(yaml_parser_initialize(&parser_) == 1);
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  Parser(Parser&&) = delete;
  Parser& operator=(Parser&&) = delete;
  ~Parser() { yaml_parser_delete(&parser_); }

  std::optional<Node> Document() {
    Event stream;
    Event start;
    if (!Next(stream) || !Next(start)) return std::nullopt;
    if (start.Type() != YAML_DOCUMENT_START_EVENT) {
      Refuse(Mark{.line = 1, .column = 1}, "the file is empty");
      return std::nullopt;
    }
    Event first;
    Node root;
    Event end;
    Event after;
    if (!Next(first) || !Build(first, 1, root) || !Next(end) || !Next(after)) return std::nullopt;
    if (after.Type() != YAML_STREAM_END_EVENT) {
      Refuse(after.At(), "a second document; one file is one workflow");
      return std::nullopt;
    }
    return root;
  }

 private:
  bool Refuse(Mark mark, std::string_view what) {
    mistakes_.Add(mark, where_, what);
    return false;
  }

  bool Next(Event& event) {
    if (yaml_parser_parse(&parser_, event.Get()) == 1) return true;
    const std::string problem = parser_.problem != nullptr ? parser_.problem : "unreadable";
    if (parser_.error == YAML_READER_ERROR) {
      // No line is known, only the byte.
      return Refuse({}, "byte " + std::to_string(parser_.problem_offset) +
                            " is not text in UTF-8 (" + problem + ")");
    }
    std::string what = "not YAML: " + problem;
    if (parser_.context != nullptr) {
      what += " " + std::string(parser_.context) + " of line " +
              std::to_string(parser_.context_mark.line + 1);
    }
    return Refuse(MarkOf(parser_.problem_mark), what);
  }

  // What is common to scalars, lists and maps.
  bool Admit(const Event& event, std::size_t depth) {
    if (event.Type() == YAML_ALIAS_EVENT || event.HasAnchorOrTag()) {
      return Refuse(event.At(), "anchors (&), aliases (*) and tags (!) are not supported");
    }
    if (depth > kMaxYamlDepth) return Refuse(event.At(), "nested more than 64 deep");
    if (++nodes_ > kMaxYamlNodes) return Refuse(event.At(), "more than 200,000 values");
    return true;
  }

  bool Build(const Event& event, std::size_t depth, Node& node) {
    if (!Admit(event, depth)) return false;
    node.mark = event.At();
    if (event.Type() == YAML_SCALAR_EVENT) return Scalar(event, node);
    if (event.Type() == YAML_SEQUENCE_START_EVENT) return List(depth, node);
    CHECK(event.Type() == YAML_MAPPING_START_EVENT);
    return Map(depth, node);
  }

  bool Scalar(const Event& event, Node& node) {
    node.text = event.Text();
    node.quoted = event.IsQuoted();
    // "\0" between quotation marks is YAML, but no name, path or text of ours can hold it.
    if (node.text.find('\0') != std::string::npos) return Refuse(node.mark, "contains a NUL byte");
    return true;
  }

  bool List(std::size_t depth, Node& node) {
    node.kind = NodeKind::kList;
    for (;;) {
      Event event;
      if (!Next(event)) return false;
      if (event.Type() == YAML_SEQUENCE_END_EVENT) return true;
      if (!Build(event, depth + 1, node.items.emplace_back())) return false;
    }
  }

  bool Map(std::size_t depth, Node& node) {
    node.kind = NodeKind::kMap;
    const std::size_t where_bytes = where_.size();
    std::unordered_set<std::string> keys;
    for (;;) {
      Event event;
      if (!Next(event)) return false;
      if (event.Type() == YAML_MAPPING_END_EVENT) return true;
      Node key;
      if (!Build(event, depth + 1, key)) return false;
      if (key.kind != NodeKind::kScalar) return Refuse(key.mark, "a key must be text");
      MapEntry entry{.key = std::move(key.text), .key_mark = key.mark, .value = {}};
      where_ += (where_.empty() ? "" : ".") + Shown(entry.key);
      Event value;
      if (!Next(value) || !Build(value, depth + 1, entry.value)) return false;
      if (keys.insert(entry.key).second) {
        node.entries.push_back(std::move(entry));
      } else {
        mistakes_.Add(entry.key_mark, where_, "this key was there before");
      }
      where_.resize(where_bytes);
    }
  }

  yaml_parser_t parser_{};
  Mistakes& mistakes_;
  std::string where_;  // The way to what is being built.
  std::size_t nodes_ = 0;
};

}  // namespace

std::string_view Name(NodeKind kind) {
  switch (kind) {
    case NodeKind::kScalar:
      return "text";
    case NodeKind::kList:
      return "a list";
    case NodeKind::kMap:
      return "a map";
  }
  CHECK(false && "a NodeKind that is none");
}

std::optional<Node> ParseYaml(std::string_view text, Mistakes& mistakes) {
  if (text.size() > kMaxFileBytes) {
    mistakes.Add({}, "", "longer than 1 MiB");
    return std::nullopt;
  }
  // Some editors begin a file with a byte order mark; libyaml takes it for a character.
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return Parser(text, mistakes).Document();
}

}  // namespace cwasi::workflow
