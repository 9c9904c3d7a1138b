// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/references.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "workflow/pattern.h"

namespace cwasi::workflow {
namespace {

class Resolver {
 public:
  Resolver(Workflow& workflow, Mistakes& mistakes) : workflow_(workflow), mistakes_(mistakes) {}

  void Resolve() {
    for (std::size_t i = 0; i < workflow_.functions.size(); ++i) {
      functions_.emplace(workflow_.functions[i].name.text, i);
    }
    for (std::size_t i = 0; i < workflow_.inputs.size(); ++i) {
      sources_.emplace(workflow_.inputs[i].name.text,
                       Source{.kind = Source::Kind::kInput, .index = i});
    }
    for (std::size_t i = 0; i < workflow_.steps.size(); ++i) {
      const Spelt& name = workflow_.steps[i].name;
      const bool is_new =
          sources_.emplace(name.text, Source{.kind = Source::Kind::kStep, .index = i}).second;
      if (!is_new) {
        mistakes_.Add(name.mark, "steps." + Shown(name.text), "there is an input of this name");
      }
    }
    // Once, not for every name that is wrong: there may be 10,000 of each.
    function_names_ = Keys(functions_);
    source_names_ = Keys(sources_);
    for (Function& function : workflow_.functions) ResolveCalls(function);
    for (Step& step : workflow_.steps) ResolveStep(step);
    for (Output& output : workflow_.outputs) ResolveOutput(output);
    FindCircles();
  }

 private:
  void ResolveCalls(Function& function) {
    const std::string where = "functions." + Shown(function.name.text) + ".calls";
    for (CallRule& rule : function.calls) ResolveFunction(rule.callee, where, rule.function);
  }

  void ResolveFunction(const Spelt& name, const std::string& where, std::size_t& function) {
    if (name.text.empty()) return;
    const auto found = functions_.find(name.text);
    if (found != functions_.end()) {
      function = found->second;
      return;
    }
    mistakes_.AddMisspelt(name.mark, where, "there is no function " + Quoted(name.text), name.text,
                          function_names_);
  }

  void ResolveStep(Step& step) {
    const std::string where = "steps." + Shown(step.name.text);
    ResolveFunction(step.call, where + ".call", step.function);
    std::set<std::string_view> seen;
    for (Need& need : step.needs) {
      ResolveSource(need, where + ".needs");
      if (!need.name.text.empty() && !seen.insert(need.name.text).second) {
        mistakes_.Add(need.name.mark, where + ".needs", Quoted(need.name.text) + " is there twice");
      }
    }
    ResolveForEach(step, where + ".for_each");
  }

  void ResolveForEach(Step& step, const std::string& where) {
    if (!step.for_each_name || step.for_each_name->text.empty()) return;
    const Spelt& name = *step.for_each_name;
    const auto need = std::ranges::find(
        step.needs, name.text, [](const Need& n) -> const std::string& { return n.name.text; });
    if (need == step.needs.end()) {
      // The mistake is in a need that is told already, and this is what it should have been.
      if (sources_.contains(name.text) && HasUnknownNeed(step)) return;
      std::vector<std::string_view> names;
      names.reserve(step.needs.size());
      for (const Need& each : step.needs) names.push_back(each.name.text);
      mistakes_.AddMisspelt(name.mark, where, Quoted(name.text) + " is not among the needs",
                            name.text, names);
      return;
    }
    step.for_each = static_cast<std::size_t>(need - step.needs.begin());
    if (need->source.kind != Source::Kind::kUnknown && !IsList(need->source)) {
      const bool is_step = need->source.kind == Source::Kind::kStep;
      mistakes_.Add(name.mark, where,
                    Quoted(name.text) + " is one value, not a list" +
                        (is_step ? ": that step has no for_each" : ""));
    }
  }

  static bool HasUnknownNeed(const Step& step) {
    return std::ranges::any_of(
        step.needs, [](const Need& n) { return n.source.kind == Source::Kind::kUnknown; });
  }

  void ResolveSource(Need& need, const std::string& where) {
    if (need.name.text.empty()) return;
    const auto found = sources_.find(need.name.text);
    if (found != sources_.end()) {
      need.source = found->second;
      return;
    }
    mistakes_.AddMisspelt(need.name.mark, where,
                          "there is no input or step " + Quoted(need.name.text), need.name.text,
                          source_names_);
  }

