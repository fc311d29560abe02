#include "balancer/rollout_report.h"

#include <algorithm>
#include <cstdio>

#include "balancer/fields.h"
#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

template <typename T>
void push_bounded(std::vector<T>& list, T value, size_t limit) {
  if (list.size() == limit) list.erase(list.begin());
  list.push_back(std::move(value));
}

std::string save_step(const StepReport& step) {
  FieldWriter fields;
  fields.number("green", step.green);
  fields.number("began", static_cast<uint64_t>(step.began_unix_ms));
  fields.number("ended", static_cast<uint64_t>(step.ended_unix_ms));
  fields.number("held", step.held_ms);
  fields.text("outcome", step.outcome);
  fields.text("reason", step.reason);
  for (const conf::Colour colour : conf::kColours) {
    const UpstreamFigures& figures = step.by_colour[static_cast<size_t>(colour)];
    const std::string prefix = std::string(to_string(colour)) + ".";
    fields.number(prefix + "attempts", figures.attempts);
    fields.number(prefix + "errors", figures.errors);
    fields.real(prefix + "p50", figures.p50_s);
    fields.real(prefix + "p95", figures.p95_s);
    fields.real(prefix + "p99", figures.p99_s);
  }
  return fields.take();
}

StepReport read_step(const FieldReader& fields) {
  StepReport step;
  step.green = static_cast<conf::BasisPoints>(fields.number("green"));
  step.began_unix_ms = static_cast<int64_t>(fields.number("began"));
  step.ended_unix_ms = static_cast<int64_t>(fields.number("ended"));
  step.held_ms = fields.number("held");
  step.outcome = fields.text("outcome");
  step.reason = fields.text("reason");
  for (const conf::Colour colour : conf::kColours) {
    const std::string prefix = std::string(to_string(colour)) + ".";
    step.by_colour[static_cast<size_t>(colour)] = {
        fields.number(prefix + "attempts"), fields.number(prefix + "errors"), fields.real(prefix + "p50"),
        fields.real(prefix + "p95"), fields.real(prefix + "p99")};
  }
  return step;
}

// A writer of JSON objects and lists: commas come by themselves.
class Json {
 public:
  Json& open(char bracket) {
    comma();
    out_.push_back(bracket);
    fresh_ = true;
    return *this;
  }
  Json& close(char bracket) {
    out_.push_back(bracket);
    fresh_ = false;
    return *this;
  }
  Json& key(std::string_view name) {
    string(name);
    out_.push_back(':');
    fresh_ = true;
    return *this;
  }
  void string(std::string_view text) {
    comma();
    out_.push_back('"');
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        out_.push_back('\\');
        out_.push_back(c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        char escape[8];
        std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
        out_ += escape;
      } else {
        out_.push_back(c);
      }
    }
    out_.push_back('"');
  }
  void number(double value) {
    comma();
    char text[32];
    std::snprintf(text, sizeof text, "%.10g", value);
    out_ += text;
  }
  void time(int64_t unix_ms) {
    if (unix_ms != 0) return string(rfc3339(unix_ms));
    comma();
    out_ += "null";
  }
  std::string take() { return std::move(out_); }

 private:
  void comma() {
    if (!fresh_) out_.push_back(',');
    fresh_ = false;
  }
  std::string out_;
  bool fresh_ = true;  // nothing to separate from
};

double as_percent(conf::BasisPoints split) {
  return static_cast<double>(split) / 100;
}

void json_step(Json& json, const StepReport& step) {
  json.open('{').key("green").number(as_percent(step.green));
  json.key("began").time(step.began_unix_ms);
  json.key("ended").time(step.ended_unix_ms);
  json.key("held_s").number(static_cast<double>(step.held_ms) / 1000);
  json.key("outcome").string(step.outcome);
  json.key("reason").string(step.reason);
  for (const conf::Colour colour : conf::kColours) {
    const UpstreamFigures& figures = step.by_colour[static_cast<size_t>(colour)];
    json.key(std::string("seen_") + to_string(colour)).open('{');
    json.key("attempts").number(static_cast<double>(figures.attempts));
    json.key("errors").number(static_cast<double>(figures.errors));
    json.key("p50_s").number(figures.p50_s);
    json.key("p95_s").number(figures.p95_s);
    json.key("p99_s").number(figures.p99_s);
    json.close('}');
  }
  json.close('}');
}

std::string text_figures(const char* name, const UpstreamFigures& figures) {
  const double rate =
      figures.attempts == 0 ? 0 : static_cast<double>(figures.errors) / static_cast<double>(figures.attempts);
  char line[160];
  std::snprintf(line, sizeof line,
                "    %-5s  %llu attempts, %llu errors (%.2f %%), p50 %.1f  p95 %.1f  p99 %.1f ms\n", name,
                static_cast<unsigned long long>(figures.attempts),
                static_cast<unsigned long long>(figures.errors), rate * 100, figures.p50_s * 1000,
                figures.p95_s * 1000, figures.p99_s * 1000);
  return line;
}

}  // namespace

