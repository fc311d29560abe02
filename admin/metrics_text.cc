// The text forms of metrics: Prometheus 0.0.4 (prometheus.io, "Text-based
// format") and OpenMetrics 1.0, which differ in the names of counters'
// families, in what is escaped in a help text and in the last line.
#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <limits>

#include "admin/json.h"
#include "admin/metrics.h"
#include "proxy/h1_fields.h"
#include "proxy/head.h"

namespace sluice::admin {
namespace {

using Type = MetricFamily::Type;

constexpr const char* to_string(Type type) {
  constexpr const char* names[] = {"counter", "gauge", "histogram"};
  return names[static_cast<size_t>(type)];
}

void append_escaped(std::string& text, std::string_view value, bool quotes) {
  for (const char c : value) {
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '"' && quotes) {
      text += "\\\"";
    } else {
      text += c;
    }
  }
}

void append_number(std::string& text, double value) {
  if (std::isinf(value)) {
    text += value > 0 ? "+Inf" : "-Inf";
  } else if (std::isnan(value)) {
    text += "NaN";
  } else {
    fmt::format_to(std::back_inserter(text), "{}", value);
  }
}

void append_line(std::string& text, std::string_view name, const char* suffix, const Labels& labels,
                 std::string_view bound, double value) {
  text += name;
  text += suffix;
  char separator = '{';
  const auto label = [&](std::string_view key, std::string_view content) {
    text += std::exchange(separator, ',');
    text += key;
    text += "=\"";
    append_escaped(text, content, true);
    text += '"';
  };
  for (const auto& [key, content] : labels) label(key, content);
  if (!bound.empty()) label("le", bound);
  if (separator == ',') text += '}';
  text += ' ';
  append_number(text, value);
  text += '\n';
}

// Behind a bucket's line. The labels of an exemplar have at most 128 characters,
// names and values together.
void append_exemplar(std::string& text, const BucketExemplar& exemplar) {
  constexpr std::string_view kLabel = "request_id";
  constexpr size_t kMostCharacters = 128;
  if (exemplar.at_s == 0 || kLabel.size() + exemplar.request_id.size() > kMostCharacters) return;
  text.back() = ' ';
  text += fmt::format("# {{{}=\"", kLabel);
  append_escaped(text, exemplar.request_id, true);
  text += fmt::format("\"}} {} {:.3f}\n", exemplar.value_s, exemplar.at_s);
}

void append_histogram(std::string& text, const std::string& name, const Sample& sample, bool openmetrics) {
  const bool exemplars = openmetrics && !sample.exemplars.empty();
  for (size_t i = 0; i < sample.buckets.at_most.size(); ++i) {
    const std::string bound = fmt::format("{}", static_cast<double>(kBucketBoundsNs[i]) / 1e9);
    append_line(text, name, "_bucket", sample.labels, bound, static_cast<double>(sample.buckets.at_most[i]));
    if (exemplars) append_exemplar(text, sample.exemplars[i]);
  }
  append_line(text, name, "_bucket", sample.labels, "+Inf", static_cast<double>(sample.buckets.count));
  if (exemplars) append_exemplar(text, sample.exemplars.back());
  append_line(text, name, "_sum", sample.labels, {}, sample.buckets.sum_s);
  append_line(text, name, "_count", sample.labels, {}, static_cast<double>(sample.buckets.count));
}

std::string to_text(const std::vector<MetricFamily>& families, bool openmetrics) {
  constexpr std::string_view kTotal = "_total";
  std::string text;
  for (const MetricFamily& family : families) {
    std::string_view name = family.name;
    if (openmetrics && family.type == Type::counter) name.remove_suffix(kTotal.size());
    text += fmt::format("# HELP {} ", name);
    append_escaped(text, family.help, openmetrics);
    text += fmt::format("\n# TYPE {} {}\n", name, to_string(family.type));
    for (const Sample& sample : family.samples) {
      if (family.type == Type::histogram) {
        append_histogram(text, family.name, sample, openmetrics);
      } else {
        append_line(text, family.name, "", sample.labels, {}, sample.value);
      }
    }
  }
  if (openmetrics) text += "# EOF\n";
  return text;
}

// The weight of a media range's parameters, 0..1000; a malformed one counts as 0.
int weight_of(std::string_view parameters) {
  const size_t q = parameters.find("q=");
  if (q == std::string_view::npos) return 1000;
  int weight = 0;
  int scale = 1000;
  for (const char c : parameters.substr(q + 2)) {
    if (c == '.') continue;
    if (c < '0' || c > '9' || scale == 0) break;
    weight += (c - '0') * scale;
    scale /= 10;
  }
  return weight;
}

Json sample_as_json(const MetricFamily& family, const Sample& sample) {
  Json labels = Json::object();
  for (const auto& [key, value] : sample.labels) labels[key] = value;
  Json object = {{"labels", std::move(labels)}};
  if (family.type != Type::histogram) {
    object["value"] = std::isfinite(sample.value) ? Json(sample.value) : Json();
    return object;
  }
  Json buckets = Json::array();
  for (size_t i = 0; i < sample.buckets.at_most.size(); ++i) {
    buckets.push_back(
        {{"le_s", static_cast<double>(kBucketBoundsNs[i]) / 1e9}, {"count", sample.buckets.at_most[i]}});
  }
  object["count"] = sample.buckets.count;
  object["sum_s"] = sample.buckets.sum_s;
  object["buckets"] = std::move(buckets);
  return object;
}

}  // namespace

std::string to_prometheus(const std::vector<MetricFamily>& families) {
  return to_text(families, false);
}

std::string to_openmetrics(const std::vector<MetricFamily>& families) {
  return to_text(families, true);
}

std::string json_members(const std::vector<MetricFamily>& families) {
  Json list = Json::array();
  for (const MetricFamily& family : families) {
    Json samples = Json::array();
    for (const Sample& sample : family.samples) samples.push_back(sample_as_json(family, sample));
    list.push_back({{"name", family.name},
                    {"type", to_string(family.type)},
                    {"help", family.help},
                    {"samples", std::move(samples)}});
  }
  return dump_members(Json{{"metrics", std::move(list)}});
}

bool prefers_openmetrics(std::string_view accept) {
  int openmetrics = 0;
  int other = 0;
  proxy::for_each_element(accept, [&](std::string_view element) {
    const size_t semicolon = element.find(';');
    std::string_view type = element.substr(0, semicolon);
    while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
    const int weight =
        weight_of(semicolon == std::string_view::npos ? std::string_view{} : element.substr(semicolon));
    int& best = proxy::equal_fold(type, "application/openmetrics-text") ? openmetrics : other;
    if (weight > best) best = weight;
  });
  return openmetrics > 0 && openmetrics >= other;
}

}  // namespace sluice::admin
