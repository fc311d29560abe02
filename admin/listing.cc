#include "admin/listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "admin/totals.h"

namespace sluice::admin {

std::string plain(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
    case Json::value_t::discarded:
      return "-";
    case Json::value_t::boolean:
      return value.get<bool>() ? "yes" : "no";
    case Json::value_t::string:
      return value.get_ref<const std::string&>().empty() ? "-" : value.get<std::string>();
    case Json::value_t::number_float:
      return fmt::format("{:g}", value.get<double>());
    case Json::value_t::array: {
      std::string joined;
      for (const Json& one : value) joined += (joined.empty() ? "" : ",") + plain(one);
      return joined.empty() ? "-" : joined;
    }
    default:
      return dump(value);
  }
}

std::string as_duration(const Json& value) {
  if (!value.is_number()) return "-";
  const double seconds = value.get<double>();
  if (seconds < 1e-3) return fmt::format("{:.0f}us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g}ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.3g}s", seconds);
  const auto whole = static_cast<uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string as_percent(const Json& value) {
  return value.is_number() ? fmt::format("{:.3g}%", value.get<double>() * 100) : "-";
}

std::string table(const std::vector<Json>& rows, const std::vector<Column>& columns) {
  if (rows.empty()) return "(none)";
  std::vector<std::vector<std::string>> cells(rows.size());
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (const Column& column : columns) {
    size_t width = std::char_traits<char>::length(column.title);
    bool numeric = true;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto found = rows[i].find(column.key);
      const Json value = found == rows[i].end() ? Json() : *found;
      numeric = numeric && (value.is_number() || value.is_null());
      cells[i].push_back(column.write(value));
      width = std::max(width, cells[i].back().size());
    }
    widths.push_back(width);
    right.push_back(numeric);
  }
  std::string text;
  const auto add = [&](size_t column, const std::string& cell) {
    if (column > 0) text += "  ";
    const std::string space(widths[column] - cell.size(), ' ');
    if (right[column]) {
      text += space + cell;
    } else {
      text += column + 1 < columns.size() ? cell + space : cell;
    }
  };
  for (size_t column = 0; column < columns.size(); ++column) add(column, columns[column].title);
  for (const auto& row : cells) {
    text += '\n';
    for (size_t column = 0; column < columns.size(); ++column) add(column, row[column]);
  }
  return text;
}

Json as_json(const proxy::Event& event) {
  Json fields = Json::object();
  for (const auto& [name, value] : event.fields) fields[name] = value;
  return {{"id", event.id},           {"at", rfc3339(event.at_us)}, {"type", event.type},
          {"service", event.service}, {"message", event.message},   {"fields", std::move(fields)}};
}

Output listing(Format format, const char* key, const std::vector<Json>& rows,
               const std::vector<Column>& columns) {
  if (format == Format::text) return {table(rows, columns)};
  Json object;
  object[key] = rows;
  return {dump_members(object)};
}

Output either(Format format, const Json& object, const std::string& text) {
  return {format == Format::json ? dump_members(object) : text};
}

}  // namespace sluice::admin
