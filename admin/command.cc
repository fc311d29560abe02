#include "admin/command.h"

#include "admin/json.h"

namespace sluice::admin {
namespace {

// An empty line would end the reply.
std::string without_empty_lines(const std::string& text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    if (c == '\r') continue;
    if (c == '\n' && (result.empty() || result.back() == '\n')) continue;
    result += c;
  }
  if (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

std::string render_output(const Output& output, Format format) {
  if (format == Format::json) {
    return output.body.empty() ? R"({"ok":true})" : R"({"ok":true,)" + output.body + "}";
  }
  const std::string text = without_empty_lines(output.body);
  return text.empty() ? "done" : text;
}

std::string render_refusal(const Refusal& refusal, Format format) {
  if (format == Format::text) return without_empty_lines("error: " + refusal.code + ": " + refusal.message);
  Json object;
  object["ok"] = false;
  object["error"] = {{"code", refusal.code}, {"message", refusal.message}};
  return dump(object);
}

}  // namespace

std::string render(const Outcome& outcome, Format format) {
  if (const auto* output = std::get_if<Output>(&outcome)) return render_output(*output, format);
  return render_refusal(*std::get_if<Refusal>(&outcome), format);
}

void Answer::finish(const Outcome& outcome) {
  abandoned_ = nullptr;
  if (Sink* const sink = std::exchange(sink_, nullptr); sink != nullptr) sink->reply(outcome);
}

void finish_once_durable(const Call& call, AnswerPtr answer, Outcome outcome) {
  if (std::holds_alternative<Refusal>(outcome)) return answer->finish(outcome);
  call.control().when_durable(
      [answer = std::move(answer), outcome = std::move(outcome), format = call.format](bool durable) {
        if (durable) return answer->finish(outcome);
        std::string body = std::get<Output>(outcome).body;
        if (format == Format::json) {
          body += body.empty() ? R"("saved":false)" : R"(,"saved":false)";
        } else {
          body += "; NOT saved in state_dir, so a restart would not know it: see 'show events'";
        }
        answer->finish(Output{std::move(body)});
      });
}

void Answer::stream(const Output& output) {
  if (sink_ != nullptr) sink_->partial(output);
}

void Answer::make_interactive() {
  abandoned_ = nullptr;
  if (Sink* const sink = std::exchange(sink_, nullptr); sink != nullptr) sink->to_interactive();
}

void Answer::quit() {
  abandoned_ = nullptr;
  if (Sink* const sink = std::exchange(sink_, nullptr); sink != nullptr) sink->quit();
}

void Answer::abandon() {
  sink_ = nullptr;
  if (const auto action = std::exchange(abandoned_, nullptr); action) action();
}

}  // namespace sluice::admin
