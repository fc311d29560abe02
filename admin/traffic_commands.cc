// The commands that say what is going on: clients and events.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/totals.h"
#include "admin/wait.h"
#include "conf/units.h"

namespace sluice::admin {
namespace {

Outcome describe(const std::vector<proxy::SessionInfo>& sessions, Format format) {
  std::vector<Json> rows;
  rows.reserve(sessions.size());
  for (const proxy::SessionInfo& one : sessions) {
    rows.push_back(
        {{"worker", one.worker},
         {"client", one.client},
         {"age_s", static_cast<double>(one.age_us) / 1e6},
         {"requests", one.requests},
         {"state", one.state},
         {"service", one.service},
         {"upstream", one.upstream},
         {"endpoint", one.endpoint},
         {"request_age_s", one.active ? Json(static_cast<double>(one.request_age_us) / 1e6) : Json()},
         {"request", one.request}});
  }
  return listing(format, "sessions", rows,
                 {{"worker", "WORKER"},
                  {"client", "CLIENT"},
                  {"age_s", "AGE", as_duration},
                  {"requests", "REQUESTS"},
                  {"state", "STATE"},
                  {"service", "SERVICE"},
                  {"upstream", "UPSTREAM"},
                  {"endpoint", "ENDPOINT"},
                  {"request_age_s", "SINCE", as_duration},
                  {"request", "REQUEST"}});
}

void show_sessions(const Call& call, AnswerPtr answer) {
  call.control().sessions(
      [answer = std::move(answer), format = call.format](const std::vector<proxy::SessionInfo>& sessions) {
        answer->finish(describe(sessions, format));
      });
}

std::string as_line(const proxy::Event& event) {
  return fmt::format("{}  {:<22}  {:<12}  {}", rfc3339(event.at_us), event.type,
                     event.service.empty() ? "-" : event.service, event.message);
}

void stream_event(Answer& answer, const proxy::Event& event, Format format) {
  answer.stream(either(format, {{"event", as_json(event)}}, as_line(event)));
}

// The events so far, then each as it happens, until the client leaves.
void watch_events(const Call& call, const AnswerPtr& answer) {
  Waits& waits = call.context.waits;
  if (!waits.take_place()) {
    answer->finish(Refusal{"unavailable", "too many commands are waiting; end one of them"});
    return;
  }
  proxy::EventLog& log = call.control().events();
  for (const proxy::Event& event : log.events()) stream_event(*answer, event, call.format);
  const uint64_t token = log.watch(
      [answer, format = call.format](const proxy::Event& event) { stream_event(*answer, event, format); });
  answer->on_abandoned([&log, &waits, token] {
    log.unwatch(token);
    waits.give_place_back();
  });
}

void show_events(const Call& call, AnswerPtr answer) {
  if (const std::string* const option = call.argument(0); option != nullptr) {
    if (*option != "-w") {
      answer->finish(Refusal{"usage", "write: show events [-w]"});
    } else {
      watch_events(call, answer);
    }
    return;
  }
  Json rows = Json::array();
  std::string text;
  for (const proxy::Event& event : call.control().events().events()) {
    if (call.format == Format::json) {
      rows.push_back(as_json(event));
    } else {
      text += as_line(event) + "\n";
    }
  }
  answer->finish(either(call.format, {{"events", std::move(rows)}}, text.empty() ? "(none)" : text));
}

Outcome show_log(const Call& call) {
  constexpr uint64_t kUsual = 20;
  const std::string* const word = call.argument(0);
  const std::optional<uint64_t> most = word == nullptr ? kUsual : conf::parse_unsigned(*word);
  if (!most.has_value()) return Refusal{"usage", "write: show log [N], N being a number of lines"};
  const auto& events = call.control().events().events();
  std::vector<Json> rows;
  for (size_t i = events.size() - std::min<size_t>(*most, events.size()); i < events.size(); ++i) {
    rows.push_back(as_json(events[i]));
  }
  return listing(call.format, "log", rows,
                 {{"at", "AT"}, {"type", "TYPE"}, {"service", "SERVICE"}, {"message", "MESSAGE"}});
}

constexpr Command kCommands[] = {
    {"show sessions", "", "The client connections of this moment and what each is doing.", false,
     show_sessions},
    {"show events", "[-w]",
     "What happened and why, the last 10,000 events, oldest first. With -w the session stays and shows each "
     "further "
     "event as it happens; in JSON each is an object of its own, with the key event.",
     false, show_events},
    {"show log", "[N]", "The last N events, 20 without a number, as the daemon's log has them.", false,
     at_once<show_log>},
};

}  // namespace

std::span<const Command> traffic_commands() {
  return kCommands;
}

}  // namespace sluice::admin
