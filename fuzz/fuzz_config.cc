// The configuration: any text gives a configuration or errors with positions
// inside the text, and what is valid is the same after render() and parse().
#include <algorithm>
#include <string>

#include "conf/diff.h"
#include "conf/parse.h"
#include "conf/render.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using fuzz::must;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const conf::ParseOutcome outcome = conf::parse(text, "f");
  must(outcome.ok() == outcome.errors.empty(), "a verdict without its reasons");
  const auto lines = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const conf::Diagnostic& error : outcome.errors) {
    must(error.position.line >= 1 && error.position.line <= lines && error.position.column >= 1,
         "an error outside the text", error.to_string("f"));
    must(!error.message.empty(), "an error without a message");
  }
  if (!outcome.ok()) return 0;
  const std::string rendered = conf::render(*outcome.config);
  const conf::ParseOutcome again = conf::parse(rendered, "f");
  must(again.ok(), "what was rendered is wrong", rendered + again.to_string());
  for (const conf::Change& change : conf::diff(*outcome.config, *again.config)) {
    must(change.path.ends_with("webhook_secret"), "rendering changes something", change.to_string());
  }
  return 0;
}
