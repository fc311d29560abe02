#include "admin/live_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "admin/history.h"
#include "admin/listing.h"
#include "admin/telling.h"

namespace sluice::admin {
namespace {

constexpr size_t kEventsAtFirst = 100;

// What browsers wait before they connect again.
constexpr const char* kRetry = "retry: 2000\n";

std::string message(const char* type, const std::string& data) {
  return std::string("event: ") + type + "\ndata: " + data + "\n\n";
}

// Four digits are more than a chart shows, and half of a double's text.
double short_number(double value) {
  return std::stod(fmt::format("{:.4g}", value));
}

Json as_json(const TimelinePoint::Side& side) {
  return {short_number(side.rate_per_s), short_number(side.failed_per_s), short_number(side.p50_s),
          short_number(side.p99_s), side.bands};
}

Json as_json(const TimelinePoint& point) {
  const uint64_t at_ms = point.at_us / 1000;
  return {static_cast<double>(at_ms) / 1e3, point.green / 100.0, as_json(point.sides[0]),
          as_json(point.sides[1])};
}

Json as_json(const std::deque<TimelinePoint>& points) {
  Json list = Json::array();
  for (const TimelinePoint& point : points) list.push_back(as_json(point));
  return list;
}

}  // namespace

std::string history_message(Context& context, const std::string& service) {
  Json events = Json::array();
  const auto& all = context.control.events().events();
  for (size_t i = all.size() - std::min(kEventsAtFirst, all.size()); i < all.size(); ++i) {
    events.push_back(as_json(all[i]));
  }
  Json object = {{"service", service},
                 {"bands_s", std::vector<double>(std::begin(kBandBoundsS), std::end(kBandBoundsS))}};
  const Timeline* const timeline = context.history.timeline(service);
  object["seconds"] = timeline == nullptr ? Json::array() : as_json(timeline->seconds());
  object["tens"] = timeline == nullptr ? Json::array() : as_json(timeline->tens());
  object["events"] = std::move(events);
  return kRetry + message("history", dump(object));
}

std::string state_message(Context& context, const std::string& service) {
  std::string object = tell_everything(context, service);
  const Timeline* const timeline = context.history.timeline(service);
  Json points = {{"second", nullptr}, {"ten", nullptr}};
  if (timeline != nullptr && !timeline->seconds().empty())
    points["second"] = as_json(timeline->seconds().back());
  if (timeline != nullptr && !timeline->tens().empty() && context.history.completed_ten()) {
    points["ten"] = as_json(timeline->tens().back());
  }
  object.back() = ',';
  return message("state", object + dump_members(points) + "}");
}

std::string event_message(const proxy::Event& event) {
  return message("event", dump(as_json(event)));
}

}  // namespace sluice::admin