  void ResolveOutput(Output& output) {
    const std::string where = "outputs." + Shown(output.name.text);
    ResolveSource(output.from, where + ".from");
    if (output.file.text.empty()) return;
    const auto pattern = ParsePattern(output.file.text);
    if (!pattern) {
      mistakes_.Add(output.file.mark, where + ".file", pattern.error().message);
      return;
    }
    if (output.from.source.kind == Source::Kind::kUnknown) return;
    const bool is_list = IsList(output.from.source);
    if (is_list && !pattern->HasName() && !pattern->HasIndex()) {
      mistakes_.Add(output.file.mark, where + ".file",
                    Quoted(output.from.name.text) +
                        " is a list, so the file needs {name} or {index} in its path");
    }
    if (!is_list && pattern->HasIndex()) {
      mistakes_.Add(output.file.mark, where + ".file",
                    Quoted(output.from.name.text) + " is one value, which has no {index}");
    }
  }

  [[nodiscard]] bool IsList(const Source& source) const {
    return source.kind == Source::Kind::kInput ? workflow_.inputs[source.index].IsList()
                                               : workflow_.steps[source.index].IsList();
  }

  template <class Map>
  static std::vector<std::string_view> Keys(const Map& map) {
    std::vector<std::string_view> keys;
    keys.reserve(map.size());
    for (const auto& [key, value] : map) keys.push_back(key);
    // Of two that are as near, the same one is suggested each time.
    std::ranges::sort(keys);
    return keys;
  }

  // Depth-first along the needs, without recursion: a chain may have 10,000 steps.
  void FindCircles() {
    enum class State : std::uint8_t { kNew, kOnPath, kDone };
    std::vector<State> states(workflow_.steps.size(), State::kNew);
    struct Place {
      std::size_t step = 0;
      std::size_t next_need = 0;
    };
    for (std::size_t start = 0; start < states.size(); ++start) {
      if (states[start] != State::kNew) continue;
      std::vector<Place> path = {{.step = start}};
      states[start] = State::kOnPath;
      while (!path.empty()) {
        Place& here = path.back();
        const Step& step = workflow_.steps[here.step];
        if (here.next_need == step.needs.size()) {
          states[here.step] = State::kDone;
          path.pop_back();
          continue;
        }
        const Need& need = step.needs[here.next_need++];
        if (need.source.kind != Source::Kind::kStep) continue;
        State& state = states[need.source.index];
        if (state == State::kNew) {
          state = State::kOnPath;
          path.push_back({.step = need.source.index});
        } else if (state == State::kOnPath) {
          std::vector<std::size_t> circle;
          for (auto p = path.rbegin(); circle.empty() || circle.back() != need.source.index; ++p) {
            circle.push_back(p->step);
          }
          ReportCircle(need, circle);
        }
      }
    }
  }

  // `circle`: each step is needed by the one after it; its last one is what `need`, a need of its
  // first one, names.
  void ReportCircle(const Need& need, const std::vector<std::size_t>& circle) {
    constexpr std::size_t kMaxNamed = 10;
    std::string way = Shown(need.name.text);
    std::size_t named = 0;
    for (auto step = circle.rbegin() + 1; step < circle.rend(); ++step) {
      if (++named > kMaxNamed) {
        way += " -> ...";
        break;
      }
      way += " -> " + Shown(workflow_.steps[*step].name.text);
    }
    way += " -> " + Shown(need.name.text);
    const Step& step = workflow_.steps[circle.front()];
    mistakes_.Add(need.name.mark, "steps." + Shown(step.name.text) + ".needs",
                  "needs its own result in the end: " + way);
  }

  Workflow& workflow_;
  Mistakes& mistakes_;
  std::unordered_map<std::string, std::size_t> functions_;
  std::unordered_map<std::string, Source> sources_;
  std::vector<std::string_view> function_names_;  // Sorted; views of the keys above.
  std::vector<std::string_view> source_names_;
};

}  // namespace

void ResolveReferences(Workflow& workflow, Mistakes& mistakes) {
  Resolver(workflow, mistakes).Resolve();
}

}  // namespace cwasi::workflow
