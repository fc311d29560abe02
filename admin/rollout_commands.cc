// The rollouts' commands, and the freeze.
#include <fmt/format.h>

#include <algorithm>

#include "admin/arguments.h"
#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/totals.h"
#include "balancer/rollout.h"
#include "balancer/rollout_report.h"
#include "balancer/rollout_text.h"
#include "conf/units.h"

namespace sluice::admin {
namespace {

using balancer::Rollout;
using balancer::RolloutState;
using balancer::Waiting;
using conf::Colour;

double seconds(uint64_t ms) {
  return static_cast<double>(ms) / 1000;
}

Json percentages(const std::vector<conf::BasisPoints>& steps) {
  Json list = Json::array();
  for (const conf::BasisPoints step : steps) list.push_back(step / 100.0);
  return list;
}

Json waiting_json(const std::vector<Waiting>& waiting, uint64_t now_ms) {
  Json list = Json::array();
  for (const Waiting& one : waiting) {
    Json row = {{"what", one.what}, {"why", one.why}};
    if (!one.unit.empty()) {
      row["have"] = one.have;
      row["need"] = one.need;
      row["unit"] = one.unit;
    }
    row["earliest_s"] =
        one.earliest_ms ? Json(seconds(*one.earliest_ms - std::min(now_ms, *one.earliest_ms))) : Json();
    list.push_back(std::move(row));
  }
  return list;
}

Json seen_json(const balancer::ColourEvidence& seen) {
  const balancer::UpstreamFigures figures = balancer::UpstreamFigures::of(seen);
  const double rate =
      figures.attempts == 0 ? 0 : static_cast<double>(figures.errors) / static_cast<double>(figures.attempts);
  return {{"attempts", figures.attempts}, {"errors", figures.errors}, {"error_rate", rate},
          {"p50_s", figures.p50_s},       {"p95_s", figures.p95_s},   {"p99_s", figures.p99_s}};
}

Json idle_json(const Call& call, const std::string& service, const proxy::ServiceEntry& entry) {
  const conf::Rollout& settings = call.control().service_conf(service).rollout;
  return {{"service", service},
          {"state", "idle"},
          {"step", 0},
          {"steps", percentages(settings.steps)},
          {"green", entry.state->split().get().green / 100.0},
          {"waiting_for", Json::array()},
          {"reason", ""}};
}

Json rollout_json(const Call& call, const std::string& service, const proxy::ServiceEntry& entry) {
  const Rollout* const rollout = call.control().rollouts().find(service);
  if (rollout == nullptr) return idle_json(call, service, entry);
  const uint64_t now_ms = call.control().loop().now_ms();
  const std::optional<uint64_t> earliest = rollout->earliest_step_ms();
  const std::optional<uint64_t> left = rollout->least_left_ms(now_ms);
  const balancer::RolloutReport& report = rollout->report();
  return {{"service", service},
          {"state", to_string(rollout->state())},
          {"step", report.steps.empty() ? 0 : rollout->step() + 1},
          {"steps", percentages(rollout->plan().steps)},
          {"green", entry.state->split().get().green / 100.0},
          {"waiting_for", waiting_json(rollout->waiting_for(), now_ms)},
          {"held_s", seconds(rollout->evidence().held_ms)},
          {"hold_s", seconds(rollout->plan().hold_ms)},
          {"left_s", left ? Json(seconds(*left)) : Json()},
          {"promotion_asked", rollout->promotion_asked()},
          {"earliest_s", earliest ? Json(seconds(*earliest - std::min(now_ms, *earliest))) : Json()},
          {"min_requests", rollout->plan().min_requests},
          {"auto_promote", rollout->plan().auto_promote},
          {"frozen", rollout->frozen()},
          {"began", report.began_unix_ms == 0 ? Json() : Json(balancer::rfc3339(report.began_unix_ms))},
          {"ended", report.ended_unix_ms == 0 ? Json() : Json(balancer::rfc3339(report.ended_unix_ms))},
          {"reason", report.reason},
          {"seen",
           {{"blue", seen_json(rollout->evidence().of(Colour::blue))},
            {"green", seen_json(rollout->evidence().of(Colour::green))}}}};
}

// ---- for people

std::string bar(double share) {
  constexpr int kWidth = 30;
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * kWidth);
  return "[" + std::string(static_cast<size_t>(full), '#') +
         std::string(static_cast<size_t>(kWidth - full), '.') + "]";
}

std::string steps_text(const Rollout& rollout) {
  std::string text;
  for (size_t i = 0; i < rollout.plan().steps.size(); ++i) {
    const std::string green = conf::format_percent(rollout.plan().steps[i]);
    const bool current = i + 1 == rollout.step_entered();
    text += fmt::format("  {}{}{}", current ? ">" : "", green, current ? "<" : "");
  }
  return text;
}

std::string seen_text(const char* name, const balancer::ColourEvidence& seen) {
  const balancer::UpstreamFigures figures = balancer::UpstreamFigures::of(seen);
  const double rate =
      figures.attempts == 0 ? 0 : static_cast<double>(figures.errors) / static_cast<double>(figures.attempts);
  return fmt::format("  {:<8}{:>10}{:>8}{:>9.2f} %{:>10}{:>10}{:>10}\n", name, figures.attempts,
                     figures.errors, rate * 100, as_duration(figures.p50_s), as_duration(figures.p95_s),
                     as_duration(figures.p99_s));
}

std::string waiting_text(const Rollout& rollout, uint64_t now_ms) {
  std::string text;
  for (const Waiting& one : rollout.waiting_for()) {
    text += fmt::format("  {:<14}{}", one.what, one.why);
    if (one.unit == "s" || one.unit == "requests" || one.unit == "endpoints") {
      text += fmt::format(" ({:.0f} of {:.0f} {})", one.have, one.need, one.unit);
    }
    if (one.earliest_ms && *one.earliest_ms > now_ms) {
      text += fmt::format(" In {} at the earliest.", balancer::duration_text(*one.earliest_ms - now_ms));
    }
    text += "\n";
  }
  return text;
}

std::string status_text(const Call& call, const std::string& service, const proxy::ServiceEntry& entry) {
  const std::string green = conf::format_percent(entry.state->split().get().green);
  const Rollout* const rollout = call.control().rollouts().find(service);
  if (rollout == nullptr)
    return fmt::format("{}: idle, green has {} %; no rollout was started\n", service, green);
  const uint64_t now_ms = call.control().loop().now_ms();
  const size_t step = rollout->step_entered();
  std::string text =
      fmt::format("{}: {}, {}green has {} %\n", service, to_string(rollout->state()),
                  step == 0 ? "" : fmt::format("step {} of {}, ", step, rollout->plan().steps.size()), green);
  text += fmt::format("  steps     {}\n", steps_text(*rollout));
  if (rollout->state() == RolloutState::holding) {
    const double share = rollout->plan().hold_ms == 0 ? 1
                                                      : static_cast<double>(rollout->evidence().held_ms) /
                                                            static_cast<double>(rollout->plan().hold_ms);
    text += fmt::format("  hold        {} {} of {}\n", bar(share),
                        balancer::duration_text(rollout->evidence().held_ms),
                        balancer::duration_text(rollout->plan().hold_ms));
  }
  if (const auto left = rollout->least_left_ms(now_ms); left.has_value()) {
    text +=
        fmt::format("  left        {} at least, to the end of the rollout\n", balancer::duration_text(*left));
  }
  if (!rollout->report().reason.empty()) text += fmt::format("  why         {}\n", rollout->report().reason);
  text += fmt::format("  {:<8}{:>10}{:>8}{:>11}{:>10}{:>10}{:>10}\n", "", "attempts", "errors", "rate", "p50",
                      "p95", "p99");
  for (const Colour colour : conf::kColours) {
    text += seen_text(conf::to_string(colour), rollout->evidence().of(colour));
  }
  if (!rollout->waiting_for().empty()) text += "waiting for\n" + waiting_text(*rollout, now_ms);
  return text;
}

// ---- commands

Outcome show_rollout(const Call& call) {
  std::vector<Json> rows;
  const auto refusal = for_services(call, [&](const std::string& name, const proxy::ServiceEntry& entry) {
    rows.push_back(rollout_json(call, name, entry));
    std::string waits;
    for (const Json& one : rows.back()["waiting_for"]) {
      waits += (waits.empty() ? "" : ",") + one["what"].get<std::string>();
    }
    if (call.format == Format::text) rows.back()["waits"] = waits.empty() ? "-" : waits;
  });
  if (refusal.has_value()) return *refusal;
  return listing(call.format, "rollout", rows,
                 {{"service", "SERVICE"},
                  {"state", "STATE"},
                  {"step", "STEP"},
                  {"steps", "STEPS"},
                  {"green", "GREEN %"},
                  {"waits", "WAITING FOR"},
                  {"reason", "REASON"}});
}

Outcome status(const Call& call) {
  if (call.format == Format::json) return show_rollout(call);
  std::string text;
  const auto refusal = for_services(call, [&](const std::string& name, const proxy::ServiceEntry& entry) {
    text += status_text(call, name, entry);
  });
  if (refusal.has_value()) return *refusal;
  return Output{text};
}

Outcome report(const Call& call) {
  const std::string& service = call.arguments[0];
  const auto found = service_argument(call, service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const Rollout* const rollout = call.control().rollouts().find(service);
  if (rollout == nullptr)
    return Refusal{"not_found", fmt::format("service '{}' has had no rollout", service)};
  const balancer::RolloutReport so_far = rollout->report_so_far();
  return either(call.format, {{"report", Json::parse(to_json(so_far))}}, to_text(so_far));
}

std::variant<std::vector<conf::BasisPoints>, Refusal> steps_argument(std::string_view list) {
  std::vector<conf::BasisPoints> steps;
  while (true) {
    const size_t comma = list.find(',');
    const conf::Result<conf::BasisPoints> step = conf::parse_percent(list.substr(0, comma));
    if (!step.ok()) return Refusal{step.error()};
    steps.push_back(*step);
    if (comma == std::string_view::npos) return steps;
    list.remove_prefix(comma + 1);
  }
}

std::variant<proxy::Rollouts::Wishes, Refusal> wishes_argument(const Call& call) {
  proxy::Rollouts::Wishes wishes;
  for (size_t i = 1; i < call.arguments.size(); ++i) {
    const std::string_view word = call.arguments[i];
    if (word.starts_with("steps=") && !wishes.steps) {
      auto steps = steps_argument(word.substr(6));
      if (const auto* refusal = std::get_if<Refusal>(&steps)) return *refusal;
      wishes.steps = std::get<0>(std::move(steps));
    } else if (word.starts_with("hold=") && !wishes.hold_ms) {
      const auto hold = conf::parse_duration_ms(word.substr(5));
      if (!hold.ok()) return Refusal{hold.error()};
      wishes.hold_ms = *hold;
    } else {
      return Refusal{"usage", "write: rollout start SVC [steps=10,25,50,100] [hold=5m]"};
    }
  }
  return wishes;
}

Outcome done(const Call& call, const conf::Status& status, const std::string& note = "") {
  if (!status.ok()) return Refusal{status.error()};
  const std::string& service = call.arguments[0];
  const proxy::ServiceEntry& entry = *call.control().registry().find(service);
  Json row = rollout_json(call, service, entry);
  const std::string text = fmt::format("{}: {}, green has {} %", service, row["state"].get<std::string>(),
                                       conf::format_percent(entry.state->split().get().green));
  return either(call.format, row, text + note);
}

Outcome start(const Call& call) {
  const auto found = service_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto wishes = wishes_argument(call);
  if (const auto* refusal = std::get_if<Refusal>(&wishes)) return *refusal;
  return done(call,
              call.control().rollouts().start(call.arguments[0], std::get<proxy::Rollouts::Wishes>(wishes)));
}

template <conf::Status (proxy::Rollouts::*command)(const std::string&)>
Outcome obey(const Call& call) {
  const auto found = service_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  return done(call, (call.control().rollouts().*command)(call.arguments[0]));
}

// `rollout promote SVC [--full]`, in either order.
Outcome promote(const Call& typed) {
  constexpr const char* kFull = "--full";
  Call call = typed;
  const bool full = std::erase(call.arguments, kFull) == 1;
  if (call.arguments.size() != 1) return Refusal{"usage", "write: rollout promote SVC [--full]"};
  const auto found = service_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const conf::Status promoted = call.control().rollouts().promote(call.arguments[0], full);
  if (!promoted.ok()) return Refusal{promoted.error()};
  const bool asked = call.control().rollouts().find(call.arguments[0])->promotion_asked();
  return done(call, promoted, asked ? "; the gate is asked first, its yes promotes" : "");
}

// Without a rollout it takes back what green was given by hand.
Outcome abort(const Call& call) {
  const auto found = service_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const std::string& service = call.arguments[0];
  if (call.control().rollouts().find(service) != nullptr) {
    return done(call, call.control().rollouts().abort(service));
  }
  if (call.control().registry().find(service)->state->split().get().green == 0) {
    return Refusal{"refused", "service '" + service +
                                  "' has no rollout, and green has no share: there is nothing to abort"};
  }
  const auto taken = call.control().set_weight(service, 0, std::nullopt, call.actor);
  return taken.ok() ? done(call, conf::Done{}) : Outcome{Refusal{taken.error()}};
}

Outcome freeze(const Call& call) {
  const bool on = call.arguments[0] == "on";
  if (on ? call.arguments.size() < 2 : call.arguments[0] != "off" || call.arguments.size() > 1) {
    return Refusal{"usage", "write: freeze on REASON, or: freeze off"};
  }
  std::string reason;
  for (size_t i = 1; i < call.arguments.size(); ++i) reason += (i > 1 ? " " : "") + call.arguments[i];
  const conf::Status changed =
      on ? call.control().freeze(reason, call.actor) : call.control().unfreeze(call.actor);
  if (!changed.ok()) return Refusal{changed.error()};
  return either(call.format, {{"frozen", on}, {"reason", reason}},
                on ? "frozen: no split may rise until 'freeze off'" : "splits may rise again");
}

constexpr Command kCommands[] = {
    {"show rollout", "[SVC]", "The rollout of each service: its state, its step and what it waits for.",
     false, at_once<show_rollout>},
    {"rollout start", "SVC [steps=10,25,50,100] [hold=5m]",
     "Begins a rollout with its pre-flight, by the plan of [service.SVC.rollout] or the one that is given.",
     true, once_durable<start>},
    {"rollout pause", "SVC", "Stops where it is, until resume. A change of the split by hand pauses as well.",
     true, once_durable<obey<&proxy::Rollouts::pause>>},
    {"rollout resume", "SVC", "Goes on after a pause, at the split of the step that was held.", true,
     once_durable<obey<&proxy::Rollouts::resume>>},
    {"rollout promote", "SVC [--full]",
     "Goes to the next step whatever is missing, but not past a gate; or with --full to the last, whatever "
     "the gate says. The report keeps what was missing.",
     true, once_durable<promote>},
    {"rollout abort", "SVC",
     "Goes back to blue: at once, or over the time that `return` says. Wins in every state; without a rollout it "
     "takes back what green was given by hand.",
     true, once_durable<abort>},
    {"rollout retry", "SVC",
     "Begins a rollout that was aborted or has tripped once more: by the plan of the configuration as it is now, "
     "but for what the command that started it gave.",
     true, once_durable<obey<&proxy::Rollouts::retry>>},
    {"rollout status", "[SVC]",
     "How far it is, what both colours did at this step, and what it waits for. `sluice ctl rollout status [SVC] -w` "
     "shows it live.",
     false, at_once<status>},
    {"rollout report", "SVC",
     "What the rollout did and why, step by step. The same is kept in state_dir/reports.", false,
     at_once<report>},
    {"freeze", "on|off [REASON...]",
     "While on, no split may rise, by hand, by a reload or by a rollout. Going back to blue is always allowed.",
     true, once_durable<freeze>},
};

}  // namespace

std::span<const Command> rollout_commands() {
  return kCommands;
}

}  // namespace sluice::admin
