// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/file.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <string>
#include <system_error>
#include <utility>

#include "workflow/references.h"
#include "workflow/sharing.h"
#include "workflow/units.h"
#include "workflow/yaml.h"

namespace cwasi::workflow {
namespace {

constexpr std::size_t kMaxPathBytes = 4095;
// Beside these the worker adds its own, within ipc::kMaxMetadata.
constexpr std::size_t kMaxWith = 128;

bool IsName(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  return !text.empty() && text.size() <= kMaxNameBytes && std::ranges::all_of(text, fits);
}

// One place in the file and the way to it.
struct Place {
  const Node& node;
  std::string where;
};

template <class E>
struct Choice {
  std::string_view word;
  E value;
};

// Turns nodes into what they should be, and notes a mistake where they are not that.
class Reader {
 public:
  explicit Reader(Mistakes& mistakes) : mistakes_(mistakes) {}

  Workflow ReadWorkflow(const Node& root) {
    Workflow workflow;
    const Place file{root, ""};
    if (!IsMap(file, {"name", "workers", "functions", "inputs", "steps", "outputs"},
               {"functions", "steps"})) {
      return workflow;
    }
    if (const auto name = Member(file, "name")) workflow.name = ReadName(*name).text;
    workflow.workers = ReadWorkers(file);
    ReadEach(file, "functions", workflow.functions, &Reader::ReadFunction);
    if (workflow.functions.size() > kMaxFunctions) {
      mistakes_.Add(root.mark, "functions", "more than 10,000 functions");
    }
    ReadEach(file, "inputs", workflow.inputs, &Reader::ReadInput);
    ReadEach(file, "steps", workflow.steps, &Reader::ReadStep);
    ReadEach(file, "outputs", workflow.outputs, &Reader::ReadOutput);
    if (workflow.steps.size() > kMaxSteps) {
      mistakes_.Add(root.mark, "steps", "more than 10,000 steps");
    }
    return workflow;
  }

 private:
  bool IsKind(const Place& place, NodeKind kind) {
    if (place.node.kind == kind) return true;
    mistakes_.Add(
        place.node.mark, place.where,
        "must be " + std::string(Name(kind)) + ", is " + std::string(Name(place.node.kind)));
    return false;
  }

  // A map with these keys only.
  bool IsMap(const Place& place, std::vector<std::string_view> keys,
             std::initializer_list<std::string_view> required) {
    if (!IsKind(place, NodeKind::kMap)) return false;
    for (const MapEntry& entry : place.node.entries) {
      if (std::ranges::find(keys, entry.key) != keys.end()) continue;
      mistakes_.AddMisspelt(entry.key_mark, Below(place, entry.key), "unknown key", entry.key,
                            keys);
    }
    for (const std::string_view key : required) {
      if (Member(place, key)) continue;
      mistakes_.Add(place.node.mark, place.where,
                    "lacks the key " + std::string(key) + ", which is required");
    }
    return true;
  }

  static std::string Below(const Place& place, std::string_view key) {
    return place.where.empty() ? Shown(key) : place.where + "." + Shown(key);
  }

  static std::optional<Place> Member(const Place& map, std::string_view key) {
    const auto entry = std::ranges::find(map.node.entries, key, &MapEntry::key);
    if (entry == map.node.entries.end()) return std::nullopt;
    return Place{entry->value, Below(map, key)};
  }

  // The named things below `key`: functions, inputs, steps, outputs.
  template <class T>
  void ReadEach(const Place& file, std::string_view key, std::vector<T>& out,
                T (Reader::*read)(const Place&)) {
    const auto section = Member(file, key);
    if (!section || !IsKind(*section, NodeKind::kMap)) return;
    for (const MapEntry& entry : section->node.entries) {
      const Place place{entry.value, Below(*section, entry.key)};
      if (!IsName(entry.key)) {
        mistakes_.Add(entry.key_mark, place.where,
                      "a name has 1 to 64 letters, digits, hyphens or underscores");
      }
      out.push_back((this->*read)(place));
      out.back().name = {.text = entry.key, .mark = entry.key_mark};
    }
  }

