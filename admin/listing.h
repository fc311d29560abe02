// Listing: the one description of a list from which both its JSON and its table
// for people come.
//
// Rows are JSON objects with every member; columns choose which of them people
// see, under which title and how written. Include it in .cc files only.
#pragma once

#include <string>
#include <vector>

#include "admin/command.h"
#include "admin/json.h"

namespace sluice::admin {

// How a value is written for people.
std::string plain(const Json& value);        // "-" for null, "yes" and "no", lists with commas
std::string as_duration(const Json& value);  // of seconds: "850us", "1.25ms", "3.4s", "2h05m"
std::string as_percent(const Json& value);   // of a share 0..1: "12.3%"

struct Column {
  const char* key;
  const char* title;
  std::string (*write)(const Json& value) = plain;
};

// Columns of equal width, numbers to the right; a line that says so where there
// are no rows.
std::string table(const std::vector<Json>& rows, const std::vector<Column>& columns);

// The answer of `show KEY`.
Output listing(Format format, const char* key, const std::vector<Json>& rows,
               const std::vector<Column>& columns);

// An event, as `show events` and the dashboard's stream have it.
Json as_json(const proxy::Event& event);

// Either the members of `object`, or `text`.
Output either(Format format, const Json& object, const std::string& text);

}  // namespace sluice::admin
