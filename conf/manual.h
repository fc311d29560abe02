// The reference of the configuration as a manual page, made from the schema:
// the text of docs/man/sluice.toml.5, in man(7)'s macros.
//
// tests/conf/manual_test.cc holds the file to it and can write it anew:
//   conf_tests "[write-reference]"
#pragma once

#include <string>
#include <string_view>

namespace sluice::conf {

std::string render_manual();

// A line of text as roff reads it: backslashes, dashes and quotes mean
// themselves, and a period or an apostrophe at the beginning is no request.
std::string roff(std::string_view text);

}  // namespace sluice::conf