  // Empty text where there is a mistake.
  Spelt ReadText(const Place& place) {
    Spelt text{.text = {}, .mark = place.node.mark};
    if (!IsKind(place, NodeKind::kScalar)) return text;
    if (place.node.text.empty()) mistakes_.Add(text.mark, place.where, "has no value");
    text.text = place.node.text;
    return text;
  }

  Spelt ReadName(const Place& place) {
    Spelt name = ReadText(place);
    if (name.text.empty() || IsName(name.text)) return name;
    mistakes_.Add(
        name.mark, place.where,
        Quoted(name.text) + " is no name: 1 to 64 letters, digits, hyphens or underscores");
    name.text.clear();
    return name;
  }

  Spelt ReadPath(const Place& place) {
    Spelt path = ReadText(place);
    if (path.text.size() > kMaxPathBytes) {
      mistakes_.Add(path.mark, place.where, "a path has at most 4095 bytes");
    }
    return path;
  }

  template <class E>
  void ReadChoice(const Place& map, std::string_view key, std::initializer_list<Choice<E>> choices,
                  E& out) {
    const auto place = Member(map, key);
    if (!place) return;
    const Spelt text = ReadText(*place);
    if (text.text.empty()) return;
    std::vector<std::string_view> words;
    std::string list;
    for (const Choice<E>& choice : choices) {
      if (choice.word == text.text) {
        out = choice.value;
        return;
      }
      words.push_back(choice.word);
      list += (list.empty() ? "" : " or ") + std::string(choice.word);
    }
    mistakes_.AddMisspelt(text.mark, place->where, "must be " + list + ", is " + Quoted(text.text),
                          text.text, words);
  }

  std::optional<std::chrono::nanoseconds> ReadTimeout(const Place& map) {
    const auto place = Member(map, "timeout");
    if (!place) return std::nullopt;
    const Spelt text = ReadText(*place);
    if (text.text.empty()) return std::nullopt;
    const auto timeout = ParseDuration(text.text);
    if (timeout && timeout->count() > 0) return timeout;
    mistakes_.Add(text.mark, place->where,
                  Quoted(text.text) + (timeout ? " is no time to run in; it must be over 0"
                                               : " is no time (as 500us, 20ms, 30s, 5m, 1h)"));
    return std::nullopt;
  }

  void ReadMemory(const Place& map, std::uint64_t& out) {
    const auto place = Member(map, "memory");
    if (!place) return;
    const Spelt text = ReadText(*place);
    if (text.text.empty()) return;
    const auto bytes = ParseBytes(text.text);
    if (!bytes) {
      mistakes_.Add(text.mark, place->where,
                    Quoted(text.text) + " is no amount of memory (as 65536, 64KiB, 512MiB, 4GiB)");
    } else if (*bytes < ipc::kMinMemoryLimitBytes || *bytes > ipc::kMaxMemoryLimitBytes) {
      mistakes_.Add(text.mark, place->where, Quoted(text.text) + " is not from 64KiB to 4GiB");
    } else {
      out = *bytes;
    }
  }

  Function ReadFunction(const Place& place) {
    Function function;
    if (!IsMap(place,
               {"path", "embed", "memory", "modes", "timeout", "instances", "workers", "zero",
                "calls"},
               {"path"})) {
      return function;
    }
    if (const auto path = Member(place, "path")) function.path = ReadPath(*path);
    ReadChoice<ipc::Embed>(place, "embed",
                           {{"allow", ipc::Embed::kAllow}, {"deny", ipc::Embed::kDeny}},
                           function.embed);
    ReadMemory(place, function.memory_limit_bytes);
    function.timeout = ReadTimeout(place).value_or(function.timeout);
    ReadChoice<ipc::Instances>(
        place, "instances",
        {{"reused", ipc::Instances::kReused}, {"fresh", ipc::Instances::kFresh}},
        function.instances);
    ReadChoice<ipc::Zero>(place, "zero",
                          {{"always", ipc::Zero::kAlways}, {"never", ipc::Zero::kNever}},
                          function.zero);
    if (const auto modes = Member(place, "modes")) {
      function.modes = ReadModes(*modes);
      if (function.modes == Modes::kEmbedded && function.embed == ipc::Embed::kDeny)
        mistakes_.Add(modes->node.mark, modes->where, "has embedded, which needs embed: allow");
    }
    if (const auto calls = Member(place, "calls")) ReadCalls(*calls, function.calls);
    function.workers = ReadWorkers(place);
    if (const auto workers = Member(place, "workers");
        workers && function.workers && function.IsShared()) {
      mistakes_.Add(
          workers->node.mark, Below(place, "workers"),
          "is for functions in workers of their own (modes: [local] or embed: deny); this "
          "one shares workers, whose number the file's own key workers says");
    }
    return function;
  }