UpstreamFigures UpstreamFigures::of(const ColourEvidence& seen) {
  const auto quantile_s = [&](double q) { return static_cast<double>(seen.latency.quantile_ns(q)) / 1e9; };
  return {seen.attempts, seen.errors, quantile_s(0.50), quantile_s(0.95), quantile_s(0.99)};
}

void RolloutReport::add_event(int64_t unix_ms, std::string text) {
  push_bounded(events, {unix_ms, std::move(text)}, kMaxEvents);
}

void RolloutReport::add_step(StepReport step) {
  push_bounded(steps, std::move(step), kMaxSteps);
}

std::string RolloutReport::save() const {
  FieldWriter fields;
  fields.text("service", service);
  std::string splits;
  for (const conf::BasisPoints split : plan) append_u32(splits, split);
  fields.text("plan", splits);
  fields.number("began", static_cast<uint64_t>(began_unix_ms));
  fields.number("ended", static_cast<uint64_t>(ended_unix_ms));
  fields.text("outcome", outcome);
  fields.text("reason", reason);
  fields.number("steps", steps.size());
  for (size_t i = 0; i < steps.size(); ++i) fields.text("step." + std::to_string(i), save_step(steps[i]));
  fields.number("events", events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string number = std::to_string(i);
    fields.number("event." + number, static_cast<uint64_t>(events[i].unix_ms));
    fields.text("event." + number, events[i].text);
  }
  return fields.take();
}

conf::Result<RolloutReport> RolloutReport::restore(std::string_view bytes) {
  const conf::Result<FieldReader> fields = FieldReader::parse(bytes);
  if (!fields) return fields.error();
  RolloutReport report;
  report.service = fields->text("service");
  const std::string splits = fields->text("plan");
  for (size_t i = 0; i + 4 <= splits.size(); i += 4) {
    report.plan.push_back(read_u32(std::string_view(splits).substr(i)));
  }
  report.began_unix_ms = static_cast<int64_t>(fields->number("began"));
  report.ended_unix_ms = static_cast<int64_t>(fields->number("ended"));
  report.outcome = fields->text("outcome");
  report.reason = fields->text("reason");
  const uint64_t steps = std::min<uint64_t>(fields->number("steps"), kMaxSteps);
  for (uint64_t i = 0; i < steps; ++i) {
    const auto step = FieldReader::parse(fields->text("step." + std::to_string(i)));
    if (!step) return step.error();
    report.steps.push_back(read_step(*step));
  }
  const uint64_t events = std::min<uint64_t>(fields->number("events"), kMaxEvents);
  for (uint64_t i = 0; i < events; ++i) {
    const std::string name = "event." + std::to_string(i);
    report.events.push_back({static_cast<int64_t>(fields->number(name)), fields->text(name)});
  }
  return report;
}

std::string to_json(const RolloutReport& report) {
  Json json;
  json.open('{').key("service").string(report.service);
  json.key("plan").open('[');
  for (const conf::BasisPoints split : report.plan) json.number(as_percent(split));
  json.close(']');
  json.key("began").time(report.began_unix_ms);
  json.key("ended").time(report.ended_unix_ms);
  json.key("outcome").string(report.outcome);
  json.key("reason").string(report.reason);
  json.key("steps").open('[');
  for (const StepReport& step : report.steps) json_step(json, step);
  json.close(']');
  json.key("events").open('[');
  for (const RolloutReport::Event& event : report.events) {
    json.open('{').key("at").time(event.unix_ms);
    json.key("text").string(event.text);
    json.close('}');
  }
  json.close(']').close('}');
  return json.take();
}

std::string to_text(const RolloutReport& report) {
  std::string text = "Rollout of " + report.service + ":";
  for (const conf::BasisPoints split : report.plan) text += " " + percent(split);
  text += "\nBegan " + rfc3339(report.began_unix_ms);
  if (report.ended_unix_ms != 0) {
    text += "\nEnded " + rfc3339(report.ended_unix_ms) + ", " + report.outcome;
    if (!report.reason.empty()) text += ": " + report.reason;
  }
  text += "\n\nSteps\n";
  for (const StepReport& step : report.steps) {
    text += "  " + percent(step.green) + ", held " + duration_text(step.held_ms) + ", ";
    text += step.outcome.empty() ? "under way" : step.outcome;
    if (!step.reason.empty()) text += ": " + step.reason;
    text += "\n";
    for (const conf::Colour colour : conf::kColours) {
      text += text_figures(to_string(colour), step.by_colour[static_cast<size_t>(colour)]);
    }
  }
  text += "\nEvents\n";
  for (const RolloutReport::Event& event : report.events) {
    text += "  " + rfc3339(event.unix_ms) + "  " + event.text + "\n";
  }
  return text;
}

}  // namespace sluice::balancer
