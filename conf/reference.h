// The reference of the configuration as Markdown, made from the schema: the
// text of docs/configuration.md.
//
// tests/conf/reference_test.cc holds the file to it and can write it anew:
//   conf_tests "[write-reference]"
#pragma once

#include <string>

namespace sluice::conf {

std::string render_reference();

}  // namespace sluice::conf