  // Of a scalar or a list; what is too much is a mistake.
  std::vector<Spelt> ReadModeWords(const Place& place) {
    std::vector<Spelt> words;
    if (place.node.kind == NodeKind::kScalar) {
      words.push_back(ReadText(place));
    } else if (IsKind(place, NodeKind::kList)) {
      if (place.node.items.empty())
        mistakes_.Add(place.node.mark, place.where, "the list is empty");
      for (std::size_t i = 0; i < place.node.items.size() && i < 3; ++i)
        words.push_back(ReadText(Item(place, i)));
      if (place.node.items.size() > 2)
        mistakes_.Add(place.node.mark, place.where, "names a mode twice");
    }
    return words;
  }

  Modes ReadModes(const Place& place) {
    bool embedded = false;
    bool local = false;
    for (const Spelt& word : ReadModeWords(place)) {
      if (word.text.empty()) return Modes::kBoth;
      bool* const mode = word.text == "embedded" ? &embedded
                         : word.text == "local"  ? &local
                                                 : nullptr;
      if (mode == nullptr) {
        mistakes_.AddMisspelt(word.mark, place.where,
                              "must be embedded or local, is " + Quoted(word.text), word.text,
                              {"embedded", "local"});
        return Modes::kBoth;
      }
      if (std::exchange(*mode, true)) mistakes_.Add(word.mark, place.where, "names a mode twice");
    }
    if (embedded == local) return Modes::kBoth;
    return embedded ? Modes::kEmbedded : Modes::kLocal;
  }

  void ReadCalls(const Place& place, std::vector<CallRule>& calls) {
    if (!IsKind(place, NodeKind::kMap)) return;
    for (const MapEntry& entry : place.node.entries) {
      const Place rule{entry.value, Below(place, entry.key)};
      if (!IsMap(rule, {"modes"}, {"modes"})) continue;
      calls.push_back({.callee = {.text = entry.key, .mark = entry.key_mark}});
      if (const auto modes = Member(rule, "modes")) calls.back().modes = ReadModes(*modes);
    }
  }

  std::optional<std::uint32_t> ReadWorkers(const Place& map) {
    const auto place = Member(map, "workers");
    if (!place) return std::nullopt;
    const Spelt text = ReadText(*place);
    if (text.text.empty()) return std::nullopt;
    std::uint32_t number = 0;
    const char* const end = text.text.data() + text.text.size();
    const auto [rest, error] = std::from_chars(text.text.data(), end, number);
    if (error == std::errc() && rest == end && number >= 1 && number <= kMaxWorkers) return number;
    mistakes_.Add(text.mark, place->where, Quoted(text.text) + " is no number from 1 to 1024");
    return std::nullopt;
  }

  Input ReadInput(const Place& place) {
    Input input;
    if (!IsMap(place, {"glob", "file", "files"}, {})) return input;
    const auto glob = Member(place, "glob");
    const auto file = Member(place, "file");
    const auto files = Member(place, "files");
    if ((glob ? 1 : 0) + (file ? 1 : 0) + (files ? 1 : 0) != 1) {
      mistakes_.Add(place.node.mark, place.where, "must have one of glob, file and files");
    }
    if (glob) {
      input.kind = InputKind::kGlob;
      input.paths.push_back(ReadPath(*glob));
    } else if (file) {
      input.paths.push_back(ReadPath(*file));
    } else if (files) {
      input.kind = InputKind::kFiles;
      ReadFiles(*files, input.paths);
    }
    return input;
  }

