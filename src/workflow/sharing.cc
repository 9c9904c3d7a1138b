// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/sharing.h"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <set>
#include <string>
#include <vector>

namespace cwasi::workflow {
namespace {

// An edge with a rule, and where the file has it.
struct Edge {
  std::size_t from = 0;  // Functions.
  std::size_t to = 0;
  Mark mark;
  std::string where;
};

class Sharing {
 public:
  Sharing(Workflow& workflow, Mistakes& mistakes)
      : workflow_(workflow), mistakes_(mistakes), together_(workflow.functions.size()) {
    std::iota(together_.begin(), together_.end(), std::size_t{0});
  }

  void Run() {
    for (std::size_t f = 0; f < workflow_.functions.size(); ++f) {
      const Function& function = workflow_.functions[f];
      for (const CallRule& rule : function.calls)
        if (Is(rule.function, rule.callee))
          TakeCall(rule.modes, {.from = f,
                                .to = rule.function,
                                .mark = rule.callee.mark,
                                .where = "functions." + Shown(function.name.text) + ".calls." +
                                         Shown(rule.callee.text)});
    }
    for (const Step& step : workflow_.steps)
      if (Is(step.function, step.call))
        for (const Need& need : step.needs) TakeNeed(step, need);
    Number();
  }

 private:
  // Whether the name was found.
  [[nodiscard]] bool Is(std::size_t function, const Spelt& name) const {
    return function < workflow_.functions.size() &&
           workflow_.functions[function].name.text == name.text;
  }
  [[nodiscard]] std::string NameOf(std::size_t function) const {
    return Quoted(workflow_.functions[function].name.text);
  }
  void Add(const Edge& edge, const std::string& what) {
    mistakes_.Add(edge.mark, edge.where, what);
  }

  void TakeCall(Modes modes, const Edge& edge) {
    if (modes == Modes::kEmbedded) return KeepTogether(edge);
    if (modes == Modes::kBoth) return;
    if (workflow_.functions[edge.to].modes == Modes::kEmbedded)
      return Add(edge, "is only local, and " + NameOf(edge.to) + " has modes: [embedded]");
    if (edge.from == edge.to) return Add(edge, "is only local: a call of itself never is");
    KeepApart(edge);
  }

  void TakeNeed(const Step& step, const Need& need) {
    Edge edge{.to = step.function,
              .mark = need.name.mark,
              .where = "steps." + Shown(step.name.text) + ".needs." + Shown(need.name.text)};
    if (need.modes == Modes::kBoth || need.source.kind == Source::Kind::kUnknown) return;
    if (need.source.kind == Source::Kind::kInput)
      return Add(edge, "has modes, and it is an input: those are read where they are used");
    const Step& giver = workflow_.steps[need.source.index];
    if (!Is(giver.function, giver.call)) return;
    edge.from = giver.function;
    if (edge.from != edge.to)
      return need.modes == Modes::kEmbedded ? KeepTogether(edge) : KeepApart(edge);
    // One function's steps have the same workers; the scheduler keeps them in one of these.
    if (need.modes == Modes::kLocal)
      Add(edge, "is only local, and both steps call " + NameOf(edge.to) +
                    ": that takes two functions (of one path, if you like)");
  }

  void KeepTogether(const Edge& edge) {
    for (const std::size_t function : {edge.from, edge.to}) {
      if (workflow_.functions[function].IsShared()) continue;
      return Add(edge, "is only embedded, and " + NameOf(function) +
                           " has workers of its own (embed: deny or modes: [local])");
    }
    together_[Find(edge.from)] = Find(edge.to);
  }

  // Nothing to do where one of them has workers of its own.
  void KeepApart(const Edge& edge) {
    const Function& from = workflow_.functions[edge.from];
    const Function& to = workflow_.functions[edge.to];
    if (!from.IsShared() || !to.IsShared()) return;
    if (from.modes == Modes::kEmbedded && to.modes == Modes::kEmbedded)
      return Add(edge, "is only local, and " + NameOf(edge.from) + " and " + NameOf(edge.to) +
                           " have modes: [embedded]");
    apart_.push_back(edge);
  }

  // The one that stands for all that are kept together with `function`.
  std::size_t Find(std::size_t function) {
    while (together_[function] != function) {
      together_[function] = together_[together_[function]];
      function = together_[function];
    }
    return function;
  }

  // In the order of the file, each the lowest number that nobody has from whom it is kept apart;
  // first those that cannot be called from elsewhere, so that they stay with the others.
  void Number() {
    std::vector<std::vector<std::size_t>> others(together_.size());
    for (const Edge& edge : apart_) {
      const std::size_t from = Find(edge.from);
      const std::size_t to = Find(edge.to);
      if (from == to) {
        Add(edge, "is only local, and other edges keep " + NameOf(edge.from) + " and " +
                      NameOf(edge.to) + " in the same workers");
        continue;
      }
      others[from].push_back(to);
      others[to].push_back(from);
    }
    std::vector<bool> has_number(together_.size());
    const auto number = [&](std::size_t function) {
      const std::size_t first = Find(function);
      if (has_number[first]) return;
      std::set<std::uint32_t> taken;
      for (const std::size_t other : others[first])
        if (has_number[other]) taken.insert(workflow_.functions[other].share);
      std::uint32_t& share = workflow_.functions[first].share;
      share = 0;
      while (taken.contains(share)) ++share;
      has_number[first] = true;
    };
    for (std::size_t f = 0; f < together_.size(); ++f)
      if (workflow_.functions[f].modes == Modes::kEmbedded) number(f);
    for (std::size_t f = 0; f < together_.size(); ++f) {
      number(f);
      workflow_.functions[f].share = workflow_.functions[Find(f)].share;
    }
  }

  Workflow& workflow_;
  Mistakes& mistakes_;
  std::vector<std::size_t> together_;  // Who stands for whom, in steps.
  std::vector<Edge> apart_;
};

}  // namespace

void ShareWorkers(Workflow& workflow, Mistakes& mistakes) {
  Sharing(workflow, mistakes).Run();
}

}  // namespace cwasi::workflow
