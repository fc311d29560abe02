#include "conf/parse.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>
#include <utility>
#include <variant>

#include "conf/document.h"
#include "conf/reader.h"
#include "conf/result.h"
#include "conf/types.h"
#include "conf/validate.h"

namespace sluice::conf {
namespace {

Error os_error(const std::string& what, int code) {
  return {Error::Kind::io, Error::Source::system, false, what + ": " + std::strerror(code)};
}

// Up to one byte more than a configuration may have, so that it shows.
Result<std::string> read_all(const std::string& path, Patience patience) {
  const bool waits = patience == Patience::any_file;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (waits ? 0 : O_NONBLOCK));
  if (fd < 0) return os_error("the file cannot be opened", errno);
  struct stat status {};
  if (!waits && fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    ::close(fd);
    return Error{Error::Kind::io, Error::Source::operator_, false,
                 "this is no regular file, which a running process does not wait for"};
  }
  std::string text;
  int error = 0;
  while (text.size() <= kMaxFileBytes) {
    char block[64 * 1024];
    const ssize_t got = ::read(fd, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    text.append(block, static_cast<size_t>(got));
  }
  ::close(fd);
  if (error != 0) return os_error("the file cannot be read", error);
  return text;
}

constexpr size_t kMostHoles = 20;
constexpr size_t kMostBytesWithHoles = 1024 * 1024;

// Where a line begins, which are counted from 1; npos: there are not so many.
size_t beginning_of(size_t line, std::string_view text) {
  size_t begin = 0;
  for (size_t number = 1; number < line; ++number) {
    begin = text.find('\n', begin);
    if (begin == std::string_view::npos) break;
    ++begin;
  }
  return begin;
}

// Empties a line, unless it is a heading: without that the keys below would
// belong to another table.
bool empty_line(std::string& text, size_t line) {
  const size_t begin = beginning_of(line, text);
  if (begin == std::string::npos) return false;
  const size_t end = std::min(text.find('\n', begin), text.size());
  const size_t first = text.find_first_not_of(" \t", begin);
  if (first >= end || text[first] == '[') return false;
  text.erase(begin, end - begin);
  return true;
}

Config read_with_holes(const Value& document, Diagnostics& diagnostics) {
  Config config;
  Positions positions;
  read_config(document, Completeness::has_holes, config, diagnostics, positions);
  return config;
}

std::string admin_socket_above(size_t line, std::string_view text) {
  const std::variant<Value, Diagnostic> document = parse_document(text.substr(0, beginning_of(line, text)));
  if (!std::holds_alternative<Value>(document)) return {};
  Diagnostics ignored;
  return read_with_holes(std::get<Value>(document), ignored).admin.socket;
}

// A mistake of syntax hides from the parser what comes behind it. Its line is
// emptied and the rest read, so that other mistakes show as well. What is only
// missing, or wrong together, is not looked for in a file with holes.
ParseOutcome look_beside(Diagnostic syntax, std::string text, const std::string& file) {
  ParseOutcome outcome{file, std::nullopt, {}, {}};
  outcome.admin_socket = admin_socket_above(syntax.position.line, text);
  std::vector<Diagnostic>& errors = outcome.errors;
  errors.push_back(std::move(syntax));
  while (errors.size() <= kMostHoles && text.size() <= kMostBytesWithHoles &&
         empty_line(text, errors.back().position.line)) {
    std::variant<Value, Diagnostic> document = parse_document(text);
    if (auto* const next = std::get_if<Diagnostic>(&document)) {
      // One in the next line may come of the hole.
      if (next->position.line <= errors.back().position.line + 1) break;
      errors.push_back(std::move(*next));
      continue;
    }
    Diagnostics diagnostics;
    outcome.admin_socket = read_with_holes(std::get<Value>(document), diagnostics).admin.socket;
    for (Diagnostic& one : diagnostics.take()) errors.push_back(std::move(one));
    break;
  }
  std::stable_sort(errors.begin(), errors.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
  });
  return outcome;
}

}  // namespace

std::string ParseOutcome::to_string() const {
  std::string out;
  for (const Diagnostic& error : errors) out += (out.empty() ? "" : "\n") + error.to_string(file);
  return out;
}

ParseOutcome parse(std::string_view text, const std::string& file) {
  const std::variant<Value, Diagnostic> document = parse_document(text);
  if (const auto* syntax = std::get_if<Diagnostic>(&document)) {
    return look_beside(*syntax, std::string(text), file);
  }
  Config config;
  config.file = file;
  Diagnostics diagnostics;
  Positions positions;
  read_config(std::get<Value>(document), Completeness::whole, config, diagnostics, positions);
  validate(config, positions, diagnostics);
  std::vector<Diagnostic> errors = diagnostics.take();
  std::string admin_socket = config.admin.socket;
  if (!errors.empty()) return {file, std::nullopt, std::move(errors), std::move(admin_socket)};
  return {file, std::move(config), {}, std::move(admin_socket)};
}

ParseOutcome parse_file(const std::string& path, Patience patience) {
  const Result<std::string> text = read_all(path, patience);
  if (!text) return {path, std::nullopt, {{{1, 1}, text.error().detail, {}}}, {}};
  return parse(*text, path);
}

}  // namespace sluice::conf