  void ReadFiles(const Place& place, std::vector<Spelt>& paths) {
    if (!IsKind(place, NodeKind::kList)) return;
    if (place.node.items.empty()) mistakes_.Add(place.node.mark, place.where, "the list is empty");
    if (place.node.items.size() > kMaxItems) {
      mistakes_.Add(place.node.mark, place.where, "more than 65,536 files");
      return;
    }
    for (std::size_t i = 0; i < place.node.items.size(); ++i) {
      paths.push_back(ReadPath(Item(place, i)));
    }
  }

  static Place Item(const Place& list, std::size_t index) {
    return {list.node.items[index], list.where + "[" + std::to_string(index) + "]"};
  }

  Step ReadStep(const Place& place) {
    Step step;
    if (!IsMap(place, {"call", "needs", "for_each", "with", "timeout"}, {"call"})) return step;
    if (const auto call = Member(place, "call")) step.call = ReadName(*call);
    if (const auto needs = Member(place, "needs")) ReadNeeds(*needs, step.needs);
    if (const auto each = Member(place, "for_each")) step.for_each_name = ReadName(*each);
    if (const auto with = Member(place, "with")) ReadWith(*with, step.with);
    step.timeout = ReadTimeout(place);
    return step;
  }

  void ReadNeeds(const Place& place, std::vector<Need>& needs) {
    if (place.node.kind != NodeKind::kList) {
      needs.push_back(ReadNeed(place));
    } else if (place.node.items.size() > kMaxItems) {
      mistakes_.Add(place.node.mark, place.where, "more than 65,536 names");
    } else {
      for (std::size_t i = 0; i < place.node.items.size(); ++i)
        needs.push_back(ReadNeed(Item(place, i)));
    }
  }

  // A name, or a map that says more.
  Need ReadNeed(const Place& place) {
    Need need;
    if (place.node.kind == NodeKind::kScalar) {
      need.name = ReadName(place);
      return need;
    }
    if (place.node.kind == NodeKind::kList) {
      mistakes_.Add(place.node.mark, place.where, "must be a name or a map with from, is a list");
      return need;
    }
    if (!IsMap(place, {"from", "modes"}, {"from"})) return need;
    if (const auto from = Member(place, "from")) need.name = ReadName(*from);
    if (const auto modes = Member(place, "modes")) need.modes = ReadModes(*modes);
    return need;
  }

  void ReadWith(const Place& place, std::vector<ipc::Metadata>& with) {
    if (!IsKind(place, NodeKind::kMap)) return;
    if (place.node.entries.size() > kMaxWith) {
      mistakes_.Add(place.node.mark, place.where, "more than 128 keys");
      return;
    }
    for (const MapEntry& entry : place.node.entries) {
      const Place value{entry.value, Below(place, entry.key)};
      if (entry.key.empty() || entry.key.size() > ipc::kMaxMetadataKeyBytes) {
        mistakes_.Add(entry.key_mark, value.where, "a key has 1 to 128 bytes");
      }
      if (entry.key.starts_with("cwasi.")) {
        mistakes_.Add(entry.key_mark, value.where, "keys that start with cwasi. are the runtime's");
      }
      // Empty text is a value here.
      if (!IsKind(value, NodeKind::kScalar)) continue;
      if (entry.value.text.size() > ipc::kMaxMetadataValueBytes) {
        mistakes_.Add(entry.value.mark, value.where, "a value has at most 4096 bytes");
      }
      with.push_back({.key = entry.key, .value = entry.value.text});
    }
  }

  Output ReadOutput(const Place& place) {
    Output output;
    if (!IsMap(place, {"from", "file"}, {"from", "file"})) return output;
    if (const auto from = Member(place, "from")) output.from.name = ReadName(*from);
    if (const auto file = Member(place, "file")) output.file = ReadPath(*file);
    return output;
  }

  Mistakes& mistakes_;
};

}  // namespace

Workflow ParseWorkflow(std::string_view text, Mistakes& mistakes) {
  const auto root = ParseYaml(text, mistakes);
  if (!root) return {};
  Workflow workflow = Reader(mistakes).ReadWorkflow(*root);
  ResolveReferences(workflow, mistakes);
  ShareWorkers(workflow, mistakes);
  return workflow;
}

}  // namespace cwasi::workflow
