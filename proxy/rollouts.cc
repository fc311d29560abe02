#include "proxy/rollouts.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "balancer/rollout_report.h"
#include "balancer/rollout_text.h"
#include "conf/units.h"
#include "proxy/control.h"
#include "proxy/control_text.h"

namespace sluice::proxy {

using balancer::Moment;
using balancer::RolloutAction;
using balancer::RolloutActions;
using balancer::RolloutState;
using conf::Error;
using Json = nlohmann::ordered_json;

namespace {

// The step that is under way or was when it ended; 0: none was begun.
size_t step_of(const balancer::Rollout* rollout) {
  return rollout == nullptr || rollout->report().steps.empty() ? 0 : rollout->step() + 1;
}

// `rollout` is null where the service has had none.
std::string body_of(const std::string& event, const std::string& service, const balancer::Rollout* rollout,
                    const balancer::Split::Value& split, const std::string& text, int64_t unix_ms) {
  Json steps = Json::array();
  if (rollout != nullptr) {
    for (const conf::BasisPoints step : rollout->plan().steps) steps.push_back(step / 100.0);
  }
  const Json body = {{"event", event},
                     {"service", service},
                     {"green", split.green / 100.0},
                     {"generation", split.generation},
                     {"state", to_string(rollout == nullptr ? RolloutState::idle : rollout->state())},
                     {"step", step_of(rollout)},
                     {"steps", std::move(steps)},
                     {"text", text},
                     {"at", balancer::rfc3339(unix_ms)}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Moment Rollouts::now() const {
  return {control_.loop().now_ms(), static_cast<int64_t>(Loop::wall_clock_us() / 1000)};
}

bool Rollouts::observes(RolloutState state) {
  return state == RolloutState::preflight || state == RolloutState::holding ||
         state == RolloutState::returning;
}

void Rollouts::leave(const conf::Config& next) {
  for (const auto& [service, one] : cases_) {
    if (control_.registry().find(service) == nullptr) continue;
    const auto stays = next.services.find(service);
    if (stays != next.services.end() && stays->second.has_green) continue;
    const conf::Result<RolloutActions> paused =
        one->rollout->pause(now(), stays == next.services.end() ? "the service left the configuration."
                                                                : "green left the configuration.");
    if (paused.ok()) carry_out(*one, *paused);
  }
}

void Rollouts::configure() {
  for (const auto& [service, one] : cases_) {
    const ServiceEntry* const entry = control_.registry().find(service);
    if (entry == nullptr) {
      one->observing = false;  // its counters begin anew if it comes back
      continue;
    }
    // The file may have moved the split of one that came back.
    const conf::BasisPoints green = entry->state->split().get().green;
    if (green != one->rollout->split()) {
      carry_out(*one, one->rollout->split_changed(green, now(), "by the configuration"));
    }
  }
}

bool Rollouts::waits_for_start(const conf::Change& change) const {
  constexpr std::string_view kOfThePlan[] = {
      "steps",        "hold",     "min_requests", "max_latency_ratio", "margin",
      "auto_promote", "deadline", "return",       "smoke_requests"};
  for (const auto& [service, one] : cases_) {
    const std::string section = "service." + service + ".rollout";
    if (!one->rollout->running() || !change.path.starts_with(section)) continue;
    const std::string_view rest = std::string_view(change.path).substr(section.size());
    if (rest.empty()) return true;
    if (rest.front() != '.') continue;
    const std::string_view key = rest.substr(1);
    // Another gate is asked from now on, but whether there is one is of the plan.
    if (key == "gate" && (change.before.empty() || change.after.empty())) return true;
    if (std::find(std::begin(kOfThePlan), std::end(kOfThePlan), key) != std::end(kOfThePlan)) return true;
  }
  return false;
}

conf::Status Rollouts::restore(const std::string& service, const std::string& saved) {
  const ServiceEntry& entry = *control_.registry().find(service);
  conf::Result<std::unique_ptr<balancer::Rollout>> rollout = balancer::Rollout::restore(
      saved, entry.state->split().get().green, entry.state->tripped(), control_.freeze().on);
  if (!rollout.ok()) return rollout.error();
  cases_[service] = std::make_unique<Case>(std::move(*rollout));
  return conf::Done{};
}

void Rollouts::restore_absent(const std::string& service, const std::string& saved, conf::BasisPoints split,
                              bool tripped) {
  conf::Result<std::unique_ptr<balancer::Rollout>> rollout =
      balancer::Rollout::restore(saved, split, tripped, control_.freeze().on);
  if (!rollout.ok()) return control_.add_event("rollout_not_restored", service, rollout.error().detail);
  // Nothing can be carried out, and its webhook is not known.
  static_cast<void>((*rollout)->pause(now(), "the configuration lacks the service."));
  cases_[service] = std::make_unique<Case>(std::move(*rollout));
}

std::string Rollouts::save(const std::string& service) const {
  const auto found = cases_.find(service);
  return found == cases_.end() ? std::string() : found->second->rollout->save();
}

const balancer::Rollout* Rollouts::find(const std::string& service) const {
  const auto found = cases_.find(service);
  return found == cases_.end() ? nullptr : found->second->rollout.get();
}

// ---- commands

conf::Status Rollouts::start(const std::string& service, const Wishes& wishes) {
  const ServiceEntry* const entry = control_.registry().find(service);
  if (entry == nullptr) return refusal(Error::Kind::not_found, "no service is called '" + service + "'");
  const conf::Service& settings = control_.service_conf(service);
  if (!settings.has_green) {
    return refusal(Error::Kind::refused, "service '" + service + "' has no green upstream to roll out");
  }
  const conf::Result<balancer::RolloutPlan> plan = plan_for(service, wishes);
  if (!plan.ok()) return plan.error();
  if (entry->state->tripped()) {
    return refusal(Error::Kind::refused,
                   "service '" + service + "' is tripped; 'reset " + service + "' first");
  }
  std::unique_ptr<Case>& one = cases_[service];
  const bool fresh = one == nullptr;
  if (fresh) {
    one = std::make_unique<Case>(
        std::make_unique<balancer::Rollout>(service, entry->state->split().get().green));
    one->rollout->set_frozen(control_.freeze().on);
  }
  conf::Status started = obey(*one, one->rollout->start(*plan, now()));
  if (!started.ok() && fresh) cases_.erase(service);
  return started;
}

conf::Result<balancer::RolloutPlan> Rollouts::plan_for(const std::string& service,
                                                       const Wishes& wishes) const {
  const conf::Rollout& settings = control_.service_conf(service).rollout;
  if (!settings.enabled && !wishes.steps) {
    return refusal(Error::Kind::invalid, "there is no plan: the configuration has no [service." + service +
                                             ".rollout] and no steps=… were given");
  }
  balancer::RolloutPlan plan = balancer::RolloutPlan::from(settings);
  plan.steps_given = wishes.steps.has_value();
  plan.hold_given = wishes.hold_ms.has_value();
  if (wishes.steps) plan.steps = *wishes.steps;
  if (wishes.hold_ms) plan.hold_ms = *wishes.hold_ms;
  return plan;
}

conf::Result<Rollouts::Case*> Rollouts::existing(const std::string& service) {
  const auto found = cases_.find(service);
  if (found == cases_.end()) {
    return refusal(Error::Kind::refused,
                   "service '" + service + "' has no rollout; 'rollout start " + service + "' begins one");
  }
  return found->second.get();
}

// For what gives green something.
conf::Result<Rollouts::Case*> Rollouts::existing_with_green(const std::string& service) {
  conf::Result<Case*> found = existing(service);
  if (found.ok() && !control_.service_conf(service).has_green) {
    return refusal(Error::Kind::refused, "service '" + service + "' has no green upstream any more; " +
                                             "'rollout start' begins anew when it has one");
  }
  return found;
}

conf::Status Rollouts::pause(const std::string& service) {
  const conf::Result<Case*> one = existing(service);
  if (!one.ok()) return one.error();
  return obey(**one, (*one)->rollout->pause(now(), "by hand."));
}

conf::Status Rollouts::resume(const std::string& service) {
  const conf::Result<Case*> one = existing_with_green(service);
  if (!one.ok()) return one.error();
  return obey(**one, (*one)->rollout->resume(now()));
}

conf::Status Rollouts::promote(const std::string& service, bool full) {
  const conf::Result<Case*> one = existing_with_green(service);
  if (!one.ok()) return one.error();
  return obey(**one, (*one)->rollout->promote(now(), full));
}

conf::Status Rollouts::abort(const std::string& service) {
  const conf::Result<Case*> one = existing(service);
  if (!one.ok()) return one.error();
  return obey(**one, (*one)->rollout->abort(now(), "by hand."));
}

conf::Status Rollouts::retry(const std::string& service) {
  const conf::Result<Case*> one = existing_with_green(service);
  if (!one.ok()) return one.error();
  const balancer::RolloutPlan& before = (*one)->rollout->plan();
  Wishes wishes;
  if (before.steps_given) wishes.steps = before.steps;
  if (before.hold_given) wishes.hold_ms = before.hold_ms;
  const conf::Result<balancer::RolloutPlan> plan = plan_for(service, wishes);
  if (!plan.ok()) return plan.error();
  return obey(**one, (*one)->rollout->retry(*plan, now()));
}

conf::Status Rollouts::obey(Case& one, const conf::Result<RolloutActions>& actions) {
  if (!actions.ok()) return actions.error();
  carry_out(one, *actions);
  return conf::Done{};
}

// ---- what happened elsewhere

void Rollouts::split_changed(const std::string& service, conf::BasisPoints green) {
  const auto found = cases_.find(service);
  if (found != cases_.end()) carry_out(*found->second, found->second->rollout->split_changed(green, now()));
}

void Rollouts::tripped(const std::string& service, const std::string& reason) {
  const auto found = cases_.find(service);
  bool told = false;
  if (found != cases_.end()) {
    balancer::Rollout& rollout = *found->second->rollout;
    gather(*found->second);  // what led to the trip has ended since the last tick
    told = rollout.running() || rollout.state() == RolloutState::completed;
    carry_out(*found->second, rollout.tripped(reason, now()));
  }
  if (!told) tell_trip(service, reason);
}

void Rollouts::hold_back(const std::string& service, const std::string& reason) {
  const auto found = cases_.find(service);
  if (found == cases_.end()) return;
  const conf::Result<RolloutActions> paused = found->second->rollout->pause(now(), reason);
  if (paused.ok()) carry_out(*found->second, *paused);
}

void Rollouts::reset(const std::string& service) {
  const auto found = cases_.find(service);
  if (found != cases_.end()) found->second->rollout->reset();
}

void Rollouts::set_frozen(bool frozen) {
  for (const auto& [service, one] : cases_) one->rollout->set_frozen(frozen);
}

// ---- time

void Rollouts::tick() {
  for (const auto& [service, one] : cases_) {
    const ServiceEntry* const entry = control_.registry().find(service);
    if (entry == nullptr) continue;  // paused, or on a way back that waits for its service
    const bool observing = observes(one->rollout->state());
    if (!observing) knocks_.erase(service);
    balancer::Observation seen;
    if (observing) seen = observe(*one, *entry);
    one->observing = observing;
    carry_out(*one, one->rollout->tick(now(), seen));
    // Waits and pages show what it waits for.
    if (observing) control_.changed();
  }
}

void Rollouts::save_evidence() {
  for (const auto& [service, one] : cases_) {
    if (gather(*one)) control_.save_service(service);
  }
}

bool Rollouts::gather(Case& one) {
  const ServiceEntry* const entry = control_.registry().find(one.rollout->service());
  if (entry == nullptr || !one.observing || !observes(one.rollout->state())) return false;
  one.rollout->gather(now(), observe(one, *entry));
  return true;
}

// ---- actions

void Rollouts::carry_out(Case& one, const RolloutActions& actions) {
  for (const RolloutAction& action : actions) carry_out(one, action);
  if (!actions.empty()) control_.changed();
}

void Rollouts::carry_out(Case& one, const RolloutAction& action) {
  const std::string& service = one.rollout->service();
  switch (action.kind) {
    case RolloutAction::Kind::set_split:
      return set_split(service, action.green);
    case RolloutAction::Kind::save:
      return control_.save_service(service);
    case RolloutAction::Kind::notify:
      return notify(one, action);
    case RolloutAction::Kind::ask_gate:
      return ask_gate(one, action);
    case RolloutAction::Kind::smoke:
      return smoke(service, action.round, action.number);
    case RolloutAction::Kind::finish_report:
      return write_report(one);
  }
}

void Rollouts::set_split(const std::string& service, conf::BasisPoints green) {
  const balancer::Split::Value before = control_.registry().find(service)->state->split().get();
  if (before.green == green) return;  // a trip has been here first
  control_.put_split(service, green, "rollout");
  control_.add_event("split_changed", service,
                     "green's share of " + service + " went from " + conf::format_percent(before.green) +
                         " to " + conf::format_percent(green) + " %",
                     {{"from", conf::format_percent(before.green)},
                      {"to", conf::format_percent(green)},
                      {"generation", std::to_string(before.generation + 1)},
                      {"source", "rollout"}});
}

Webhooks::Target Rollouts::target(const std::string& service, const std::string& url) const {
  return {url, control_.service_conf(service).rollout.webhook_secret,
          [this, user = TlsStore::rollout_user(service)] { return control_.tls().client(user); }};
}

void Rollouts::notify(const Case& one, const RolloutAction& action) {
  const balancer::Rollout& rollout = *one.rollout;
  const std::string event = to_string(action.notice);
  control_.add_event("rollout_" + event, rollout.service(), action.text,
                     {{"state", to_string(rollout.state())},
                      {"green", conf::format_percent(action.green)},
                      {"step", std::to_string(step_of(&rollout))}});
  const conf::Rollout& settings = control_.service_conf(rollout.service()).rollout;
  if (!for_webhook(action.notice) || settings.webhook.empty()) return;
  const uint64_t generation = control_.registry().find(rollout.service())->state->split().get().generation;
  control_.webhooks().post(
      rollout.service(), target(rollout.service(), settings.webhook), event,
      body_of(event, rollout.service(), &rollout, {action.green, generation}, action.text, now().unix_ms));
}

void Rollouts::tell_trip(const std::string& service, const std::string& reason) {
  const conf::Rollout& settings = control_.service_conf(service).rollout;
  if (settings.webhook.empty()) return;
  const std::string event = to_string(balancer::Notice::trip);
  const balancer::Split::Value split = control_.registry().find(service)->state->split().get();
  control_.webhooks().post(service, target(service, settings.webhook), event,
                           body_of(event, service, find(service), split,
                                   "Tripped, all requests go to blue: " + reason, now().unix_ms));
}

void Rollouts::ask_gate(const Case& one, const RolloutAction& action) {
  const balancer::Rollout& rollout = *one.rollout;
  const conf::Rollout& settings = control_.service_conf(rollout.service()).rollout;
  const uint64_t generation = control_.registry().find(rollout.service())->state->split().get().generation;
  const std::string text = "May green go from " + balancer::percent(rollout.split()) + " to " +
                           balancer::percent(action.green) + "?";
  // One that a reload took away is asked on: the plan under way has it.
  control_.webhooks().ask(
      target(rollout.service(), settings.gate.empty() ? rollout.plan().gate : settings.gate),
      body_of("gate", rollout.service(), &rollout, {action.green, generation}, text, now().unix_ms),
      [this, service = rollout.service(), number = action.number](bool allowed, const std::string& reason) {
        const auto found = cases_.find(service);
        if (found == cases_.end()) return;
        carry_out(*found->second, found->second->rollout->gate_answered(number, allowed, reason, now()));
      });
}

// A name that is routed to the service.
std::string Rollouts::smoke_host(const std::string& service) const {
  const std::string& wanted = control_.service_conf(service).rollout.smoke_host;
  if (!wanted.empty()) return wanted;
  for (const conf::Route& route : control_.config().routes) {
    if (route.service == service && !route.host.empty() && !route.host.starts_with('*')) return route.host;
  }
  return service;
}

void Rollouts::smoke(const std::string& service, uint64_t round, uint64_t left) {
  const balancer::Rollout* const rollout = find(service);
  if (rollout == nullptr || control_.registry().find(service) == nullptr || !rollout->awaits_smoke(round)) {
    return;
  }
  if (left == 0) return smoke_ended(service, round, true, "");
  const std::optional<conf::Address> door = control_.plain_listener();
  if (!door) return smoke_ended(service, round, false, "no listener is without TLS and the PROXY protocol.");
  const conf::Service& settings = control_.service_conf(service);
  HttpCall call;
  call.method = "GET";
  call.authority = smoke_host(service);
  call.target = settings.rollout.smoke_path;
  call.fields = {{settings.override_header, "green"}};
  call.answer_field = settings.override_header;
  const std::string asked = "GET " + call.target + " of " + call.authority;
  control_.http_client().send(
      *door, std::move(call), [this, service, round, left, asked](const HttpAnswer& answer) {
        const std::string green = service + "/green";
        if (answer.status == 0) {
          smoke_ended(service, round, false, asked + ": " + answer.problem + ".");
        } else if (answer.status < 200 || answer.status >= 400) {
          smoke_ended(service, round, false,
                      asked + " was answered with " + std::to_string(answer.status) + ".");
        } else if (answer.field != green) {
          smoke_ended(service, round, false,
                      asked + " was answered by " +
                          (answer.field.empty() ? "another service" : answer.field) + ", not by " + green +
                          ": see smoke_host and smoke_path.");
        } else {
          smoke(service, round, left - 1);
        }
      });
}

void Rollouts::smoke_ended(const std::string& service, uint64_t round, bool passed,
                           const std::string& reason) {
  const auto found = cases_.find(service);
  if (found == cases_.end()) return;
  carry_out(*found->second, found->second->rollout->smoke_finished(round, passed, reason, now()));
}

void Rollouts::write_report(const Case& one) {
  const balancer::RolloutReport& report = one.rollout->report();
  control_.write_report("rollout", report.service, report.began_unix_ms, to_json(report) + "\n",
                        to_text(report));
}

}  // namespace sluice::proxy
